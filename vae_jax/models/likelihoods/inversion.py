"""Inversion of increasing functions, for outputs whose mean has no closed-form inverse."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Values = Float[Array, "*shape"]


def invert(
    increasing: Callable[[Values], Values], target: Values, low: float, high: float
) -> Values:
    """Return the v in [low, high] with increasing(v) = target, element by element, by bisection.

    Sixty halvings are exact to the last bit. For a target outside the range the result is the
    nearer end of [low, high].

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(invert(jnp.square, jnp.float32(4.0), 0.0, 10.0)), 3)
        2.0
    """

    def halve(_: Int[Array, ""], bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = bracket
        middle = 0.5 * (below + above)
        is_below = increasing(middle) < target
        return jnp.where(is_below, middle, below), jnp.where(is_below, above, middle)

    start = jnp.full_like(target, low), jnp.full_like(target, high)
    below, above = jax.lax.fori_loop(0, 60, halve, start)
    return 0.5 * (below + above)
