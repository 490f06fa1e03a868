"""Approximate posteriors q(z|x): families that give the encoder's outputs their meaning.

A family is a frozen dataclass that names the encoder's heads and turns their values into a
distribution. A distribution is a ``NamedTuple`` of arrays with methods, so it passes through
``jit``, ``vmap`` and ``grad``. A new posterior is a file here, a row in ``POSTERIORS`` and a row in
the table of its tests; the methods that it needs are in ``base``.
"""

from vae_jax.models.posteriors.base import (
    Head,
    LatentDensities,
    Posterior,
    PosteriorFamily,
    SampleAndLogProb,
)
from vae_jax.models.posteriors.conditional import ConditionalGaussian, init_conditional
from vae_jax.models.posteriors.delta import Delta, Point
from vae_jax.models.posteriors.flows import Flow
from vae_jax.models.posteriors.fsq import FSQ, GridCode, nearest_level
from vae_jax.models.posteriors.full_gaussian import CholeskyGaussian, FullGaussian
from vae_jax.models.posteriors.gaussian import (
    DiagonalGaussian,
    Gaussian,
    normal_log_density,
    pairwise_log_density,
)
from vae_jax.models.posteriors.iaf import InverseAutoregressive
from vae_jax.models.posteriors.planar import Planar
from vae_jax.models.posteriors.stacked import Stacked, TwoLayers
from vae_jax.models.posteriors.von_mises_fisher import (
    VonMisesFisher,
    VonMisesFisherFamily,
    log_area,
)

__all__ = [
    "FSQ",
    "POSTERIORS",
    "CholeskyGaussian",
    "ConditionalGaussian",
    "Delta",
    "DiagonalGaussian",
    "Flow",
    "FullGaussian",
    "Gaussian",
    "GridCode",
    "Head",
    "InverseAutoregressive",
    "LatentDensities",
    "Planar",
    "Point",
    "Posterior",
    "PosteriorFamily",
    "SampleAndLogProb",
    "Stacked",
    "TwoLayers",
    "VonMisesFisher",
    "VonMisesFisherFamily",
    "init_conditional",
    "log_area",
    "nearest_level",
    "normal_log_density",
    "pairwise_log_density",
]

POSTERIORS: dict[str, type[PosteriorFamily]] = {
    "gaussian": DiagonalGaussian,
    "full_gaussian": FullGaussian,
    "iaf": InverseAutoregressive,
    "planar": Planar,
    "delta": Delta,
    "fsq": FSQ,
    "von_mises_fisher": VonMisesFisherFamily,
}
"""Families by name, the values of the setting ``posterior``; ``Stacked`` extends one of them."""
