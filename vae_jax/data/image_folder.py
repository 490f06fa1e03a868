"""Images from a folder of PNG, JPEG or TIFF files, with splits and classes as subfolders."""

import functools
import hashlib
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.cache import cached
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.folder_layout import FolderLayout
from vae_jax.data.memory_mapped import LazyImages, is_large
from vae_jax.data.safe_paths import files_below, refuse_outside
from vae_jax.data.splits import permutation
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "TIFF")  # whatever a name says: Pillow hands others, as EPS, to programs
_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")  # gray of more than 8 bits, read as numbers
_ORIENTATION = 0x0112  # tag of EXIF; 1 is upright
IMAGE_MODES = ("as_is", "gray", "rgb")
"""Choices of the channels of image files: as they are, one, or three."""


class Preparation(NamedTuple):
    """Changes that are made to each image file of a folder.

    Attributes:
        size: height and width that it is scaled to cover, with what sticks out cut evenly; None to
            keep its own.
        mode: one of :data:`IMAGE_MODES`.
    """

    size: tuple[int, int] | None = None
    mode: str = "as_is"

    @property
    def sentences(self) -> tuple[str, ...]:
        """Sentence on these changes; empty where there are none."""
        resized = f"resized to {'x'.join(map(str, self.size or ()))}, centred, the rest cut off"
        converted = {"gray": "converted to gray", "rgb": "converted to RGB"}.get(self.mode)
        return tuple(filter(None, (resized if self.size else None, converted)))


AS_IS = Preparation()
"""Preparation that changes no image."""


