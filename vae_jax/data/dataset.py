"""Containers of data: what a source gives (`RawDataset`) and what a run trains on (`Dataset`)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Shaped

from vae_jax.data.encodings import ENCODINGS, Standardization
from vae_jax.data.split_names import SPLITS
from vae_jax.runtime.errors import InputError
from vae_jax.settings import check_type, check_value, one_of

MOST_CLASSES = 2**16
"""Bound on the numbers of classes; larger labels are numbers of something else."""
_ROWS = 4096  # examples that are looked at together
_ARRAYS = (
    *SPLITS,
    *(f"{split}_{kind}" for kind in ("labels", "factors") for split in SPLITS),
)


class RawSplit(NamedTuple):
    """Examples of one split as a source gives them, not yet checked.

    Attributes:
        images: array that `checks.checked` accepts, or `memory_mapped.LazyImages`.
        labels: one number for each example; None where the source has no labels.
        factors: whole numbers from which each example was made, `[n, factors]`; None where they are
            not known.
    """

    images: Any
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "RawSplit":
        """Return the images of the given rows, in that order, with their labels and factors."""
        known = (None if array is None else array[rows] for array in (self.labels, self.factors))
        return RawSplit(self.images[rows], *known)


class RawDataset(NamedTuple):
    """Data set as a source gives it, not yet checked, perhaps without `valid` and `test`.

    Attributes:
        splits: images by split (`train`, `valid`, `test`).
        source: one sentence on their origin.
        class_names: names of the labels from 0 on; empty where the source only numbers its classes.
        recognised: sentences on what was guessed about the source, and what was passed over.
        has_channels: whether an example of two axes is an image, which gets its axis of one
            channel; False for one that keeps its shape, as a sequence ``[time, channels]``.

    Example:
        >>> images = np.zeros((10, 8, 8), np.uint8)
        >>> raw = RawDataset({"train": RawSplit(images)}, "ten black images")
        >>> list(raw.splits), raw.splits["train"].labels
        (['train'], None)
    """

    splits: dict[str, RawSplit]
    source: str
    class_names: tuple[str, ...] = ()
    recognised: tuple[str, ...] = ()
    has_channels: bool = True


@dataclass(frozen=True)
class Provenance:
    """Record of where the data of a run came from, as `results.json` holds it.

    Attributes:
        asked: name or path of the data set that was requested (the key in `results.json`).
        used: name or path of the data set that was really used; it differs after a substitution.
        source: one sentence on the origin of the images.
        splits: one sentence on how train, valid and test came to be.
        substitution: a sentence when `used` replaces `asked`, otherwise empty.
        warnings: sentences on what is allowed but suspicious.
        recognised: sentences on what was guessed: splits, classes, kind of numbers, and what was
            passed over.
    """

    asked: str
    used: str
    source: str
    splits: str
    substitution: str = ""
    warnings: tuple[str, ...] = ()
    recognised: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data set of three splits of examples of one shape: images, vectors or arrays of any rank.

    Attributes:
        train: examples to train on, as they are stored: pixels as uint8, real numbers as float32,
            counts as int32.
        valid: examples for decisions during a study, such as the choice of the best run.
        test: examples for the reported numbers.
        train_labels: classes of the training examples, from 0 on; None where the source has none.
        valid_labels: classes of the valid examples.
        test_labels: classes of the test examples.
        record: record of where the examples came from.
        train_factors: whole numbers from which each training example was made, one column each;
            None for data that were not generated.
        valid_factors: factors of the valid examples.
        test_factors: factors of the test examples.
        class_names: names of the classes; empty where the source only numbers them.
        encoding: key of `ENCODINGS`, what the stored numbers mean; empty for that of the dtype.
        standardization: statistics behind standardized data; None for data as the source has them.

    Example:
        >>> pixels = np.zeros((10, 4, 5, 1), np.uint8)
        >>> record = Provenance("mine", "mine", "ten black images", "cut in order")
        >>> labels = np.arange(6, dtype=np.int32)
        >>> data = Dataset(pixels[:6], pixels[6:8], pixels[8:], labels, None, None, record)
        >>> data.event_shape, data.encoding, data.num_classes
        ((4, 5, 1), 'pixels', 6)
    """

    train: Shaped[np.ndarray, "num_train *event"]
    valid: Shaped[np.ndarray, "num_valid *event"]
    test: Shaped[np.ndarray, "num_test *event"]
    train_labels: Int32[np.ndarray, " num_train"] | None
    valid_labels: Int32[np.ndarray, " num_valid"] | None
    test_labels: Int32[np.ndarray, " num_test"] | None
    record: Provenance
    train_factors: Int32[np.ndarray, "num_train factors"] | None = None
    valid_factors: Int32[np.ndarray, "num_valid factors"] | None = None
    test_factors: Int32[np.ndarray, "num_test factors"] | None = None
    class_names: tuple[str, ...] = ()
    encoding: str = ""
    standardization: Standardization | None = None

    def __post_init__(self):
        """Take the encoding that the dtype of train says where none is given, and check it.

        Raises:
            InputError: splits of other shapes, or numbers that the encoding, labels or factors do
                not allow.
        """
        check_type("record", self.record, Provenance, "give a vae_jax.data.Provenance")
        for name in _ARRAYS:
            object.__setattr__(self, name, _as_array(name, getattr(self, name)))
        if self.standardization is not None:
            words = "leave it out, or give the one of standardize"
            check_type("standardization", self.standardization, Standardization, words)
        encoding = {"u": "pixels", "i": "counts"}.get(self.train.dtype.kind, "reals")
        object.__setattr__(self, "encoding", self.encoding or encoding)
        check_value("encoding", self.encoding, one_of(*ENCODINGS))
        for split in SPLITS:
            _check_split(self, split)
            _check_labels(self, split)
            _check_factors(self, split)
        object.__setattr__(self, "class_names", _checked_names(self.class_names, self.num_classes))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one example: height, width and channels of an image, (d,) of a vector."""
        return self.train.shape[1:]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one example, under its former name."""
        return self.event_shape

    def labels_of(self, split: str) -> np.ndarray | None:
        """Return the labels of `train`, `valid` or `test`; None where the source has none."""
        return getattr(self, f"{split}_labels")

    @property
    def classes(self) -> tuple[int, ...]:
        """Classes that occur in train, in order; none without labels."""
        return () if self.train_labels is None else tuple(np.unique(self.train_labels).tolist())

    @property
    def num_classes(self) -> int:
        """Number of classes: one more than the largest label of any split, 0 without labels."""
        labels = (self.train_labels, self.valid_labels, self.test_labels)
        return max((int(own.max()) + 1 for own in labels if own is not None), default=0)


