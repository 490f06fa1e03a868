"""The classifier of codes that FactorVAE trains beside the model."""

import functools
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from vae_jax.models.networks.layers import Dense, LatentDense
from vae_jax.types import LatentMask, Latents

_activation = functools.partial(nn.leaky_relu, negative_slope=0.2)


class Discriminator(nn.Module):
    """z -> (dense, leaky ReLU) for each hidden size -> one logit.

    Attributes:
        hidden_sizes: of the dense layers.
        dtype: of the computation; None follows the parameters.
    """

    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch"]:
        """Log-odds that z was drawn whole, rather than coordinate by coordinate."""
        h = LatentDense(self.hidden_sizes[0], dtype=self.dtype, name="latent")(z, latent_mask)
        for size in self.hidden_sizes[1:]:
            h = Dense(size, dtype=self.dtype)(_activation(h))
        return Dense(1, dtype=self.dtype)(_activation(h))[..., 0]
