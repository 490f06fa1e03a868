"""Lock of a workdir, held by one process at a time and released when that process ends.

The lock is the kernel's (``flock`` of the file ``.lock``) and is released however its process ends.
Where the file system has no ``flock`` (Lustre, some network drives), a file ``.lock.held`` names
the process, which touches it every few seconds: its heartbeat. A process of the same machine that
is gone, and one of another whose heart has stopped, have released it. A machine is known by what
its kernel drew at its start and by the namespace of the process, because containers share names.
Whoever has ``flock`` looks at that file too: of two machines one may have it.

A lock protects a file, not a path. Who removes a workdir that is in use, or its lock, and uses the
path again, has two processes that both hold a lock. So the holder looks at every interval whether
what it holds is still what the path names (:meth:`Lock.check`), and ends if it is not.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import socket
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vae_jax.runtime.errors import InputError

LOCK_FILE = ".lock"
HELD_FILE = ".lock.held"
"""File that stands for the lock where the file system has none."""
HEARTBEAT_SECONDS = 10.0
DEAD_SECONDS = 120.0
"""Age of the last heartbeat from which a process of another host counts as gone."""

_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_BYTES = 4096  # of a lock file that this module wrote
_HOLDER = re.compile(
    r"process (?P<pid>\d+) on (?P<host>\S+?)(?:, started (?P<start>\S+))?(?: of (?P<place>\S+))?$"
)


class _FileId(NamedTuple):
    """Device and inode of a file, which no other file has while it is open."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "_FileId":
        return cls(status.st_dev, status.st_ino)


class Lock:
    """Lock of a workdir, or of nothing before :meth:`hold` and in processes that write nothing.

    Attributes:
        workdir: folder that is locked.
        note: sentence on how it is held where the file system has no locks, otherwise empty.

    Example:
        >>> import pathlib, shutil, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with locked(folder) as lock:
        ...     lock.check()
        ...     shutil.rmtree(folder)
        ...     try:
        ...         lock.check()
        ...     except InputError as error:
        ...         print("was removed" in str(error))
        True
    """

    def __init__(self, workdir: Path):
        self.workdir, self.note = workdir, ""
        self._held: dict[Path, _FileId] = {}

    def check(self) -> None:
        """Check that the workdir and its lock are still those that this process holds.

        Raises:
            InputError: one of them was removed or replaced.
        """
        for path, held in self._held.items():
            try:
                # The workdir may be named by a link, but what lies in it may not be one.
                status = os.stat(path, follow_symlinks=path == self.workdir)
                is_held = _FileId.of(status) == held
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP):
                    raise
                is_held = False
            if not is_held:
                raise InputError(
                    f"workdir={self.workdir}: {path.name} was removed or replaced while process "
                    f"{os.getpid()} was at work there, which ends without writing more; look "
                    "what uses that folder now, or give another workdir"
                )

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock of the folder, which must exist, for as long as the block lasts.

        Raises:
            InputError: another process holds it, or the lock file is none of this module's.
        """
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_closing(_open_lock(self.workdir)))
            path = self.workdir / LOCK_FILE
            if _flock(file, self.workdir):
                _refuse_if_held(self.workdir)
                os.truncate(file, 0)
                os.pwrite(file, _own_name().encode(), 0)
                stack.callback(_empty, file)
            else:
                self.note = (
                    "the file system of the workdir has no locks (flock); the file "
                    f"{HELD_FILE} names this process instead, with a heartbeat"
                )
                path = self.workdir / HELD_FILE
                file = stack.enter_context(_closing(_hold_file(path, self.workdir)))
                stack.callback(self._release_file, path)
                stack.enter_context(_heartbeat(file))
            folder = stack.enter_context(_closing(os.open(self.workdir, os.O_RDONLY)))
            self._held = {
                self.workdir: _FileId.of(os.fstat(folder)),
                path: _FileId.of(os.fstat(file)),
            }
            try:
                self.check()  # it may have been removed between opening and locking
                yield
            finally:
                self._held, self.note = {}, ""

    def _release_file(self, path: Path) -> None:
        """Remove the file of a lock, unless another process has taken it over."""
        with contextlib.suppress(OSError):
            if _own_name() == _content(path):
                path.unlink()


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[Lock]:
    """Hold the lock of a folder, which must exist, for as long as the block lasts.

    Raises:
        InputError: another process holds the lock.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(pathlib.Path(folder)):
        ...     pathlib.Path(folder, LOCK_FILE).read_text().startswith("process ")
        True
    """
    lock = Lock(workdir)
    with lock.hold():
        yield lock


def refuse_if_locked(workdir: Path) -> None:
    """Refuse a folder whose lock another process holds, without locking it.

    For use before the data are read, which may take long.

    Raises:
        InputError: another process holds the lock.
    """
    with contextlib.suppress(OSError):
        with _closing(os.open(workdir / LOCK_FILE, _OPEN & ~os.O_RDWR)) as file:
            _flock(file, workdir)
        _refuse_if_held(workdir)


@contextlib.contextmanager
def _closing(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)


def _open_lock(workdir: Path) -> int:
    """Open the lock file, which is made if need be, never through a link."""
    path = workdir / LOCK_FILE
    try:
        file = os.open(path, _OPEN | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _foreign(workdir) from None
        raise
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or not _is_own(file):
        os.close(file)
        raise _foreign(workdir)
    if status.st_nlink > 1:  # in a copy made of hard links the original's lock would be taken
        os.close(file)
        path.unlink()
        return _open_lock(workdir)
    return file


def _empty(file: int) -> None:
    """Remove the name of this process from a lock file."""
    with contextlib.suppress(OSError):  # the lock is released all the same
        os.truncate(file, 0)


def _is_own(file: int) -> bool:
    """Return whether the content of an open lock file is one that this module writes.

    A loss of power may have left zero bytes in place of it, and a full disk the first part.
    """
    content = os.pread(file, _MOST_BYTES, 0).strip(b"\0")
    return content.startswith(b"process ") or b"process ".startswith(content)


def _foreign(workdir: Path) -> InputError:
    return InputError(
        f"workdir={workdir}: {LOCK_FILE} is not a lock file of vae_jax; give another workdir"
    )


def _flock(file: int, workdir: Path) -> bool:
    """Lock an open file without waiting; return False where the file system has no locks.

    Raises:
        InputError: another process holds the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(workdir, os.pread(file, _MOST_BYTES, 0).decode(errors="replace")) from None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        return False
    return True


