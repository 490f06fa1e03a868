"""Sums of many numbers, one after the other, that keep the precision of a single one.

In float32 a plain sum of 5,000 log-likelihoods of -34,000 nats rounds each to 8 or 16 nats, and
their mean was off by 2. What an addition loses is therefore kept beside the sum and taken from the
next number (Kahan 1965), so that the error of a mean is that of its terms, however many there are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Sum(NamedTuple):
    """Sum of the numbers so far, and what the rounding of its additions has added to it.

    Attributes:
        total: array, or a pytree of arrays that are summed each.
        excess: what the total exceeds the exact sum by.

    Example:
        >>> tenths = add_all(zero_like(jnp.float32(0)), jnp.full(10_000, 0.1, jnp.float32))
        >>> float(tenths.total)
        1000.0
    """

    total: Any
    excess: Any


def zero_like(values: Any) -> Sum:
    """Return the sum of no numbers, for arrays, or a pytree, of this shape and type."""
    zeros = jax.tree.map(jnp.zeros_like, values)
    return Sum(zeros, zeros)


def add(sums: Sum, values: Any) -> Sum:
    """Return the sum with one more number; one that is not finite makes it so, as in any sum."""
    corrected = jax.tree.map(jnp.subtract, values, sums.excess)
    total = jax.tree.map(jnp.add, sums.total, corrected)
    return Sum(total, jax.tree.map(_excess, total, sums.total, corrected))


def _excess(total: Array, before: Array, added: Array) -> Array:
    excess = (total - before) - added
    return jnp.where(jnp.isfinite(excess), excess, 0.0)  # inf - inf, once the sum is infinite


def add_all(sums: Sum, values: Float[Array, "numbers *shape"]) -> Sum:
    """Return the sum with the numbers along the first axis, one after the other."""
    return jax.lax.scan(lambda sums, each: (add(sums, each), None), sums, values)[0]
