"""Tables of numbers in text files: an example a line, a dimension a column, `.csv` or `.tsv`."""

import csv
import re
from pathlib import Path

import numpy as np

from vae_jax.data.archive_size import refuse_size
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.labels import numbered
from vae_jax.runtime.errors import InputError

_LABELS = ("label", "labels", "y", "class", "target")
_DELIMITERS = "\t;,"  # the first that occurs: a comma beside one of the others is a decimal one
_COUNTERS = ("", "id", "index", "row", "unnamed: 0", "#")  # names of a column that counts the lines
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}
_PIXEL = re.compile(r"(?:pixel|px|p)_?([0-9]+)", re.IGNORECASE)
_CELL = re.compile(r"([0-9]+)x([0-9]+)")
_TIMES = 4  # bytes of numbers of one digit, in float64, for a byte of text


def read_table(path: Path, label: str) -> RawDataset:
    """Read a text file of numbers separated by commas, semicolons or tabs.

    A first line that is no numbers, or only numbers the columns from 0 or 1 on, names the columns.
    A column called `label`, `y`, `class` or `target` holds the labels, numbers or names. Columns
    called `pixel0`, `pixel1`, ... or `1x1`, `1x2`, ... are images. A column without a name, or
    called `id` or `index`, that only counts the lines is passed over.

    Raises:
        InputError: no table, a cell that is no number, lines of different lengths, or a first line
            that may be names as well as numbers.
    """
    refuse_size(_TIMES * path.stat().st_size, path, label)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in file if line.strip()]
        delimiter = next((mark for mark in _DELIMITERS if lines and mark in lines[0]), ",")
        rows = ([cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter))
        cells, second = next(rows, []), next(rows, [])
        names = cells if _is_header(cells, second, label) else []
        labelled = [i for i, name in enumerate(names) if name.lower() in _LABELS]
        if len(labelled) > 1:
            listed = ", ".join(names[i] for i in labelled)
            raise InputError(f"{label}: {listed} may all be labels; keep one of these columns")
        columns = [i for i in range(len(cells)) if i not in labelled]
        if not columns:
            raise InputError(f"{label}: the first line holds no numbers; give a table of them")
        lines = lines[1:] if names else lines
        if not lines:
            raise InputError(f"{label}: holds no line of numbers; give an example a line")
        _refuse_other_lengths(lines, delimiter, len(cells))
        labels = _labels(lines, delimiter, labelled[0], label) if labelled else None
        values = np.loadtxt(
            lines, delimiter=delimiter, usecols=columns, ndmin=2, comments=None, quotechar='"'
        )
    except InputError:
        raise
    except (OSError, ValueError, IndexError, csv.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).partition(";")[0].removesuffix(".")
        raise InputError(
            f"{label}: cannot be read as a table ({reason}); give numbers with a decimal point in "
            "every cell, the same number in every line, and names of columns in the first, of "
            "which one may be `label`"
        ) from None
    return _dataset(path, values, [names[i] for i in columns] if names else [], labels, names)


def _is_header(cells: list[str], second: list[str], label: str) -> bool:
    """Return whether the cells of the first line name the columns, beside those of the second.

    Raises:
        InputError: they may be names, and may be numbers of which some are missing.
    """
    inner = cells[1:] if cells and not cells[0] else cells  # pandas leaves its index unnamed
    numbers = [cell for cell in inner if _is_number(cell)]
    if len(numbers) == len(cells):
        counted = ([str(start + i) for i in range(len(cells))] for start in (0, 1))
        is_surely = len(cells) > 3 or not all(cell.isdigit() for cell in second)
        return len(cells) > 1 and cells in counted and is_surely
    is_name = all(cell.isdigit() for cell in numbers) and not set(map(str.lower, inner)) & _MISSING
    if numbers and not is_name:
        raise InputError(
            f"{label}: the first line holds numbers ({_few(numbers)}) and other cells, so that it "
            "may be an example with missing numbers; name all columns, or fill or remove the line"
        )
    return True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_other_lengths(lines: list[str], delimiter: str, length: int) -> None:
    """Refuse lines of another number of cells than the first of the file.

    Raises:
        ValueError: naming the line.
    """
    for index, line in enumerate(lines):
        is_quoted = '"' in line
        cells = next(csv.reader([line], delimiter=delimiter)) if is_quoted else None
        found = line.count(delimiter) + 1 if cells is None else len(cells)
        if found != length:
            raise ValueError(f"{found} cells in line {index + 1} of numbers, {length} in the first")


