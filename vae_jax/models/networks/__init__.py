"""Architectures, as values: a frozen dataclass that builds an encoder and a decoder.

A new architecture is a dataclass here with ``encoder_body`` and ``decoder`` and the linen modules
that they build in a file beside ``mlp.py``. It learns neither what the posterior is nor what the
pixels mean: the heads come from the posterior, the number of outputs from the likelihood.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import flax.linen as nn

from vae_jax.models.networks.conv import ConvDecoder, ConvEncoder
from vae_jax.models.networks.discriminator import Discriminator
from vae_jax.models.networks.layers import ACTIVATIONS, Decoder, Encoder
from vae_jax.models.networks.mlp import MLPDecoder, MLPEncoder
from vae_jax.models.networks.resnet import ResNetDecoder, ResNetEncoder

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "Conv",
    "Decoder",
    "Discriminator",
    "Encoder",
    "Network",
    "ResNet",
]

ImageShape = tuple[int, int, int]


@runtime_checkable
class Network(Protocol):
    """What the model asks of an architecture."""

    @property
    def dtype(self) -> str | None:
        """Type of the computation inside the network; None follows the parameters."""
        ...

    def encoder_body(self) -> nn.Module:
        """Module from images to features."""
        ...

    def decoder(self, image_shape: ImageShape) -> Decoder:
        """Module from (z, active) to outputs of the given shape, up to the per-pixel bias."""
        ...


@dataclass(frozen=True)
class MLP:
    """Dense layers of the given sizes, mirrored in the decoder; none makes a linear model."""

    hidden_sizes: tuple[int, ...] = (400,)
    activation: str = "relu"
    weight_norm: bool = False
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Pixels -> hidden_sizes."""
        activation = ACTIVATIONS[self.activation]
        return MLPEncoder(self.hidden_sizes, activation, self.dtype, self.weight_norm)

    def decoder(self, image_shape: ImageShape) -> Decoder:
        """Z -> reversed hidden_sizes -> pixels."""
        sizes = self.hidden_sizes[::-1]
        activation = ACTIVATIONS[self.activation]
        body = MLPDecoder(image_shape, sizes, activation, self.dtype, self.weight_norm)
        width = sizes[0] if sizes else math.prod(image_shape)
        return Decoder(width, body, use_bias=bool(sizes), dtype=self.dtype)


@dataclass(frozen=True)
class Conv:
    """Convolutions 4x4 of stride 2, then dense layers; mirrored in the decoder."""

    channels: tuple[int, ...] = (32, 64)
    hidden_sizes: tuple[int, ...] = (256,)
    activation: str = "relu"
    weight_norm: bool = False
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Pixels -> channels -> hidden_sizes."""
        shared = ACTIVATIONS[self.activation], self.dtype, self.weight_norm
        return ConvEncoder(self.channels, self.hidden_sizes, *shared)

    def decoder(self, image_shape: ImageShape) -> Decoder:
        """Z -> reversed hidden_sizes -> reversed channels -> pixels."""
        shared = ACTIVATIONS[self.activation], self.dtype, self.weight_norm
        sizes = self.hidden_sizes[::-1]
        body = ConvDecoder(image_shape, self.channels[::-1], sizes, *shared)
        return Decoder(sizes[0], body, dtype=self.dtype)


@dataclass(frozen=True)
class ResNet:
    """The convolutions of :class:`Conv` with residual blocks of 3x3 ones behind each."""

    channels: tuple[int, ...] = (32, 64)
    num_blocks: int = 1
    hidden_sizes: tuple[int, ...] = (256,)
    activation: str = "relu"
    weight_norm: bool = False
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Pixels -> channels, each refined by num_blocks -> hidden_sizes."""
        shared = ACTIVATIONS[self.activation], self.dtype, self.weight_norm, self.num_blocks
        return ResNetEncoder(self.channels, self.hidden_sizes, *shared)

    def decoder(self, image_shape: ImageShape) -> Decoder:
        """Z -> reversed hidden_sizes -> reversed channels, each refined -> pixels."""
        shared = ACTIVATIONS[self.activation], self.dtype, self.weight_norm, self.num_blocks
        sizes = self.hidden_sizes[::-1]
        body = ResNetDecoder(image_shape, self.channels[::-1], sizes, *shared)
        return Decoder(sizes[0], body, dtype=self.dtype)


NETWORKS: dict[str, type[Network]] = {
    "mlp": MLP,
    "conv": Conv,
    "resnet": ResNet,
}
"""Architectures by the name that ``--network`` knows them by."""
