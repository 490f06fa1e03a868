"""Observation models p(x|z): what the decoder's outputs mean.

A likelihood is a frozen dataclass. Its decoder gives ``num_outputs`` numbers for each pixel and
channel, in a trailing axis. ``log_prob`` is normalised and sums over pixels and channels, so it is
in nats per image.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.types import Images, PRNGKey

Outputs = Float[Array, "*batch height width channels outputs"]


@runtime_checkable
class Likelihood(Protocol):
    """What the model asks of p(x|z)."""

    num_outputs: ClassVar[int]
    """Decoder outputs for each pixel and channel."""

    def log_prob(self, outputs: Outputs, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) in nats, summed over pixels and channels, constants included."""
        ...

    def mean(self, outputs: Outputs) -> Images:
        """E[x|z]."""
        ...

    def sample(self, outputs: Outputs, key: PRNGKey) -> Images:
        """Images drawn from p(x|z)."""
        ...

    def initial_bias(
        self, data_mean: Float[Array, "height width channels"]
    ) -> Float[Array, "height width channels outputs"]:
        """Output bias under which an untrained decoder already knows each pixel's mean."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """p(x|z) = prod_d s_d^x_d (1 - s_d)^(1 - x_d) with s = sigmoid(logits).

    Normalised over binary x. For gray x in (0, 1) the same expression is a cross-entropy: usable
    as a loss, but neither a density nor a probability of the image.
    """

    num_outputs: ClassVar[int] = 1

    def log_prob(self, outputs: Outputs, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) = sum_d x_d l_d - log(1 + exp(l_d)), in nats; exact for any logit l."""
        return jnp.sum(_bernoulli_log_density(_flat(outputs[..., 0]), _flat(x)), axis=-1)

    def mean(self, outputs: Outputs) -> Images:
        """E[x|z] = sigmoid(logits)."""
        return jax.nn.sigmoid(outputs[..., 0])

    def sample(self, outputs: Outputs, key: PRNGKey) -> Images:
        """Binary images drawn from p(x|z)."""
        mean = self.mean(outputs)
        return jax.random.bernoulli(key, mean).astype(mean.dtype)

    def initial_bias(
        self, data_mean: Float[Array, "height width channels"]
    ) -> Float[Array, "height width channels outputs"]:
        """Output bias under which an untrained decoder already knows each pixel's mean.

        logit of the training mean, clipped to [0.001, 0.999] (Burda et al. 2016, released code).
        """
        clipped = jnp.clip(data_mean, 1e-3, 1.0 - 1e-3)
        return (jnp.log(clipped) - jnp.log1p(-clipped))[..., None]


def _flat(images: Images) -> Float[Array, "*batch pixels"]:
    """Pixels in one axis: a loop over it is vectorised, one over three short axes is not."""
    return images.reshape(*images.shape[:-3], -1)


@jax.custom_jvp
def _bernoulli_log_density(
    logits: Float[Array, "*#shape"], x: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """X l - log(1 + exp(l)) without overflow: the softplus is max(l, 0) + log1p(exp(-|l|))."""
    return x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_bernoulli_log_density.defjvp
def _bernoulli_log_density_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Slope x - sigmoid(l); value and slope share their one exponential (a tenth of a step)."""
    (logits, x), (logits_dot, x_dot) = primals, tangents
    decay = jnp.exp(-jnp.abs(logits))
    value = x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(decay)
    sigmoid = jnp.where(logits >= 0, 1.0, decay) / (1.0 + decay)
    return value, logits_dot * (x - sigmoid) + x_dot * logits
