"""Checks of what sources read: images become uint8, labels int32, or an error names the remedy.

Images of any source are bool, integers within 0..255 or floats within [0, 1]. Integers whose
largest is 1 are binary, like bool, and become 0 and 255.
"""

import numpy as np
from jaxtyping import Int32, UInt8

from vae_jax.data.dataset import RawSplit
from vae_jax.runtime.errors import InputError

MOST_CLASSES = 2**16
_DARK = 128  # a brightest pixel below this suggests data on another scale


def checked(splits: dict[str, RawSplit], flag: str) -> dict[str, RawSplit]:
    """Return splits with images in uint8, `[n, height, width, channels]`, and labels in int32.

    Args:
        splits: images `[n, height, width]` or `[n, height, width, channels]` in memory.
        flag: `--name=value`, which begins every error.

    Raises:
        InputError: images or labels that cannot be used.
    """
    images = {
        split: _with_channels(part.images, f"{flag}: {split}") for split, part in splits.items()
    }
    _refuse_mixed_shapes(images, flag)
    is_binary = max(_largest_integer(array) for array in images.values()) == 1
    return {
        split: RawSplit(
            _to_uint8(images[split], is_binary, f"{flag}: {split}"),
            checked_labels(part, f"{flag}: {split}"),
        )
        for split, part in splits.items()
    }


def _with_channels(images: np.ndarray, subject: str) -> np.ndarray:
    """Return images with an axis of channels, or refuse a shape that is not one of images."""
    if images.ndim not in (3, 4):
        raise InputError(
            f"{subject} images have shape {images.shape}; "
            "reshape them to [n, height, width] or [n, height, width, channels]"
        )
    if images.size == 0:
        raise InputError(f"{subject} is empty, shape {images.shape}; give at least one image")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{subject} images have shape {images.shape}, channels first; move channels to the end"
        )
    return images if images.ndim == 4 else images[..., None]


def _refuse_mixed_shapes(images: dict[str, np.ndarray], flag: str) -> None:
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise InputError(f"{flag}: the splits hold different shapes ({listed}); resize to one")


def _largest_integer(images: np.ndarray) -> int:
    return int(images.max()) if images.dtype.kind in "ui" else 0


def _to_uint8(
    images: np.ndarray, is_binary: bool, subject: str
) -> UInt8[np.ndarray, "n height width channels"]:
    if images.dtype.kind == "f":
        return _from_floats(images, subject)
    if images.dtype.kind not in "bui":
        raise InputError(
            f"{subject} images have dtype {images.dtype}; give uint8, or floats within [0, 1]"
        )
    if images.dtype.kind != "b":
        _refuse_outside(images, 255, "integers within 0..255", subject)
    scale = 255 if is_binary or images.dtype.kind == "b" else 1
    return images.astype(np.uint8) * np.uint8(scale)


def _from_floats(images: np.ndarray, subject: str) -> UInt8[np.ndarray, "n height width channels"]:
    if not np.isfinite(images).all():
        raise InputError(f"{subject} images hold NaN or infinity; remove or repair those images")
    _refuse_outside(images, 1, "floats within [0, 1] (divide by 255?) or integers", subject)
    return np.rint(images * np.float32(255)).astype(np.uint8)


def _refuse_outside(images: np.ndarray, highest: int, wanted: str, subject: str) -> None:
    low, high = images.min(), images.max()
    if low < 0 or high > highest:
        raise InputError(f"{subject} images hold values from {low} to {high}; give {wanted}")


def checked_labels(part: RawSplit, subject: str) -> Int32[np.ndarray, " n"] | None:
    """Return the labels of a split in int32, or None where it has none.

    Args:
        part: split with labels `[n]` or `[n, 1]`, whole numbers of any dtype.
        subject: words that begin every error.

    Raises:
        InputError: another number of labels than of images, or labels that do not number classes.
    """
    if part.labels is None:
        return None
    count = len(part.images)
    if part.labels.shape not in ((count,), (count, 1)):
        raise InputError(
            f"{subject} has {count} images but labels of shape {part.labels.shape}; "
            "give one label for each image"
        )
    labels = part.labels.reshape(count)
    is_whole = labels.dtype.kind in "bui" or (
        labels.dtype.kind == "f" and np.array_equal(np.floor(labels), labels)
    )
    if not is_whole:
        raise InputError(
            f"{subject} labels of dtype {labels.dtype} are not whole numbers; number them"
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= MOST_CLASSES:
        raise InputError(
            f"{subject} labels go from {low} to {high}; number the classes from 0, at most to "
            f"{MOST_CLASSES - 1}"
        )
    return labels.astype(np.int32)


def warnings(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence for each thing that is allowed but suspicious in checked splits."""
    return _repeated_images(splits) + _unknown_labels(splits) + _dark_images(splits)


def _repeated_images(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence when test images occur in train; compared by 64-bit hash."""
    hashes = {hash(image.tobytes()) for image in splits["train"].images}
    test = splits["test"].images
    count = sum(hash(image.tobytes()) in hashes for image in test)
    return (f"{count:,} of {len(test):,} test images occur in train too",) if count else ()


def _unknown_labels(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence for each split with labels that no training image has."""
    known = splits["train"].labels
    if known is None:
        return ()
    unknown = {
        split: int((~np.isin(part.labels, known)).sum())
        for split, part in splits.items()
        if part.labels is not None
    }
    return tuple(
        f"{count:,} of {len(splits[split].images):,} {split} images have labels that no training "
        "image has"
        for split, count in unknown.items()
        if count
    )


def _dark_images(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    brightest = int(splits["train"].images.max())
    if brightest >= _DARK:
        return ()
    return (f"the brightest training pixel is {brightest} of 255; is the scale right?",)
