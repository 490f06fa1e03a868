"""Images from files of arrays: `.npz` and IDX, the format of MNIST (`.gz` or not)."""

import gzip
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vae_jax.data.dataset import Raw, SplitArrays
from vae_jax.runtime.errors import InputError

_SPLITS = ("train", "valid", "test")
_IDX_NAME = re.compile(
    r"(?:.*[-_.])?(train|valid|validation|t10k|test)-(images|labels)[-.]idx[0-9]-ubyte(\.gz)?"
)
_IDX_SPLIT = {"t10k": "test", "validation": "valid"}
# What numpy and zipfile make of bytes that are no archive of arrays, or promise too many of them.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, KeyError, RuntimeError, MemoryError),
    *(OverflowError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_MOST_AXES = 32  # of an array of any numpy
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_npz(path: Path, flag: str) -> Raw:
    """Arrays `x_train` and, if they are there, `x_valid`, `x_test`, `y_train`, ...

    Raises:
        InputError: no `x_train`, an unknown `x_*` or `y_*`, object arrays, a damaged file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            _refuse_unknown_arrays(arrays.files, flag)
            parts = {split: _npz_part(arrays, split) for split in _npz_splits(arrays.files)}
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{flag}: cannot be read as .npz ({reason}); save it anew") from None
    return Raw(parts, f"arrays of the file {path.name}")


def _npz_splits(names: list[str]) -> list[str]:
    return [split for split in _SPLITS if f"x_{split}" in names]


def _npz_part(arrays: np.lib.npyio.NpzFile, split: str) -> SplitArrays:
    labels = _npz_array(arrays, f"y_{split}") if f"y_{split}" in arrays.files else None
    return SplitArrays(_npz_array(arrays, f"x_{split}"), labels)


def _npz_array(arrays: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """A member of the archive; numpy gives the bytes of one that is not in its format."""
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array


def _refuse_unknown_arrays(names: list[str], flag: str) -> None:
    held = ", ".join(names) or "nothing"
    if "x_train" not in names:
        raise InputError(f"{flag}: holds {held}; save the training images as x_train")
    known = {f"{kind}_{split}" for kind in "xy" for split in _SPLITS}
    unknown = [name for name in names if name[:2] in ("x_", "y_") and name not in known]
    if unknown:
        raise InputError(
            f"{flag}: holds {held}; {unknown[0]} is none of {', '.join(sorted(known))}"
        )
    lonely = [name for name in names if name[:2] == "y_" and f"x_{name[2:]}" not in names]
    if lonely:
        raise InputError(f"{flag}: holds {lonely[0]} without x_{lonely[0][2:]}; give both or none")


def is_idx(name: str) -> bool:
    """Whether a file is named like MNIST's."""
    return _IDX_NAME.fullmatch(name) is not None


def has_idx(folder: Path) -> bool:
    """Whether a folder has files named like MNIST's."""
    return any(is_idx(path.name) for path in folder.iterdir())


def read_idx(paths: Mapping[str, Path], source: str, flag: str) -> Raw:
    """Splits from files called `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz`, ...

    Files with other names are passed over. Of a file and its `.gz` the first is read.

    Raises:
        InputError: no training images, two files for one part, labels without images, or a
            file that is damaged.
    """
    roles = _idx_roles(paths, flag)
    splits = [split for split in _SPLITS if (split, "images") in roles]
    if "train" not in splits:
        raise InputError(f"{flag}: no training images; add train-images-idx3-ubyte(.gz)")
    arrays = {role: _idx_array(paths[name], name, flag) for role, name in roles.items()}
    parts = {s: SplitArrays(arrays[s, "images"], arrays.get((s, "labels"))) for s in splits}
    return Raw(parts, source)


def _idx_roles(names: Iterable[str], flag: str) -> dict[tuple[str, str], str]:
    """The file name of every (split, `images` or `labels`)."""
    roles: dict[tuple[str, str], str] = {}
    for name in sorted(names):  # `name` sorts before `name.gz`
        match = _IDX_NAME.fullmatch(name)
        if match is None:
            continue
        role = (_IDX_SPLIT.get(match[1], match[1]), match[2])
        other = roles.setdefault(role, name)
        if name not in (other, f"{other}.gz"):
            raise InputError(f"{flag}: both {other} and {name}; keep one of them")
    for split, kind in roles:
        if kind == "labels" and (split, "images") not in roles:
            raise InputError(f"{flag}: {split} has labels but no images; add {split}-images-*")
    return roles


def _idx_array(path: Path, name: str, flag: str) -> np.ndarray:
    """One IDX array: two zero bytes, dtype, rank, big-endian sizes, values.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file formats.
    """
    content = _content(path, name, flag)
    is_idx = len(content) >= 4 and content[:2] == b"\0\0" and content[2] in _IDX_DTYPES
    if not is_idx or content[3] > _MOST_AXES:
        raise InputError(f"{flag}: {name} is not an IDX file; fetch it anew")
    dtype, rank = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    sizes = struct.unpack(f">{rank}I", content[4:start]) if len(content) >= start else (0,)
    expected = start + math.prod(sizes) * dtype.itemsize
    if len(content) != expected:
        raise InputError(
            f"{flag}: {name} has {len(content)} bytes where its header says {expected}; "
            "fetch it anew"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(sizes)
    return values.astype(dtype.newbyteorder("="))


def _content(path: Path, name: str, flag: str) -> bytes:
    """The bytes of a file, unpacked if they are gzip's whatever its name."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{flag}: {name} cannot be read ({error}); fetch it anew") from None
