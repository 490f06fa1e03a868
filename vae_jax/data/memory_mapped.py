"""Images too many for memory: decoded once into files, which are memory-mapped.

They are decoded before training, so training reads them from files in the same order in which it
would have read them from memory. The splits are the same too; only where the images lie differs.
"""

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vae_jax.data.cache import writable
from vae_jax.runtime import files

_LAYOUT = "1"  # raise it when the content of the files, or how a source is decoded, changes
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

    Raises:
        InputError: the files cannot be written.
    """
    first = next(iter(splits.values()))
    folder = first.data_dir / "decoded" / first.name
    rows = zlib.crc32(b"".join(part.rows.astype(np.int64).tobytes() for part in splits.values()))
    fingerprint = f"{_LAYOUT} {first.fingerprint} {rows:08x}"
    if not _has_fingerprint(folder, fingerprint):
        with writable(first.data_dir):
            _write(folder, fingerprint, splits)
    return {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in splits}


def _has_fingerprint(folder: Path, fingerprint: str) -> bool:
    try:
        return (folder / _FINGERPRINT).read_text(encoding="utf-8") == fingerprint
    except (OSError, UnicodeDecodeError):
        return False


def _write(folder: Path, fingerprint: str, splits: Mapping[str, LazyImages]) -> None:
    """Write a folder beside the old one, its fingerprint last, and replace the old one by it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, suffix=".part") as temporary:
        new = Path(temporary) / "made"
        new.mkdir()
        for split, part in splits.items():
            _write_split(new / f"{split}.npy", part)
        files.write_text(new / _FINGERPRINT, fingerprint)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)


def _write_split(path: Path, part: LazyImages) -> None:
    file = np.lib.format.open_memmap(path, "w+", np.uint8, part.shape)
    for start in range(0, len(part), _ROWS):
        file[start : start + _ROWS] = part.read(part.rows[start : start + _ROWS])
    file.flush()