def _labels(lines: list[str], delimiter: str, column: int, label: str) -> list[str]:
    """Return the labels, of which none is missing."""
    found = [row[column].strip() for row in csv.reader(lines, delimiter=delimiter)]
    missing = sum(text.lower() in ("", "nan") for text in found)
    if missing:
        raise InputError(
            f"{label}: {missing:,} of {len(found):,} labels are missing; give all, or leave that "
            "column out"
        )
    return found


def _dataset(
    path: Path, values: np.ndarray, columns: list[str], labels: list[str] | None, names: list[str]
) -> RawDataset:
    """Return the data set of a table, with what was recognised in it."""
    told = [f"columns named by the first line ({_few(columns)})" if columns else "no header"]
    if columns and columns[0].lower() in _COUNTERS and len(columns) > 1 and _identifies(values):
        told.append(f"passed over: the column {columns[0] or 'without a name'}, which counts lines")
        columns, values = columns[1:], values[:, 1:]
    told += [] if columns else _doubts(values)
    cells = _cells(columns)
    if cells is not None:
        shape = cells.max(axis=0) - cells.min(axis=0) + 1
        order = np.lexsort((cells[:, 1], cells[:, 0]))
        moved = "" if (np.diff(order) == 1).all() else ", put in the order of their names"
        told.append(f"columns are pixels of images of {shape[0]} x {shape[1]}{moved}")
        if values.size and values.min() >= 0 and values.max() <= 255:
            values = values.astype(np.uint8) if (values % 1 == 0).all() else values
        values = values[:, order].reshape(-1, *shape)
    numbers, class_names = None, ()
    if labels is not None:
        texts = np.array(labels, float if all(map(_is_number, labels)) else str)
        found, class_names, form = numbered({"train": texts})
        numbers = found["train"]
        column = next(name for name in names if name.lower() in _LABELS)
        told.append(f"column {column} holds the labels" + (f", {form}" if form else ""))
    source = f"{len(values):,} lines of the file {path.name}"
    return RawDataset({"train": RawSplit(values, numbers)}, source, class_names, tuple(told))


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) < 4 else (*names[:2], "...", names[-1]))


def _identifies(values: np.ndarray) -> bool:
    """Return whether the first column numbers the lines: distinct whole numbers."""
    first = values[:, 0]
    is_whole = bool((np.floor(first) == first).all())
    return len(first) > 1 and is_whole and len(np.unique(first)) == len(first)


def _doubts(values: np.ndarray) -> list[str]:
    """Return what columns without names may be beside dimensions, which they are taken for."""
    num_lines, num_columns = values.shape
    first = values[:, 0]
    if num_lines > 3 and num_columns > 1 and (np.diff(first) == 1).all() and first[0] in (0, 1):
        return ["the first column counts the lines and is a dimension; call it id if it is none"]
    side = round((num_columns - 1) ** 0.5)
    if side < 4 or side**2 != num_columns - 1:
        return []
    return [
        f"the {which} column may hold labels and is a dimension; call it label if it does"
        for which, column in (("first", first), ("last", values[:, -1]))
        if len(np.unique(column)) <= max(2, num_lines // 2) and (np.floor(column) == column).all()
    ][:1]


def _cells(columns: list[str]) -> np.ndarray | None:
    """Return row and column of the pixels, `[columns, 2]`, where names of columns say them."""
    found = [_CELL.fullmatch(name) for name in columns]
    if columns and all(found):
        cells = np.array([[int(match[1]), int(match[2])] for match in found if match])
    else:
        side = round(len(columns) ** 0.5)
        pixels = [_PIXEL.fullmatch(name) for name in columns]
        if side < 2 or side * side != len(columns) or not all(pixels):
            return None
        numbers = np.array([int(match[1]) for match in pixels if match])
        cells = np.stack(np.divmod(numbers - numbers.min(), side), axis=1)
    sizes = cells.max(axis=0) - cells.min(axis=0) + 1
    is_full = len(np.unique(cells, axis=0)) == len(columns) == np.prod(sizes)
    return cells if is_full else None
