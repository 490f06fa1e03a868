"""Encodings: how numbers of a source are stored, and what x they mean.

A data set keeps what its source says. Gray levels stay eight bits, in memory and on the device;
real numbers stay real and are neither rounded nor divided; counts stay whole. The encoding is
recognised from all splits together (:func:`recognised`) or asked for, and a sentence says which it
is and why, because a density means something else under each.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.runtime.errors import InputError

ENCODINGS: dict[str, str] = {
    "pixels": "x = stored / 255, stored as uint8",
    "reals": "x = stored, float32, as the source has it",
    "standardized": "x = (source - mean) / standard deviation of train, stored as float32",
    "counts": "x = stored, whole numbers from 0 on, stored as int32",
}
"""Encodings of data, each with the x that a model is given."""
CHOICES = ("auto", "pixels", "reals", "standardized", "standardized_overall", "counts")
"""Encodings that can be asked for: ``auto`` recognises one, ``standardized`` takes a mean and a
standard deviation for each dimension, ``standardized_overall`` one of each for all dimensions."""

_WHITE = 255
_EXACT = 1e-3  # of a level: k / 255 in float32, by either order of its operations
_ROWS = 4096  # examples that are looked at together
_LARGEST = 3e38  # of float32
_CONSTANT = 1e-12  # of the largest number: a deviation that is rounding in float64
_ROUNDED = 1e-3  # of a standard deviation: an error of numbers in float32 that is said


class Encoded(NamedTuple):
    """Splits as they are stored.

    Attributes:
        arrays: stored arrays by split.
        encoding: key of :data:`ENCODINGS`.
        sentence: what was recognised, and why.
        warnings: sentences on what is allowed but suspicious.
    """

    arrays: dict[str, np.ndarray]
    encoding: str
    sentence: str
    warnings: tuple[str, ...] = ()


class Standardization(NamedTuple):
    """Statistics of train behind standardized data: source = mean + deviation * x.

    Densities of x and of the source differ by a constant: log p(source) = log p(x) - sum_d log
    deviation_d, in nats per example.

    Attributes:
        mean: mean of each dimension, or of all of them in each entry.
        deviation: standard deviation; 1 for a dimension that never changes.
    """

    mean: Float[np.ndarray, "*event"]
    deviation: Float[np.ndarray, "*event"]

    @property
    def log_volume(self) -> float:
        """Sum of the log standard deviations over the dimensions, in nats."""
        return float(np.log(self.deviation.astype(np.float64)).sum())


def encode(arrays: Mapping[str, np.ndarray], choice: str, label: str) -> Encoded:
    """Return splits as they are stored, before a standardization.

    Args:
        arrays: arrays by split, all of one shape but for the number of examples.
        choice: one of :data:`CHOICES`.
        label: `name=value`, which begins every error.

    Raises:
        InputError: numbers that the encoding does not allow, or that could mean two things.

    Example:
        >>> encode({"train": np.array([[0.5], [-2.0]])}, "auto", "dataset=x").encoding
        'reals'
        >>> encode({"train": np.array([[True], [False]])}, "auto", "dataset=x").arrays["train"]
        array([[255],
               [  0]], dtype=uint8)
    """
    for split, array in arrays.items():
        _refuse_other_than_numbers(array, f"{label}: {split}")
    facts = _Facts.of(arrays)
    encoding = _recognised(facts, label) if choice == "auto" else choice.removesuffix("_overall")
    if encoding == "pixels":
        return _pixels(arrays, facts, label)
    if encoding == "counts":
        return _counts(arrays, facts, label)
    is_kept = encoding == "reals"
    stored = {
        # Moments of large numbers need all their digits: rounded only once they are standardized.
        split: array.astype(
            np.float32 if is_kept else np.result_type(array, np.float32), copy=False
        )
        for split, array in arrays.items()
    }
    kept = {
        "auto": "kept as they are",
        "reals": "kept as they are",
        "standardized": "standardized by train's mean and deviation of each dimension",
        "standardized_overall": "standardized by train's mean and deviation of all dimensions",
    }[choice]
    sentence = f"real numbers from {facts.low:g} to {facts.high:g}, {kept}"
    return Encoded(stored, encoding, sentence, _rounded(arrays, stored) if is_kept else ())


def _rounded(arrays: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the sentence on dimensions that float32 rounds by much of what they vary by."""
    errors = [
        np.abs(block - kept).max(axis=0).ravel()
        for split, array in arrays.items()
        if array is not stored[split]
        for block, kept in zip(_blocks(array), _blocks(stored[split]), strict=True)
    ]
    largest = np.max(errors, axis=0) if errors else np.zeros(1)
    if not largest.any():
        return ()
    train = arrays["train"].reshape(len(arrays["train"]), -1)
    deviations = train.std(axis=0, dtype=np.float64)
    is_varying = deviations > _CONSTANT * np.abs(train).max(axis=0)
    count = int((is_varying & (largest > _ROUNDED * deviations)).sum())
    if not count:
        return ()
    return (
        f"float32 rounds {count:,} of {deviations.size:,} dimensions by more than {_ROUNDED:g} of "
        "their standard deviation; encoding=standardized takes their mean away first",
    )


