"""Classifier of latents that FactorVAE trains beside the model (Kim & Mnih 2018)."""

import functools
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from vae_jax.models.networks.layers import Dense, LatentDense
from vae_jax.types import LatentMask, Latents

_activation = functools.partial(nn.leaky_relu, negative_slope=0.2)


class Discriminator(nn.Module):
    """Discriminator: z -> (dense, leaky ReLU) for each hidden size -> one logit.

    Attributes:
        hidden_sizes: features of the dense layers.
        dtype: type of the computation; None follows the parameters.
    """

    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch"]:
        """Return the log-odds that z is a sample of q(z) rather than of prod_j q(z_j)."""
        h = LatentDense(self.hidden_sizes[0], dtype=self.dtype, name="latent")(z, latent_mask)
        for size in self.hidden_sizes[1:]:
            h = Dense(size, dtype=self.dtype)(_activation(h))
        return Dense(1, dtype=self.dtype)(_activation(h))[..., 0]
