"""Named arrays, as `numpy.savez` writes them to `.npz`: `x_train`, `y_train`, `x_test`, ..."""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vae_jax.data.archive_size import refuse_bomb
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.labels import numbered
from vae_jax.data.split_names import SPLIT_NAMES, SPLITS
from vae_jax.runtime.errors import InputError

_CONTENTS = {"x": "x", "images": "x", "y": "y", "labels": "y", "factors": "factors"}
# x_train, train_x, train_images, y_val, val_labels, train_factors, ...
_NAME = re.compile(
    "(?:(?P<first>x|y|images|labels|factors)_(?P<split>{splits}))|"
    "(?:(?P<split_>{splits})_(?P<last>x|y|images|labels|factors))".format(
        splits="|".join(SPLIT_NAMES)
    ),
    re.IGNORECASE,
)
_ALONE = ("arr_0", "x", "data", "images")  # names of the only array, or of the examples beside y
_MOST_LISTED = 8
_LABELS_ALONE = ("y", "label", "labels", "target", "targets", "arr_1")
# Errors of numpy and zipfile for bytes that are no archive of arrays, or promise too many of them.
UNREADABLE = (
    *(OSError, ValueError, EOFError, TypeError, KeyError, RuntimeError, MemoryError),
    *(OverflowError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""Errors of a reader that is given bytes of another kind."""


def read_npz(path: Path, label: str) -> RawDataset:
    """Read the arrays `x_train` and, where they exist, `x_valid`, `x_test`, `y_train`, ...

    See :func:`from_arrays` for other names.

    Raises:
        InputError: no examples, an unknown `x_*` or `y_*`, object arrays, a damaged file.
    """
    refuse_bomb(path, label)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            wanted = roles(arrays.files, label)
            found = {name: _array(arrays, name) for name in wanted}
            passed = [name for name in arrays.files if name not in wanted]
    except InputError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{label}: cannot be read as .npz ({reason}); save it again") from None
    raw = from_arrays(found, f"arrays of the file {path.name}", label)
    return raw._replace(recognised=(*raw.recognised, *passed_over(passed)))


def from_arrays(arrays: Mapping[str, np.ndarray], source: str, label: str) -> RawDataset:
    """Return the data set of named arrays.

    Examples, labels and factors of a split are called `x_train`, `y_train` and `train_factors`, or
    `train_images`, `train_labels`; splits by any of `SPLIT_NAMES`.
    A single array called `arr_0`, `x`, `data` or `images` is `x_train`.

    Args:
        arrays: arrays by name; those of other names are passed over, and said.
        source: one sentence on their origin.
        label: `name=value`, which begins every error.

    Raises:
        InputError: no examples, an unknown `x_*` or `y_*`, labels or factors without examples.
    """
    known = roles(arrays, label)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, (split, content) in known.items():
        parts.setdefault(split, {})[content] = arrays[name]
    labels = {split: _flat_labels(part["y"]) for split, part in parts.items() if "y" in part}
    labels, class_names, form = numbered(labels)
    told = (f"labels are {form}",) if form else ()
    splits = {
        split: RawSplit(
            parts[split]["x"],
            labels.get(split),
            _factors(parts[split], split, label),
        )
        for split in SPLITS
        if split in parts
    }
    renamed = [
        f"{name} is read as {_standard(*role)}"
        for name, role in known.items()
        if name != _standard(*role)
    ]
    passed = [name for name in arrays if name not in known]
    return RawDataset(splits, source, class_names, (*renamed, *told, *passed_over(passed)))


def roles(names: Iterable[str], label: str) -> dict[str, tuple[str, str]]:
    """Return the split and content (`x`, `y`, `factors`) of each array that has them.

    Raises:
        InputError: as :func:`from_arrays`.
    """
    names = list(names)
    known = {name: role for name in names if (role := _role(name)) is not None}
    if not any(content == "x" for _, content in known.values()):
        known |= _alone(names)
    held = ", ".join(names) or "nothing"
    if ("train", "x") not in known.values():
        raise InputError(f"{label}: holds {held}; save the training examples as x_train")
    unknown = [name for name in names if name[:2].lower() in ("x_", "y_") and name not in known]
    if unknown:
        standard = ", ".join(f"{letter}_{split}" for letter in "xy" for split in SPLITS)
        raise InputError(f"{label}: holds {held}; {unknown[0]} is none of {standard}")
    taken: dict[tuple[str, str], str] = {}
    for name, (split, content) in known.items():
        if (split, content) in taken:
            other = taken[split, content]
            raise InputError(f"{label}: both {other} and {name} are {split}; keep one of them")
        taken[split, content] = name
        if (split, "x") not in known.values():
            raise InputError(f"{label}: holds {name} without x_{split}; give both or none")
    return known


def _role(name: str) -> tuple[str, str] | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    split, content = match["split"] or match["split_"], match["first"] or match["last"]
    return SPLIT_NAMES[split.lower()], _CONTENTS[content.lower()]


def _alone(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return the roles of an array of examples, and perhaps one of labels, without a split."""
    examples = [name for name in names if name.lower() in _ALONE]
    labels = [name for name in names if name.lower() in _LABELS_ALONE]
    if len(examples) != 1 or len(labels) > 1 or len(names) > 1 + len(labels):
        return {}
    return {examples[0]: ("train", "x")} | {name: ("train", "y") for name in labels}


def _standard(split: str, content: str) -> str:
    return f"{split}_factors" if content == "factors" else f"{content}_{split}"


def passed_over(names: Iterable[str]) -> tuple[str, ...]:
    """Return the sentence on what is not read, by its names, if there is some."""
    found = list(names)
    more = f", ... ({len(found):,} in all)" if len(found) > _MOST_LISTED else ""
    listed = ", ".join(found[:_MOST_LISTED]) + more
    return (f"passed over: {listed}",) if listed else ()


def _flat_labels(labels: np.ndarray) -> np.ndarray:
    """Return labels of shape [1, n], as MATLAB saves them, as [n]."""
    return labels[0] if labels.ndim == 2 and labels.shape[0] == 1 < labels.shape[1] else labels


def _factors(part: Mapping[str, np.ndarray], split: str, label: str) -> np.ndarray | None:
    factors = part.get("factors")
    if factors is None:
        return None
    is_whole = factors.dtype.kind in "bui" or (
        factors.dtype.kind == "f" and bool((np.floor(factors) == factors).all())
    )
    if (
        factors.ndim != 2
        or len(factors) != len(part["x"])
        or not is_whole
        or not _in_range(factors)
    ):
        raise InputError(
            f"{label}: {split}_factors of shape {factors.shape} and dtype {factors.dtype} are no "
            f"factors of {len(part['x'])} examples; give whole numbers from 0 on, [n, factors]"
        )
    return factors.astype(np.int32)


def _in_range(factors: np.ndarray) -> bool:
    return bool(factors.size and factors.min() >= 0 and factors.max() < 2**31)


def _array(arrays: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Return an array of the archive; numpy gives bytes for a member in another format."""
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array
