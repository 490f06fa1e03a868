"""Images too many for memory: decoded once into files, which are mapped and read where looked at.

Decoding happens once and not while training, so a training that streams reads what it would have
read from memory, and the splits are those of images in memory: only the place differs.
"""

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vae_jax.data.cache import writing
from vae_jax.runtime import files

_LAYOUT = "1"  # raise it when what the files hold, or how a source is decoded, changes
_MARK, _ROWS = "mark.txt", 1024


@dataclass(frozen=True)
class Unread:
    """Images of a source that were not read yet, as a part may hold them.

    Attributes:
        read: decodes those of the given numbers, uint8 `[n, height, width, channels]`.
        shape: of all of them, `(n, height, width, channels)`.
        rows: their numbers in the source.
        data_dir: where decoded copies are kept.
        name: of the copy.
        mark: of what it is a copy; another one when anything changes.
    """

    read: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    rows: np.ndarray
    data_dir: Path
    name: str
    mark: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: np.ndarray) -> "Unread":
        return replace(self, rows=self.rows[places], shape=(len(places), *self.shape[1:]))


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether bytes of this shape take more than half of this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(np.prod(shape, dtype=np.int64)) > memory // 2


def mapped(parts: Mapping[str, Unread]) -> dict[str, np.ndarray]:
    """The parts as arrays over files, which are written unless they are there.

    Raises:
        InputError: they cannot be written.
    """
    first = next(iter(parts.values()))
    folder = first.data_dir / "decoded" / first.name
    rows = zlib.crc32(b"".join(part.rows.astype(np.int64).tobytes() for part in parts.values()))
    mark = f"{_LAYOUT} {first.mark} {rows:08x}"
    if not _is_of(folder, mark):
        with writing(first.data_dir):
            _write(folder, mark, parts)
    return {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in parts}


def _is_of(folder: Path, mark: str) -> bool:
    try:
        return (folder / _MARK).read_text(encoding="utf-8") == mark
    except (OSError, UnicodeDecodeError):
        return False


def _write(folder: Path, mark: str, parts: Mapping[str, Unread]) -> None:
    """Into a folder beside, with the mark last, which then takes the place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, suffix=".part") as beside:
        made = Path(beside) / "made"
        made.mkdir()
        for split, part in parts.items():
            _write_part(made / f"{split}.npy", part)
        files.write_text(made / _MARK, mark)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)


def _write_part(path: Path, part: Unread) -> None:
    file = np.lib.format.open_memmap(path, "w+", np.uint8, part.shape)
    for start in range(0, len(part), _ROWS):
        file[start : start + _ROWS] = part.read(part.rows[start : start + _ROWS])
    file.flush()
