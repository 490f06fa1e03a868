"""Pieces that every network shares: dense layers, the posterior's heads, the decoder's entrance.

The layers that touch the latent axis are *prefix-stable*: a network built for 17 latents starts,
on its first 3, with the very numbers of one built for 3. That is half of what makes a row of a
study over latent sizes equal to the run alone (the other half is the mask).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Head
from vae_jax.types import LatentMask, Latents, PRNGKey

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "tanh": nn.tanh,
}

Dense = functools.partial(nn.Dense, param_dtype=float)
"""Linen's dense layer with parameters in the default float (float64 in x64 mode)."""


def hidden(layer: nn.Module, weight_norm: bool) -> nn.Module:
    """The layer, its kernel replaced by g * v / ||v|| if wished, one norm per feature.

    Salimans & Kingma 2016, eq. 2. v starts as the plain kernel does, and g at one whatever the
    data: a LeCun-normal column has a norm of about one. For layers that touch no latent: their
    norms would run over inactive coordinates too.
    """
    return nn.WeightNorm(layer, param_dtype=float) if weight_norm else layer


def _prefix_stable_lecun(key: PRNGKey, shape: tuple[int, int], dtype: Any) -> Array:
    """LeCun-normal kernel ``[features, latents]``, drawn with the latent axis leading."""
    draw = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", -1, -2)
    return draw(key, shape[::-1], dtype).T


def _active_fan_in_lecun(
    key: PRNGKey, shape: tuple[int, int], dtype: Any, latent_mask: LatentMask
) -> Array:
    """LeCun-normal kernel ``[latents, features]`` whose fan-in counts active latents only."""
    truncated_std = 0.87962566103423978  # of N(0, 1) cut at +-2, as in linen's initializers
    unit = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype) / truncated_std
    return unit * jax.lax.rsqrt(jnp.sum(latent_mask, dtype=dtype))


class Encoder(nn.Module):
    """x (and labels) -> body -> one linear head per parameter of the posterior.

    Attributes:
        body: module from images to features.
        heads: names and shapes of the posterior's parameters.
        dtype: of the computation; None follows the parameters.
    """

    body: nn.Module
    heads: tuple[Head, ...]
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        labels: Float[Array, "batch classes"] | None = None,
    ) -> dict[str, Float[Array, "batch *shape"]]:
        """Values of the heads by name.

        A label adds a learned image to x, zero at the start. For a first dense layer that is the
        label's column in its input; and it suits every architecture.
        """
        if labels is not None:
            x += _label_images(self, labels, x.shape[1:])
        features = self.body(x)
        return {head.name: self._head(features, head) for head in self.heads}

    def _head(
        self, features: Float[Array, "batch features"], head: Head
    ) -> Float[Array, "batch *shape"]:
        starts = nn.initializers.zeros_init() if head.starts_at_zero else _prefix_stable_lecun
        dense = Dense(math.prod(head.shape), dtype=self.dtype, kernel_init=starts, name=head.name)
        return dense(features).reshape(-1, *head.shape)


def _label_images(
    module: nn.Module, labels: Float[Array, "batch classes"], shape: tuple[int, ...]
) -> Float[Array, "batch *shape"]:
    """The learned array of each example's label."""
    size = labels.shape[-1], math.prod(shape)
    kernel = module.param("labels", nn.initializers.zeros_init(), size, float)
    return (labels @ kernel.astype(labels.dtype)).reshape(-1, *shape)


class LatentDense(nn.Module):
    """Affine map z -> R^features; its initial scale depends on the active latents alone."""

    features: int
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch features"]:
        """``apply_mask(active, z) @ kernel + bias``: inactive coordinates reach no decoder."""
        shape = (z.shape[-1], self.features)
        kernel = self.param("kernel", _active_fan_in_lecun, shape, float, latent_mask)
        z, kernel = promote_dtype(apply_mask(latent_mask, z), kernel, dtype=self.dtype)
        h = z @ kernel
        if not self.use_bias:
            return h
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        return h + jnp.broadcast_to(bias.astype(h.dtype), h.shape)


class Decoder(nn.Module):
    """z -> :class:`LatentDense` -> body -> likelihood outputs, up to the per-pixel output bias.

    Attributes:
        width: features of the first layer.
        body: module from those features to ``[*batch, height, width, channels]``.
        use_bias: whether the first layer has a bias (a linear decoder needs none).
        dtype: of the computation; None follows the parameters.
    """

    width: int
    body: nn.Module
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        z: Latents,
        latent_mask: LatentMask,
        labels: Float[Array, "batch classes"] | None = None,
    ) -> Float[Array, "*batch height width channels"]:
        """Outputs before the per-pixel bias.

        Labels enter beside z: their features, zero at the start, are added to those of z.
        """
        first = LatentDense(self.width, self.use_bias, self.dtype, name="latent")
        h = first(z, latent_mask)
        if labels is not None:
            h += _label_images(self, labels, (self.width,)).astype(h.dtype)
        return self.body(h)
