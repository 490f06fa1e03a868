"""Images from a folder of PNG or JPEG files, with or without splits and classes as subfolders."""

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.arrays import permutation
from vae_jax.data.dataset import Raw, SplitArrays
from vae_jax.data.mapped import Unread
from vae_jax.data.paths import files_below, refuse_outside
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")  # whatever a name says: Pillow hands others, as EPS, to programs
_SPLIT_NAMES = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def image_files(folder: Path, flag: str) -> list[str]:
    """Every PNG and JPEG file below a folder as a sorted relative path; hidden ones left out.

    Raises:
        InputError: see :mod:`vae_jax.data.paths`; Pillow is missing.
    """
    libraries.require("PIL", flag)
    found = sorted(name for name in files_below(folder, flag) if name.lower().endswith(_SUFFIXES))
    for file in found:
        refuse_outside(folder, file, flag)
    return found


def fingerprint(folder: Path, files: list[str]) -> str:
    """A digest of names, sizes and times of change: another one when any file changes."""
    digest = hashlib.sha256()
    for file in files:
        status = os.stat(f"{folder}/{file}")
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def read_image_folder(folder: Path, files: list[str], flag: str) -> Raw:
    """Decodes `files` (relative to `folder`): gray to 1 channel, colour to 3, with alpha one more.

    Subfolders `train`, `valid` (`val`, `validation`) and `test` are splits when `train` is there.
    Subfolders below that are classes, numbered in the order of their names.

    Raises:
        InputError: no images, files of different shapes, damaged or 16-bit files.
    """
    members = _by_split(files, flag)
    pixels = _decode(folder, files, files, flag)
    return _raw(folder, files, members, pixels, flag)


def shape_of(folder: Path, files: list[str], flag: str) -> tuple[int, ...]:
    """Number of images, height, width and channels: those of the first.

    Raises:
        InputError: no images, or the first cannot be decoded.
    """
    if not files:
        raise InputError(f"{flag}: no PNG, JPEG or IDX files in this folder; give another one")
    return len(files), *_pixels(folder / files[0], flag).shape


def unread_image_folder(
    folder: Path, files: list[str], flag: str, data_dir: Path, name: str, mark: str
) -> Raw:
    """The same as :func:`read_image_folder` without decoding, for more images than memory holds."""
    shape = shape_of(folder, files, flag)

    def read(rows: np.ndarray) -> np.ndarray:
        return _decode(folder, files, [files[row] for row in rows], flag)

    images = Unread(read, shape, np.arange(len(files)), data_dir, name, mark)
    return _raw(folder, files, _by_split(files, flag), images, flag)


def _raw(
    folder: Path,
    files: list[str],
    members: dict[str, list[int]],
    pixels: np.ndarray | Unread,
    flag: str,
) -> Raw:
    names, labels = _classes(files, flag)
    everything = SplitArrays(pixels, labels)
    # Shuffled, because files sorted by class would show a single class in every figure.
    parts = {
        split: everything.take(np.array(rows)[permutation(len(rows))])
        for split, rows in members.items()
    }
    return Raw(parts, f"{len(files):,} image files of the folder {folder.name}", names)


def _is_split(files: list[str]) -> bool:
    return any(_first_folder(file) == "train" for file in files)


def _by_split(files: list[str], flag: str) -> dict[str, list[int]]:
    """The positions in `files` of every split's images."""
    if not _is_split(files):
        return {"train": list(range(len(files)))}
    splits: dict[str, list[int]] = {}
    for row, file in enumerate(files):
        split = _SPLIT_NAMES.get(_first_folder(file))
        if split is None:
            raise InputError(
                f"{flag}: {file} lies beside the folder train; use only train, valid and test"
            )
        splits.setdefault(split, []).append(row)
    return splits


def _first_folder(file: str) -> str:
    first, slash, _ = file.partition("/")
    return first if slash else ""


def _classes(files: list[str], flag: str) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of the class folders and every file's number among them; none without such folders."""
    inside = [file.partition("/")[2] for file in files] if _is_split(files) else files
    names = [_first_folder(file) for file in inside]
    if not any(names):
        return (), None
    if "" in names:
        stray = files[names.index("")]
        raise InputError(f"{flag}: {stray} lies beside folders of classes; move it into one")
    classes, labels = np.unique(names, return_inverse=True)
    return tuple(classes.tolist()), labels


def _decode(folder: Path, files: list[str], chosen: list[str], flag: str) -> np.ndarray:
    """The chosen images, `[n, height, width, channels]`; all of `files` are to be of one shape."""
    shape = shape_of(folder, files, flag)[1:]
    images = np.empty((len(chosen), *shape), np.uint8)
    for row, file in enumerate(chosen):
        pixels = _pixels(folder / file, flag)
        if pixels.shape != shape:
            raise InputError(
                f"{flag}: {files[0]} has shape {shape} but {file} {pixels.shape}; "
                "bring all to one size and one number of channels"
            )
        images[row] = pixels
    return images


def _pixels(path: Path, flag: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode = _mode(image.mode, image.info)
            pixels = np.asarray(image.convert(mode)) if mode else None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{flag}: {path.name} cannot be decoded ({error}); remove it") from None
    if pixels is None:
        raise InputError(f"{flag}: {path.name} is not an 8-bit gray or RGB image; convert it")
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _mode(mode: str, info: Mapping[Any, Any]) -> str | None:
    """The 8-bit mode that holds all of an image, or None for 16 bits and other colour spaces."""
    if mode == "P" and "transparency" in info:
        return "RGBA"
    return _MODES.get(mode)
