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

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from vae_jax.models.networks.layers import Dense, hidden

FeatureMaps = Float[Array, "*batch height width channels"]

_QUADRANTS = tuple(itertools.product((0, 1), repeat=2))


class ConvEncoder(nn.Module):
    """Image -> (convolution, activation) per channel count -> (dense, activation) per size.

    Attributes:
        channels: features after each convolution; each halves height and width, rounding up.
        hidden_sizes: of the dense layers behind them.
        activation: behind every layer.
        dtype: of the computation; None follows the parameters.
        weight_norm: of all layers.
    """

    channels: tuple[int, ...]
    hidden_sizes: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch features"]:
        """Features of the last dense layer; the flattened feature maps if there is none."""
        h = x
        for features in self.channels:
            conv = hidden(Conv(features, dtype=self.dtype), self.weight_norm)
            h = self.activation(self.refine(conv(h)))
        h = h.reshape(*h.shape[:-3], -1)
        for size in self.hidden_sizes:
            h = self.activation(hidden(Dense(size, dtype=self.dtype), self.weight_norm)(h))
        return h

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """What a level makes of its feature maps before their activation: here nothing."""
        return h


class ConvDecoder(nn.Module):
    """First dense layer (before its activation) -> dense layers -> transposed convolutions.

    Attributes:
        image_shape: of the output.
        channels: in the decoder's order: features of the smallest map, then of each larger one.
        hidden_sizes: in the decoder's order; the first belongs to the layer before this body.
        activation: between the layers.
        dtype: of the computation; None follows the parameters.
        weight_norm: of all layers but the first and the last.
    """

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    hidden_sizes: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = None
    weight_norm: bool = False

    @nn.compact
    def __call__(
        self, h: Float[Array, "*batch features"]
    ) -> Float[Array, "*batch height width outputs"]:
        """Outputs without a bias, which the model adds per pixel."""
        *image_size, outputs = self.image_shape
        sizes = _sizes(image_size, len(self.channels))
        smallest = (*sizes[-1], self.channels[0])
        for size in (*self.hidden_sizes[1:], math.prod(smallest)):
            h = hidden(Dense(size, dtype=self.dtype), self.weight_norm)(self.activation(h))
        h = self.activation(self.refine(h.reshape(*h.shape[:-1], *smallest)))
        for features, size in zip(self.channels[1:], sizes[-2:0:-1], strict=True):
            conv = hidden(ConvTranspose(features, size, dtype=self.dtype), self.weight_norm)
            h = self.activation(self.refine(conv(h)))
        return ConvTranspose(outputs, sizes[0], use_bias=False, dtype=self.dtype)(h)

    def refine(self, h: FeatureMaps) -> FeatureMaps:
        """What a level makes of its feature maps before their activation: here nothing."""
        return h


class Conv(nn.Module):
    """Linen's ``Conv(features, (4, 4), strides=2)``, same parameters, as a matrix product."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch half_height half_width features"]:
        """``conv(x, kernel) + bias``."""
        kernel = self.param("kernel", *_kernel_init(x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return add_bias(conv(x, kernel), bias)


class ConvTranspose(nn.Module):
    """Linen's ``ConvTranspose(features, (4, 4), strides=2)``, same parameters, cut to a size.

    Attributes:
        features: channels of the output.
        size: height and width of the output, each twice the input's or one less.
        use_bias: whether a bias per channel is added.
        dtype: of the computation; None follows the parameters.
    """

    features: int
    size: tuple[int, int]
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self, h: Float[Array, "*batch half_height half_width channels"]
    ) -> Float[Array, "*batch height width features"]:
        """``conv_transpose(h, kernel) + bias``."""
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
    """Convolution of stride 2 with padding SAME: ``lax.conv_general_dilated``, NHWC and HWIO.

    The windows begin one pixel outside of the image; an axis of n pixels has ceil(n / 2) of them.
    """
    return _windows(x) @ _matrix(kernel)


def conv_transpose(
    h: Float[Array, "*batch half_height half_width channels"],
    kernel: Float[Array, "4 4 channels features"],
    size: tuple[int, int],
) -> Float[Array, "*batch height width features"]:
    """Transposed convolution of stride 2: ``lax.conv_transpose`` with SAME, cut to ``size``.

    Args:
        h: feature maps.
        kernel: in the order of ``lax.conv_transpose(transpose_kernel=False)``.
        size: height and width of the result; at most twice those of ``h``.
    """
    adjoint = _matrix(jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    return _overlap_add(h @ adjoint.T, size)


def _sizes(image_size: Sequence[int], levels: int) -> list[tuple[int, int]]:
    """Heights and widths from the image down to the smallest feature map."""
    height, width = image_size
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(levels + 1)]


def _kernel_init(channels: int, features: int) -> tuple[Any, ...]:
    return nn.initializers.lecun_normal(), (4, 4, channels, features), float


def add_bias(
    h: Float[Array, "*batch height width features"], bias: Float[Array, " features"]
) -> Float[Array, "*batch height width features"]:
    """Feature maps with a bias per feature, in the type of the maps."""
    return h + jnp.expand_dims(bias.astype(h.dtype), range(h.ndim - 1))


def _matrix(
    kernel: Float[Array, "4 4 channels features"],
) -> Float[Array, "window features"]:
    """Kernel with its rows in the order in which :func:`_windows` lists a window's pixels."""
    channels, features = kernel.shape[2:]
    blocks = kernel.reshape(2, 2, 2, 2, channels, features)
    return jnp.swapaxes(blocks, 1, 2).reshape(16 * channels, features)


def _windows(
    x: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch half_height half_width window"]:
    """The 4x4 pixels of every window beside each other, as four blocks of 2x2."""
    height, width = x.shape[-3:-1]
    rows, columns = -(-height // 2), -(-width // 2)
    blocks = _blocks(pad(x, (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width)))
    return jnp.concatenate(
        [blocks[..., i : i + rows, j : j + columns, :] for i, j in _QUADRANTS], axis=-1
    )


def _overlap_add(
    windows: Float[Array, "*batch half_height half_width window"], size: tuple[int, int]
) -> Float[Array, "*batch height width channels"]:
    """Transpose of :func:`_windows`: each pixel is the sum of its places in all windows."""
    quadrants = zip(_QUADRANTS, jnp.split(windows, 4, axis=-1), strict=True)
    first, *others = (pad(block, (i, 1 - i), (j, 1 - j)) for (i, j), block in quadrants)
    pixels = _pixels(sum(others, start=first))
    return pixels[..., 1 : 1 + size[0], 1 : 1 + size[1], :]


def pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Maps with zeros (before, after) their rows and their columns."""
    return jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (rows, columns, (0, 0)))


def _blocks(
    x: Float[Array, "*batch height width channels"],
) -> Float[Array, "*batch half_height half_width block"]:
    """Space to depth: the 2x2 pixels of a block become its channels."""
    *batch, height, width, channels = x.shape
    rows = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    return jnp.swapaxes(rows, -4, -3).reshape(*batch, height // 2, width // 2, 4 * channels)


def _pixels(
    blocks: Float[Array, "*batch half_height half_width block"],
) -> Float[Array, "*batch height width channels"]:
    """Depth to space, the inverse of :func:`_blocks`."""
    *batch, rows, columns, depth = blocks.shape
    pixels = blocks.reshape(*batch, rows, columns, 2, 2, depth // 4)
    return jnp.swapaxes(pixels, -4, -3).reshape(*batch, 2 * rows, 2 * columns, depth // 4)
