"""FactorVAE: total correlation by a discriminator that learns beside the model.

The optimal classifier of samples of q(z) against samples of prod_j q(z_j) has the logit
log q(z) - sum_j log q(z_j), whose mean over q(z) is the total correlation (Kim & Mnih 2018, eq. 3).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.networks import Discriminator
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, column_keys
from vae_jax.settings import real
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar

Codes = Float[Array, "particles batch latents"]
"""Samples of z for a batch, zero on unused coordinates."""


@dataclass(frozen=True)
class FactorVAE(Regularizer):
    """Total correlation by a discriminator, as the penalty of FactorVAE (Kim & Mnih 2018, eq. 2).

    One gradient step trains both. The penalty has no gradient by the discriminator's parameters and
    its loss none by the codes; the loss adds its gradient to the objective but not its value. The
    paper alternates between the two, takes the permuted codes from a batch of their own, and gives
    the discriminator six layers of 1000 units and an Adam of its own (step size 1e-4, beta1 = 0.5,
    beta2 = 0.9). Here it has three of 256 and learns with the model's Adam: at the model's step
    size, and under the same ``clip_norm``.

    Example:
        >>> import vae_jax
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=10)
        >>> spec = vae_jax.TrainSpec(model, regularizers=(FactorVAE(),))
        >>> hparams = vae_jax.HParams.of(factor_weight=[0.0, 35.0])
        >>> spec.regularizers[0].strengths()
        ('factor_weight',)
    """

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "factor_weight",
            0.0,
            real(0.0),
            "weight of FactorVAE's total correlation",
            source="Kim & Mnih 2018, eq. 2",
        ),
    )
    needs_coordinates: ClassVar[bool] = True

    def init(self, key: PRNGKey, latent_mask: LatentMask) -> Params:
        """Return the initial weights of the discriminator."""
        return Discriminator().init(key, jnp.zeros((1, len(latent_mask))), latent_mask)["params"]

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """Return the weighted estimate; its gradient includes that of the discriminator's loss."""
        latent_mask = context.latent_mask
        z = apply_mask(latent_mask, samples.z)
        estimate = jnp.mean(log_odds(jax.lax.stop_gradient(params), z, latent_mask))
        loss = discriminator_loss(params, jax.lax.stop_gradient(z), context)
        return hparams.factor_weight * estimate + (loss - jax.lax.stop_gradient(loss))


def log_odds(params: Params, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch"]:
    """Return the discriminator's logit, an estimate of log q(z) - sum_j log q(z_j)."""
    return jnp.asarray(Discriminator().apply({"params": params}, z, latent_mask))


def discriminator_loss(params: Params, z: Codes, context: Context) -> Scalar:
    """Return the cross entropy of codes against permuted codes (Kim & Mnih 2018, algorithm 2)."""
    joint = log_odds(params, z, context.latent_mask)
    product = log_odds(params, permuted(context.key, z, context.latent_mask), context.latent_mask)
    return 0.5 * (jnp.mean(jax.nn.softplus(-joint)) + jnp.mean(jax.nn.softplus(product)))


def permuted(key: PRNGKey, z: Codes, latent_mask: LatentMask) -> Codes:
    """Permute each coordinate of z over the batch on its own: samples of prod_j q(z_j)."""
    orders = jax.vmap(lambda own: jax.random.permutation(own, z.shape[1]))
    indices = jnp.broadcast_to(orders(column_keys(key, latent_mask)).T, z.shape)
    return jnp.take_along_axis(z, indices, axis=1)
