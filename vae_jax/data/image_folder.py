"""Images from a folder of PNG, JPEG or TIFF files, with splits and classes as subfolders."""

import functools
import hashlib
import os
import struct
from collections import Counter
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
_WITH_ALPHA = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}  # where a key says transparent
_ORIENTATION = 0x0112  # tag of EXIF; 1 is upright
_PHOTOMETRIC, _WHITE_IS_ZERO = 0x0106, 0  # tag of TIFF
_USUAL_GAMMA = (0.4, 0.5)  # of a PNG: 1 / 2.2, as sRGB has about
_TURNED = "images turned as their EXIF orientation says"
_PROFILE = "images have a colour profile or gamma of their own, which is not applied"
_OPAQUE = "images lost the transparency that they had"
_FIRST = "files hold further pictures, of which the first is taken"
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

    The second part are sentences on files that are passed over or called like another.

    Raises:
        InputError: a file or folder that `safe_paths` refuses, or Pillow is missing.
    """
    libraries.require("PIL", label)
    everything = sorted(files_below(folder, label))
    found = [name for name in everything if name.lower().endswith(_SUFFIXES)]
    for file in found:
        refuse_outside(folder, file, label)
    known = set(found)
    others = [Path(name).suffix or name for name in everything if name not in known]
    suffixes = ", ".join(sorted(set(others))[:5])
    passed = [f"passed over: {len(others):,} other files ({suffixes})"] if others else []
    twice = len(found) - len({os.path.splitext(name)[0] for name in found})
    if twice:
        passed.append(f"called like another but for the ending: {twice:,} of {len(found):,} images")
    return found, tuple(passed)


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
        first, rows = _first(folder, files, label, prepare, passed), np.arange(len(files))
        shape = len(files), *first.shape
        decode = functools.partial(_decode, folder, files, label, prepare)
        if is_large(shape) and first.dtype == np.uint8:
            images = LazyImages(
                lambda own: decode(own)[0], shape, rows, data_dir, name, fingerprint
            )
            remarks = [_TURNED, "colour profiles and gamma are not applied"]
        else:
            images, counts = decode(rows)
            remarks = [f"{count:,} of {len(rows):,} {remark}" for remark, count in counts.items()]
        everything = RawSplit(images, labels)
        # Shuffled, because files sorted by class would show a single class in every figure.
        splits = {
            split: everything.take(np.array(own)[permutation(len(own))])
            for split, own in rows_of.items()
        }
        source = f"{len(files):,} image files of the folder {folder.name}"
        found = (*layout.sentences(class_names), *remarks, *prepare.sentences)
        return RawDataset(splits, source, class_names, found)

    raw = cached(data_dir, name, fingerprint, read)
    return raw._replace(recognised=(*raw.recognised, *passed))


def _fingerprint(folder: Path, files: list[str]) -> str:
    """Return a digest of names, sizes and times of change: another one when any file changes."""
    digest = hashlib.sha256()
    with phase("looking for changes", len(files), "files") as advance:
        for done, file in enumerate(files):
            status = os.stat(f"{folder}/{file}")
            times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"  # copies may keep the former
            digest.update(os.fsencode(f"{file}\0{status.st_size}\0{times}\n"))
            advance(done + 1)
    return digest.hexdigest()


def _first(
    folder: Path, files: list[str], label: str, prepare: Preparation, passed: tuple[str, ...] = ()
) -> np.ndarray:
    """Return the first image.

    Raises:
        InputError: no images, or the first cannot be decoded.
    """
    if not files:
        others = f" ({', '.join(passed)})" if passed else ""
        raise InputError(
            f"{label}: no PNG, JPEG, TIFF or IDX files in this folder{others}; give another"
        )
    return _pixels(folder / files[0], label, prepare)[0]


def _decode(
    folder: Path, files: list[str], label: str, prepare: Preparation, rows: np.ndarray
) -> tuple[np.ndarray, Counter[str]]:
    """Return the images of the given rows of `files`, `[rows, height, width, channels]`.

    The second part is of how many of them each remark is true.

    Raises:
        InputError: an image of another shape than the first of `files`, or one that is damaged.
    """
    first = _first(folder, files, label, prepare)
    images, counts = np.empty((len(rows), *first.shape), first.dtype), Counter[str]()
    with phase("decoding", len(rows), "images") as advance:
        for index, row in enumerate(rows):
            pixels, remarks = _pixels(folder / files[row], label, prepare)
            _refuse_other(pixels, first, files[row], files[0], label)
            images[index] = pixels
            counts.update(remarks)
            advance(index + 1)
    return images, counts


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


def _pixels(path: Path, label: str, prepare: Preparation) -> tuple[np.ndarray, list[str]]:
    """Return an image upright, `[height, width, channels]`, in 8 bits or as its own numbers.

    The second part are remarks on what was done to it, or was not.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Not by its path: Pillow maps such a file, and turned TIFF files come out scrambled.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            problem = _problem(image, prepare)
            pixels, remarks = (None, []) if problem else _upright(image, prepare)
    except UnidentifiedImageError:
        raise InputError(
            f"{label}: {path.name} cannot be decoded (it is no PNG, JPEG or TIFF); remove it"
        ) from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{label}: {path.name} cannot be decoded ({error}); remove it") from None
    if pixels is None:
        raise InputError(f"{label}: {path.name} {problem}")
    return pixels if pixels.ndim == 3 else pixels[..., None], remarks


