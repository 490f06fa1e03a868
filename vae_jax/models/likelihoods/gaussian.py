"""Gaussian pixels: the reconstruction term is a squared error, with the constant that it needs."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.models.likelihoods.base import flat
from vae_jax.models.likelihoods.location_scale import LocationScale, LogScales, log_of_mean
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import Images, PRNGKey

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class IndependentGaussian(NamedTuple):
    """p(x|z) = prod_d N(x_d; loc_d, scale_d^2)."""

    loc: Images
    log_scale: LogScales

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) in nats: a density over all real x, which may exceed 1."""
        log_scale = flat(self.log_scale)
        deviation = (flat(x) - flat(self.loc)) * finite_exp(-log_scale)
        return jnp.sum(-0.5 * deviation**2 - log_scale - HALF_LOG_2PI, axis=-1)

    def mean(self) -> Images:
        """E[x|z] = loc."""
        return self.loc

    def sample(self, key: PRNGKey) -> Images:
        """Images drawn from p(x|z); they may leave [0, 1]."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise

    def best_log_scale(self, x: Images) -> Float[Array, ""]:
        """Half the log of the mean squared error over all pixels and examples."""
        return 0.5 * log_of_mean((x - self.loc) ** 2)


@dataclass(frozen=True)
class GaussianLikelihood(LocationScale[IndependentGaussian]):
    """Gaussian pixels; the scale is their standard deviation."""

    def make(self, loc: Images, log_scale: LogScales) -> IndependentGaussian:
        """The distribution with these means and log standard deviations."""
        return IndependentGaussian(loc, log_scale)
