"""Discretized logistic pixels for 8-bit images (Salimans et al. 2017, PixelCNN++, section 2.1).

A logistic variable, or a mixture of several, is rounded to the nearest of the 256 levels. Values
below 0 and above 255 count as 0 and 255, so the probabilities of the levels sum to 1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import (
    IMAGE_AXES,
    Bias,
    DataMean,
    Likelihood,
    Outputs,
    flat,
)
from vae_jax.models.likelihoods.eight_bit import MAX_LEVEL, levels
from vae_jax.models.likelihoods.inversion import invert
from vae_jax.models.likelihoods.scales import bounded_log_ratio
from vae_jax.settings import setting, whole
from vae_jax.types import EventAxes, Observations, Params, PRNGKey

Components = Float[Array, "... logistics"]
"""Numbers of each component of each dimension of x, ``[*batch, *event, logistics]``."""

INITIAL_SCALE = 0.1
"""Scale of each logistic at an output of zero: a standard deviation of 0.18, as of a photo."""


class IndependentDiscretizedLogistic(NamedTuple):
    """Distribution P(x|z) = prod_d sum_k w_dk P(round(255 y_dk) = 255 x_d), y logistic.

    Here y_dk ~ Logistic(loc_dk, exp(log_scale_dk)) and w is the softmax of ``logits``.

    Attributes:
        logits: logits of the mixture weights, ``[..., logistics]``.
        loc: locations, in the unit of x.
        log_scale: logs of the scales, in the unit of x.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> zero = jnp.zeros((1, 1, 1, 1, 1))
        >>> p = IndependentDiscretizedLogistic(zero, zero, zero - 50.0)  # all mass on level 0
        >>> p.log_prob(jnp.zeros((1, 1, 1, 1))).tolist()
        [0.0]
    """

    logits: Components
    loc: Components
    log_scale: Components
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log P(x|z) in nats, a probability of 8-bit images; x is rounded to a level."""
        level = flat(levels(x).astype(x.dtype), self.event)[..., None, :]
        log_weight = jax.nn.log_softmax(_pixels_last(self.logits, self.event), axis=-2)
        log_mass = _log_mass(
            _pixels_last(self.loc, self.event), _pixels_last(self.log_scale, self.event), level
        )
        return jnp.sum(jax.nn.logsumexp(log_weight + log_mass, axis=-2), axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z], the mean of the levels and not of the logistic variables."""
        weight = jax.nn.softmax(self.logits, axis=-1)
        return jnp.sum(weight * _mean(self.loc, self.log_scale), axis=-1)

    def sample(self, key: PRNGKey) -> Observations:
        """Draw images of whole levels: a component, then a logistic variable, which is rounded."""
        component_key, noise_key = jax.random.split(key)
        chosen = jax.random.categorical(component_key, self.logits)[..., None]
        loc = jnp.take_along_axis(self.loc, chosen, axis=-1)[..., 0]
        log_scale = jnp.take_along_axis(self.log_scale, chosen, axis=-1)[..., 0]
        noise = jax.random.logistic(noise_key, loc.shape, loc.dtype)
        return levels(loc + jnp.exp(log_scale) * noise).astype(loc.dtype) / MAX_LEVEL


@dataclass(frozen=True)
class DiscretizedLogisticLikelihood(Likelihood[IndependentDiscretizedLogistic]):
    """Discretized logistic pixels: a location and a log-scale, and in mixtures a logit, for each.

    Attributes:
        num_logistics: number of components of each pixel's mixture.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family = DiscretizedLogisticLikelihood(num_logistics=3)
        >>> outputs = family.initial_bias(jnp.full((1, 1, 1), 0.25))[None]
        >>> outputs.shape, round(float(family(HParams.of(), {}, outputs).mean()[0, 0, 0, 0]), 3)
        ((1, 1, 1, 1, 9), 0.25)
    """

    num_logistics: int = setting(
        1, whole(1), "logistic components of a pixel (discretized_logistic)"
    )

    is_discrete: ClassVar[bool] = True
    is_eight_bit: ClassVar[bool] = True
    event_ranks: ClassVar[tuple[int, ...] | None] = None

    @property
    def num_outputs(self) -> int:
        """Number of locations, log-scales and, unless there is a single logistic, logits."""
        return 2 if self.num_logistics == 1 else 3 * self.num_logistics

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the bias that gives every logistic the data mean, clipped to [0.001, 0.999]."""
        log_scale = jnp.full_like(data_mean, math.log(INITIAL_SCALE))
        clipped = jnp.clip(data_mean, 1e-3, 1.0 - 1e-3)
        loc = invert(lambda loc: _mean(loc, log_scale), clipped, -2.0, 3.0)[..., None]
        locs = jnp.repeat(loc, self.num_logistics, axis=-1)
        rest = jnp.zeros((*data_mean.shape, self.num_outputs - self.num_logistics), loc.dtype)
        return jnp.concatenate([locs, rest], axis=-1)

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> IndependentDiscretizedLogistic:
        """Return p(x|z); outputs are locations, log-ratios to the initial scale, and logits."""
        n = self.num_logistics
        loc, log_ratio, logits = outputs[..., :n], outputs[..., n : 2 * n], outputs[..., 2 * n :]
        log_scale = math.log(INITIAL_SCALE) + bounded_log_ratio(log_ratio)
        return IndependentDiscretizedLogistic(
            logits if n > 1 else jnp.zeros_like(loc), loc, log_scale, event
        )


def _pixels_last(
    components: Components, event: EventAxes
) -> Float[Array, "*batch logistics pixels"]:
    """Return the arrays with pixels on the last axis, over which a loop is vectorised."""
    *shape, logistics = components.shape
    batch = shape[: len(shape) - len(event)]
    return jnp.swapaxes(components.reshape(*batch, -1, logistics), -1, -2)


def _log_mass(
    loc: Float[Array, "*batch logistics pixels"],
    log_scale: Float[Array, "*batch logistics pixels"],
    level: Float[Array, "*batch 1 pixels"],
) -> Float[Array, "*batch logistics pixels"]:
    """Return log P(level) under each logistic, without subtracting two nearly equal numbers.

    With edges a < b of the level's cell, measured from loc in units of the scale, and s the
    sigmoid: s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)). For levels 0 and 255 one factor remains.
    """
    inverse = jnp.exp(-log_scale)
    lower = ((level - 0.5) / MAX_LEVEL - loc) * inverse
    upper = ((level + 0.5) / MAX_LEVEL - loc) * inverse
    above = jnp.where(level > 0, jax.nn.log_sigmoid(-lower), 0.0)
    below = jnp.where(level < MAX_LEVEL, jax.nn.log_sigmoid(upper), 0.0)
    is_inner = (level > 0) & (level < MAX_LEVEL)
    return above + below + jnp.where(is_inner, jnp.log(-jnp.expm1(-inverse / MAX_LEVEL)), 0.0)


def _mean(loc: Float[Array, "*shape"], log_scale: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return E[level] / 255, which is the sum of P(y > edge) over the 255 inner edges, over 255.

    It is a loop over the edges: an axis of them would need 255 times the memory.
    """
    inverse = jnp.exp(-log_scale)

    def add(level: Int[Array, ""], total: Array) -> Array:
        return total + jax.nn.sigmoid((loc - (level + 0.5) / MAX_LEVEL) * inverse)

    return jax.lax.fori_loop(0, MAX_LEVEL, add, jnp.zeros_like(loc)) / MAX_LEVEL
