"""Bernoulli pixels: binary images."""

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
from vae_jax.types import EventAxes, Observations, Params, PRNGKey


class IndependentBernoulli(NamedTuple):
    """Distribution p(x|z) = prod_d s_d^x_d (1 - s_d)^(1 - x_d) with s = sigmoid(logits).

    Attributes:
        logits: logit of each dimension of x.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> p = IndependentBernoulli(jnp.zeros((1, 2, 2, 1)))
        >>> round(float(p.log_prob(jnp.ones((1, 2, 2, 1)))[0]), 3)  # 4 ln(1/2) nats
        -2.773
    """

    logits: Observations
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) = sum_d x_d l_d - log(1 + exp(l_d)) in nats; exact for any logit l."""
        return jnp.sum(_log_density(flat(self.logits, self.event), flat(x, self.event)), axis=-1)

    def mean(self) -> Observations:
        """Return E[x|z] = sigmoid(logits)."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: PRNGKey) -> Observations:
        """Draw binary images from p(x|z)."""
        return jax.random.bernoulli(key, self.mean()).astype(self.logits.dtype)


@dataclass(frozen=True)
class BernoulliLikelihood(Likelihood[IndependentBernoulli]):
    """Bernoulli pixels with one logit each, for binary images.

    Normalised over binary x. For gray x in (0, 1) the same expression is a cross-entropy: usable
    as a loss, but neither a density nor a probability of the image.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family = BernoulliLikelihood()
        >>> outputs = family.initial_bias(jnp.full((2, 2, 1), 0.25))[None]
        >>> jnp.round(family(HParams.of(), {}, outputs).mean(), 3).ravel().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """

    is_discrete: ClassVar[bool] = True
    event_ranks: ClassVar[tuple[int, ...] | None] = None
    is_binary: ClassVar[bool] = True

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the logit of the data mean, clipped to [0.001, 0.999] (Burda et al. 2016)."""
        clipped = jnp.clip(data_mean, 1e-3, 1.0 - 1e-3)
        return (jnp.log(clipped) - jnp.log1p(-clipped))[..., None]

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> IndependentBernoulli:
        """Return the distribution whose logits are the outputs."""
        return IndependentBernoulli(outputs[..., 0], event)


@jax.custom_jvp
def _log_density(
    logits: Float[Array, "*#shape"], x: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Return x l - log(1 + exp(l)), with the softplus as max(l, 0) + log1p(exp(-|l|))."""
    return x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_log_density.defjvp
def _log_density_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the value and its derivative x - sigmoid(l).

    They share their one exponential, which saves a tenth of a training step.
    """
    (logits, x), (logits_dot, x_dot) = primals, tangents
    decay = jnp.exp(-jnp.abs(logits))
    value = x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(decay)
    sigmoid = jnp.where(logits >= 0, 1.0, decay) / (1.0 + decay)
    return value, logits_dot * (x - sigmoid) + x_dot * logits
