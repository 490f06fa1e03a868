"""Approximate posteriors q(z|x): what the encoder's outputs mean.

A family is a frozen dataclass that names the encoder's heads and turns their values into a
distribution. A distribution is a ``NamedTuple`` of arrays with methods, so it passes through
``jit``, ``vmap`` and ``grad``. A new posterior is a file here, a row in ``POSTERIORS`` and a row in
the table of its tests; ``base`` says what it must be able to do.
"""

from vae_jax.posteriors.base import Draw, Head, Posterior, PosteriorFamily
from vae_jax.posteriors.delta import Delta, Point
from vae_jax.posteriors.gaussian import DiagonalGaussian, Gaussian, normal_log_density

__all__ = [
    "POSTERIORS",
    "Delta",
    "DiagonalGaussian",
    "Draw",
    "Gaussian",
    "Head",
    "Point",
    "Posterior",
    "PosteriorFamily",
    "normal_log_density",
]

POSTERIORS: dict[str, type[PosteriorFamily]] = {
    "gaussian": DiagonalGaussian,
    "delta": Delta,
}
"""Families by the name that ``--posterior`` knows them by."""
