"""Images from files in IDX, the format of MNIST, packed with gzip or not."""

import math
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vae_jax.data.archive_size import unzipped
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.npz import passed_over
from vae_jax.data.safe_paths import refuse_outside
from vae_jax.data.split_names import SPLIT_NAMES, SPLITS
from vae_jax.runtime.errors import InputError

_IDX_SPLIT = {**SPLIT_NAMES, "t10k": "test"}
_IDX_NAME = re.compile(
    rf"(?:.*[-_.])?({'|'.join(_IDX_SPLIT)})-(images|labels)[-.]idx[0-9]-ubyte(\.gz)?"
)
_MOST_AXES = 32  # of an array of any numpy
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def has_idx(folder: Path) -> bool:
    """Return whether a folder has files named like MNIST's."""
    return any(_is_idx(path.name) for path in folder.iterdir())


def _is_idx(name: str) -> bool:
    return _IDX_NAME.fullmatch(name) is not None


def read_idx_folder(folder: Path, label: str) -> RawDataset:
    """Read the splits from the IDX files of a folder.

    Raises:
        InputError: as by `read_idx`, or a link that leads out of the folder.
    """
    paths = {path.name: path for path in folder.iterdir()}
    for name in filter(_is_idx, paths):
        refuse_outside(folder, name, label)
    raw = read_idx(paths, f"IDX files of the folder {folder.name}", label)
    others = (name for name in sorted(paths) if not _is_idx(name) and not name.startswith("."))
    return raw._replace(recognised=passed_over(others))


def read_idx(paths: Mapping[str, Path], source: str, label: str) -> RawDataset:
    """Read splits from files called `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz`, ...

    Files with other names are ignored. Of a file and its `.gz` the first is read.

    Args:
        paths: files by name.
        source: one sentence on their origin.
        label: `name=value`, which begins every error.

    Raises:
        InputError: no training images, two files for one array, labels without images, or a
            file that is damaged.
    """
    roles = _idx_roles(paths, label)
    names = [split for split in SPLITS if (split, "images") in roles]
    if "train" not in names:
        raise InputError(f"{label}: no training images; add train-images-idx3-ubyte(.gz)")
    arrays = {role: _idx_array(paths[name], name, label) for role, name in roles.items()}
    splits = {s: RawSplit(arrays[s, "images"], arrays.get((s, "labels"))) for s in names}
    return RawDataset(splits, source)


def _idx_roles(names: Iterable[str], label: str) -> dict[tuple[str, str], str]:
    """Return the file name of every (split, `images` or `labels`)."""
    roles: dict[tuple[str, str], str] = {}
    for name in sorted(names):  # `name` sorts before `name.gz`
        match = _IDX_NAME.fullmatch(name)
        if match is None:
            continue
        role = (_IDX_SPLIT[match[1]], match[2])
        other = roles.setdefault(role, name)
        if name not in (other, f"{other}.gz"):
            raise InputError(f"{label}: both {other} and {name}; keep one of them")
    for split, content in roles:
        if content == "labels" and (split, "images") not in roles:
            raise InputError(f"{label}: {split} has labels but no images; add {split}-images-*")
    return roles


def _idx_array(path: Path, name: str, label: str) -> np.ndarray:
    """Read one IDX array: two zero bytes, dtype, rank, big-endian sizes, values.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", file formats.
    """
    content = _content(path, name, label)
    is_idx = len(content) >= 4 and content[:2] == b"\0\0" and content[2] in _IDX_DTYPES
    if not is_idx or content[3] > _MOST_AXES:
        raise InputError(f"{label}: {name} is not an IDX file; fetch it again")
    dtype, rank = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    sizes = struct.unpack(f">{rank}I", content[4:start]) if len(content) >= start else (0,)
    expected = start + math.prod(sizes) * dtype.itemsize
    if len(content) != expected:
        raise InputError(
            f"{label}: {name} has {len(content)} bytes where its header says {expected}; "
            "fetch it again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(sizes)
    return values.astype(dtype.newbyteorder("="))


def _content(path: Path, name: str, label: str) -> bytes:
    """Return the bytes of a file, unpacked if they are gzip's, whatever the file is called."""
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        return unzipped(path, label) if is_packed else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{label}: {name} cannot be read ({error}); fetch it again") from None
