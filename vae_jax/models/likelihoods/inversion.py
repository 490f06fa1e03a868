"""Solving for the outputs that give a wanted mean, where there is no closed form."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Values = Float[Array, "*shape"]


def invert(
    increasing: Callable[[Values], Values], target: Values, low: float, high: float
) -> Values:
    """The v in [low, high] with increasing(v) = target, element by element, by bisection.

    Sixty halvings: to the last bit, and at an end of the bracket where the target lies beyond.
    """

    def halve(_: Int[Array, ""], bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        below, above = bracket
        middle = 0.5 * (below + above)
        is_below = increasing(middle) < target
        return jnp.where(is_below, middle, below), jnp.where(is_below, above, middle)

    start = jnp.full_like(target, low), jnp.full_like(target, high)
    below, above = jax.lax.fori_loop(0, 60, halve, start)
    return 0.5 * (below + above)
