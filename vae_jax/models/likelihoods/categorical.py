"""Categorical pixels for 8-bit images: each of the 256 levels has its own logit."""

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
from vae_jax.models.likelihoods.eight_bit import MAX_LEVEL, NUM_LEVELS, levels
from vae_jax.models.likelihoods.inversion import invert
from vae_jax.types import EventAxes, Observations, Params, PRNGKey

MIN_MEAN = 0.05
"""Smallest mean of the initial bias: there white and black differ by a logit of 20; ~ 1/mean."""


class IndependentCategorical(NamedTuple):
    """Distribution P(x|z) = prod_d softmax(logits_d)[255 x_d].

    Attributes:
        logits: logit of each level, for each dimension of x.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> p = IndependentCategorical(jnp.zeros((1, 1, 1, 1, 256)))
        >>> round(float(p.log_prob(jnp.zeros((1, 1, 1, 1)))[0]), 3)  # -ln 256 nats
        -5.545
    """

    logits: Float[Array, "... levels"]
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log P(x|z) in nats, a probability of 8-bit images; x is rounded to a level."""
        level = levels(x)[..., None]
        chosen = jnp.take_along_axis(self.logits, level, axis=-1)[..., 0]
        return jnp.sum(flat(chosen - jax.nn.logsumexp(self.logits, axis=-1), self.event), axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z] = sum_k softmax(logits)_k k / 255."""
        return _mean(self.logits)

    def sample(self, key: PRNGKey) -> Observations:
        """Draw images of whole levels from P(x|z)."""
        return jax.random.categorical(key, self.logits).astype(self.logits.dtype) / MAX_LEVEL


@dataclass(frozen=True)
class CategoricalLikelihood(Likelihood[IndependentCategorical]):
    """Categorical pixels with 256 logits each; the order of the levels is not built in.

    The last layer is 256 times as wide as that of ``bernoulli``.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family = CategoricalLikelihood()
        >>> outputs = family.initial_bias(jnp.full((1, 1, 1), 0.25))[None]
        >>> round(float(family(HParams.of(), {}, outputs).mean()[0, 0, 0, 0]), 3)
        0.25
    """

    is_discrete: ClassVar[bool] = True
    is_eight_bit: ClassVar[bool] = True
    event_ranks: ClassVar[tuple[int, ...] | None] = None

    @property
    def num_outputs(self) -> int:
        """Number of decoder outputs for each dimension of x: one logit per level, 256."""
        return NUM_LEVELS

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the logits of maximum entropy with the data mean, clipped to [0.05, 0.95].

        They are linear in the level.
        """
        clipped = jnp.clip(data_mean, MIN_MEAN, 1.0 - MIN_MEAN)
        return _tilted(invert(lambda tilt: _mean(_tilted(tilt)), clipped, -32.0, 32.0))

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> IndependentCategorical:
        """Return the distribution whose logits are the outputs."""
        return IndependentCategorical(outputs, event)


def _tilted(tilt: Float[Array, "*shape"]) -> Float[Array, "*shape levels"]:
    """Return logits that are linear in the level and rise by ``tilt`` from black to white."""
    return jnp.multiply.outer(tilt, _grays(tilt.dtype))


def _mean(logits: Float[Array, "*shape levels"]) -> Float[Array, "*shape"]:
    """Return the mean gray of the softmax; as a matrix product it takes half the time of a sum."""
    probabilities = jax.nn.softmax(logits, axis=-1)
    return jnp.matmul(probabilities, _grays(logits.dtype), precision="highest")


def _grays(dtype: jnp.dtype) -> Float[Array, " levels"]:
    """Return the 256 grays in [0, 1]."""
    return jnp.linspace(0.0, 1.0, NUM_LEVELS, dtype=dtype)
