"""Laplace pixels: the reconstruction term is an absolute error with its normalising constant."""

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

LOG_2 = math.log(2.0)
"""Natural logarithm of 2."""


class IndependentLaplace(NamedTuple):
    """Distribution p(x|z) = prod_d exp(-|x_d - loc_d| / scale_d) / (2 scale_d).

    Attributes:
        loc: median (and mean) of each dimension of x.
        log_scale: log of the mean absolute deviation, per dimension or one for all.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> p = IndependentLaplace(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)))
        >>> round(float(p.log_prob(jnp.zeros((1, 2, 2, 1)))[0]), 3)  # -4 ln 2 nats
        -2.773
    """

    loc: Observations
    log_scale: LogScales
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) in nats, a density over all real x, which may exceed 1."""
        log_scale = flat(self.log_scale, self.event)
        deviation = jnp.abs(flat(x, self.event) - flat(self.loc, self.event)) * finite_exp(
            -log_scale
        )
        return jnp.sum(-deviation - log_scale - LOG_2, axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z] = loc."""
        return self.loc

    def sample(self, key: PRNGKey) -> Observations:
        """Draw x from p(x|z); pixels may lie outside [0, 1]."""
        noise = jax.random.laplace(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise

    def optimal_log_scale(self, x: Observations) -> Float[Array, ""]:
        """Return the log of the mean absolute error over all pixels and examples."""
        return log_of_mean(jnp.abs(x - self.loc))


@dataclass(frozen=True)
class LaplaceLikelihood(LocationScale[IndependentLaplace]):
    """Laplace pixels; the scale is their mean absolute deviation.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams = LaplaceLikelihood("learned"), HParams.of(scale=0.5)
        >>> round(float(family.init(hparams, (2, 2, 1))["log_scale"]), 3)
        -0.693
    """

    def make(
        self, loc: Observations, log_scale: LogScales, event: EventAxes = IMAGE_AXES
    ) -> IndependentLaplace:
        """Return the distribution with these medians and log mean absolute deviations."""
        return IndependentLaplace(loc, log_scale, event)

    @classmethod
    def best_scale(
        cls, log_likelihood: float, scale: float, num_values: int, **settings: float
    ) -> BestScale:
        """Return the mean absolute error, from log p = -D (ln 2 s + MAE / s).

        Example:
            >>> LaplaceLikelihood.best_scale(-math.log(2) - 0.25, 1.0, 1).scale
            0.25
        """
        del settings
        deviation = scale * max(-log_likelihood / num_values - math.log(2 * scale), 1e-12)
        return BestScale(deviation, -num_values * (math.log(2 * deviation) + 1), power=1.0)
