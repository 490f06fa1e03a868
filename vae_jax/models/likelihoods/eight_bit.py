"""Images of 256 levels: the level that x in [0, 1] stands for, and bits per dim.

The probability of a level and a density of x = level / 255 are different quantities, and the
density is no bound on the probability: on the grid of levels it grows without bound as the scale
shrinks. Comparable is the density of a *dequantised* image, level + u with u uniform in [0, 1). By
Jensen's inequality E_u[log p(level + u)] <= log P(level), P being the integral of p over the
level's cell (Theis, van den Oord & Bethge 2016, section 3.1). In the unit of y = (level + u) / 256
each of the D dimensions is 256 times shorter, so the bound reads

    log P(level) >= E_u[log p(y)] - D log 256.

A density trained on x = level / 255 was not trained with u: its nats cannot be converted.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax.types import Observations

NUM_LEVELS = 256
"""Number of levels of an 8-bit pixel."""
MAX_LEVEL = NUM_LEVELS - 1
"""Level of white, 255."""


def levels(x: Observations) -> Int[Array, "*batch height width channels"]:
    """Return the nearest whole level, 0 to 255, of each pixel of images in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> levels(jnp.array([0.0, 0.5, 1.0, 7.0]).reshape(2, 2, 1)).ravel().tolist()
        [0, 128, 255, 255]
    """
    return jnp.clip(jnp.round(MAX_LEVEL * x), 0, MAX_LEVEL).astype(jnp.int32)


def bits_per_dim(
    log_prob: Float[Array | np.ndarray, "*batch"], event_shape: tuple[int, ...]
) -> Float[Array | np.ndarray, "*batch"]:
    """Return -log_prob / (D log 2) with D = the number of dimensions of an x.

    The result is bits per dim of 8-bit images only if ``log_prob`` (nats per image) comes from a
    family with ``is_eight_bit``, or is a bound on its log-probability.

    Example:
        >>> import numpy as np
        >>> bits_per_dim(np.array([-784 * 8 * np.log(2)]), (28, 28, 1)).round(6).tolist()
        [8.0]
    """
    return -log_prob / (math.prod(event_shape) * math.log(2.0))
