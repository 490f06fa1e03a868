"""Priors p(z) over the latent space; samples of a model start from its own prior.

A family is a frozen dataclass that turns parameters into a distribution, a ``NamedTuple`` of arrays
with ``log_prob``, ``sample`` and, where one exists, the closed-form ``kl`` from a posterior. A new
prior is a file here, a row in ``PRIORS`` and a row in the table of its tests.
"""

from vae_jax.models.priors.base import KL, Encode, Prior, PriorFamily, PriorInit
from vae_jax.models.priors.class_normal import ClassNormal, ClassPrior
from vae_jax.models.priors.flow import CouplingFlow, FlowPrior
from vae_jax.models.priors.mixture import GaussianMixture, MixturePrior
from vae_jax.models.priors.normal import StandardNormal, UnitNormal
from vae_jax.models.priors.stacked import StackedPrior, TwoLayerPrior
from vae_jax.models.priors.uniform_grid import UniformGrid, UniformOnGrid
from vae_jax.models.priors.uniform_sphere import UniformOnSphere, UniformSphere
from vae_jax.models.priors.vamp import PosteriorMixture, VampPrior

__all__ = [
    "KL",
    "PRIORS",
    "ClassNormal",
    "ClassPrior",
    "CouplingFlow",
    "Encode",
    "FlowPrior",
    "GaussianMixture",
    "MixturePrior",
    "PosteriorMixture",
    "Prior",
    "PriorFamily",
    "PriorInit",
    "StackedPrior",
    "StandardNormal",
    "TwoLayerPrior",
    "UniformGrid",
    "UniformOnGrid",
    "UniformOnSphere",
    "UniformSphere",
    "UnitNormal",
    "VampPrior",
]

PRIORS: dict[str, type[PriorFamily]] = {
    "normal": StandardNormal,
    "mixture": MixturePrior,
    "vamp": VampPrior,
    "flow": FlowPrior,
    "class_normal": ClassPrior,
    "uniform_grid": UniformGrid,
    "uniform_sphere": UniformSphere,
}
"""Families by name, the values of the setting ``prior``."""
