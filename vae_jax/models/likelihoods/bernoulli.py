"""Bernoulli pixels: binary images."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import Bias, DataMean, Likelihood, Outputs, flat
from vae_jax.types import Images, Params, PRNGKey


class IndependentBernoulli(NamedTuple):
    """p(x|z) = prod_d s_d^x_d (1 - s_d)^(1 - x_d) with s = sigmoid(logits)."""

    logits: Images

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) = sum_d x_d l_d - log(1 + exp(l_d)), in nats; exact for any logit l."""
        return jnp.sum(_log_density(flat(self.logits), flat(x)), axis=-1)

    def mean(self) -> Images:
        """E[x|z] = sigmoid(logits)."""
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: PRNGKey) -> Images:
        """Binary images drawn from p(x|z)."""
        return jax.random.bernoulli(key, self.mean()).astype(self.logits.dtype)


@dataclass(frozen=True)
class BernoulliLikelihood(Likelihood[IndependentBernoulli]):
    """One logit per pixel.

    Normalised over binary x. For gray x in (0, 1) the same expression is a cross-entropy: usable
    as a loss, but neither a density nor a probability of the image.
    """

    is_discrete: ClassVar[bool] = True

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Logit of the data's mean, clipped to [0.001, 0.999] (Burda et al. 2016, their code)."""
        clipped = jnp.clip(data_mean, 1e-3, 1.0 - 1e-3)
        return (jnp.log(clipped) - jnp.log1p(-clipped))[..., None]

    def __call__(self, hparams: HParams, params: Params, outputs: Outputs) -> IndependentBernoulli:
        """Outputs are logits."""
        return IndependentBernoulli(outputs[..., 0])


@jax.custom_jvp
def _log_density(
    logits: Float[Array, "*#shape"], x: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """X l - log(1 + exp(l)) without overflow: the softplus is max(l, 0) + log1p(exp(-|l|))."""
    return x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_log_density.defjvp
def _log_density_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Slope x - sigmoid(l); value and slope share their one exponential (a tenth of a step)."""
    (logits, x), (logits_dot, x_dot) = primals, tangents
    decay = jnp.exp(-jnp.abs(logits))
    value = x * logits - jnp.maximum(logits, 0.0) - jnp.log1p(decay)
    sigmoid = jnp.where(logits >= 0, 1.0, decay) / (1.0 + decay)
    return value, logits_dot * (x - sigmoid) + x_dot * logits
