"""Probe of the operations on files below a folder: it counts them, kills at one, or lets one fail.

Python reports each ``open``, ``rename``, ``remove``, ``mkdir``, ``truncate`` and ``flock`` to audit
hooks before it is done, whichever library asks for it and in whichever thread, and what a hook
raises is what the operation raises. So a moment is drawn from the operations, not from the seconds:
the short windows of planning or of a report are hit as often as long ones.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

EVENTS = {
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"),
    *("fcntl.flock", "os.fsync", "os.posix_fallocate"),
}
_probes: list["Probe"] = []


class KilledError(BaseException):
    """End of the process at this operation; from then on it does no other."""


class Probe:
    """Counter of operations below a folder.

    Attributes:
        count: operations so far.
        names: their kinds and files.
    """

    def __init__(self, folder: Path, fatal: int = -1, error: int | None = None):
        """Name the folder, and the operation at which there is a kill, or an error.

        Args:
            folder: folder below which operations count.
            fatal: number of the operation, -1 for none.
            error: number of the error that this operation gives; None for a kill.
        """
        self.names: list[str] = []
        self._folder, self._fatal, self._error = str(folder), fatal, error
        self._lock = threading.Lock()
        self._is_dead = False

    @property
    def count(self) -> int:
        return len(self.names)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or not self._is_below(event, arguments):
            return
        with self._lock:
            number = self.count
            self.names.append(f"{event} {arguments[:2]}")
            if number == self._fatal and self._error is not None:
                raise OSError(self._error, os.strerror(self._error))
            self._is_dead |= number == self._fatal
        if self._is_dead:
            raise KilledError

    def _is_below(self, event: str, arguments: tuple) -> bool:
        paths = [
            os.fsdecode(each)
            for each in arguments[:2]
            if isinstance(each, str | bytes | os.PathLike)
        ]
        is_file = event in ("fcntl.flock", "os.fsync", "os.posix_fallocate")
        return is_file or any(path.startswith(self._folder) for path in paths)


@contextlib.contextmanager
def probing(probe: Probe) -> Iterator[Probe]:
    """Let a probe see the operations of this process while the block lasts."""
    if not _probes:
        sys.addaudithook(_pass_on)  # for good: Python takes no hook back
        for name in ("fsync", "posix_fallocate"):  # which Python does not report
            setattr(os, name, _reporting(name, getattr(os, name)))
        _probes.append(probe)
    _probes[:] = [probe]
    try:
        yield probe
    finally:
        _probes[:] = [Probe(Path("/no such folder"))]


def _pass_on(event: str, arguments: tuple) -> None:
    if _probes and event in EVENTS:
        _probes[-1](event, arguments)


def _reporting(name: str, operation):
    def call(*arguments):
        if sys._getframe(1).f_globals["__name__"].startswith("vae_jax"):
            _pass_on(f"os.{name}", ())
        return operation(*arguments)

    return call
