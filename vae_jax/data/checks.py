"""Checks of what sources read: shapes, numbers, labels; an error names the remedy.

An example of any source is an image `[height, width]` or `[height, width, channels]`, a vector
`[d]`, one number, or an array of more axes. What its numbers mean is for `encodings` to say.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from vae_jax.data import encodings
from vae_jax.data.dataset import MOST_CLASSES, RawSplit
from vae_jax.data.encodings import Encoded
from vae_jax.runtime.errors import InputError

_ROWS = 4096  # examples that are looked at together
_DARK = 128  # a brightest pixel below this suggests data on another scale
_UNEVEN = 100  # standard deviations that differ by this factor suggest data to be standardized
_FEW, _MANY = 3, 30  # examples from which on a split says something of its scale, and of its range
_BOUNDED, _CUT = 5.0, 0.6  # widest range in standard deviations; share of a range that is another
_WIDER, _SHIFTED = 5.0, 3.0  # factor and distance between splits that suggest another scale


def checked(
    splits: dict[str, RawSplit], label: str, encoding: str = "auto", *, has_channels: bool = True
) -> tuple[dict[str, RawSplit], Encoded]:
    """Return splits as they are stored, `[n, *event]`, labels in int32, and their encoding.

    Args:
        splits: arrays in memory, `[n]` to `[n, *event]`.
        label: `name=value`, which begins every error.
        encoding: one of `encodings.CHOICES`.
        has_channels: whether examples of two axes are images, see `RawDataset`.

    Raises:
        InputError: examples or labels that cannot be used.
    """
    arrays = {
        split: _with_event_axes(part.images, f"{label}: {split}", has_channels=has_channels)
        for split, part in splits.items()
    }
    _refuse_mixed_shapes(arrays, label)
    _refuse_mixed_factors(splits, label)
    encoded = encodings.encode(arrays, encoding, label)
    doubts = _order_of_axes(splits["train"].images)
    encoded = encoded._replace(warnings=(*encoded.warnings, *doubts))
    stored = {
        split: RawSplit(
            encoded.arrays[split], checked_labels(part, f"{label}: {split}"), part.factors
        )
        for split, part in splits.items()
    }
    return stored, encoded


def _with_event_axes(images: np.ndarray, subject: str, *, has_channels: bool) -> np.ndarray:
    """Return single numbers as vectors, and images with an axis of channels."""
    if images.ndim == 0:
        raise InputError(f"{subject} is a single number; give an array [n, ...] of n examples")
    if images.size == 0:
        raise InputError(f"{subject} is empty, shape {images.shape}; give at least one example")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{subject} images have shape {images.shape}, channels first; move channels to the end"
        )
    if images.ndim == 4 and images.shape[2] in (1, 3) and images.shape[3] > 4:
        raise InputError(
            f"{subject} images have shape {images.shape}, examples last; move them to the front"
        )
    is_bare = images.ndim == 1 or (images.ndim == 3 and has_channels)
    return images[..., None] if is_bare else images


def _order_of_axes(images: np.ndarray) -> tuple[str, ...]:
    """Return the sentence on a shape whose axes may mean something else than `[n, *event]`."""
    shape = images.shape
    if images.ndim == 3 and shape[0] == shape[1] != shape[2]:
        return (
            f"the shape {shape} is read as {shape[0]} images of {shape[1]} x {shape[2]}; if it is "
            f"{shape[2]} images of {shape[0]} x {shape[1]}, move the last axis to the front",
        )
    if images.ndim == 4 and shape[3] > 4 and shape[1] < shape[2] == shape[3]:
        return (
            f"the shape {shape} is read as images of {shape[1]} x {shape[2]} with {shape[3]} "
            f"channels; if it is {shape[1]} channels, move that axis to the end",
        )
    return ()


def _refuse_mixed_factors(splits: dict[str, RawSplit], label: str) -> None:
    known = {s: part.factors.shape[1] for s, part in splits.items() if part.factors is not None}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{split} {number}" for split, number in known.items())
        raise InputError(f"{label}: splits of other numbers of factors ({listed}); give the same")


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
        shape, length = part.images.shape, max(part.labels.shape, default=0)
        is_last = len(shape) > 1 and shape[-1] == length == part.labels.size
        last = f"; the last axis of {shape} has as many, so move it to the front" if is_last else ""
        raise InputError(
            f"{subject} has {count} images but labels of shape {part.labels.shape}"
            f"{last or '; give one label for each image'}"
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


def known_of(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return sentences on labels and factors: which there are, and of which splits."""
    labels = {split: part.labels for split, part in splits.items() if part.labels is not None}
    factors = {split: part.factors for split, part in splits.items() if part.factors is not None}
    found = []
    if labels:
        held = np.unique(np.concatenate(list(labels.values())))
        kind = "class" if len(held) == 1 else "classes"
        found.append(f"labels from {held[0]} to {held[-1]}, {len(held):,} {kind}")
        found += _of_some_splits("labels", labels, splits)
    else:
        found.append("no labels")
    if factors:
        number = next(iter(factors.values())).shape[1]
        found += [f"{number} factors", *_of_some_splits("factors", factors, splits)]
    return tuple(found)


