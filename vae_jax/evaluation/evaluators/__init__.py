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

from collections.abc import Iterable, Iterator
from typing import Any

from vae_jax.evaluation.columns import CORE, Column, by_name
from vae_jax.evaluation.evaluators import needs
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


FIGURES = frozenset().union(*(each.figures for each in EVALUATORS.values()))
"""Names of the figures that an evaluator may ask for."""


def misdeclared(evaluator: Any) -> Iterator[str]:
    """Yield what is wrong with the traits and columns of an evaluator's class from outside.

    Example:
        >>> class Mine(Gaps):
        ...     needs = frozenset({"densities"})
        >>> next(misdeclared(Mine))[:42]
        'needs of Mine names densities, which is no'
    """
    name = evaluator.__name__
    for trait, known in (("needs", needs.NEEDS), ("figures", FIGURES)):
        for unknown in sorted(getattr(evaluator, trait) - known):
            yield (
                f"{trait} of {name} names {unknown}, which is none of them; give some of "
                f"{', '.join(sorted(known))}"
            )
    declared = evaluator.columns
    if not isinstance(declared, tuple) or not all(isinstance(each, Column) for each in declared):
        yield f"columns of {name} must be a tuple of Column; declare them so"
        return
    for taken in [each for each in by_name(declared) if each in CORE]:
        yield f"the column {taken} of {name} is one that every run has; rename it"


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
