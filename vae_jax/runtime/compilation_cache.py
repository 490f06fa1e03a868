"""Compiled programs of former starts, kept on disk; the only room with JAX's compilation cache.

JAX finds a program by a digest of all that it depends on (its text, versions, device, the
compiler's flags), so what it takes from the disk is what it would compile. This room says where the
programs lie, and sees to what JAX leaves open:

* They are machine code: who may write them may run code. A folder that others own or may write is
  not used.
* Machine code of one processor may not run on another, and home folders are shared. Each kind of
  processor has a folder of its own.
* JAX does not check what it reads. A program gets a seal, its checksum, once it is written; what is
  not what was sealed is deleted before JAX sees it. A file that a kill cut short has no seal. It
  does not unpack, so JAX compiles instead, and it is deleted once nobody can be writing it.
* JAX deletes nothing. Here the oldest programs give way when all take :data:`MOST_BYTES`.
"""

import contextlib
import os
import platform
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

OFF = "none"
MOST_BYTES = 2**28
_WRITING_SECONDS = 3600.0
_FOLDER, _THRESHOLD = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


@contextlib.contextmanager
def enabled(flag: str) -> Iterator[str]:
    """Keep what is compiled in here, small programs too, and take what was kept before.

    Args:
        flag: a folder, ``none``, or nothing for that of ``JAX_COMPILATION_CACHE_DIR``, which is
            JAX's own affair, or without that variable for one in the user's cache.

    Yields:
        Why nothing is kept though it was wanted, in words; or nothing.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if _THRESHOLD not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not flag and os.environ.get(_FOLDER):
        yield ""
        return
    folder, began = _folder(flag), time.time()
    problem = "" if flag == OFF else _problem(folder)
    is_used = flag != OFF and not problem
    _point_jax_to(str(folder) if is_used else None)
    try:
        yield f"compiled programs are not kept in {folder}: {problem}" if problem else ""
    finally:
        if is_used:
            with contextlib.suppress(OSError):  # a full disk has its own line where it matters
                _seal_since(folder, began)


def _point_jax_to(folder: str | None) -> None:
    """JAX opens its cache once in a process, so one that is open has to be given up."""
    if jax.config.jax_compilation_cache_dir != folder:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()


def _folder(flag: str) -> Path:
    """Where the programs of this kind of processor lie."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(flag or f"{home}/vae_jax/xla")) / _processor()


def _processor() -> str:
    """The architecture, and a checksum of the instructions that the processor knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    known = sorted({line for line in lines if line.startswith(("flags", "Features"))} or lines)
    return f"{platform.machine()}-{zlib.crc32(''.join(known).encode()):08x}"


def _problem(folder: Path) -> str:
    """Why a folder cannot be used, after it was made and tidied; or nothing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return "others may write there, who could run code"
        if not os.access(folder, os.W_OK):
            return "it cannot be written"
        _tidy(folder)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _tidy(folder: Path) -> None:
    """Delete programs that are damaged, then the oldest that are too many."""
    total = 0
    for entry in sorted(folder.glob("*-cache"), key=_written, reverse=True):
        content = _content(entry)
        total += len(content)
        seal = _seal_of(entry)
        is_fresh = time.time() - _written(entry) < _WRITING_SECONDS
        is_sound = _content(seal) in (_checksum(content), b"" if is_fresh else None)
        if not is_sound or total > MOST_BYTES:
            entry.unlink(missing_ok=True)
            seal.unlink(missing_ok=True)


def _seal_since(folder: Path, began: float) -> None:
    """Seal what was written since; what is older and has no seal was never written to its end."""
    for entry in folder.glob("*-cache"):
        seal = _seal_of(entry)
        if _written(entry) >= began and not seal.exists():
            seal.write_bytes(_checksum(_content(entry)))


def _written(entry: Path) -> float:
    """When; long ago if another process has just deleted it."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _seal_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.crc32")


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)