def _of_some_splits(
    what: str, known: dict[str, np.ndarray], splits: dict[str, RawSplit]
) -> list[str]:
    lacking = [split for split in splits if split not in known]
    return [f"{what} of {' and '.join(known)}, none of {' and '.join(lacking)}"] if lacking else []


def warnings(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence for each thing that is allowed but suspicious in checked splits."""
    is_pixels = splits["train"].images.dtype == np.uint8
    scales = _dark_images(splits) if is_pixels else _uneven_numbers(splits) + _other_scale(splits)
    return _repeated_images(splits) + warnings_of_labels(splits) + scales


def warnings_of_labels(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return the sentences on labels, for which the images are not read."""
    return _unknown_labels(splits) + _label_gaps(splits)


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


def _other_scale(splits: dict[str, RawSplit]) -> tuple[str, ...]:
    """Return a sentence for each split whose numbers seem to be on another scale than train's."""
    train = _Spread.of(splits["train"].images)
    found = []
    for split in ("valid", "test"):
        own = _Spread.of(splits[split].images)
        if own.is_of_another_scale(train):
            found.append(
                f"{split} holds numbers from {own.low:.3g} to {own.high:.3g}, and train from "
                f"{train.low:.3g} to {train.high:.3g}; are both on one scale?"
            )
    return tuple(found)


class _Spread(NamedTuple):
    """Spread of all numbers of a split.

    Attributes:
        low: smallest number.
        high: largest number.
        mean: mean.
        deviation: standard deviation.
        num_examples: examples among which they are.
    """

    low: float
    high: float
    mean: float
    deviation: float
    num_examples: int

    @classmethod
    def of(cls, x: np.ndarray) -> "_Spread":
        """Return the spread of an array of examples."""
        mean = float(x.mean(dtype=np.float64))
        blocks = (x[start : start + _ROWS] - mean for start in range(0, len(x), _ROWS))
        variance = sum(float(np.square(block).sum(dtype=np.float64)) for block in blocks) / x.size
        return cls(float(x.min()), float(x.max()), mean, variance**0.5, len(x))

    @property
    def is_bounded(self) -> bool:
        """Return whether the extremes are no outliers: another sample has nearly the same."""
        return self.high - self.low <= _BOUNDED * self.deviation

    def is_of_another_scale(self, other: "_Spread") -> bool:
        """Return whether the spreads differ by more than samples of one source do."""
        if self.num_examples < _FEW or not self.deviation or not other.deviation:
            return False
        is_sample = self.num_examples >= _MANY
        deviations = sorted((self.deviation, other.deviation))
        is_shifted = abs(self.mean - other.mean) > deviations[1] * _SHIFTED
        widths = sorted((self.high - self.low, other.high - other.low))
        is_cut = is_sample and self.is_bounded and other.is_bounded and widths[0] < _CUT * widths[1]
        return deviations[1] > _WIDER * deviations[0] or is_shifted or is_cut


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
