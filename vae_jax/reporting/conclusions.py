"""Conclusions of a finished run or study: what is wrong with each run, and what the study shows."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vae_jax.reporting import diagnostics, remedies, summary, table
from vae_jax.types import Row

Changes = Mapping[str, str | None]
"""New texts of settings by their names, None for one that is left out."""


def conclude(
    results: dict[str, Any],
    metrics: Sequence[Row],
    is_accepted: Callable[[Row, Changes], bool] = lambda settings, changes: True,
) -> dict[str, Any]:
    """Return the sentences that ``results.json`` holds as ``diagnosis`` and ``reading``.

    Args:
        results: contents of ``results.json`` with ``runs``, ``flags``, ``dataset`` and
            ``swept``.
        metrics: rows of ``metrics.jsonl``.
        is_accepted: says whether settings of a run, which stand among the columns of its row, may
            be changed so; nothing else is advised.

    Returns:
        ``diagnosis``: for each run, in the order of the rows, sentences on its problems.
        ``reading``: sentences on the study; empty for a single run.
    """
    rows = results["runs"]
    by_run: dict[int, list[Row]] = {row["run"]: [] for row in rows}
    for line in metrics:
        by_run.get(line["run"], []).append(line)
    histories = list(by_run.values())
    facts = results["flags"] | {
        diagnostics.NUM_VALUES: math.prod(results["dataset"]["event_shape"])
    }
    found = [
        diagnostics.diagnose_run(
            facts | row | {remedies.IS_ACCEPTED: functools.partial(is_accepted, facts | row)},
            history,
        )
        for row, history in zip(rows, histories, strict=True)
    ]
    reading = []
    if results["swept"]:
        own = table.finite(rows, results["swept"])
        reading = summary.summarize_study(own, results["swept"])
    reading += diagnostics.diagnose_study(rows, found) if len(rows) > 1 else []
    return {"diagnosis": [diagnostics.as_sentences(own) for own in found], "reading": reading}
