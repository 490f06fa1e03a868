"""Layers that every network shares: dense layers, the encoder's heads, the decoder's first layer.

The layers that touch the latent axis are *prefix-stable*: the initial weights of a network for 17
latents are, on the first 3 of them, those of a network for 3. This and the mask make a row of a
study over latent sizes equal to the run alone.
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
from vae_jax.settings import BOOLEAN, one_of, setting
from vae_jax.types import LatentMask, Latents, PRNGKey

EventShape = tuple[int, ...]
"""Shape of one x; of a decoder, with the last axis times the outputs for each dimension of x."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "tanh": nn.tanh,
}
"""Nonlinearities by the names that ``--activation`` takes."""

activation_setting = functools.partial(
    setting, "relu", one_of(*ACTIVATIONS), "activation function between the layers"
)
"""Field of a network: name of its nonlinearity."""
weight_norm_setting = functools.partial(
    setting, False, BOOLEAN, "weight normalization of the hidden layers"
)
"""Field of a network: whether its layers are weight-normalized."""

Dense = functools.partial(nn.Dense, param_dtype=float)
"""Linen's dense layer with parameters in the default float (float64 in x64 mode)."""


def optional_weight_norm(layer: nn.Module, weight_norm: bool) -> nn.Module:
    """Return the layer, with ``weight_norm`` its kernel reparameterized as g * v / ||v||.

    One norm per feature (Salimans & Kingma 2016, eq. 2). v starts as the plain kernel does, and g
    at one, independently of the data: a LeCun-normal column has a norm of about one. Layers on the
    latent axis stay plain, because their norms would include coordinates that a run does not use.
    """
    return nn.WeightNorm(layer, param_dtype=float) if weight_norm else layer


def _prefix_stable_lecun(key: PRNGKey, shape: tuple[int, int], dtype: Any) -> Array:
    """Draw a LeCun-normal kernel ``[features, latents]`` with the latent axis leading."""
    draw = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", -1, -2)
    return draw(key, shape[::-1], dtype).T


def _used_fan_in_lecun(
    key: PRNGKey, shape: tuple[int, int], dtype: Any, latent_mask: LatentMask
) -> Array:
    """Draw a LeCun-normal kernel ``[latents, features]``; the fan-in counts used latents only."""
    truncated_std = 0.87962566103423978  # std of N(0, 1) cut at +-2, as in linen
    unit = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype) / truncated_std
    return unit * jax.lax.rsqrt(jnp.sum(latent_mask, dtype=dtype))


class Encoder(nn.Module):
    """Encoder: x (and labels) -> body -> one linear head per parameter of the posterior.

    Attributes:
        body: module from x to features.
        heads: names and shapes of the posterior's parameters.
        dtype: type of the computation; None follows the parameters.
    """

    body: nn.Module
    heads: tuple[Head, ...]
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *event"],
        labels: Float[Array, "batch classes"] | None = None,
    ) -> dict[str, Float[Array, "batch *shape"]]:
        """Return the outputs of the heads by name.

        A label adds a learned array to x, zero at the start. For a dense first layer this acts
        like a one-hot label beside the pixels, and it suits every architecture.
        """
        if labels is not None:
            x += _label_offsets(self, labels, x.shape[1:])
        features = self.body(x)
        return {head.name: self._head(features, head) for head in self.heads}

    def _head(
        self, features: Float[Array, "batch features"], head: Head
    ) -> Float[Array, "batch *shape"]:
        starts = nn.initializers.zeros_init() if head.starts_at_zero else _prefix_stable_lecun
        dense = Dense(math.prod(head.shape), dtype=self.dtype, kernel_init=starts, name=head.name)
        return dense(features).reshape(-1, *head.shape)


def _label_offsets(
    module: nn.Module, labels: Float[Array, "batch classes"], shape: tuple[int, ...]
) -> Float[Array, "batch *shape"]:
    """Return the learned array that belongs to each example's label."""
    size = labels.shape[-1], math.prod(shape)
    kernel = module.param("labels", nn.initializers.zeros_init(), size, float)
    return (labels @ kernel.astype(labels.dtype)).reshape(-1, *shape)


class LatentDense(nn.Module):
    """Affine map z -> R^features; its initial scale depends on the used latents alone.

    Attributes:
        features: size of the output.
        use_bias: whether a bias is added.
        dtype: type of the computation; None follows the parameters.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Latents, latent_mask: LatentMask) -> Float[Array, "*batch features"]:
        """Return ``apply_mask(latent_mask, z) @ kernel + bias``: unused z have no effect."""
        shape = (z.shape[-1], self.features)
        kernel = self.param("kernel", _used_fan_in_lecun, shape, float, latent_mask)
        z, kernel = promote_dtype(apply_mask(latent_mask, z), kernel, dtype=self.dtype)
        h = z @ kernel
        if not self.use_bias:
            return h
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), float)
        return h + jnp.broadcast_to(bias.astype(h.dtype), h.shape)


class Decoder(nn.Module):
    """Decoder: z -> :class:`LatentDense` -> body -> likelihood outputs without the bias of x.

    Attributes:
        width: features of the first layer.
        body: module from those features to ``[batch, *event]``.
        use_bias: whether the first layer has a bias (a linear decoder needs none).
        dtype: type of the computation; None follows the parameters.
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
    ) -> Float[Array, "..."]:
        """Return the outputs before the bias of each dimension.

        A label adds learned features, zero at the start, to those of z.
        """
        first = LatentDense(self.width, self.use_bias, self.dtype, name="latent")
        h = first(z, latent_mask)
        if labels is not None:
            h += _label_offsets(self, labels, (self.width,)).astype(h.dtype)
        return self.body(h)
