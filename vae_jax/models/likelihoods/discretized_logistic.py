"""Discretized logistic pixels: 8-bit images (Salimans et al. 2017, PixelCNN++, section 2.1).

A logistic variable, or a mixture of some, is rounded to the nearest of the 256 levels; those
beyond the ends count as 0 and 255, so that the probabilities of the levels sum to 1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import Bias, DataMean, Likelihood, Outputs, flat
from vae_jax.models.likelihoods.eight_bit import TOP, levels
from vae_jax.models.likelihoods.inversion import invert
from vae_jax.models.likelihoods.scales import bounded
from vae_jax.types import Images, Params, PRNGKey

Components = Float[Array, "*batch height width channels logistics"]

INITIAL_SCALE = 0.1
"""Of each logistic under an output of zero: a standard deviation of 0.18, about that of a photo."""


class IndependentDiscretizedLogistic(NamedTuple):
    """P(x|z) = prod_d sum_k w_dk P(round(255 y) = 255 x_d), y ~ Logistic(loc_dk, scale_dk).

    Locations and scales are in the unit of x; w is the softmax of ``logits``.
    """

    logits: Components
    loc: Components
    log_scale: Components

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log P(x|z) in nats: a probability of 8-bit images; other x are rounded to a level."""
        level = flat(levels(x).astype(x.dtype))[..., None, :]
        log_weight = jax.nn.log_softmax(_pixels_last(self.logits), axis=-2)
        log_mass = _log_mass(_pixels_last(self.loc), _pixels_last(self.log_scale), level)
        return jnp.sum(jax.nn.logsumexp(log_weight + log_mass, axis=-2), axis=-1)

    def mean(self) -> Images:
        """E[x|z], of the levels, not of the logistics under them."""
        weight = jax.nn.softmax(self.logits, axis=-1)
        return jnp.sum(weight * _mean(self.loc, self.log_scale), axis=-1)

    def sample(self, key: PRNGKey) -> Images:
        """Images of whole levels: a component, then a logistic variable, rounded."""
        component_key, noise_key = jax.random.split(key)
        chosen = jax.random.categorical(component_key, self.logits)[..., None]
        loc = jnp.take_along_axis(self.loc, chosen, axis=-1)[..., 0]
        log_scale = jnp.take_along_axis(self.log_scale, chosen, axis=-1)[..., 0]
        noise = jax.random.logistic(noise_key, loc.shape, loc.dtype)
        return levels(loc + jnp.exp(log_scale) * noise).astype(loc.dtype) / TOP


@dataclass(frozen=True)
class DiscretizedLogisticLikelihood(Likelihood[IndependentDiscretizedLogistic]):
    """Per pixel and logistic a location and a log-scale and, where there are several, a logit.

    Attributes:
        num_logistics: components of each pixel's mixture.
    """

    num_logistics: int = 1

    is_discrete: ClassVar[bool] = True
    is_eight_bit: ClassVar[bool] = True

    @property
    def num_outputs(self) -> int:
        """Locations, log-scales, and logits unless there is a single logistic."""
        return 2 if self.num_logistics == 1 else 3 * self.num_logistics

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Every logistic has the data's mean, clipped to [0.001, 0.999], and the initial scale."""
        log_scale = jnp.full_like(data_mean, math.log(INITIAL_SCALE))
        clipped = jnp.clip(data_mean, 1e-3, 1.0 - 1e-3)
        loc = invert(lambda loc: _mean(loc, log_scale), clipped, -2.0, 3.0)[..., None]
        locs = jnp.repeat(loc, self.num_logistics, axis=-1)
        rest = jnp.zeros((*data_mean.shape, self.num_outputs - self.num_logistics), loc.dtype)
        return jnp.concatenate([locs, rest], axis=-1)

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs
    ) -> IndependentDiscretizedLogistic:
        """Outputs are locations, log-ratios of scales to the initial one, and logits."""
        n = self.num_logistics
        loc, log_ratio, logits = outputs[..., :n], outputs[..., n : 2 * n], outputs[..., 2 * n :]
        log_scale = math.log(INITIAL_SCALE) + bounded(log_ratio)
        return IndependentDiscretizedLogistic(
            logits if n > 1 else jnp.zeros_like(loc), loc, log_scale
        )


def _pixels_last(components: Components) -> Float[Array, "*batch logistics pixels"]:
    """One long axis in the end: a loop over it is vectorised, one over few logistics is not."""
    *batch, _, _, _, logistics = components.shape
    return jnp.swapaxes(components.reshape(*batch, -1, logistics), -1, -2)


def _log_mass(
    loc: Float[Array, "*batch logistics pixels"],
    log_scale: Float[Array, "*batch logistics pixels"],
    level: Float[Array, "*batch 1 pixels"],
) -> Float[Array, "*batch logistics pixels"]:
    """Log P(level) under each logistic, without ever subtracting two nearly equal numbers.

    With edges a < b of the level's cell, in scales from loc,
    s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)); towards an end of the grid only one factor is left.
    """
    inverse = jnp.exp(-log_scale)
    lower = ((level - 0.5) / TOP - loc) * inverse
    upper = ((level + 0.5) / TOP - loc) * inverse
    above = jnp.where(level > 0, jax.nn.log_sigmoid(-lower), 0.0)
    below = jnp.where(level < TOP, jax.nn.log_sigmoid(upper), 0.0)
    is_inner = (level > 0) & (level < TOP)
    return above + below + jnp.where(is_inner, jnp.log(-jnp.expm1(-inverse / TOP)), 0.0)


def _mean(loc: Float[Array, "*shape"], log_scale: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """E[level] / 255 = sum over the 255 inner edges of P(y > edge), over 255.

    A loop over the edges: an axis of them would need 255 times the memory.
    """
    inverse = jnp.exp(-log_scale)

    def add(level: Int[Array, ""], total: Array) -> Array:
        return total + jax.nn.sigmoid((loc - (level + 0.5) / TOP) * inverse)

    return jax.lax.fori_loop(0, TOP, add, jnp.zeros_like(loc)) / TOP
