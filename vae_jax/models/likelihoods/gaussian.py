"""Gaussian pixels: the reconstruction term is a squared error with its normalising constant."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.models.likelihoods.base import IMAGE_AXES, BestScale, flat
from vae_jax.models.likelihoods.location_scale import LocationScale, LogScales, log_of_mean
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import EventAxes, Observations, PRNGKey

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
"""Half the natural logarithm of 2 pi."""


class IndependentGaussian(NamedTuple):
    """Distribution p(x|z) = prod_d N(x_d; loc_d, scale_d^2).

    Attributes:
        loc: mean of each dimension of x.
        log_scale: log of the standard deviation, per dimension or one for all.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> p = IndependentGaussian(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)))
        >>> round(float(p.log_prob(jnp.zeros((1, 2, 2, 1)))[0]), 3)  # -2 ln(2 pi) nats
        -3.676
    """

    loc: Observations
    log_scale: LogScales
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) in nats, a density over all real x, which may exceed 1."""
        log_scale = flat(self.log_scale, self.event)
        deviation = (flat(x, self.event) - flat(self.loc, self.event)) * finite_exp(-log_scale)
        return jnp.sum(-0.5 * deviation**2 - log_scale - HALF_LOG_2PI, axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z] = loc."""
        return self.loc

    def sample(self, key: PRNGKey) -> Observations:
        """Draw x from p(x|z); pixels may lie outside [0, 1]."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise

    def optimal_log_scale(self, x: Observations) -> Float[Array, ""]:
        """Return half the log of the mean squared error over all pixels and examples."""
        return 0.5 * log_of_mean((x - self.loc) ** 2)


@dataclass(frozen=True)
class GaussianLikelihood(LocationScale[IndependentGaussian]):
    """Gaussian pixels; the scale is their standard deviation.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams = GaussianLikelihood(), HParams.of(scale=0.5)
        >>> outputs = family.initial_bias(jnp.full((2, 2, 1), 0.25))[None]
        >>> p = family(hparams, family.init(hparams, (2, 2, 1)), outputs)
        >>> float(p.mean()[0, 0, 0, 0]), round(float(p.log_scale[0, 0, 0, 0]), 3)
        (0.25, -0.693)
    """

    def make(
        self, loc: Observations, log_scale: LogScales, event: EventAxes = IMAGE_AXES
    ) -> IndependentGaussian:
        """Return the distribution with these means and log standard deviations."""
        return IndependentGaussian(loc, log_scale, event)

    @classmethod
    def best_scale(
        cls, log_likelihood: float, scale: float, num_values: int, **settings: float
    ) -> BestScale:
        """Return the root of the mean squared error, from log p = -D/2 (ln 2 pi s^2 + MSE / s^2).

        Example:
            >>> GaussianLikelihood.best_scale(-HALF_LOG_2PI - 0.125, 1.0, 1).scale  # MSE = 1/4
            0.5
        """
        del settings
        constant = 2 * (HALF_LOG_2PI + math.log(scale))
        square = scale**2 * max(-2 * log_likelihood / num_values - constant, 1e-12)
        best = -0.5 * num_values * (2 * HALF_LOG_2PI + math.log(square) + 1)
        return BestScale(math.sqrt(square), best, power=2.0)