def _as_array(name: str, value: Any) -> np.ndarray | None:
    """Return an array of NumPy; labels and factors may be None.

    Raises:
        InputError: it is none. The numbers of a list could be pixels or counts.
    """
    if value is None and name not in SPLITS:
        return None
    if np.ma.is_masked(value):
        problem, advice = "masked numbers would be read", "fill them, or leave their examples out"
        raise InputError(setting=name, value="masked array", problem=problem, advice=advice)
    if not hasattr(value, "__array__"):
        problem, advice = "is no array", "give numpy.array(..., dtype)"
        raise InputError(setting=name, value=type(value).__name__, problem=problem, advice=advice)
    return np.asarray(value) if not isinstance(value, np.ndarray) else value


def _check_split(data: Dataset, split: str) -> None:
    """Refuse a split that is not as its encoding and the training examples say."""
    x = getattr(data, split)
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(
            setting=split,
            value=f"array of shape {x.shape}",
            problem="holds no examples of numbers",
            advice="give [n, d] for vectors, or [n, height, width, channels] for images",
        )
    if x.shape[1:] != data.event_shape:
        wanted = ", ".join(map(str, data.event_shape))
        raise InputError(
            setting=split,
            value=f"array of shape {x.shape}",
            problem="each split holds examples of the shape of train's",
            advice=f"give [n, {wanted}]",
        )
    if not _is_stored(x, data.encoding):
        raise InputError(
            setting=split,
            value=f"array of {x.dtype}",
            problem=f"does not hold {data.encoding}: {ENCODINGS[data.encoding]}",
            advice="give such numbers, or another encoding",
        )


def _check_labels(data: Dataset, split: str) -> None:
    """Refuse labels that do not number the classes of the examples."""
    labels, num = data.labels_of(split), len(getattr(data, split))
    if labels is None:
        return
    is_class = labels.shape == (num,) and labels.dtype.kind in "iu" and (labels >= 0).all()
    if not is_class:
        raise InputError(
            setting=f"{split}_labels",
            value=f"array of {labels.dtype} and shape {labels.shape}",
            problem="labels are whole numbers from 0 on",
            advice=f"give one for each of the {num} examples",
        )
    if labels.max() >= MOST_CLASSES:
        raise InputError(
            setting=f"{split}_labels",
            value=f"numbers up to {labels.max()}",
            problem="are no numbers of classes",
            advice=f"number the classes from 0, at most to {MOST_CLASSES - 1}",
        )


def _check_factors(data: Dataset, split: str) -> None:
    """Refuse factors that are not those of the examples."""
    factors, num = getattr(data, f"{split}_factors"), len(getattr(data, split))
    if factors is None:
        return
    train = data.train_factors
    is_factor = factors.ndim == 2 and len(factors) == num and factors.dtype.kind in "iu"
    is_factor = is_factor and bool((factors >= 0).all())
    if not is_factor or (train is not None and train.shape[1:] != factors.shape[1:]):
        raise InputError(
            setting=f"{split}_factors",
            value=f"array of {factors.dtype} and shape {factors.shape}",
            problem="factors are whole numbers from 0 on, the same ones in each split",
            advice=f"give a row for each of the {num} examples",
        )


def _checked_names(names: Any, num_classes: int) -> tuple[str, ...]:
    """Return the names of the classes: texts, none or one for each class at least."""
    is_listed = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    if not is_listed or 0 < len(names) < num_classes:
        raise InputError(
            setting="class_names",
            value=names,
            problem=f"are no names of {num_classes} classes",
            advice="give a text for each class from 0 on, or leave them out",
        )
    return tuple(names)


def _is_stored(x: np.ndarray, encoding: str) -> bool:
    """Return whether an array holds what an encoding stores."""
    if encoding == "pixels":
        return x.dtype == np.uint8
    if encoding == "counts":
        return x.dtype.kind == "i" and bool((x >= 0).all())
    blocks = (x[start : start + _ROWS] for start in range(0, len(x), _ROWS))
    return x.dtype.kind == "f" and all(np.isfinite(block).all() for block in blocks)
