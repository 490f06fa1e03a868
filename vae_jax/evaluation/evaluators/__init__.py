"""Evaluations of trained runs, chosen by ``--evaluate``; each is a class whose fields are flags.

They ask the measures in ``metrics``, which know no model, about the runs of a study.
"""

from collections.abc import Iterable

from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators.annealing import AIS_STARTS, AnnealedImportance, Bidirectional
from vae_jax.evaluation.evaluators.base import EvalContext, Evaluator, OnProgress, Runs
from vae_jax.evaluation.evaluators.decomposition import Decomposition
from vae_jax.evaluation.evaluators.disentanglement import Disentanglement
from vae_jax.evaluation.evaluators.gaps import Gaps
from vae_jax.evaluation.evaluators.nll import Evidence
from vae_jax.evaluation.evaluators.representation import Representation
from vae_jax.evaluation.evaluators.samples import Samples

EVALUATORS: dict[str, type[Evaluator]] = {
    "nll": Evidence,
    "decomposition": Decomposition,
    "ais": AnnealedImportance,
    "bdmc": Bidirectional,
    "gaps": Gaps,
    "disentanglement": Disentanglement,
    "representation": Representation,
    "samples": Samples,
}
"""Those that there are; ``results.csv`` has their columns in this order."""

ALWAYS = ("nll",)
"""Those that are made whether asked for or not: runs are ranked and read by them."""


def columns(names: Iterable[str]) -> list[Column]:
    """Return the columns of some evaluations, in their order, without those of errors."""
    return [column for name in names for column in EVALUATORS[name].columns]


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
