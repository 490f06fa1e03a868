"""Names that sources give to splits, known in one place for folders, arrays and files."""

import re
from typing import NamedTuple

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""Split that each name says, in lower case."""
_UNCLEAR = ("holdout", "heldout", "held_out", "held", "eval", "evaluation")
_WORDS = {**SPLIT_NAMES, "tst": "test", "trn": "train", **dict.fromkeys(_UNCLEAR, "")}
_GENERAL = (
    *("set", "sets", "data", "dataset", "split", "folder", "files", "samples", "examples"),
    *("image", "images", "img", "imgs", "pics", "pictures", "photos", "out"),
)
_TOKEN = re.compile("[A-Z]?[a-z]+|[A-Z]+")


class SplitName(NamedTuple):
    """Meaning of a name that holds the name of a split.

    Attributes:
        split: `train`, `valid` or `test`; "" where the name does not say which.
        rest: further words of the name that say something.
        is_exact: whether the name is that of a split and nothing else.
    """

    split: str
    rest: tuple[str, ...] = ()
    is_exact: bool = False


def split_name(name: str) -> SplitName | None:
    """Return the meaning of a name such as `Val`, `train_images`, `TestSet` or `train2017`.

    None where it names no split, or more than one.

    Example:
        >>> split_name("train2017"), split_name("trainer")
        (SplitName(split='train', rest=(), is_exact=False), None)
    """
    if name.lower() in (*SPLIT_NAMES, *_UNCLEAR):
        return SplitName(_WORDS[name.lower()], (), True)
    words = [_without_ending(token.lower()) for token in _TOKEN.findall(name)]
    found = [word for word in words if word in _WORDS]
    if len(found) != 1:
        return None
    rest = tuple(word for word in words if word not in (*found, *_GENERAL))
    return SplitName(_WORDS[found[0]], rest)


def _without_ending(word: str) -> str:
    """Return `train` of `trainset` and the like; other words as they are."""
    stems = (word.removesuffix(ending) for ending in _GENERAL)
    return next((stem for stem in stems if stem in _WORDS), word)
