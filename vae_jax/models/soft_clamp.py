"""Bounds on learned exponents: a smooth clamp with gradients everywhere, and a finite ``exp``."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def soft_clamp(values: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """Return ``bound * tanh(values / bound)``: near zero the identity, everywhere within +-bound.

    Example:
        >>> import jax.numpy as jnp
        >>> soft_clamp(jnp.array([0.0, 1e6]), 2.0).tolist()
        [0.0, 2.0]
    """
    return bound * jnp.tanh(values / bound)


def finite_exp(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ``exp(values)``, held below the largest float of the dtype.

    Zero times the result is then 0 and not 0 * inf = NaN: a deviation of zero stays zero however
    small its scale is. The bound is applied before the ``exp``, or the gradient would be 0 * inf.

    Example:
        >>> import jax.numpy as jnp
        >>> float(0.0 * finite_exp(jnp.float32(1000.0)))
        0.0
    """
    return jnp.exp(jnp.minimum(values, jnp.log(jnp.finfo(values.dtype).max) - 1.0))
