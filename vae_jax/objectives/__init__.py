"""Objectives: bounds on log p(x), their gradient estimators, and regularizers.

A new bound is a class in a file of this package that satisfies :class:`Objective`: it reduces
samples of q(z|x) with their log-densities (:class:`PosteriorSamples`) to a value per example. A row
in :data:`OBJECTIVES` gives it a name.
"""

from typing import Any

from vae_jax.objectives.base import ElboTerms, Objective, ObjectiveOutput, PosteriorSamples
from vae_jax.objectives.elbo import KL_MODES, KL_PENALTIES, Elbo
from vae_jax.objectives.importance_weighted import ImportanceWeighted, importance_weighted_bound

__all__ = [
    "FIXED",
    "KL_MODES",
    "KL_PENALTIES",
    "OBJECTIVES",
    "Elbo",
    "ElboTerms",
    "ImportanceWeighted",
    "Objective",
    "ObjectiveOutput",
    "PosteriorSamples",
    "importance_weighted_bound",
]

OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": ImportanceWeighted,
    "miwae": ImportanceWeighted,
}
"""Bounds by the names that ``--objective`` takes."""

FIXED: dict[str, dict[str, Any]] = {"iwae": {"num_bounds": 1}}
"""Settings whose value a name stands for, where several names share a class."""
