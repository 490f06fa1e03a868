"""Images from a folder of PNG or JPEG files, with or without splits and classes as subfolders."""

import functools
import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.cache import cached
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.memory_mapped import LazyImages, is_large
from vae_jax.data.safe_paths import files_below, refuse_outside
from vae_jax.data.splits import permutation
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
    """Return the sorted relative paths of the PNG and JPEG files below a folder, hidden ones not.

    Raises:
        InputError: a file or folder that `safe_paths` refuses, or Pillow is missing.
    """
    libraries.require("PIL", flag)
    found = sorted(name for name in files_below(folder, flag) if name.lower().endswith(_SUFFIXES))
    for file in found:
        refuse_outside(folder, file, flag)
    return found


def read_image_folder(folder: Path, files: list[str], data_dir: Path, flag: str) -> RawDataset:
    """Read an image folder, from its decoded copy after the first time.

    Gray images have 1 channel, colour images 3, and one more with alpha. Subfolders `train`,
    `valid` (`val`, `validation`) and `test` are splits when `train` exists. Subfolders below that
    are classes, numbered in the order of their names.

    Args:
        folder: path of the folder.
        files: paths of its images relative to it, as `image_files` gives them.
        data_dir: folder of decoded copies.
        flag: `--name=value`, which begins every error.

    Returns:
        Images in memory, or `LazyImages` where they would fill it.

    Raises:
        InputError: no images, files of different shapes, damaged or 16-bit files.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    name, fingerprint = f"folder-{digest[:16]}", _fingerprint(folder, files)

    def read() -> RawDataset:
        rows_of = _rows_by_split(files, flag)
        class_names, labels = _classes(files, flag)
        shape, rows = _shape(folder, files, flag), np.arange(len(files))
        decode = functools.partial(_decode, folder, files, flag)
        if is_large(shape):
            images = LazyImages(decode, shape, rows, data_dir, name, fingerprint)
        else:
            images = decode(rows)
        everything = RawSplit(images, labels)
        # Shuffled, because files sorted by class would show a single class in every figure.
        splits = {
            split: everything.take(np.array(own)[permutation(len(own))])
            for split, own in rows_of.items()
        }
        source = f"{len(files):,} image files of the folder {folder.name}"
        return RawDataset(splits, source, class_names)

    return cached(data_dir, name, fingerprint, read)


def _fingerprint(folder: Path, files: list[str]) -> str:
    """Return a digest of names, sizes and times of change: another one when any file changes."""
    digest = hashlib.sha256()
    for file in files:
        status = os.stat(f"{folder}/{file}")
        digest.update(os.fsencode(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _shape(folder: Path, files: list[str], flag: str) -> tuple[int, ...]:
    """Return the number of images, and height, width and channels of the first.

    Raises:
        InputError: no images, or the first cannot be decoded.
    """
    if not files:
        raise InputError(f"{flag}: no PNG, JPEG or IDX files in this folder; give another one")
    return len(files), *_pixels(folder / files[0], flag).shape


def _has_splits(files: list[str]) -> bool:
    return any(_first_folder(file) == "train" for file in files)


def _rows_by_split(files: list[str], flag: str) -> dict[str, list[int]]:
    """Return the indices in `files` of every split's images."""
    if not _has_splits(files):
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
    """Return the names of class folders and each file's class, or none without such folders."""
    inside = [file.partition("/")[2] for file in files] if _has_splits(files) else files
    names = [_first_folder(file) for file in inside]
    if not any(names):
        return (), None
    if "" in names:
        stray = files[names.index("")]
        raise InputError(f"{flag}: {stray} lies beside folders of classes; move it into one")
    classes, labels = np.unique(names, return_inverse=True)
    return tuple(classes.tolist()), labels


def _decode(folder: Path, files: list[str], flag: str, rows: np.ndarray) -> np.ndarray:
    """Return the images of the given rows of `files`, `[rows, height, width, channels]`.

    Raises:
        InputError: an image of another shape than the first of `files`, or one that is damaged.
    """
    shape = _shape(folder, files, flag)[1:]
    images = np.empty((len(rows), *shape), np.uint8)
    for index, row in enumerate(rows):
        pixels = _pixels(folder / files[row], flag)
        if pixels.shape != shape:
            raise InputError(
                f"{flag}: {files[0]} has shape {shape} but {files[row]} {pixels.shape}; "
                "bring all to one size and one number of channels"
            )
        images[index] = pixels
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
    """Return the 8-bit mode that holds an image, or None for 16 bits and other colour spaces."""
    if mode == "P" and "transparency" in info:
        return "RGBA"
    return _MODES.get(mode)
