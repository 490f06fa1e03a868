"""Images too many for memory: decoded once into files, which are memory-mapped.

They are decoded before training, so training reads them from files in the same order in which it
would have read them from memory. The splits are the same too; only where the images lie differs.
"""

import contextlib
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vae_jax.data.cache import writable
from vae_jax.runtime import files
from vae_jax.runtime.progress import phase

_LAYOUT = "3"  # raise it when the content of the files, or how a source is decoded, changes
_FINGERPRINT, _ROWS = "mark.txt", 1024


@dataclass(frozen=True)
class LazyImages:
    """Images of a source that are decoded when they are needed; a `RawSplit` may hold them.

    Attributes:
        read: decodes the images of given rows, uint8 `[n, height, width, channels]`.
        shape: shape of all of them, `(n, height, width, channels)`.
        rows: their indices in the source.
        data_dir: folder of decoded copies.
        name: name of the decoded copy.
        fingerprint: text on the content of the source; another one when anything changes.
    """

    read: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    rows: np.ndarray
    data_dir: Path
    name: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: np.ndarray) -> "LazyImages":
        return replace(self, rows=self.rows[indices], shape=(len(indices), *self.shape[1:]))


def is_large(shape: tuple[int, ...]) -> bool:
    """Return whether bytes of this shape take more than half of this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(np.prod(shape, dtype=np.int64)) > memory // 2


def memory_mapped(splits: Mapping[str, LazyImages]) -> dict[str, np.ndarray]:
    """Return the images of all splits as arrays over files, which are written if need be.

    Of several processes that start at once one writes and the others wait. What a kill left is
    removed by the next. Files whose content is not what was written are written anew.

    Raises:
        InputError: the files cannot be written.
    """
    first = next(iter(splits.values()))
    folder = first.data_dir / "decoded" / first.name
    rows = zlib.crc32(b"".join(part.rows.astype(np.int64).tobytes() for part in splits.values()))
    fingerprint = f"{_LAYOUT} {first.fingerprint} {rows:08x}"
    with writable(first.data_dir), _alone(folder):
        found = _read(folder, fingerprint, list(splits))
        if found is None:
            _write(folder, fingerprint, splits)
            found = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in splits}
    return found


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only process at work on a folder; where there are no locks, do without."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(f"{folder}.lock", flags, 0o666), "wb") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(folder: Path, fingerprint: str, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Return the arrays of a folder, None if they are others or not what was written."""
    try:
        mark = json.loads((folder / _FINGERPRINT).read_bytes())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        checksums = {name: _checksum(array) for name, array in arrays.items()}
    except (OSError, ValueError, EOFError):
        return None
    return arrays if mark == {"fingerprint": fingerprint, "crc32": checksums} else None


def _checksum(images: np.ndarray) -> int:
    total = 0
    with phase("checking files", len(images), "images") as advance:
        for start in range(0, len(images), _ROWS):
            total = zlib.crc32(np.ascontiguousarray(images[start : start + _ROWS]).data, total)
            advance(min(start + _ROWS, len(images)))
    return total


def _write(folder: Path, fingerprint: str, splits: Mapping[str, LazyImages]) -> None:
    """Write a folder beside the old one, its fingerprint last, and replace the old one by it."""
    new, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("part", "old"))
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    new.mkdir()
    try:
        checksums = {name: _write_part(new / f"{name}.npy", part) for name, part in splits.items()}
        files.write_json(new / _FINGERPRINT, {"fingerprint": fingerprint, "crc32": checksums})
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():  # others may read it still: its files live as long as they do
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_part(path: Path, part: LazyImages) -> int:
    """Write the images of a split and return their checksum.

    Not by a memory map: on a full disk that would end the process by SIGBUS.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": part.shape}
    total = 0
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, int(np.prod(part.shape, dtype=np.int64)))
        np.lib.format.write_array_header_1_0(file, header)
        with phase(f"writing {path.stem}", len(part), "images") as advance:
            for start in range(0, len(part), _ROWS):
                data = np.ascontiguousarray(part.read(part.rows[start : start + _ROWS])).data
                total = zlib.crc32(data, total)
                file.write(data)
                advance(min(start + _ROWS, len(part)))
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    return total
