"""The rows of a study as a table: which run is best, and what a term does along swept axes.

A row (`vae_jax.types.Row`) has a run's number `run`, its swept values, `diverged` ("" or the step)
and its terms with their standard errors over test examples, `test_elbo` and `test_elbo_se`. An
*axis* is the name of something that was swept. The seed never is one: a *cell* holds the runs that
differ in nothing else, and is their mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.types import Row

CRITERIA = ("valid_elbo", "test_elbo", "valid_log_likelihood", "test_log_likelihood")
"""Terms by which runs are ranked; an autoencoder without a density has only the last two."""


class Cells(NamedTuple):
    """A term over axes; every array has one dimension per axis, as long as its `values`.

    Attributes:
      values: of each axis: numbers ascending, anything else as the rows give it.
      mean: over the seeds that did not diverge, NaN where there is none.
      error: standard error of that mean over seeds; where one seed is left, the one over test
        examples; NaN where neither is known.
      num_seeds: behind the mean.
      num_diverged: runs that are left out of it.
    """

    values: tuple[list[Any], ...]
    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]
    num_seeds: Int[np.ndarray, "..."]
    num_diverged: Int[np.ndarray, "..."]


class Pictured(NamedTuple):
    """Which run is pictured where, in a grid over two axes (the rows' is "" if there is but one).

    Attributes:
      rows: the axis that goes down.
      row_values: its values.
      columns: the axis that goes across.
      column_values: its values.
      runs: a place in the table's rows per cell, -1 where there is none that did not diverge.
      fixed: the axes that are not shown, at their value in the best row.
    """

    rows: str
    row_values: list[Any]
    columns: str
    column_values: list[Any]
    runs: Int[np.ndarray, "row_values column_values"]
    fixed: dict[str, Any]


def has_diverged(row: Row) -> bool:
    """Returns whether a run is marked as diverged or has no finite test term."""
    has_term = is_number(row.get("test_elbo")) or is_number(row.get("test_log_likelihood"))
    return row.get("diverged") not in ("", None) or not has_term


def is_number(value: Any) -> bool:
    """Returns whether `value` is a finite number, a bool excluded."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def criterion(rows: Sequence[Row]) -> str:
    """Returns what runs are chosen by: the first of `CRITERIA` that every run has."""
    alive = [row for row in rows if not has_diverged(row)]
    known = (name for name in CRITERIA if all(is_number(row.get(name)) for row in alive))
    return next(known, "test_elbo")


def ranking(rows: Sequence[Row]) -> list[Row]:
    """Returns the runs that did not diverge, the best first; of equals the earlier."""
    name = criterion(rows)
    alive = [row for row in rows if not has_diverged(row)]
    return sorted(alive, key=lambda row: row[name], reverse=True)


def best(rows: Sequence[Row]) -> Row | None:
    """Returns the best run, None where all diverged."""
    return next(iter(ranking(rows)), None)


def axes(swept: Sequence[str]) -> list[str]:
    """Returns what was swept but the seed."""
    return [name for name in swept if name != "seed"]


def values(rows: Sequence[Row], name: str) -> list[Any]:
    """Returns the different values of an axis: numbers ascending, anything else as it comes."""
    found = list(dict.fromkeys(row[name] for row in rows))
    return sorted(found) if all(is_ordered(value) for value in found) else found


def is_ordered(value: Any) -> bool:
    """Returns whether `value` has a place on a scale: a number, also an infinite one."""
    return is_number(value) or (isinstance(value, float) and math.isinf(value))


def at(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Row]:
    """Returns the rows that have these settings."""
    return [row for row in rows if all(row[name] == value for name, value in settings.items())]


def fixed(rows: Sequence[Row], swept: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    """Returns the swept axes that are not shown, at their value in the best row.

    Where all runs diverged, the first row stands in for it.
    """
    reference = best(rows) or rows[0]
    return {name: reference[name] for name in axes(swept) if name not in shown}


def cells(rows: Sequence[Row], names: Sequence[str], term: str) -> Cells:
    """Returns the mean of a term over seeds in every cell of the axes `names`.

    Args:
      rows: that differ in nothing but `names` and the seed.
      names: of the axes.
      term: such as "test_elbo"; its error over test examples is looked up as "test_elbo_se".

    Raises:
      ValueError: two runs of a cell have the same seed, so more than seeds would be averaged.
    """
    ticks = tuple(values(rows, name) for name in names)
    shape = tuple(map(len, ticks))
    mean, error = np.full(shape, np.nan), np.full(shape, np.nan)
    num_seeds, num_diverged = np.zeros(shape, int), np.zeros(shape, int)
    for place in np.ndindex(shape):
        settings = {name: ticks[i][place[i]] for i, name in enumerate(names)}
        runs = _of_one_cell(rows, settings)
        alive = [row for row in runs if not has_diverged(row)]
        mean[place], error[place] = _over_seeds(alive, term)
        num_seeds[place], num_diverged[place] = len(alive), len(runs) - len(alive)
    return Cells(ticks, mean, error, num_seeds, num_diverged)


def _of_one_cell(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Row]:
    runs = at(rows, settings)
    seeds = [row.get("seed") for row in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"runs at {dict(settings)} differ in more than the seed")
    return runs


def _over_seeds(runs: Sequence[Row], term: str) -> tuple[float, float]:
    """Returns mean and standard error of a term."""
    known = [row for row in runs if is_number(row.get(term))]
    if not known:
        return math.nan, math.nan
    numbers = np.array([row[term] for row in known], dtype=np.float64)
    if len(numbers) > 1:
        return float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
    error = known[0].get(f"{term}_se", math.nan)
    return float(numbers[0]), float(error) if is_number(error) else math.nan


def seed_deviation(rows: Sequence[Row], swept: Sequence[str], term: str) -> tuple[float, int]:
    """Returns the standard deviation of a term over seeds, pooled, and the number of cells in it.

    Each cell counts by its degrees of freedom; NaN and 0 where no cell has two seeds.
    """
    names = axes(swept)
    settings = {tuple(row[name] for name in names) for row in rows}
    squares, freedom, count = 0.0, 0, 0
    for setting in settings:
        runs = at(rows, dict(zip(names, setting, strict=True)))
        numbers = np.array([row[term] for row in runs if not has_diverged(row)], np.float64)
        if len(numbers) > 1:
            squares += float(np.sum((numbers - numbers.mean()) ** 2))
            freedom, count = freedom + len(numbers) - 1, count + 1
    return (math.sqrt(squares / freedom) if freedom else math.nan), count


def pictured(rows: Sequence[Row], swept: Sequence[str]) -> Pictured:
    """Returns a run per cell of the first two axes, all with the best row's seed where they can.

    With one axis its values go down, in a single column. Other axes are fixed at the best row's.
    """
    shown = axes(swept)[:2]
    across, down = across_and_down(rows, shown) if len(shown) == 2 else ("", *shown, "")[:2]
    held = fixed(rows, swept, (down, across))
    down_values, across_values = _values_or_blank(rows, down), _values_or_blank(rows, across)
    runs = np.full((len(down_values), len(across_values)), -1)
    seed = (best(rows) or rows[0]).get("seed")
    for i, j in np.ndindex(runs.shape):
        here = {down: down_values[i], across: across_values[j]} | held
        here.pop("", None)
        alive = [row for row in at(rows, here) if not has_diverged(row)]
        alive.sort(key=lambda row: row.get("seed") != seed)
        runs[i, j] = next((rows.index(row) for row in alive), -1)
    return Pictured(down, down_values, across, across_values, runs, held)


def across_and_down(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, str]:
    """Returns two axes, first the one with more values; of equals, the one named first."""
    across, down = sorted(names, key=lambda name: -len(values(rows, name)))
    return across, down


def _values_or_blank(rows: Sequence[Row], name: str) -> list[Any]:
    return values(rows, name) if name else [""]
