"""Bounds on learned exponents: one with a way back, and one that keeps a power finite."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def soft_clamp(values: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """``bound * tanh(values / bound)``: the identity near zero, within +-bound everywhere."""
    return bound * jnp.tanh(values / bound)


def finite_exp(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ``exp(values)``, held below the largest float of the dtype.

    So 0 times it is 0 where it would be 0 * inf = NaN: a deviation of zero counts as none however
    small its scale. The bound is applied before the ``exp``, or its slope would be 0 * inf.
    """
    return jnp.exp(jnp.minimum(values, jnp.log(jnp.finfo(values.dtype).max) - 1.0))
