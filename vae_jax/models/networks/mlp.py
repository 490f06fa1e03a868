"""Fully connected networks on flattened images."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from vae_jax.models.networks.layers import Dense, hidden


class MLPEncoder(nn.Module):
    """Image -> flatten -> (dense, activation) for each hidden size."""

    hidden_sizes: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        """Features of the last hidden layer; the flattened pixels if there is none."""
        h = x.reshape(*x.shape[:-3], -1)
        for size in self.hidden_sizes:
            h = self.activation(hidden(Dense(size, dtype=self.dtype), self.weight_norm)(h))
        return h


class MLPDecoder(nn.Module):
    """First hidden layer (before its activation) -> remaining hidden layers -> image.

    Attributes:
        image_shape: of the output.
        hidden_sizes: in the decoder's order; the first belongs to the layer before this body.
        activation: between the layers.
        dtype: of the computation; None follows the parameters.
        weight_norm: of the hidden layers.
    """

    image_shape: tuple[int, int, int]
    hidden_sizes: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(
        self, h: Float[Array, "*batch features"]
    ) -> Float[Array, "*batch height width channels"]:
        """Outputs without a bias, which the model adds per pixel."""
        if self.hidden_sizes:
            for size in self.hidden_sizes[1:]:
                dense = hidden(Dense(size, dtype=self.dtype), self.weight_norm)
                h = dense(self.activation(h))
            pixels = math.prod(self.image_shape)
            h = Dense(pixels, use_bias=False, dtype=self.dtype)(self.activation(h))
        return h.reshape(*h.shape[:-1], *self.image_shape)
