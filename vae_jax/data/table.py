"""Tables of numbers in text files: an example a line, a dimension a column, `.csv` or `.tsv`."""

import csv
import re
from pathlib import Path

import numpy as np

from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.labels import numbered
from vae_jax.runtime.errors import InputError

_LABELS = ("label", "labels", "y", "class", "target")
_DELIMITERS = ",;\t"
_PIXEL = re.compile(r"(?:pixel|px|p)_?[0-9]+", re.IGNORECASE)
_CELL = re.compile(r"([0-9]+)x([0-9]+)")


def read_table(path: Path, label: str) -> RawDataset:
    """Read a text file of numbers separated by commas, semicolons or tabs.

    A first line that is no numbers names the columns. A column called `label`, `y`, `class` or
    `target` holds the labels, numbers or names. Columns called `pixel0`, `pixel1`, ... or `1x1`,
    `1x2`, ... are images.

    Raises:
        InputError: no table, a cell that is no number, lines of different lengths.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(_DELIMITERS, key=first.count)
            cells = next(csv.reader([first], delimiter=delimiter), [])
            has_header = not all(map(_is_number, cells))
            names = [cell.strip() for cell in cells] if has_header else []
            labelled = [i for i, name in enumerate(names) if name.lower() in _LABELS]
            if len(labelled) > 1:
                listed = ", ".join(names[i] for i in labelled)
                raise InputError(f"{label}: {listed} may all be labels; keep one of these columns")
            columns = [i for i in range(len(cells)) if i not in labelled]
            if not columns:
                raise InputError(f"{label}: the first line holds no numbers; give a table of them")
            if not has_header:
                file.seek(0)
            lines = [line for line in file if line.strip()]
            if not lines:
                raise InputError(f"{label}: holds no line of numbers; give an example a line")
            labels = _labels(lines, delimiter, labelled[0]) if labelled else None
            values = np.loadtxt(
                lines, delimiter=delimiter, usecols=columns, ndmin=2, comments=None, quotechar='"'
            )
    except InputError:
        raise
    except (OSError, ValueError, IndexError, csv.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).partition(";")[0]
        raise InputError(
            f"{label}: cannot be read as a table ({reason}); give numbers in every cell, the same "
            "number in every line, and names of columns in the first"
        ) from None
    return _dataset(path, values, [names[i] for i in columns] if names else [], labels, names)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _labels(lines: list[str], delimiter: str, column: int) -> list[str]:
    return [row[column].strip() for row in csv.reader(lines, delimiter=delimiter)]


def _dataset(
    path: Path, values: np.ndarray, columns: list[str], labels: list[str] | None, names: list[str]
) -> RawDataset:
    """Return the data set of a table, with what was recognised in it."""
    told = [f"columns named by the first line ({_few(columns)})" if columns else "no header"]
    shape = _image_shape(columns)
    if shape is not None:
        told.append(f"columns are pixels of images of {shape[0]} x {shape[1]}")
        if values.size and values.min() >= 0 and values.max() <= 255:
            values = values.astype(np.uint8) if (values % 1 == 0).all() else values
        values = values.reshape(-1, *shape)
    numbers, class_names = None, ()
    if labels is not None:
        texts = np.array(labels, float if all(map(_is_number, labels)) else str)
        found, class_names, form = numbered({"train": texts})
        numbers = found["train"]
        column = next(name for name in names if name.lower() in _LABELS)
        told.append(f"column {column} holds the labels" + (f", {form}" if form else ""))
    elif not columns:
        told.append("no labels")
    source = f"{len(values):,} lines of the file {path.name}"
    return RawDataset({"train": RawSplit(values, numbers)}, source, class_names, tuple(told))


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) < 4 else (*names[:2], "...", names[-1]))


def _image_shape(columns: list[str]) -> tuple[int, int] | None:
    """Return height and width where the names of the columns say them."""
    cells = [_CELL.fullmatch(name) for name in columns]
    if columns and all(cells):
        last = cells[-1]
        assert last is not None
        height, width = int(last[1]), int(last[2])
        return (height, width) if height * width == len(columns) else None
    side = round(len(columns) ** 0.5)
    is_square = side > 1 and side * side == len(columns)
    return (side, side) if is_square and all(map(_PIXEL.fullmatch, columns)) else None
