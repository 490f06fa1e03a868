"""The latent axis: how wide it is, and which of its coordinates a run uses.

A run uses the first ``latent_size`` coordinates. Because that is an array, runs of different sizes
are rows of one program. The mask is applied where a density is summed over latents, where the
posterior is made and where z enters the decoder; an inactive coordinate then adds exactly zero to
every term and every gradient.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.types import LatentMask, Latents


def padded_width(max_latents: int) -> int:
    """Columns of z in a model whose runs use at most ``max_latents``: 48, 64, 80, ...

    In which order a matrix product sums depends on its shape, so a run of 3 latents would feel in
    its last bits whether its neighbours have 8 or 30. From 48 on, in steps of 16, zeros beyond the
    active latents changed no bit on a CPU (all sizes tried, 2 to 100, in widths 48 to 256).
    """
    return max(48, -(-max_latents // 16) * 16)


def mask(width: int, latent_size: Int[Array, ""]) -> LatentMask:
    """True on the first ``latent_size`` coordinates."""
    return jnp.arange(width) < latent_size


def apply_mask(mask: LatentMask | None, values: Latents) -> Latents:
    """The values on active coordinates (None: on all) and zero on the others.

    ``where`` and not a product: 0 * inf would be NaN, in the value or in its gradient.
    """
    if mask is None:
        return values
    return jnp.where(jnp.broadcast_to(mask, values.shape), values, 0.0)


def grow(values: Array, ndim: int) -> Array:
    """The values with axes of length one in front, up to ``ndim`` axes."""
    return values.reshape((1,) * (ndim - values.ndim) + values.shape)


def split(values: Array, width: int) -> tuple[Array, Array]:
    """The first ``width`` columns and the others: those of two stochastic layers."""
    return values[..., :width], values[..., width:]


def widen(values: Latents, width: int) -> Float[Array, "*batch width"]:
    """The values with zeros behind them, up to ``width`` coordinates."""
    missing = width - values.shape[-1]
    return jnp.pad(values, ((0, 0),) * (values.ndim - 1) + ((0, missing),))
