"""The latent axis: how wide it is, and which of its coordinates a run uses.

A run uses the first ``latent_size`` coordinates; these are *used* or *masked in*, the others are
*masked out*. (The word *active* is kept for active units: coordinates whose posterior mean varies
with x, Burda et al. 2016.) Because ``latent_size`` is an array, runs of different sizes are rows of
one program. The mask is applied in three places: where a density is summed over latents, where the
posterior is made and where z enters the decoder. A coordinate that is masked out then adds exactly
zero to every term and every gradient.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.types import LatentMask, Latents, PRNGKey, default_float


def padded_width(max_latents: int) -> int:
    """Return the columns of z in a model whose runs use at most ``max_latents``: 48, 64, 80, ...

    The order in which a matrix product sums depends on its shape. Without padding, the last bits of
    a run with 3 latents would depend on whether the other runs of its study have 8 or 30. Runs of
    another padded width are trained by another program on a CPU: single products agreed to the bit
    in widths 48 to 256, but after 1,500 updates a run with 20 latents had another ELBO in 64
    columns than in 48, by 0.08 nats.

    Example:
        >>> [padded_width(size) for size in (2, 48, 50)]
        [48, 48, 64]
    """
    return max(48, -(-max_latents // 16) * 16)


def prefix_mask(width: int, latent_size: Int[Array, ""]) -> LatentMask:
    """Return the mask that is true on the first ``latent_size`` of ``width`` coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> prefix_mask(4, jnp.int32(2)).tolist()
        [True, True, False, False]
    """
    return jnp.arange(width) < latent_size


def apply_mask(latent_mask: LatentMask | None, values: Latents) -> Latents:
    """Return the values with zeros on the coordinates that are masked out; with None, unchanged.

    Selected by ``where`` and not by a product: 0 * inf would be NaN, in the value or its gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> apply_mask(jnp.array([True, False]), jnp.array([1.0, jnp.inf])).tolist()
        [1.0, 0.0]
    """
    if latent_mask is None:
        return values
    return jnp.where(jnp.broadcast_to(latent_mask, values.shape), values, 0.0)


def standard_noise(
    key: PRNGKey, shape: tuple[int, ...], max_latents: int, extra_width: int = 0
) -> Latents:
    """Draw standard normal noise ``[*shape, width]``, zero in the padding that no run uses.

    It is drawn with the latent axis leading, so the first coordinates do not depend on
    ``max_latents``.

    Args:
        key: key of the noise.
        shape: leading axes.
        max_latents: largest number of latents of a run.
        extra_width: columns of an upper stochastic layer, which follow the padding.

    Example:
        >>> key = jax.random.key(0)
        >>> few, many = (standard_noise(key, (3,), size) for size in (2, 5))
        >>> few.shape, bool((few[:, :2] == many[:, :2]).all())
        ((3, 48), True)
    """

    def draw(key: PRNGKey, size: int, width: int) -> Latents:
        drawn = jax.random.normal(key, (size, *shape), default_float())
        return pad_latents(jnp.moveaxis(drawn, 0, -1), width)

    lower = draw(key, max_latents, padded_width(max_latents))
    if not extra_width:
        return lower
    upper = draw(jax.random.fold_in(key, 1), extra_width, extra_width)
    return jnp.concatenate([lower, upper], axis=-1)


def prepend_axes(values: Array, ndim: int) -> Array:
    """Return the values with axes of length one in front, so that there are ``ndim`` axes."""
    return values.reshape((1,) * (ndim - values.ndim) + values.shape)


def split_layers(values: Array, width: int) -> tuple[Array, Array]:
    """Return the first ``width`` columns (layer z1) and the others (the upper layer z2)."""
    return values[..., :width], values[..., width:]


def pad_latents(values: Latents, width: int) -> Float[Array, "*batch width"]:
    """Return the values with zeros appended along the latent axis, up to ``width`` coordinates."""
    missing = width - values.shape[-1]
    return jnp.pad(values, ((0, 0),) * (values.ndim - 1) + ((0, missing),))