def image_files(folder: Path, label: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the sorted relative paths of the image files below a folder, hidden ones not.

    The second part is a sentence on the files that are passed over, if there are some.

    Raises:
        InputError: a file or folder that `safe_paths` refuses, or Pillow is missing.
    """
    libraries.require("PIL", label)
    everything = sorted(files_below(folder, label))
    found = [name for name in everything if name.lower().endswith(_SUFFIXES)]
    for file in found:
        refuse_outside(folder, file, label)
    others = [Path(name).suffix or name for name in everything if name not in set(found)]
    suffixes = ", ".join(sorted(set(others))[:5])
    passed = (f"passed over: {len(others):,} other files ({suffixes})",) if others else ()
    return found, passed


def read_image_folder(
    folder: Path,
    files: list[str],
    data_dir: Path,
    label: str,
    prepare: Preparation = AS_IS,
    passed: tuple[str, ...] = (),
) -> RawDataset:
    """Read an image folder, from its decoded copy after the first time.

    Gray images have 1 channel, colour images 3, and one more with alpha; they are turned as their
    EXIF orientation says. Subfolders called like splits are splits, others classes, numbered in
    the order of their names, see `folder_layout`.

    Args:
        folder: path of the folder.
        files: paths of its images relative to it, as `image_files` gives them.
        data_dir: folder of decoded copies.
        label: `name=value`, which begins every error.
        prepare: what is done to each image.
        passed: sentence on files that were passed over.

    Returns:
        Images in memory, or `LazyImages` where they would fill it.

    Raises:
        InputError: no images, files of different shapes, damaged files, colours of 16 bits.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    name, fingerprint = f"folder-{digest[:16]}", _fingerprint(folder, files)
    if prepare != AS_IS:
        name += "-" + "-".join(map(str, (*(prepare.size or ()), prepare.mode)))

    def read() -> RawDataset:
        layout = FolderLayout.of(files, label)
        rows_of, (class_names, labels) = layout.rows_by_split, layout.classes(files, label)
        first, rows = _first(folder, files, label, prepare), np.arange(len(files))
        shape = len(files), *first.shape
        decode = functools.partial(_decode, folder, files, label, prepare)
        turned = "images turned as their EXIF orientation says"
        if is_large(shape) and first.dtype == np.uint8:
            images = LazyImages(
                lambda own: decode(own)[0], shape, rows, data_dir, name, fingerprint
            )
        else:
            images, num_turned = decode(rows)
            turned = f"{num_turned:,} of {len(rows):,} {turned}" if num_turned else ""
        everything = RawSplit(images, labels)
        # Shuffled, because files sorted by class would show a single class in every figure.
        splits = {
            split: everything.take(np.array(own)[permutation(len(own))])
            for split, own in rows_of.items()
        }
        source = f"{len(files):,} image files of the folder {folder.name}"
        found = (*layout.sentences(class_names), turned, *prepare.sentences, *passed)
        return RawDataset(splits, source, class_names, tuple(filter(None, found)))

    return cached(data_dir, name, fingerprint, read)


def _fingerprint(folder: Path, files: list[str]) -> str:
    """Return a digest of names, sizes and times of change: another one when any file changes."""
    digest = hashlib.sha256()
    with phase("looking for changes", len(files), "files") as advance:
        for done, file in enumerate(files):
            status = os.stat(f"{folder}/{file}")
            digest.update(os.fsencode(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n"))
            advance(done + 1)
    return digest.hexdigest()


def _first(folder: Path, files: list[str], label: str, prepare: Preparation) -> np.ndarray:
    """Return the first image.

    Raises:
        InputError: no images, or the first cannot be decoded.
    """
    if not files:
        raise InputError(f"{label}: no PNG, JPEG, TIFF or IDX files in this folder; give another")
    return _pixels(folder / files[0], label, prepare)[0]


def _decode(
    folder: Path, files: list[str], label: str, prepare: Preparation, rows: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return the images of the given rows of `files`, `[rows, height, width, channels]`.

    The second part is how many of them lay on a side and were turned.

    Raises:
        InputError: an image of another shape than the first of `files`, or one that is damaged.
    """
    first = _first(folder, files, label, prepare)
    images, num_turned = np.empty((len(rows), *first.shape), first.dtype), 0
    with phase("decoding", len(rows), "images") as advance:
        for index, row in enumerate(rows):
            pixels, is_turned = _pixels(folder / files[row], label, prepare)
            _refuse_other(pixels, first, files[row], files[0], label)
            images[index] = pixels
            num_turned += is_turned
            advance(index + 1)
    return images, num_turned


def _refuse_other(
    pixels: np.ndarray, first: np.ndarray, file: str, first_file: str, label: str
) -> None:
    """Refuse an image of another shape or depth than the first."""
    if pixels.shape != first.shape:
        raise InputError(
            f"{label}: {first_file} has shape {first.shape} but {file} {pixels.shape}; "
            "bring all to one size and one number of channels: give resize=HEIGHTxWIDTH, or "
            "image_mode=gray or rgb"
        )
    if pixels.dtype != first.dtype:
        raise InputError(
            f"{label}: {first_file} and {file} have different depths; convert them to one"
        )


def _pixels(path: Path, label: str, prepare: Preparation) -> tuple[np.ndarray, bool]:
    """Return an image upright, `[height, width, channels]`, in 8 bits or as its own numbers.

    The second part is whether it was turned.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=_FORMATS) as image:
            mode, is_turned = _mode(image), False
            if mode is None or getattr(image, "n_frames", 1) > 1:
                pixels = None
            else:
                is_turned = image.getexif().get(_ORIENTATION, 1) != 1
                upright = ImageOps.exif_transpose(image) if is_turned else image
                pixels = np.asarray(_prepared(upright.convert(mode), prepare))
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{label}: {path.name} cannot be decoded ({error}); remove it") from None
    if pixels is None:
        raise InputError(
            f"{label}: {path.name} is not an 8-bit gray or RGB image, nor a gray one of more bits; "
            "convert it"
        )
    return pixels if pixels.ndim == 3 else pixels[..., None], is_turned


def _prepared(image: Any, prepare: Preparation) -> Any:
    """Return an image in the mode and size that were asked for."""
    from PIL import Image, ImageOps

    if prepare.mode != "as_is" and image.mode not in _DEEP_MODES:
        image = image.convert("L" if prepare.mode == "gray" else "RGB")
    if prepare.size is None:
        return image
    height, width = prepare.size
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def _mode(image: Any) -> str | None:
    """Return the mode that holds an image without loss, or None where there is none.

    Pillow opens colours of 16 bits as if they had 8; only the raw mode of the file tells.
    """
    raw_mode = str(image.tile[0][3]) if image.tile else ""
    if image.mode in _DEEP_MODES:
        return image.mode
    if ";16" in raw_mode:
        return None
    if image.mode == "P" and "transparency" in image.info:
        return "RGBA"
    return _MODES.get(image.mode)
