"""Priors p(z) over the latent space; the model generates from its own.

A family is a frozen dataclass that turns parameters into a distribution, a ``NamedTuple`` of arrays
with ``log_prob``, ``sample`` and, where one exists, the closed-form ``kl`` from a posterior. A new
prior is a file here, a row in ``PRIORS`` and a row in the table of its tests.
"""

from vae_jax.priors.base import Encode, Prior, PriorFamily, Start
from vae_jax.priors.normal import StandardNormal, UnitNormal

__all__ = [
    "PRIORS",
    "Encode",
    "Prior",
    "PriorFamily",
    "StandardNormal",
    "Start",
    "UnitNormal",
]

PRIORS: dict[str, type[PriorFamily]] = {
    "normal": StandardNormal,
}
"""Families by the name that ``--prior`` knows them by."""
