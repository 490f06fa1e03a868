"""A bound that a learned exponent cannot cross, and from which there is always a way back."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def softly_bounded(values: Float[Array, "*shape"], bound: float) -> Float[Array, "*shape"]:
    """``bound * tanh(values / bound)``: the identity near zero, within +-bound everywhere."""
    return bound * jnp.tanh(values / bound)
