"""Penalties that may be added to any bound; each has a strength in ``HParams``.

They speak of the aggregate posterior q(z), the mean of q(z|x) over the data, as a batch shows it. A
new one is a file here, a row in ``REGULARIZERS`` and a strength in ``HParams``; ``base`` says what
it must be able to do.
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
"""Penalties by name; a flag for each of their strengths adds them."""
