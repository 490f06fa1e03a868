r"""FactorVAE: total correlation by a discriminator that learns beside the model.

A classifier that tells draws of q(z) from draws of \prod_j q(z_j) has, when it is perfect, the
logit log q(z) - sum_j log q(z_j), whose mean over q(z) is the total correlation (Kim & Mnih 2018,
eq. 3).
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.networks import Discriminator
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, column_keys
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar

Codes = Float[Array, "particles batch latents"]


@dataclass(frozen=True)
class FactorVAE(Regularizer):
    """``factor_weight`` times the discriminator's total correlation (Kim & Mnih 2018, eq. 2).

    One gradient step trains both. The model sees the discriminator as it is, the discriminator
    sees the codes as they are, and its loss adds its gradient to the objective but not its value.
    The paper does this in turns, takes the permuted codes from a batch of their own, and gives
    the discriminator six layers of 1000 units and an Adam of its own (step size 1e-4, beta1 = 0.5,
    beta2 = 0.9). Here it has three of 256 and learns with the model's Adam: at the model's step
    size, and under the same ``--clip_norm``.
    """

    strengths: ClassVar[tuple[str, ...]] = ("factor_weight",)
    needs_gaussian: ClassVar[bool] = False

    def init(self, key: PRNGKey, latent_mask: LatentMask) -> Params:
        """Weights of the discriminator."""
        return Discriminator().init(key, jnp.zeros((1, len(latent_mask))), latent_mask)["params"]

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """The weighted total correlation; its gradient is also that of the discriminator's loss."""
        latent_mask = context.latent_mask
        z = apply_mask(latent_mask, samples.z)
        estimate = jnp.mean(log_odds(jax.lax.stop_gradient(params), z, latent_mask))
        loss = discriminator_loss(params, jax.lax.stop_gradient(z), context)
        return hparams.factor_weight * estimate + (loss - jax.lax.stop_gradient(loss))


def log_odds(params: Params, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch"]:
    """The discriminator's logit: above zero where z seems drawn whole."""
    return jnp.asarray(Discriminator().apply({"params": params}, z, latent_mask))


def discriminator_loss(params: Params, z: Codes, context: Context) -> Scalar:
    """Cross entropy of telling the codes from permuted ones (Kim & Mnih 2018, algorithm 2)."""
    whole = log_odds(params, z, context.latent_mask)
    mixed = log_odds(params, permuted(context.key, z, context.latent_mask), context.latent_mask)
    return 0.5 * (jnp.mean(jax.nn.softplus(-whole)) + jnp.mean(jax.nn.softplus(mixed)))


def permuted(key: PRNGKey, z: Codes, latent_mask: LatentMask) -> Codes:
    """Each coordinate of z shuffled over the batch by itself: samples of the marginals' product."""
    orders = jax.vmap(lambda own: jax.random.permutation(own, z.shape[1]))
    indices = jnp.broadcast_to(orders(column_keys(key, latent_mask)).T, z.shape)
    return jnp.take_along_axis(z, indices, axis=1)
