"""Images of 256 levels: how x in [0, 1] names a level, and what bits per dim may be compared.

The probability of a level and a density of x = level / 255 are different quantities, and the
density is no bound on the probability: on the grid of levels it grows without end as the scale
shrinks. What can be compared is the density of a *dequantised* image, level + u with u uniform in
[0, 1). By Jensen's inequality E_u[log p(level + u)] <= log P(level), P being the integral of p
over the level's cell (Theis, van den Oord & Bethge 2016, section 3.1). In the unit of
y = (level + u) / 256 each of the D dimensions is 256 times shorter, so the bound reads

    log P(level) >= E_u[log p(y)] - D log 256.

A density trained on x = level / 255 was never asked about u; take its nats for themselves.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax.types import Images

NUM_LEVELS = 256
TOP = NUM_LEVELS - 1


def levels(x: Images) -> Int[Array, "*batch height width channels"]:
    """Whole levels 0 to 255 of images in [0, 1], the nearest one for any other gray."""
    return jnp.clip(jnp.round(TOP * x), 0, TOP).astype(jnp.int32)


def bits_per_dim(
    log_prob: Float[Array | np.ndarray, "*batch"], image_shape: tuple[int, int, int]
) -> Float[Array | np.ndarray, "*batch"]:
    """Return minus log_prob / (D log 2), D being the pixels times the channels.

    True bits per dim of 8-bit images only of families with ``is_eight_bit``, or of a bound on
    their log-probability.
    """
    return -log_prob / (math.prod(image_shape) * math.log(2.0))
