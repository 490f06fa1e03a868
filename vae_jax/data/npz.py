"""Images from `.npz` files, as `numpy.savez` writes them: `x_train`, `y_train`, `x_test`, ..."""

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vae_jax.data.archive_size import refuse_bomb
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.runtime.errors import InputError

_SPLITS = ("train", "valid", "test")
# Errors of numpy and zipfile for bytes that are no archive of arrays, or promise too many of them.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, KeyError, RuntimeError, MemoryError),
    *(OverflowError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def read_npz(path: Path, flag: str) -> RawDataset:
    """Read the arrays `x_train` and, where they exist, `x_valid`, `x_test`, `y_train`, ...

    Raises:
        InputError: no `x_train`, an unknown `x_*` or `y_*`, object arrays, a damaged file.
    """
    refuse_bomb(path, flag)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            _refuse_unknown_arrays(arrays.files, flag)
            names = [split for split in _SPLITS if f"x_{split}" in arrays.files]
            splits = {split: _split(arrays, split) for split in names}
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{flag}: cannot be read as .npz ({reason}); save it again") from None
    return RawDataset(splits, f"arrays of the file {path.name}")


def _split(arrays: np.lib.npyio.NpzFile, split: str) -> RawSplit:
    labels = _array(arrays, f"y_{split}") if f"y_{split}" in arrays.files else None
    return RawSplit(_array(arrays, f"x_{split}"), labels)


def _array(arrays: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Return an array of the archive; numpy gives bytes for a member in another format."""
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array


def _refuse_unknown_arrays(names: list[str], flag: str) -> None:
    held = ", ".join(names) or "nothing"
    if "x_train" not in names:
        raise InputError(f"{flag}: holds {held}; save the training images as x_train")
    known = {f"{letter}_{split}" for letter in "xy" for split in _SPLITS}
    unknown = [name for name in names if name[:2] in ("x_", "y_") and name not in known]
    if unknown:
        raise InputError(
            f"{flag}: holds {held}; {unknown[0]} is none of {', '.join(sorted(known))}"
        )
    alone = [name for name in names if name[:2] == "y_" and f"x_{name[2:]}" not in names]
    if alone:
        raise InputError(f"{flag}: holds {alone[0]} without x_{alone[0][2:]}; give both or none")
