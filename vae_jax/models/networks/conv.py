r"""Convolutional networks whose convolutions are single matrix products.

Every convolution is 4x4 with stride 2 and padding SAME, so an axis of n pixels becomes one of
ceil(n / 2), and every transposed convolution undoes one of them. With the image padded to an even
size and cut into blocks of 2x2 pixels, a window is exactly 2x2 blocks. Hence

.. math::
    \mathrm{conv}(x, K) = \mathrm{windows}(x)\, K, \qquad
    \mathrm{conv}^T(h, K) = \mathrm{windows}^T(h\, K^T)

where ``windows`` gathers the sixteen pixels of every window beside each other and its transpose
adds overlapping windows up. Both do no more multiplications than the convolution needs. XLA runs
``lax.conv`` on one thread inside a loop on CPU and turns it into grouped convolutions under a vmap
over kernels; matrix products have neither weakness (``benchmarks/README.md``).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
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

FeatureMaps = Float[Array, "*batch height width channels"]
"""Hidden units that are arranged as an image."""

channels_setting = functools.partial(
    setting, (32, 64), sizes(1), "channels of the convolutions of stride 2 (conv, resnet)"
)
"""Field of a convolutional network: features after each convolution."""
hidden_sizes_setting = functools.partial(
    setting, (400,), sizes(1), "units of the dense layers, mirrored in the decoder"
)
"""Field of a convolutional network: sizes of its dense layers, at least one."""

_QUADRANTS = tuple(itertools.product((0, 1), repeat=2))


@dataclass(frozen=True)
class Conv(Network):
    """Convolutions 4x4 of stride 2, then dense layers; mirrored in the decoder.

    Attributes:
        channels: features after each convolution; each halves height and width, rounding up.
        hidden_sizes: features of the encoder's dense layers behind them, at least one.
        activation: name in ``ACTIVATIONS`` of the nonlinearity behind every layer.
        weight_norm: whether the layers that touch neither latents nor outputs are
            weight-normalized (Salimans & Kingma 2016).
        dtype: type of the computation inside the network; None follows the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, vae_jax
        >>> network = vae_jax.Conv(channels=(4, 8), hidden_sizes=(32,))
        >>> model = vae_jax.VAE((8, 8, 1), max_latents=20, network=network)
        >>> params = jax.eval_shape(model.init, vae_jax.HParams.of(), jnp.zeros((8, 8, 1)))
        >>> [params["encoder"]["body"][f"Conv_{i}"]["kernel"].shape for i in range(2)]
        [(4, 4, 1, 4), (4, 4, 4, 8)]
    """

    event_ranks: ClassVar[tuple[int, ...] | None] = (3,)

    channels: tuple[int, ...] = channels_setting()
    hidden_sizes: tuple[int, ...] = hidden_sizes_setting()
    activation: str = activation_setting()
    weight_norm: bool = weight_norm_setting()
    dtype: str | None = None

    def encoder_body(self) -> nn.Module:
        """Build the module: pixels -> channels -> hidden_sizes."""
        return ConvEncoder(self)

    def decoder(self, event_shape: EventShape) -> Decoder:
        """Build the module: z -> reversed hidden_sizes -> reversed channels -> pixels."""
        return Decoder(self.hidden_sizes[-1], ConvDecoder(self, event_shape), dtype=self.dtype)


class ConvEncoder(nn.Module):
    """Body of the encoder: image -> (convolution, activation) -> (dense, activation).

    Attributes:
        spec: architecture.
    """

    spec: Conv

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        """Return the features of the last dense layer; the flattened maps if there is none."""
        spec, activation = self.spec, ACTIVATIONS[self.spec.activation]
        h = x
        for level, features in enumerate(spec.channels):
            layer = Convolution(features, dtype=spec.dtype, name=f"Conv_{level}")
            h = optional_weight_norm(layer, spec.weight_norm)(h)
            h = activation(self.refine(h))
        h = h.reshape(*h.shape[:-3], -1)
        for size in spec.hidden_sizes:
            dense = optional_weight_norm(Dense(size, dtype=spec.dtype), spec.weight_norm)
            h = activation(dense(h))
        return h

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """Transform the feature maps of a level before their activation: here unchanged."""
        return h


class ConvDecoder(nn.Module):
    """Body of the decoder: first dense layer -> dense layers -> transposed convolutions -> image.

    Its input is the first dense layer before the activation.

    Attributes:
        spec: architecture; the last of its hidden sizes belongs to the layer before this body.
        event_shape: shape of one output.
    """

    spec: Conv
    event_shape: EventShape

    @nn.compact
    def __call__(
        self, h: Float[Array, "*batch features"]
    ) -> Float[Array, "*batch height width outputs"]:
        """Return the outputs without a bias, which the model adds per pixel."""
        spec, activation = self.spec, ACTIVATIONS[self.spec.activation]
        *image_size, outputs = self.event_shape
        sizes = _sizes(image_size, len(spec.channels))
        smallest = (*sizes[-1], spec.channels[-1])
        for size in (*spec.hidden_sizes[-2::-1], math.prod(smallest)):
            dense = optional_weight_norm(Dense(size, dtype=spec.dtype), spec.weight_norm)
            h = dense(activation(h))
        h = activation(self.refine(h.reshape(*h.shape[:-1], *smallest)))
        # The names are those of checkpoints, and initial weights follow from them.
        names = [f"ConvTranspose_{level}" for level in range(len(spec.channels))]
        levels = zip(spec.channels[-2::-1], sizes[-2:0:-1], names[:-1], strict=True)
        for features, size, name in levels:
            layer = TransposedConvolution(features, size, dtype=spec.dtype, name=name)
            h = optional_weight_norm(layer, spec.weight_norm)(h)
            h = activation(self.refine(h))
        return TransposedConvolution(
            outputs, sizes[0], use_bias=False, dtype=spec.dtype, name=names[-1]
        )(h)

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """Transform the feature maps of a level before their activation: here unchanged."""
        return h


class Convolution(nn.Module):
    """Linen's ``Conv(features, (4, 4), strides=2)``, same parameters, as a matrix product.

    Attributes:
        features: channels of the output.
        dtype: type of the computation; None follows the parameters.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch half_height half_width features"]:
        """Return ``conv(x, kernel) + bias``."""
        kernel = self.param("kernel", *_kernel_init(x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return add_bias(conv(x, kernel), bias)


class TransposedConvolution(nn.Module):
    """Linen's ``ConvTranspose(features, (4, 4), strides=2)``, same parameters, cut to a size.

    Attributes:
        features: channels of the output.
        size: height and width of the output, each twice the input's or one less.
        use_bias: whether a bias per channel is added.
        dtype: type of the computation; None follows the parameters.
    """

    features: int
    size: tuple[int, int]
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self, h: Float[Array, "*batch half_height half_width channels"]
    ) -> Float[Array, "*batch height width features"]:
        """Return ``conv_transpose(h, kernel) + bias``."""
        kernel = self.param("kernel", *_kernel_init(h.shape[-1], self.features))
        h, kernel = promote_dtype(h, kernel, dtype=self.dtype)
        out = conv_transpose(h, kernel, self.size)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        return add_bias(out, bias)


def conv(
    x: Float[Array, "*batch height width channels"], kernel: Float[Array, "4 4 channels features"]
) -> Float[Array, "*batch half_height half_width features"]:
    """Return the convolution of stride 2 with padding SAME.

    It equals ``lax.conv_general_dilated`` with layouts NHWC and HWIO.

    The windows begin one pixel outside of the image; an axis of n pixels has ceil(n / 2) of them.
    """
    return _windows(x) @ _matrix(kernel)


def conv_transpose(
    h: Float[Array, "*batch half_height half_width channels"],
    kernel: Float[Array, "4 4 channels features"],
    size: tuple[int, int],
) -> Float[Array, "*batch height width features"]:
    """Return the transposed convolution of stride 2: ``lax.conv_transpose`` with SAME, cut.

    Args:
        h: feature maps.
        kernel: weights in the order of ``lax.conv_transpose(transpose_kernel=False)``.
        size: height and width of the result; at most twice those of ``h``.
    """
    adjoint = _matrix(jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    return _overlap_add(h @ adjoint.T, size)


def _sizes(image_size: Sequence[int], levels: int) -> list[tuple[int, int]]:
    """Return heights and widths from the image down to the smallest feature map."""
    height, width = image_size
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(levels + 1)]


def _kernel_init(channels: int, features: int) -> tuple[Any, ...]:
    """Return initializer, shape and type of a 4x4 kernel: the arguments of linen's ``param``."""
    return nn.initializers.lecun_normal(), (4, 4, channels, features), float


def add_bias(
    h: Float[Array, "*batch height width features"], bias: Float[Array, " features"]
) -> Float[Array, "*batch height width features"]:
    """Return the feature maps plus a bias per feature, in the type of the maps."""
    return h + jnp.expand_dims(bias.astype(h.dtype), range(h.ndim - 1))


def _matrix(
    kernel: Float[Array, "4 4 channels features"],
) -> Float[Array, "window features"]:
    """Return the kernel as a matrix, its rows in the order of pixels in :func:`_windows`."""
    channels, features = kernel.shape[2:]
    blocks = kernel.reshape(2, 2, 2, 2, channels, features)
    return jnp.swapaxes(blocks, 1, 2).reshape(16 * channels, features)


def _windows(
    x: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch half_height half_width window"]:
    """Return the 4x4 pixels of every window beside each other, as four blocks of 2x2."""
    height, width = x.shape[-3:-1]
    rows, columns = -(-height // 2), -(-width // 2)
    blocks = _blocks(pad(x, (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width)))
    return jnp.concatenate(
        [blocks[..., i : i + rows, j : j + columns, :] for i, j in _QUADRANTS], axis=-1
    )


def _overlap_add(
    windows: Float[Array, "*batch half_height half_width window"], size: tuple[int, int]
) -> Float[Array, "*batch height width channels"]:
    """Return the transpose of :func:`_windows`: each pixel is the sum over its windows."""
    quadrants = zip(_QUADRANTS, jnp.split(windows, 4, axis=-1), strict=True)
    first, *others = (pad(block, (i, 1 - i), (j, 1 - j)) for (i, j), block in quadrants)
    pixels = _pixels(sum(others, start=first))
    return pixels[..., 1 : 1 + size[0], 1 : 1 + size[1], :]


def pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Return maps with as many zeros (before, after) their rows and their columns."""
    return jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (rows, columns, (0, 0)))


def _blocks(
    x: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch half_height half_width block"]:
    """Return space to depth: the 2x2 pixels of a block become its channels."""
    *batch, height, width, channels = x.shape
    rows = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    return jnp.swapaxes(rows, -4, -3).reshape(*batch, height // 2, width // 2, 4 * channels)


def _pixels(
    blocks: Float[Array, "*batch half_height half_width block"],
) -> Float[Array, "*batch height width channels"]:
    """Return depth to space, the inverse of :func:`_blocks`."""
    *batch, rows, columns, depth = blocks.shape
    pixels = blocks.reshape(*batch, rows, columns, 2, 2, depth // 4)
    return jnp.swapaxes(pixels, -4, -3).reshape(*batch, 2 * rows, 2 * columns, depth // 4)
