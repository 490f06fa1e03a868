"""Evaluators of trained runs: one class for each name of ``--evaluate``, whose fields are flags.

An evaluator takes the runs of a study (:class:`~vae_jax.evaluation.evaluators.base.Runs`), gives
their arrays to measures of ``vae_jax.evaluation.metrics`` and returns the numbers as rows. The
names are those of :data:`EVALUATORS`: ``nll``, ``decomposition``, ``gaps``, ``disentanglement``,
``representation`` and ``samples`` have a module each, ``ais`` and ``bdmc`` share ``annealing``.

To add a metric to an evaluator, write it in ``metrics``, declare its column in the evaluator's
``columns`` and put its number into the row. To add an evaluator, write a module here with a frozen
dataclass that derives from :class:`~vae_jax.evaluation.evaluators.base.PerRunEvaluator`, then add a
row to :data:`EVALUATORS`, its settings to ``tests/evaluation/test_evaluators.py`` and its columns
to ``docs/reference/evaluators.md``; ``docs/how-to/evaluator.md`` has an example to copy.

Example:
    >>> decomposition = EVALUATORS["decomposition"](decomposition_examples=500)
    >>> [column.name for column in decomposition.columns]
    ['mutual_information', 'total_correlation', 'dimensionwise_kl', 'decomposition_examples']
    >>> sorted(decomposition.needs)
    ['density', 'latent_densities']
"""

from collections.abc import Iterable
from typing import Any

from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators.annealing import AIS_STARTS, AnnealedImportance, Bidirectional
from vae_jax.evaluation.evaluators.base import EvalContext, Evaluator, OnProgress, Runs
from vae_jax.evaluation.evaluators.decomposition import Decomposition
from vae_jax.evaluation.evaluators.disentanglement import Disentanglement
from vae_jax.evaluation.evaluators.gaps import Gaps
from vae_jax.evaluation.evaluators.nll import ImportanceWeightedNLL
from vae_jax.evaluation.evaluators.representation import Representation
from vae_jax.evaluation.evaluators.samples import Samples

EVALUATORS: dict[str, type[Evaluator]] = {
    "nll": ImportanceWeightedNLL,
    "decomposition": Decomposition,
    "ais": AnnealedImportance,
    "bdmc": Bidirectional,
    "gaps": Gaps,
    "disentanglement": Disentanglement,
    "representation": Representation,
    "samples": Samples,
}
"""Evaluators by their names; ``results.csv`` has their columns in this order."""

ALWAYS = ("nll",)
"""Evaluators that always run, because runs are ranked by their numbers."""


def columns(evaluators: Iterable[Any]) -> list[Column]:
    """Return the columns of evaluators or their classes, without those of standard errors.

    Example:
        >>> [column.name for column in columns([Gaps])][:2]
        ['inference_gap', 'approximation_gap']
    """
    return [column for each in evaluators for column in each.columns]


__all__ = [
    "AIS_STARTS",
    "ALWAYS",
    "EVALUATORS",
    "EvalContext",
    "Evaluator",
    "OnProgress",
    "Runs",
    "columns",
]