def standardize(
    splits: Mapping[str, np.ndarray], *, is_overall: bool
) -> tuple[dict[str, np.ndarray], Standardization]:
    """Return all splits standardized with the statistics of train, which are returned too.

    Args:
        splits: float arrays, `train` among them.
        is_overall: whether one mean and one deviation serve all dimensions.

    Example:
        >>> x, statistics = standardize({"train": np.array([[1.0, 5], [3, 5]])}, is_overall=False)
        >>> x["train"].tolist(), statistics.deviation.tolist()
        ([[-1.0, 0.0], [1.0, 0.0]], [1.0, 1.0])
    """
    train = splits["train"]
    axes = None if is_overall else 0
    mean = np.broadcast_to(train.mean(axis=axes, dtype=np.float64), train.shape[1:])
    deviation = np.broadcast_to(train.std(axis=axes, dtype=np.float64), train.shape[1:])
    deviation = np.where(deviation > 0, deviation, 1.0)
    scaled = {
        split: ((array - mean) / deviation).astype(np.float32) for split, array in splits.items()
    }
    return scaled, Standardization(mean.copy(), deviation)


class _Facts(NamedTuple):
    """Facts about the numbers of all splits together.

    Attributes:
        low: smallest number.
        high: largest number.
        is_whole: whether all are whole numbers.
        kinds: kinds of their dtypes: `b`, `i`, `u`, `f`.
        off_levels: largest distance from k / 255 of floats within [0, 1], in levels.
        rank: axes of one example.
    """

    low: float
    high: float
    is_whole: bool
    kinds: frozenset[str]
    off_levels: float
    rank: int

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "_Facts":
        """Return the facts on the arrays, looked at in blocks."""
        low, high = (
            min(float(a.min()) for a in arrays.values()),
            max(float(a.max()) for a in arrays.values()),
        )
        is_unit = low >= 0 and high <= 1
        floats = [array for array in arrays.values() if array.dtype.kind == "f"]
        return cls(
            low,
            high,
            all(_is_whole(array) for array in floats),
            frozenset(array.dtype.kind for array in arrays.values()),
            max(map(_off_levels, floats), default=0.0) if is_unit or _is_mixed(arrays) else np.inf,
            next(iter(arrays.values())).ndim - 1,
        )


def _is_mixed(arrays: Mapping[str, np.ndarray]) -> bool:
    """Return whether some splits hold floats within [0, 1] and others whole numbers."""
    floats = [array for array in arrays.values() if array.dtype.kind == "f"]
    return 0 < len(floats) < len(arrays) and all(a.min() >= 0 and a.max() <= 1 for a in floats)


def _blocks(array: np.ndarray) -> list[np.ndarray]:
    return [array[start : start + _ROWS] for start in range(0, len(array), _ROWS)]


def _is_whole(array: np.ndarray) -> bool:
    return all(bool((np.floor(block) == block).all()) for block in _blocks(array))


def _off_levels(array: np.ndarray) -> float:
    """Return how far the numbers are from k / 255 at most, in levels."""
    levels = (_WHITE * block.astype(np.float64) for block in _blocks(array))
    return max(float(np.abs(level - np.rint(level)).max()) for level in levels)


