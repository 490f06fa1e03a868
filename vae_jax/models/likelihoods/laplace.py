"""Laplace pixels: the reconstruction term is an absolute error, with the constant that it needs."""

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

LOG_2 = math.log(2.0)


class IndependentLaplace(NamedTuple):
    """p(x|z) = prod_d exp(-|x_d - loc_d| / scale_d) / (2 scale_d)."""

    loc: Images
    log_scale: LogScales

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) in nats: a density over all real x, which may exceed 1."""
        log_scale = flat(self.log_scale)
        deviation = jnp.abs(flat(x) - flat(self.loc)) * finite_exp(-log_scale)
        return jnp.sum(-deviation - log_scale - LOG_2, axis=-1)

    def mean(self) -> Images:
        """E[x|z] = loc."""
        return self.loc

    def sample(self, key: PRNGKey) -> Images:
        """Images drawn from p(x|z); they may leave [0, 1]."""
        noise = jax.random.laplace(key, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise

    def best_log_scale(self, x: Images) -> Float[Array, ""]:
        """Log of the mean absolute error over all pixels and examples."""
        return log_of_mean(jnp.abs(x - self.loc))


@dataclass(frozen=True)
class LaplaceLikelihood(LocationScale[IndependentLaplace]):
    """Laplace pixels; the scale is their mean absolute deviation."""

    def make(self, loc: Images, log_scale: LogScales) -> IndependentLaplace:
        """The distribution with these medians and log mean absolute deviations."""
        return IndependentLaplace(loc, log_scale)
