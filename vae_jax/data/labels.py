"""Labels of any form as numbers: names of classes, one-hot rows, numbers as they are."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Numbered(NamedTuple):
    """Labels as numbers.

    Attributes:
        labels: numbers of each split.
        class_names: names of the numbers from 0 on; empty where labels were numbers.
        form: what the labels were, as ``3 names``; empty for numbers.
    """

    labels: dict[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    form: str = ""


def numbered(labels: Mapping[str, np.ndarray]) -> Numbered:
    """Return labels as numbers: of names, in their order over all splits, of one-hot rows, columns.

    Args:
        labels: array of each split, ``[n]`` or one-hot ``[n, classes]``.

    Example:
        >>> numbered({"train": np.array(["b", "a"]), "test": np.array(["c"])})
        Numbered(labels={'train': array([1, 0]), 'test': array([2])}, \
class_names=('a', 'b', 'c'), form='3 names')
    """
    if labels and all(array.dtype.kind in "US" and array.ndim == 1 for array in labels.values()):
        named = {split: array.astype(str) for split, array in labels.items()}
        classes = np.unique(np.concatenate(list(named.values())))
        numbers = {split: np.searchsorted(classes, array) for split, array in named.items()}
        return Numbered(numbers, tuple(classes.tolist()), f"{len(classes)} names")
    if labels and all(map(_is_one_hot, labels.values())):
        numbers = {split: array.argmax(axis=1) for split, array in labels.items()}
        return Numbered(numbers, (), "one-hot rows, read as the number of the column")
    return Numbered(dict(labels))


def _is_one_hot(labels: np.ndarray) -> bool:
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "buif":
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