def _in_use(workdir: Path, holder: str, advice: str = "") -> InputError:
    return InputError(
        f"workdir={workdir}: in use by {holder.split(', started ')[0] or 'another process'}; "
        f"wait for it, stop it or give another workdir{advice}"
    )


def _refuse_if_held(workdir: Path) -> None:
    """Refuse a folder whose lock a process holds that has no ``flock``.

    Raises:
        InputError: there is one at work.
    """
    held = workdir / HELD_FILE
    if os.path.lexists(held) and _is_alive(held):
        raise _in_use(workdir, _content(held))


def _hold_file(path: Path, workdir: Path) -> int:
    """Create the file that stands for a lock, in place of one whose process is gone.

    Raises:
        InputError: another process holds the lock.
    """
    for _ in range(3):
        with contextlib.suppress(FileExistsError):
            file = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
            os.pwrite(file, _own_name().encode(), 0)
            return file
        if _is_alive(path):
            break
        _remove_dead(path)
    raise _in_use(
        workdir,
        _content(path),
        f"; if it was killed on another host, its lock ends {DEAD_SECONDS:.0f} s after that",
    )


def _remove_dead(path: Path) -> None:
    """Remove the file of a process that is gone, not one that was put there in the meantime."""
    with contextlib.suppress(FileNotFoundError):
        dead = _FileId.of(os.lstat(path))
        aside = path.with_name(f"{HELD_FILE}.{uuid.uuid4().hex}")
        os.rename(path, aside)  # of several processes that do so, one succeeds
        if _FileId.of(os.lstat(aside)) == dead:
            aside.unlink()
        else:
            os.rename(aside, path)


def _is_alive(path: Path) -> bool:
    """Return whether the process that a file names is at work; False where there is no file."""
    content = _content(path)
    holder = _HOLDER.match(content)
    if not content or holder is None:  # empty between creation and writing
        return _age(path) < HEARTBEAT_SECONDS
    is_here = holder["place"] in (None, _place()) and holder["host"] == socket.gethostname()
    if is_here:
        return _start_time(int(holder["pid"])) == (holder["start"] or "")
    return _age(path) < DEAD_SECONDS


def _age(path: Path) -> float:
    """Return the seconds since the last heartbeat, or until it where the clock was set back.

    The clock is that of the file system.
    """
    probe = path.with_name(f"{HELD_FILE}.{uuid.uuid4().hex}")
    try:
        with _closing(os.open(probe, _OPEN | os.O_CREAT | os.O_EXCL, 0o666)) as file:
            return abs(os.fstat(file).st_mtime - os.lstat(path).st_mtime)
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _content(path: Path) -> str:
    """Return the text of a lock file; "" where there is none."""
    try:
        with _closing(os.open(path, _OPEN & ~os.O_RDWR)) as file:
            return os.read(file, _MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _own_name() -> str:
    """Return the text by which this process is known in a lock file."""
    pid = os.getpid()
    place = f" of {_place()}" if _place() else ""
    return f"process {pid} on {socket.gethostname()}, started {_start_time(pid)}{place}"


@functools.cache
def _place() -> str:
    """Return the machine, since its start, in which numbers of processes have a meaning.

    It is empty where the operating system does not tell (it does on Linux).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Return the start of a process, in ticks since the machine's; "none" where there is none.

    A number of a process may come again, but not together with its start. Without ``/proc`` it is
    always "unknown".
    """
    if not os.path.isdir("/proc/self"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "none"
        except PermissionError:
            pass
        return "unknown"
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "none"
    return text.rpartition(")")[2].split()[19]


@contextlib.contextmanager
def _heartbeat(file: int) -> Iterator[None]:
    """Touch an open file every :data:`HEARTBEAT_SECONDS` while the block lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a check of the lock says what is wrong
                os.utime(file)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
