"""Continuous Bernoulli pixels for gray images in [0, 1] (Loaiza-Ganem & Cunningham 2019).

With logit l the density e^(l x) / Z(l), Z(l) = (e^l - 1) / l, is an exponential family on [0, 1]:
the mean is the derivative of log Z. In the paper's notation l = logit(lambda) and C(lambda) =
(1 + e^l) / Z(l). Nothing is clipped here; the authors' code keeps lambda in [1e-4, 1 - 1e-4],
which bounds log p by 2.22 nats a pixel, so its values and these differ on black and white pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import (
    IMAGE_AXES,
    Bias,
    DataMean,
    Likelihood,
    Outputs,
    flat,
)
from vae_jax.models.likelihoods.inversion import invert
from vae_jax.types import EventAxes, Observations, Params, PRNGKey

SERIES_BELOW = 2.0
"""Bound of |l| for the power series of log Z; beyond it the closed form loses below two bits."""
SERIES = tuple(1.0 / math.factorial(2 * n + 1) for n in range(1, 10))
"""Coefficients of sinh(u) / u - 1 in powers of u^2; the next term is below 1e-19 for |u| <= 1."""
MIN_MEAN = 0.05
"""Smallest mean of the initial bias. There |l| is 20; it grows as 1/mean, and Adam would need many
updates to reduce it."""


class IndependentContinuousBernoulli(NamedTuple):
    """Distribution p(x|z) = prod_d exp(l_d x_d) / Z(l_d) on [0, 1], with Z(l) = (e^l - 1) / l.

    Attributes:
        logits: logit l of each dimension of x.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> p = IndependentContinuousBernoulli(jnp.zeros((1, 2, 2, 1)))  # uniform on [0, 1]
        >>> p.log_prob(jnp.full((1, 2, 2, 1), 0.3)).tolist(), p.mean()[0, 0, 0, 0].item()
        ([0.0], 0.5)
    """

    logits: Observations
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) = sum_d l_d x_d - log Z(l_d) in nats; stable for any l, 0 included."""
        logits = flat(self.logits, self.event)
        # The two large terms cancel exactly before the small one is added.
        linear = logits * flat(x, self.event) - jnp.maximum(logits, 0.0)
        return jnp.sum(linear - _log_normalizer_rest(logits), axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z] = d log Z / dl = 1 / (1 - e^-l) - 1 / l, which is 1/2 at l = 0."""
        return _mean(self.logits)

    def sample(self, key: PRNGKey) -> Observations:
        """Draw gray images from p(x|z) by the inverse of the distribution function.

        For l < 0 the inverse is log(1 - u (1 - e^l)) / l, and x given l is distributed as 1 - x
        given -l.
        """
        u = jax.random.uniform(key, self.logits.shape, self.logits.dtype)
        rate = jnp.maximum(jnp.abs(self.logits), 1e-12)
        x = -jnp.log1p(u * jnp.expm1(-rate)) / rate
        return jnp.where(self.logits > 0, 1.0 - x, x)


@dataclass(frozen=True)
class ContinuousBernoulliLikelihood(Likelihood[IndependentContinuousBernoulli]):
    """Continuous Bernoulli pixels with one logit each: a density of x = pixel / 255 in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family = ContinuousBernoulliLikelihood()
        >>> outputs = family.initial_bias(jnp.full((1, 1, 1), 0.25))[None]
        >>> round(float(family(HParams.of(), {}, outputs).mean()[0, 0, 0, 0]), 3)
        0.25
    """

    event_ranks: ClassVar[tuple[int, ...] | None] = None

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the logit whose mean is the data mean, clipped to [0.05, 0.95]."""
        clipped = jnp.clip(data_mean, MIN_MEAN, 1.0 - MIN_MEAN)
        return invert(_mean, clipped, -32.0, 32.0)[..., None]

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> IndependentContinuousBernoulli:
        """Return the distribution whose logits are the outputs."""
        return IndependentContinuousBernoulli(outputs[..., 0], event)


def _log_normalizer_rest(logits: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return log Z(l) - max(l, 0), an even function of l.

    It is log(1 - e^-|l|) - log|l| or, near zero, log(sinh(u) / u) + u - max(l, 0) with u = l / 2.
    Each branch is given only arguments at which its own derivative is finite.
    """
    is_small = jnp.abs(logits) < SERIES_BELOW
    rate = jnp.abs(jnp.where(is_small, SERIES_BELOW, logits))
    small = jnp.where(is_small, logits, 0.0)
    near = jnp.log1p(_series(0.25 * small**2)) + 0.5 * small - jnp.maximum(small, 0.0)
    return jnp.where(is_small, near, jnp.log1p(-jnp.exp(-rate)) - jnp.log(rate))


def _series(square: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return sinh(u) / u - 1 for u^2 <= 1, by Horner's rule."""
    total = jnp.zeros_like(square)
    for coefficient in reversed(SERIES):
        total = square * (coefficient + total)
    return total


def _mean(logits: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the mean, which is the derivative of log Z."""

    def log_normalizer(logits: Array) -> Array:
        return jnp.maximum(logits, 0.0) + _log_normalizer_rest(logits)

    return jax.jvp(log_normalizer, (logits,), (jnp.ones_like(logits),))[1]
