"""Learning curves of a study in few bytes, for the page that draws those of chosen runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from vae_jax.data.split_names import Split
from vae_jax.evaluation import columns
from vae_jax.reporting import format, table
from vae_jax.types import Row

MOST_VALUES = 150_000
"""Numbers of all curves of a page, about seven bytes each."""
MOST_POINTS = 100
"""Points of a curve; of more some are taken, evenly spaced."""
FEWEST_POINTS = 10
_TERMS = tuple(columns.TERMS[name] for name in ("elbo", "log_likelihood", "kl"))
_SPLITS: tuple[Split, ...] = ("train", "valid")
_DIGITS = 6


def collect(metrics: Sequence[Row], runs: Sequence[int]) -> dict[str, Any]:
    """Return the curves of runs: ELBO, log-likelihood and KL, on train and on valid.

    Args:
        metrics: rows of ``metrics.jsonl``.
        runs: numbers of the runs, those that matter most first; where the numbers are too many the
            last ones are left out.

    Returns:
        ``terms``: label and unit of each; ``steps``: lists of steps that curves share; ``runs``:
        by the number of the run, the index of its steps, then a list of numbers for each term on
        train, and for each on valid. None where a run has no number.

    Example:
        >>> rows = [{"run": 0, "step": s, "train_elbo": -1.0 / s, "valid_kl": 2.0} for s in (1, 3)]
        >>> found = collect(rows, [0])
        >>> found["steps"], found["runs"]["0"]
        ([[1, 3]], [0, [-1.0, -0.333333], None, None, None, None, [2.0, 2.0]])
    """
    lines: dict[int, list[Row]] = {}
    for row in metrics:
        lines.setdefault(row["run"], []).append(row)
    known = [run for run in runs if run in lines]
    each = 2 * len(_TERMS)
    known = known[: MOST_VALUES // (each * FEWEST_POINTS)]
    most = min(MOST_POINTS, MOST_VALUES // (each * max(len(known), 1)))
    steps: dict[tuple[int, ...], int] = {}
    found = {}
    for run in known:
        own = lines[run]
        kept = [own[i] for i in table.evenly(len(own), most)]
        index = steps.setdefault(tuple(row["step"] for row in kept), len(steps))
        curves = [
            _values(kept, columns.name_on(split, term.name)) for split in _SPLITS for term in _TERMS
        ]
        found[str(run)] = [index, *curves]
    labels = [[term.label, term.unit] for term in _TERMS]
    return {"terms": labels, "steps": [list(own) for own in steps], "runs": found}


def note(curves: Mapping[str, Any], num_runs: int) -> str:
    """Return a sentence on the runs that have no curves, empty where all have some.

    Example:
        >>> note(collect([], []), 2)
        'Curves are of 0 of 2 runs.'
    """
    num_shown = len(curves["runs"])
    if num_shown == num_runs:
        return ""
    return f"Curves are of {format.count(num_shown)} of {format.count(num_runs, 'run')}."


def _values(rows: Sequence[Row], name: str) -> list[float | None] | None:
    """Return the values of a term, None where no row has one."""
    values = [_short(row.get(name)) for row in rows]
    return None if all(value is None for value in values) else values


def _short(value: Any) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if table.is_number(value) else None
