"""Compilation cache: programs that earlier starts compiled, kept on disk.

JAX finds a program by a digest of all that it depends on (its text, versions, device, the
compiler's flags), so what it reads from the disk is what it would compile. This module, the only
one that configures JAX's cache, chooses the folder and adds what JAX leaves open:

* Programs are machine code: who may write them may run code. A folder that others own or may write
  is not used.
* Machine code of one processor may not run on another, and home folders are shared. Each kind of
  processor has a folder of its own.
* JAX does not check what it reads. Here each program gets a file with its CRC-32 once it is
  written, and a program that does not match it is deleted before JAX reads it. A file that a kill
  cut short has no checksum. JAX cannot unpack it and compiles instead, and it is deleted once no
  process can be writing it.
* JAX deletes nothing. Here the oldest programs are deleted when all exceed :data:`MOST_BYTES`.
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

from vae_jax.runtime.cache_folder import cache_folder

OFF = "none"
"""Setting that turns the cache off."""
MOST_BYTES = 2**28
"""Size of all programs of one kind of processor above which the oldest are deleted."""
_WRITING_SECONDS = 3600.0
_FOLDER, _THRESHOLD = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


@contextlib.contextmanager
def enabled(folder: str) -> Iterator[str]:
    """Use the cache for everything compiled while the block lasts, small programs included.

    Args:
        folder: a folder, ``none``, or "" for the default: where ``JAX_COMPILATION_CACHE_DIR`` is
            set JAX manages that folder by itself, else a folder in the user's cache.

    Yields:
        The reason why a cache that was asked for is not used, as one line; "" if it is used.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if _THRESHOLD not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if not folder and os.environ.get(_FOLDER):
        yield ""
        return
    own_folder, began = _processor_folder(folder), time.time()
    problem = "" if folder == OFF else _problem(own_folder)
    is_used = folder != OFF and not problem
    _set_folder_of_jax(str(own_folder) if is_used else None)
    try:
        yield f"compiled programs are not kept in {own_folder}: {problem}" if problem else ""
    finally:
        if is_used:
            with contextlib.suppress(OSError):  # a full disk is reported where it matters
                _write_checksums(own_folder, began)


def _set_folder_of_jax(folder: str | None) -> None:
    """Set the folder of JAX's cache, and close the one that JAX may have open in this process."""
    if jax.config.jax_compilation_cache_dir != folder:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()


def _processor_folder(folder: str) -> Path:
    """Return the folder of this kind of processor inside of the one given, or of the default."""
    return Path(os.path.expanduser(folder or cache_folder() / "xla")) / _processor()


def _processor() -> str:
    """Return the architecture and a CRC-32 of the processor's instruction set extensions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    known = sorted({line for line in lines if line.startswith(("flags", "Features"))} or lines)
    return f"{platform.machine()}-{zlib.crc32(''.join(known).encode()):08x}"


def _problem(folder: Path) -> str:
    """Make and clean a folder and return the reason why it cannot be used; "" if it can."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            return "others may write there, who could run code"
        if not os.access(folder, os.W_OK):
            return "it cannot be written"
        _clean(folder)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _clean(folder: Path) -> None:
    """Delete damaged programs, and the oldest of those that exceed :data:`MOST_BYTES`."""
    total = 0
    for entry in sorted(folder.glob("*-cache"), key=_modified, reverse=True):
        content = _content(entry)
        total += len(content)
        checksum_file = _checksum_file(entry)
        is_fresh = time.time() - _modified(entry) < _WRITING_SECONDS
        is_sound = _content(checksum_file) in (_checksum(content), b"" if is_fresh else None)
        if not is_sound or total > MOST_BYTES:
            entry.unlink(missing_ok=True)
            checksum_file.unlink(missing_ok=True)


def _write_checksums(folder: Path, began: float) -> None:
    """Write the checksums of programs written since a time.

    An older program without a checksum was never written completely.
    """
    for entry in folder.glob("*-cache"):
        checksum_file = _checksum_file(entry)
        if _modified(entry) >= began and not checksum_file.exists():
            checksum_file.write_bytes(_checksum(_content(entry)))


def _modified(entry: Path) -> float:
    """Return the time of the last write; 0 if another process has just deleted the file."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _content(path: Path) -> bytes:
    """Return the bytes of a file; none if another process has just deleted it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _checksum_file(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.crc32")


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)
