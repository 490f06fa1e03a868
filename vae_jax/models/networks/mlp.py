"""Fully connected networks on flattened x of any shape."""

import math
from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from vae_jax.models.networks.base import Network
from vae_jax.models.networks.layers import (
    ACTIVATIONS,
    Decoder,
    Dense,
    EventShape,
    activation_setting,
    optional_weight_norm,
    weight_norm_setting,
)
from vae_jax.settings import setting, sizes


@dataclass(frozen=True)
class MLP(Network):
    """Dense layers of the given sizes, mirrored in the decoder; without any, a linear model.

    Attributes:
        hidden_sizes: features of the encoder's hidden layers, from x to the latents.
        activation: name in ``ACTIVATIONS`` of the nonlinearity behind every hidden layer.
        weight_norm: whether the hidden layers that touch no latent are weight-normalized
            (Salimans & Kingma 2016).
        dtype: type of the computation inside the network; None follows the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, vae_jax
        >>> network = vae_jax.MLP(hidden_sizes=(64, 32), activation="gelu")
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=20, network=network)
        >>> params = jax.eval_shape(model.init, vae_jax.HParams.of(), jnp.zeros((28, 28, 1)))
        >>> [params["encoder"]["body"][f"Dense_{i}"]["kernel"].shape for i in range(2)]
        [(784, 64), (64, 32)]
    """

    hidden_sizes: tuple[int, ...] = setting(
        (400,), sizes(0), "units of the dense layers, mirrored in the decoder"
    )
    activation: str = activation_setting(only_with="hidden_sizes")
    weight_norm: bool = weight_norm_setting(only_with="hidden_sizes")
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Build the module: x -> hidden_sizes."""
        return MLPEncoder(self)

    def decoder(self, event_shape: EventShape) -> Decoder:
        """Build the module: z -> reversed hidden_sizes -> x."""
        is_linear = not self.hidden_sizes
        width = math.prod(event_shape) if is_linear else self.hidden_sizes[-1]
        return Decoder(width, MLPDecoder(self, event_shape), not is_linear, self.dtype)


class MLPEncoder(nn.Module):
    """Body of the encoder: x -> flatten -> (dense, activation) for each hidden size.

    Attributes:
        spec: architecture.
    """

    spec: MLP

    @nn.compact
    def __call__(self, x: Float[Array, "batch *event"]) -> Float[Array, "batch features"]:
        """Return the features of the last hidden layer; the flattened x if there is none."""
        spec, activation = self.spec, ACTIVATIONS[self.spec.activation]
        h = x.reshape(x.shape[0], -1)
        for size in spec.hidden_sizes:
            dense = optional_weight_norm(Dense(size, dtype=spec.dtype), spec.weight_norm)
            h = activation(dense(h))
        return h


class MLPDecoder(nn.Module):
    """Body of the decoder: first hidden layer, before its activation -> hidden layers -> x.

    Attributes:
        spec: architecture; the last of its hidden sizes belongs to the layer before this body.
        event_shape: shape of one output.
    """

    spec: MLP
    event_shape: EventShape

    @nn.compact
    def __call__(self, h: Float[Array, "*batch features"]) -> Float[Array, "..."]:
        """Return the outputs without a bias, which the model adds to each dimension."""
        spec, activation = self.spec, ACTIVATIONS[self.spec.activation]
        if spec.hidden_sizes:
            for size in spec.hidden_sizes[-2::-1]:
                dense = optional_weight_norm(Dense(size, dtype=spec.dtype), spec.weight_norm)
                h = dense(activation(h))
            num_dims = math.prod(self.event_shape)
            h = Dense(num_dims, use_bias=False, dtype=spec.dtype)(activation(h))
        return h.reshape(*h.shape[:-1], *self.event_shape)
