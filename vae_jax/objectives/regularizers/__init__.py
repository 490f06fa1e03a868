"""Penalties that are subtracted from any bound; each declares the hyperparameters that weigh it.

They concern the aggregate posterior q(z), the mean of q(z|x) over the data, which a batch
estimates. A new one is a file of this package with a subclass of :class:`Regularizer` and a row in
:data:`REGULARIZERS`.
"""

from vae_jax.objectives.regularizers.base import Context, Regularizer
from vae_jax.objectives.regularizers.dip import DIP
from vae_jax.objectives.regularizers.factor import FactorVAE
from vae_jax.objectives.regularizers.mmd import MMD
from vae_jax.objectives.regularizers.total_correlation import TC_ESTIMATORS, TotalCorrelation

__all__ = [
    "DIP",
    "MMD",
    "REGULARIZERS",
    "TC_ESTIMATORS",
    "Context",
    "FactorVAE",
    "Regularizer",
    "TotalCorrelation",
]

REGULARIZERS: dict[str, type[Regularizer]] = {
    "total_correlation": TotalCorrelation,
    "dip": DIP,
    "mmd": MMD,
    "factor": FactorVAE,
}
"""Penalties by name; a run has those whose strengths, which are flags, are not all zero."""
