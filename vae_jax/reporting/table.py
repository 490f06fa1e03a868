"""Rows of a study as a table: the best run, and means of a term over seeds along swept axes.

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

from vae_jax.runtime import files
from vae_jax.types import Row

CRITERIA = ("valid_elbo", "test_elbo", "valid_log_likelihood", "test_log_likelihood")
"""Names of the terms by which runs are ranked; a model without a density has only the last two."""


class Cells(NamedTuple):
    """Means of a term over axes; every array has one dimension per axis, as long as its `values`.

    Attributes:
      values: values of each axis: numbers ascending, anything else in the order of the rows.
      mean: means over the seeds that did not diverge, NaN where there is none.
      error: standard errors of these means over seeds; where one seed is left, the one over test
        examples; NaN where neither is known.
      num_seeds: numbers of seeds behind the means.
      num_diverged: numbers of runs that are left out of the means.
    """

    values: tuple[list[Any], ...]
    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]
    num_seeds: Int[np.ndarray, "..."]
    num_diverged: Int[np.ndarray, "..."]


class RunGrid(NamedTuple):
    """Runs in a grid over two axes, one per cell; with a single axis the columns' name is "".

    Attributes:
      down: name of the axis that goes down.
      down_values: values of that axis.
      across: name of the axis that goes across.
      across_values: values of that axis.
      runs: index into the rows of each cell's run, -1 where every run of the cell diverged.
      fixed: values of the axes that are not shown, those of the best row.
    """

    down: str
    down_values: list[Any]
    across: str
    across_values: list[Any]
    runs: Int[np.ndarray, "down_values across_values"]
    fixed: dict[str, Any]


def finite(rows: Sequence[Row], swept: Sequence[str]) -> list[Row]:
    """Return the rows with None for every number that is not finite, but for swept settings.

    Example:
        >>> finite([{"clip_norm": math.inf, "test_elbo": math.nan}], ["clip_norm"])
        [{'clip_norm': inf, 'test_elbo': None}]
    """
    return [files.finite(row) | {name: row[name] for name in swept if name in row} for row in rows]


def has_diverged(row: Row) -> bool:
    """Return whether a run is marked as diverged or has no finite test term.

    Example:
        >>> has_diverged({"diverged": 411, "test_elbo": -98.0})
        True
        >>> has_diverged({"diverged": "", "test_elbo": -98.0})
        False
    """
    has_term = is_number(row.get("test_elbo")) or is_number(row.get("test_log_likelihood"))
    return row.get("diverged") not in ("", None) or not has_term


def is_number(value: Any) -> bool:
    """Return whether `value` is a finite number, a bool excluded.

    Example:
        >>> is_number(2), is_number(float("nan")), is_number(True), is_number(None)
        (True, False, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def criterion(rows: Sequence[Row]) -> str:
    """Return the name of the term by which runs are chosen: the first that every run has.

    Example:
        >>> criterion([{"test_elbo": -98.0, "valid_elbo": -99.0}, {"test_elbo": -97.0}])
        'test_elbo'
    """
    finished = [row for row in rows if not has_diverged(row)]
    known = (name for name in CRITERIA if all(is_number(row.get(name)) for row in finished))
    return next(known, "test_elbo")


def bound_on_valid(rows: Sequence[Row]) -> str:
    """Return the term by which runs choose on valid, in words: a posterior may have no density.

    Example:
        >>> bound_on_valid([{"valid_elbo": -9.0}]), bound_on_valid([{"valid_log_likelihood": -8.0}])
        ('ELBO', 'log-likelihood')
    """
    return "ELBO" if any("valid_elbo" in row for row in rows) else "log-likelihood"


def ranking(rows: Sequence[Row]) -> list[Row]:
    """Return the runs that did not diverge, the best first; of equals the earlier.

    Example:
        >>> rows = [{"run": 0, "test_elbo": -9.0}, {"run": 1, "test_elbo": -8.0}]
        >>> [row["run"] for row in ranking(rows)]
        [1, 0]
    """
    name = criterion(rows)
    finished = [row for row in rows if not has_diverged(row)]
    return sorted(finished, key=lambda row: row[name], reverse=True)


def best(rows: Sequence[Row]) -> Row | None:
    """Return the best run, None where all diverged.

    Example:
        >>> best([{"run": 0, "diverged": 3}]) is None
        True
    """
    return next(iter(ranking(rows)), None)


def leading(rows: Sequence[Row]) -> Row | None:
    """Return the best run or, before any has a result on test, the best on valid or train so far.

    Example:
        >>> leading([{"run": 0, "valid_elbo": -9.0}, {"run": 1, "valid_elbo": -8.0}])["run"]
        1
    """
    learning = [row for row in rows if row.get("diverged") in ("", None)]
    for name in ("valid_elbo", "valid_log_likelihood", "train_elbo", "train_log_likelihood"):
        known = [row for row in learning if is_number(row.get(name))]
        if known and best(rows) is None:
            return max(known, key=lambda row: row[name])
    return best(rows)


def axes(swept: Sequence[str]) -> list[str]:
    """Return the names of what was swept, without the seed.

    Example:
        >>> axes(["beta", "seed"])
        ['beta']
    """
    return [name for name in swept if name != "seed"]


def values(rows: Sequence[Row], name: str) -> list[Any]:
    """Return the different values of an axis: numbers ascending, others in the rows' order.

    Example:
        >>> values([{"beta": 4.0}, {"beta": 0.5}, {"beta": 4.0}], "beta")
        [0.5, 4.0]
    """
    found = list(dict.fromkeys(row[name] for row in rows))
    return sorted(found) if all(is_ordered(value) for value in found) else found


def is_ordered(value: Any) -> bool:
    """Return whether `value` has a position on a scale: a number, also an infinite one.

    Example:
        >>> is_ordered(2), is_ordered(float("inf")), is_ordered("400,200")
        (True, True, False)
    """
    return is_number(value) or (isinstance(value, float) and math.isinf(value))


def at(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Row]:
    """Return the rows that have these settings.

    Example:
        >>> at([{"run": 0, "beta": 1.0}, {"run": 1, "beta": 4.0}], {"beta": 4.0})
        [{'run': 1, 'beta': 4.0}]
    """
    return [row for row in rows if all(row[name] == value for name, value in settings.items())]


def fixed(rows: Sequence[Row], swept: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    """Return the swept axes that are not shown, at their value in the best row.

    Where all runs diverged, the first row stands in for it.

    Example:
        >>> rows = [{"beta": b, "latent_size": 2, "test_elbo": -b} for b in (1.0, 4.0)]
        >>> fixed(rows, ["beta", "latent_size"], ["latent_size"])
        {'beta': 1.0}
    """
    reference = best(rows) or rows[0]
    return {name: reference[name] for name in axes(swept) if name not in shown}


def cells(rows: Sequence[Row], names: Sequence[str], term: str) -> Cells:
    """Return the mean of a term over seeds in every cell of the axes `names`.

    Args:
      rows: rows that differ in nothing but `names` and the seed.
      names: names of the axes.
      term: column such as "test_elbo"; its error over test examples is read from "test_elbo_se".

    Raises:
      ValueError: two runs of a cell have the same seed, so more than seeds would be averaged.

    Example:
        >>> rows = [{"beta": 1.0, "seed": seed, "test_elbo": -98.0 - seed} for seed in (0, 1)]
        >>> found = cells(rows, ["beta"], "test_elbo")
        >>> found.values, found.mean.tolist(), found.error.round(6).tolist()
        (([1.0],), [-98.5], [0.5])
    """
    ticks = tuple(values(rows, name) for name in names)
    shape = tuple(map(len, ticks))
    mean, error = np.full(shape, np.nan), np.full(shape, np.nan)
    num_seeds, num_diverged = np.zeros(shape, int), np.zeros(shape, int)
    groups = _by_setting(rows, names)
    for index in np.ndindex(shape):
        setting = tuple(ticks[i][index[i]] for i in range(len(names)))
        runs = groups.get(setting, [])
        _refuse_same_seeds(runs, dict(zip(names, setting, strict=True)))
        finished = [row for row in runs if not has_diverged(row)]
        mean[index], error[index] = _over_seeds(finished, term)
        num_seeds[index], num_diverged[index] = len(finished), len(runs) - len(finished)
    return Cells(ticks, mean, error, num_seeds, num_diverged)


def _by_setting(rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values of some axes."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def _refuse_same_seeds(runs: Sequence[Row], setting: Mapping[str, Any]) -> None:
    seeds = [row.get("seed") for row in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"runs at {dict(setting)} differ in more than the seed")


def _over_seeds(runs: Sequence[Row], term: str) -> tuple[float, float]:
    """Return mean and standard error of a term."""
    known = [row for row in runs if is_number(row.get(term))]
    if not known:
        return math.nan, math.nan
    numbers = np.array([row[term] for row in known], dtype=np.float64)
    if len(numbers) > 1:
        return float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
    error = known[0].get(f"{term}_se", math.nan)
    return float(numbers[0]), float(error) if is_number(error) else math.nan


def seed_deviation(rows: Sequence[Row], swept: Sequence[str], term: str) -> tuple[float, int]:
    """Return the standard deviation of a term over seeds, pooled, and the number of cells in it.

    Each cell counts by its degrees of freedom; NaN and 0 where no cell has two seeds.

    Example:
        >>> rows = [{"beta": 1.0, "seed": seed, "test_elbo": -98.0 - seed} for seed in (0, 1)]
        >>> deviation, num_cells = seed_deviation(rows, ["beta", "seed"], "test_elbo")
        >>> round(deviation, 6), num_cells
        (0.707107, 1)
    """
    squares, freedom, count = 0.0, 0, 0
    for runs in _by_setting(rows, axes(swept)).values():
        known = [row for row in runs if not has_diverged(row) and is_number(row.get(term))]
        numbers = np.array([row[term] for row in known], np.float64)
        if len(numbers) > 1:
            squares += float(np.sum((numbers - numbers.mean()) ** 2))
            freedom, count = freedom + len(numbers) - 1, count + 1
    return (math.sqrt(squares / freedom) if freedom else math.nan), count


def run_grid(rows: Sequence[Row], swept: Sequence[str]) -> RunGrid:
    """Return a run per cell of the first two axes, all with the best row's seed where they can.

    With one axis its values go down, in a single column. Other axes are fixed at the best row's.

    Example:
        >>> rows = [{"beta": b, "seed": 0, "test_elbo": -b} for b in (1.0, 4.0)]
        >>> grid = run_grid(rows, ["beta"])
        >>> grid.down, grid.down_values, grid.runs.tolist()
        ('beta', [1.0, 4.0], [[0], [1]])
    """
    shown = axes(swept)[:2]
    across, down = across_and_down(rows, shown) if len(shown) == 2 else ("", *shown, "")[:2]
    held = fixed(rows, swept, (down, across))
    down_values, across_values = _values_or_blank(rows, down), _values_or_blank(rows, across)
    runs = np.full((len(down_values), len(across_values)), -1)
    seed = (best(rows) or rows[0]).get("seed")
    indices = {id(row): i for i, row in enumerate(rows)}
    shown = [name for name in (down, across) if name]
    groups = _by_setting(at(rows, held), shown)
    for i, j in np.ndindex(runs.shape):
        values_here = {down: down_values[i], across: across_values[j]}
        own = groups.get(tuple(values_here[name] for name in shown), [])
        finished = [row for row in own if not has_diverged(row)]
        finished.sort(key=lambda row: row.get("seed") != seed)
        runs[i, j] = next((indices[id(row)] for row in finished), -1)
    return RunGrid(down, down_values, across, across_values, runs, held)


def across_and_down(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, str]:
    """Return two axes, first the one with more values; of equals, the one named first.

    Example:
        >>> rows = [{"beta": beta, "latent_size": 2} for beta in (1.0, 4.0)]
        >>> across_and_down(rows, ["latent_size", "beta"])
        ('beta', 'latent_size')
    """
    across, down = sorted(names, key=lambda name: -len(values(rows, name)))
    return across, down


def evenly(count: int, most: int) -> list[int]:
    """Return at most so many indices below `count`, evenly spaced, both ends among them.

    Example:
        >>> evenly(3, 5), evenly(9, 3)
        ([0, 1, 2], [0, 4, 8])
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _values_or_blank(rows: Sequence[Row], name: str) -> list[Any]:
    return values(rows, name) if name else [""]
