"""Categorical pixels: 8-bit images, each level with a logit of its own."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import Bias, DataMean, Likelihood, Outputs, flat
from vae_jax.models.likelihoods.eight_bit import NUM_LEVELS, TOP, levels
from vae_jax.models.likelihoods.inversion import invert
from vae_jax.types import Images, Params, PRNGKey

SMALLEST_MEAN = 0.05
"""Of the initial bias: a logit of 20 between black and white, and growing as 1/mean."""


class IndependentCategorical(NamedTuple):
    """P(x|z) = prod_d softmax(logits_d)[255 x_d]."""

    logits: Float[Array, "*batch height width channels levels"]

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log P(x|z) in nats: a probability of 8-bit images; other x are rounded to a level."""
        level = levels(x)[..., None]
        chosen = jnp.take_along_axis(self.logits, level, axis=-1)[..., 0]
        return jnp.sum(flat(chosen - jax.nn.logsumexp(self.logits, axis=-1)), axis=-1)

    def mean(self) -> Images:
        """E[x|z] = sum_k softmax(logits)_k k / 255."""
        return _mean(self.logits)

    def sample(self, key: PRNGKey) -> Images:
        """Images of whole levels drawn from P(x|z)."""
        return jax.random.categorical(key, self.logits).astype(self.logits.dtype) / TOP


@dataclass(frozen=True)
class CategoricalLikelihood(Likelihood[IndependentCategorical]):
    """256 logits per pixel, which know nothing of the order of the levels.

    The last layer is 256 times as wide as that of ``bernoulli``.
    """

    is_discrete: ClassVar[bool] = True
    is_eight_bit: ClassVar[bool] = True

    @property
    def num_outputs(self) -> int:
        """A logit for each level."""
        return NUM_LEVELS

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """The logits of greatest entropy, linear in the level, with the mean, in [0.05, 0.95]."""
        clipped = jnp.clip(data_mean, SMALLEST_MEAN, 1.0 - SMALLEST_MEAN)
        return _tilted(invert(lambda tilt: _mean(_tilted(tilt)), clipped, -32.0, 32.0))

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs
    ) -> IndependentCategorical:
        """Outputs are logits."""
        return IndependentCategorical(outputs)


def _tilted(tilt: Float[Array, "*shape"]) -> Float[Array, "*shape levels"]:
    """Logits that rise by ``tilt`` from black to white."""
    return jnp.multiply.outer(tilt, _grays(tilt.dtype))


def _mean(logits: Float[Array, "*shape levels"]) -> Float[Array, "*shape"]:
    """Mean gray under the softmax; as a matrix product it takes half the time of a sum."""
    probabilities = jax.nn.softmax(logits, axis=-1)
    return jnp.matmul(probabilities, _grays(logits.dtype), precision="highest")


def _grays(dtype: jnp.dtype) -> Float[Array, " levels"]:
    """The 256 grays in [0, 1]."""
    return jnp.linspace(0.0, 1.0, NUM_LEVELS, dtype=dtype)