def _problem(image: Any, prepare: Preparation) -> str:
    """Return what in a file would be lost, with the remedy; "" if nothing is."""
    num_images = getattr(image, "n_frames", 1)
    if num_images > 1 and image.format != "MPO":  # the first picture of MPO is the photograph
        return f"holds {num_images} images; save each in a file of its own"
    mode = _mode(image)
    if mode is None:
        return "is not an 8-bit gray or RGB image, nor a gray one of more bits; convert it"
    if mode in _DEEP_MODES and prepare.mode == "rgb":
        return "is gray and has more than 8 bits, on which image_mode=rgb has no effect; convert it"
    return ""


def _upright(image: Any, prepare: Preparation) -> tuple[np.ndarray, list[str]]:
    """Return an image upright and as it was asked for, with the remarks on it."""
    from PIL import ImageOps

    is_turned = image.getexif().get(_ORIENTATION, 1) != 1
    has_profile, has_more = _has_profile(image), getattr(image, "n_frames", 1) > 1
    mode = _mode(image) or image.mode
    whole: Any = (ImageOps.exif_transpose(image) if is_turned else image).convert(mode)
    is_opaque = prepare.mode == "as_is" or not mode.endswith("A")
    lost_alpha = not is_opaque and whole.getchannel("A").getextrema()[0] < 255
    facts = {_TURNED: is_turned, _PROFILE: has_profile, _OPAQUE: lost_alpha, _FIRST: has_more}
    pixels = np.asarray(_prepared(whole, prepare))
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return native, [remark for remark, is_true in facts.items() if is_true]


def _has_profile(image: Any) -> bool:
    """Return whether a file says that its numbers are other colours than those of sRGB."""
    profile = image.info.get("icc_profile") or b""
    low, high = _USUAL_GAMMA
    is_usual = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
    has_gamma = "srgb" not in image.info and not low < image.info.get("gamma", 0.4545) < high
    return bool(profile and not is_usual) or has_gamma


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

    Pillow opens colours of 16 bits as if they had 8, and images of more channels than it knows as
    RGB; only the raw mode of the file tells.
    """
    args = image.tile[0][3] if image.tile else ""
    raw_mode = args if isinstance(args, str) else str(args[0]) if args else ""
    has_key = "transparency" in image.info
    if image.mode in _DEEP_MODES:
        is_inverted = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        return None if has_key or is_inverted else image.mode
    if ";16" in raw_mode or "X" in raw_mode:
        return None
    return _WITH_ALPHA.get(image.mode) if has_key else _MODES.get(image.mode)
