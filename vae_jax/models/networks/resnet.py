r"""Residual networks: the bodies of ``conv.py`` with residual blocks before each activation.

A block adds two 3x3 convolutions of stride 1, with activations in front of both (He et al. 2016b),
to its input, times a learned number that starts at zero:

.. math::
    h \leftarrow h + a\, \mathrm{conv}(\sigma(\mathrm{conv}(\sigma(h))))

Nothing else normalises the scale of h, so it starts as in the network without blocks at any depth,
with weight normalization or without (SkipInit, De & Smith 2020).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from vae_jax.models.networks.base import Network
from vae_jax.models.networks.conv import (
    Conv,
    ConvDecoder,
    ConvEncoder,
    FeatureMaps,
    add_bias,
    channels_setting,
    hidden_sizes_setting,
    pad,
)
from vae_jax.models.networks.layers import (
    ACTIVATIONS,
    Decoder,
    EventShape,
    activation_setting,
    optional_weight_norm,
    weight_norm_setting,
)
from vae_jax.settings import MOST_LAYERS, setting, whole


@dataclass(frozen=True)
class ResNet(Network):
    """Convolutions of :class:`Conv` with residual blocks of 3x3 convolutions behind each.

    Attributes:
        channels: features after each convolution of stride 2.
        num_blocks: residual blocks at every size of the feature maps.
        hidden_sizes: features of the encoder's dense layers behind them, at least one.
        activation: name in ``ACTIVATIONS`` of the nonlinearity.
        weight_norm: whether the layers that touch neither latents nor outputs are
            weight-normalized (Salimans & Kingma 2016).
        dtype: type of the computation inside the network; None follows the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, vae_jax
        >>> network = vae_jax.ResNet(channels=(4,), num_blocks=2, hidden_sizes=(32,))
        >>> model = vae_jax.VAE((8, 8, 1), max_latents=20, network=network)
        >>> params = jax.eval_shape(model.init, vae_jax.HParams.of(), jnp.zeros((8, 8, 1)))
        >>> sorted(params["encoder"]["body"])
        ['Conv_0', 'Dense_0', 'Residual_0', 'Residual_1']
    """

    event_ranks: ClassVar[tuple[int, ...] | None] = (3,)

    channels: tuple[int, ...] = channels_setting()
    num_blocks: int = setting(
        1, whole(1, MOST_LAYERS), "residual blocks after each convolution (resnet)"
    )
    hidden_sizes: tuple[int, ...] = hidden_sizes_setting()
    activation: str = activation_setting()
    weight_norm: bool = weight_norm_setting()
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Build the module: pixels -> channels, each refined by num_blocks -> hidden_sizes."""
        return ResNetEncoder(self._without_blocks(), self.num_blocks)

    def decoder(self, event_shape: EventShape) -> Decoder:
        """Build the module: z -> reversed hidden_sizes -> reversed channels, refined -> pixels."""
        body = ResNetDecoder(self._without_blocks(), event_shape, self.num_blocks)
        return Decoder(self.hidden_sizes[-1], body, dtype=self.dtype)

    def _without_blocks(self) -> Conv:
        return Conv(self.channels, self.hidden_sizes, self.activation, self.weight_norm, self.dtype)


class ResNetEncoder(ConvEncoder):
    """:class:`ConvEncoder` with ``num_blocks`` residual blocks behind each convolution."""

    num_blocks: int = 1

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """Apply the residual blocks of a level."""
        return _blocks(self, h)


class ResNetDecoder(ConvDecoder):
    """:class:`ConvDecoder` with ``num_blocks`` residual blocks in front of each convolution."""

    num_blocks: int = 1

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """Apply the residual blocks of a level."""
        return _blocks(self, h)


def _blocks(body: ResNetEncoder | ResNetDecoder, h: FeatureMaps) -> FeatureMaps:
    spec = body.spec
    for _ in range(body.num_blocks):
        h = Residual(ACTIVATIONS[spec.activation], spec.dtype, spec.weight_norm)(h)
    return h


class Residual(nn.Module):
    """Residual block: h plus a learned multiple, zero at the start, of two convolutions of it.

    Attributes:
        activation: nonlinearity in front of each convolution.
        dtype: type of the computation; None follows the parameters.
        weight_norm: whether the convolutions are weight-normalized.
    """

    activation: Callable[[Array], Array]
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(self, h: FeatureMaps) -> FeatureMaps:
        """Return feature maps of the same shape."""
        branch = h
        for _ in range(2):
            conv = optional_weight_norm(SameConv(h.shape[-1], self.dtype), self.weight_norm)
            branch = conv(self.activation(branch))
        multiple = self.param("multiple", nn.initializers.zeros_init(), (), float)
        return h + multiple.astype(branch.dtype) * branch


class SameConv(nn.Module):
    """Linen's ``Conv(features, (3, 3))``, same parameters, as a matrix product.

    Attributes:
        features: channels of the output.
        dtype: type of the computation; None follows the parameters.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: FeatureMaps) -> Float[Array, "*batch height width features"]:
        """Return ``conv_same(x, kernel) + bias``."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, float)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return add_bias(conv_same(x, kernel), bias)


def conv_same(
    x: FeatureMaps, kernel: Float[Array, "3 3 channels features"]
) -> Float[Array, "*batch height width features"]:
    """Return the convolution of stride 1 with padding SAME.

    It equals ``lax.conv_general_dilated`` with layouts NHWC and HWIO.
    """
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
