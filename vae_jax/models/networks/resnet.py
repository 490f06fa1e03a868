r"""Residual networks: the bodies of ``conv.py`` with residual blocks before each activation.

A block adds two 3x3 convolutions of stride 1, with activations in front of both (He et al. 2016b),
to its input, times a learned number that starts at zero:

.. math::
    h \leftarrow h + a\, \mathrm{conv}(\sigma(\mathrm{conv}(\sigma(h))))

Nothing else normalises the scale of h, so it starts as in the network without blocks at any depth,
with weight normalization or without (SkipInit, De & Smith 2020).
"""

import itertools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from vae_jax.models.networks.conv import ConvDecoder, ConvEncoder, FeatureMaps, add_bias, pad
from vae_jax.models.networks.layers import hidden


class ResNetEncoder(ConvEncoder):
    """:class:`ConvEncoder` with ``num_blocks`` residual blocks behind each convolution."""

    num_blocks: int = 1

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """The blocks of a level."""
        return _blocks(self, h)


class ResNetDecoder(ConvDecoder):
    """:class:`ConvDecoder` with ``num_blocks`` residual blocks in front of each convolution."""

    num_blocks: int = 1

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """The blocks of a level."""
        return _blocks(self, h)


def _blocks(body: ResNetEncoder | ResNetDecoder, h: FeatureMaps) -> FeatureMaps:
    for _ in range(body.num_blocks):
        h = Residual(body.activation, body.dtype, body.weight_norm)(h)
    return h


class Residual(nn.Module):
    """h plus a learned multiple, zero at the start, of two convolutions of it.

    Attributes:
        activation: in front of each convolution.
        dtype: of the computation; None follows the parameters.
        weight_norm: of the convolutions.
    """

    activation: Any
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(self, h: FeatureMaps) -> FeatureMaps:
        """Feature maps of the same shape."""
        branch = h
        for _ in range(2):
            conv = hidden(SameConv(h.shape[-1], self.dtype), self.weight_norm)
            branch = conv(self.activation(branch))
        multiple = self.param("multiple", nn.initializers.zeros_init(), (), float)
        return h + multiple.astype(branch.dtype) * branch


class SameConv(nn.Module):
    """Linen's ``Conv(features, (3, 3))``, same parameters, as a matrix product."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: FeatureMaps) -> Float[Array, "*batch height width features"]:
        """``conv_same(x, kernel) + bias``."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, float)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return add_bias(conv_same(x, kernel), bias)


def conv_same(
    x: FeatureMaps, kernel: Float[Array, "3 3 channels features"]
) -> Float[Array, "*batch height width features"]:
    """Convolution of stride 1 with padding SAME: ``lax.conv_general_dilated``, NHWC and HWIO."""
    height, width = x.shape[-3:-1]
    padded = pad(x, (1, 1), (1, 1))
    windows = jnp.concatenate(
        [
            padded[..., i : i + height, j : j + width, :]
            for i, j in itertools.product(range(3), repeat=2)
        ],
        axis=-1,
    )
    return windows @ kernel.reshape(-1, kernel.shape[-1])