def _recognised(facts: _Facts, label: str) -> str:
    """Return the only encoding that the numbers can mean.

    Raises:
        InputError: they can mean two.
    """
    has_floats, has_integers = "f" in facts.kinds, bool(facts.kinds & set("iu"))
    if facts.off_levels <= _EXACT and (facts.low >= 0 and facts.high <= _WHITE):
        return "pixels"  # bool, or floats k / 255, or both beside whole levels
    if facts.is_whole and facts.low >= 0 and facts.high <= 1:
        return "pixels"
    if has_floats and has_integers:
        raise InputError(
            f"{label}: some splits hold floats and others whole numbers; save all in one scale, or "
            "give encoding=pixels or encoding=reals"
        )
    if has_floats and not facts.is_whole:
        return "reals"
    is_level = facts.low >= 0 and facts.high <= _WHITE
    if not has_floats and is_level and (facts.rank > 1 or facts.kinds == {"u"}):
        return "pixels"
    if facts.rank == 1 and facts.low < 0:
        return "reals"
    if facts.rank == 1:
        return "counts"
    kind = "floats" if has_floats else "integers"
    wanted = "gray levels within 0..255 (encoding=pixels; floats within [0, 1] are divided by 255)"
    raise InputError(
        f"{label}: images hold {kind} from {facts.low:g} to {facts.high:g}, which may be several "
        f"things; give {wanted}, encoding=reals for numbers as they are, or encoding=counts"
    )


def _refuse_other_than_numbers(array: np.ndarray, subject: str) -> None:
    if array.dtype.kind not in "buif":
        raise InputError(f"{subject} images have dtype {array.dtype}; give uint8, or real numbers")
    if array.dtype.kind == "f" and not all(bool(np.isfinite(b).all()) for b in _blocks(array)):
        raise InputError(f"{subject} images hold NaN or infinity; remove or repair those examples")
    if array.dtype.kind == "f" and float(np.abs(array).max()) > _LARGEST:
        raise InputError(f"{subject} holds numbers beyond {_LARGEST:g}; give another unit")


def _pixels(arrays: Mapping[str, np.ndarray], facts: _Facts, label: str) -> Encoded:
    """Return the gray levels as uint8; numbers that are all 0 and 1 become 0 and 255."""
    whole = [a for a in arrays.values() if a.dtype.kind in "ui"]
    is_binary = max((int(array.max()) for array in whole), default=0) == 1
    is_bits = is_binary or facts.kinds == {"b"}
    stored = {
        split: _levels(array, is_binary, facts, f"{label}: {split}")
        for split, array in arrays.items()
    }
    if "f" not in facts.kinds:
        return Encoded(stored, "pixels", "8-bit pixels" + (", 0 and 1" if is_bits else ""))
    lost = max(map(_off_levels, (a for a in arrays.values() if a.dtype.kind == "f")))
    if facts.high > 1 or lost <= _EXACT:
        return Encoded(stored, "pixels", "floats that are 8-bit gray levels, read as such")
    return Encoded(
        stored, "pixels", f"floats rounded to 8 bits, by up to {lost:.2g} of a level, as asked"
    )


def _levels(array: np.ndarray, is_binary: bool, facts: _Facts, subject: str) -> np.ndarray:
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(_WHITE)
    low, high = float(array.min()), float(array.max())
    is_float = array.dtype.kind == "f"
    is_unit = is_float and not (facts.is_whole and facts.high > 1)
    highest = 1 if is_unit else _WHITE
    if low < 0 or high > highest:
        wanted = "floats within [0, 1] (divide by 255?) or integers within 0..255"
        raise InputError(
            f"{subject} images hold values from {low:g} to {high:g}; give {wanted}, or "
            "encoding=reals for numbers as they are"
        )
    if is_unit:
        return np.rint(array * np.float32(_WHITE)).astype(np.uint8)
    return array.astype(np.uint8) * np.uint8(_WHITE if is_binary else 1)


def _counts(arrays: Mapping[str, np.ndarray], facts: _Facts, label: str) -> Encoded:
    if not facts.is_whole or facts.low < 0 or facts.high >= 2**31:
        raise InputError(
            f"{label}: holds numbers from {facts.low:g} to {facts.high:g}, which are no counts; "
            "give whole numbers from 0 on, or encoding=reals"
        )
    stored = {split: array.astype(np.int32) for split, array in arrays.items()}
    return Encoded(stored, "counts", f"whole numbers from {facts.low:g} to {facts.high:g}, kept")
