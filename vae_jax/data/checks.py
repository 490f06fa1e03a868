"""Checks of what sources read: shapes, numbers, labels; an error names the remedy.

An example of any source is an image `[height, width]` or `[height, width, channels]`, a vector
`[d]`, one number, or an array of more axes. What its numbers mean is for `encodings` to say.
"""

import numpy as np
from jaxtyping import Int32

from vae_jax.data import encodings
from vae_jax.data.dataset import MOST_CLASSES, RawSplit
from vae_jax.data.encodings import Encoded
from vae_jax.runtime.errors import InputError

_DARK = 128  # a brightest pixel below this suggests data on another scale
_UNEVEN = 100  # standard deviations that differ by this factor suggest data to be standardized


def checked(
    splits: dict[str, RawSplit], label: str, encoding: str = "auto"
) -> tuple[dict[str, RawSplit], Encoded]:
    """Return splits as they are stored, `[n, *event]`, labels in int32, and their encoding.

    Args:
        splits: arrays in memory, `[n]` to `[n, *event]`.
        label: `name=value`, which begins every error.
        encoding: one of `encodings.CHOICES`.

    Raises:
        InputError: examples or labels that cannot be used.
    """
    arrays = {
        split: _with_event_axes(part.images, f"{label}: {split}") for split, part in splits.items()
    }
    _refuse_mixed_shapes(arrays, label)
    encoded = encodings.encode(arrays, encoding, label)
    stored = {
        split: RawSplit(
            encoded.arrays[split], checked_labels(part, f"{label}: {split}"), part.factors
        )
        for split, part in splits.items()
    }
    return stored, encoded


def _with_event_axes(images: np.ndarray, subject: str) -> np.ndarray:
    """Return single numbers as vectors, and images with an axis of channels."""
    if images.ndim == 0:
        raise InputError(f"{subject} is a single number; give an array [n, ...] of n examples")
    if images.size == 0:
        raise InputError(f"{subject} is empty, shape {images.shape}; give at least one example")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{subject} images have shape {images.shape}, channels first; move channels to the end"
        )
    return images[..., None] if images.ndim in (1, 3) else images


def _refuse_mixed_shapes(images: dict[str, np.ndarray], label: str) -> None:
    shapes = {split: array.shape[1:] for split, array in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise InputError(f"{label}: the splits hold different shapes ({listed}); resize to one")


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
    is_pixels = splits["train"].images.dtype == np.uint8
    scales = _dark_images(splits) if is_pixels else _uneven_numbers(splits)
    return _repeated_images(splits) + _unknown_labels(splits) + _label_gaps(splits) + scales


def _repeated_images(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence for each split whose images occur in another; by 64-bit hash."""
    hashes = {
        split: [hash(image.tobytes()) for image in part.images] for split, part in splits.items()
    }
    pairs = (("test", "train"), ("valid", "train"), ("test", "valid"))
    counts = {
        (split, other): sum(each in known for each in hashes[split])
        for split, other in pairs
        if split in hashes and (known := set(hashes.get(other, ())))
    }
    return tuple(
        f"{count:,} of {len(hashes[split]):,} {split} images occur in {other} too"
        for (split, other), count in counts.items()
        if count
    )


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


def _label_gaps(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence when numbers below the largest label are the label of no example."""
    labels = [part.labels for part in splits.values() if part.labels is not None]
    held = np.unique(np.concatenate(labels)) if labels else np.empty(0, int)
    if not len(held):
        return ()
    size = int(held[-1]) + 1
    missing = np.setdiff1d(np.arange(size), held).tolist()
    if not missing:
        return ()
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return (
        f"labels go up to {size - 1}, but there is no example of {shown} ({len(missing):,} of "
        f"{size:,}): a conditional model counts them as classes; number the labels from 0 without "
        "gaps",
    )


def _dark_images(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    return tuple(
        f"the brightest {'training' if split == 'train' else split} pixel is {brightest} of 255; "
        "is the scale right?"
        for split, part in splits.items()
        if (brightest := int(part.images.max())) < _DARK
    )


def _uneven_numbers(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return sentences on dimensions of train that never change or have very different scales."""
    train = splits["train"].images
    deviations = train.reshape(len(train), -1).std(axis=0, dtype=np.float64)
    constant = int((deviations == 0).sum())
    found = []
    if constant:
        found.append(
            f"{constant:,} of {deviations.size:,} dimensions never change in train: their density "
            "grows without bound as the scale shrinks"
        )
    varying = deviations[deviations > 0]
    if varying.size and varying.max() > _UNEVEN * varying.min():
        found.append(
            f"standard deviations of the dimensions go from {varying.min():.3g} to "
            f"{varying.max():.3g}; encoding=standardized brings them to 1"
        )
    return tuple(found)
