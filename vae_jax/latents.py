"""The latent axis: ``max_latents`` coordinates, of which a run uses the first ``latent_size``.

Because ``latent_size`` is an array, runs of different widths are rows of one program. The mask is
applied where a density is summed over latents, where the posterior is made and where z enters the
decoder; an inactive coordinate then adds exactly zero to every term and every gradient.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int

from vae_jax.types import Active, Latents


def active(max_latents: int, latent_size: Int[Array, ""]) -> Active:
    """True on the first ``latent_size`` coordinates."""
    return jnp.arange(max_latents) < latent_size


def keep(mask: Active, values: Latents) -> Latents:
    """The values on active coordinates and zero on the others.

    ``where`` and not a product: 0 * inf would be NaN, in the value or in its gradient.
    """
    return jnp.where(jnp.broadcast_to(mask, values.shape), values, 0.0)
