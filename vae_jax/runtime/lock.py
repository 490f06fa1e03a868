"""Lock of a workdir, held by one process at a time and released when that process ends."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vae_jax.runtime.errors import InputError

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Hold the lock of a folder, which must exist, for as long as the block lasts.

    The lock is the kernel's (``flock``) and is released when its process ends, however that
    happens; the content of the lock file only names the process.

    Raises:
        InputError: another process holds the lock.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(pathlib.Path(folder)):
        ...     pathlib.Path(folder, LOCK_FILE).read_text().startswith("process ")
        True
    """
    with (workdir / LOCK_FILE).open("a+", encoding="utf-8") as file:
        _lock(file, workdir)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def refuse_if_locked(workdir: Path) -> None:
    """Refuse a folder whose lock another process holds, without locking it.

    For use before the data are read, which may take long.

    Raises:
        InputError: another process holds the lock.
    """
    path = workdir / LOCK_FILE
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        _lock(file, workdir)


def _lock(file: IO[str], workdir: Path) -> None:
    """Lock an open file without waiting."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "another process"
        raise InputError(
            f"--workdir={workdir}: in use by {holder}; wait for it, stop it or give another "
            "--workdir"
        ) from None
