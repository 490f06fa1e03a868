"""The containers of data: what a source reads (`Raw`) and what a run is given (`Dataset`)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8


class SplitArrays(NamedTuple):
    """Images of one split as the source has them.

    Attributes:
        images: an array as `arrays.build` takes it, or images that are not read yet (`mapped`).
        labels: one for each image, or none at all.
        factors: whole numbers from which each image was made, `[n, factors]`, if they are known.
    """

    images: Any
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "SplitArrays":
        """The images `rows`, in that order, with what is known of them."""
        known = (None if array is None else array[rows] for array in (self.labels, self.factors))
        return SplitArrays(self.images[rows], *known)


class Raw(NamedTuple):
    """What a source gives, not yet checked.

    Attributes:
        parts: by split (`train`, `valid`, `test`).
        source: one sentence on their origin.
        class_names: of the labels from 0 on, where the source has any.
    """

    parts: dict[str, SplitArrays]
    source: str
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """Where the data came from.

    Attributes:
        asked: the data set that was asked for.
        used: the data set that was really used; another one after a substitution.
        source: one sentence on the origin of the images.
        splits: one sentence on how train, valid and test came to be.
        substitution: a sentence when `used` stands in for `asked`, otherwise empty.
        warnings: sentences on what is allowed but suspicious.
    """

    asked: str
    used: str
    source: str
    splits: str
    substitution: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of images with values 0 to 255.

    Labels are None where the source has none. So are factors, the whole numbers from which each
    image of a generated data set was made, one column each. Class names are empty where the source
    only numbers its classes.
    """

    train: UInt8[np.ndarray, "num_train height width channels"]
    valid: UInt8[np.ndarray, "num_valid height width channels"]
    test: UInt8[np.ndarray, "num_test height width channels"]
    train_labels: Int32[np.ndarray, " num_train"] | None
    valid_labels: Int32[np.ndarray, " num_valid"] | None
    test_labels: Int32[np.ndarray, " num_test"] | None
    record: Record
    train_factors: Int32[np.ndarray, "num_train factors"] | None = None
    valid_factors: Int32[np.ndarray, "num_valid factors"] | None = None
    test_factors: Int32[np.ndarray, "num_test factors"] | None = None
    class_names: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.shape[1:]
        return height, width, channels

    def labels_of(self, split: str) -> np.ndarray | None:
        """Labels of `train`, `valid` or `test`."""
        return getattr(self, f"{split}_labels")

    @property
    def num_classes(self) -> int:
        """One more than the largest label of any split; 0 where there are none."""
        labels = (self.train_labels, self.valid_labels, self.test_labels)
        return max((int(own.max()) + 1 for own in labels if own is not None), default=0)
