"""Names of axes and types of arrays that every signature of the package uses.

Axis names stand in jaxtyping strings and have one meaning everywhere:

============  =====================================================================
``runs``      runs trained in parallel; the first axis of every array of a study's state
``particles`` importance samples of z for one x
``batch``     examples
``event``     axes of one x: height, width and channels of an image, one axis of a vector
``latents``   coordinates of z, ``max_latents`` of them, used or not
============  =====================================================================

Shapes are checked when a function is traced under pytest
(``--jaxtyping-packages=vae_jax,beartype.beartype``) and cost nothing otherwise.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Key, UInt8, UInt32

__all__ = [
    "Array",
    "Bool",
    "EventAxes",
    "Float",
    "Images",
    "Int",
    "Labels",
    "LatentMask",
    "Latents",
    "Observations",
    "PRNGKey",
    "Params",
    "Pixels",
    "Row",
    "Scalar",
    "Stored",
    "UInt8",
    "UInt32",
    "default_float",
    "event_axes",
]

PRNGKey: TypeAlias = Key[Array, ""]
"""Typed random key, as ``jax.random.key`` makes it."""
Scalar: TypeAlias = Float[Array, ""]
"""Array of one number."""
Row: TypeAlias = dict[str, Any]
"""Values of one run by the names of columns, which ``vae_jax.evaluation.columns`` declares."""
Params: TypeAlias = Any
"""Pytree of arrays, nested by part: ``{"encoder": ..., "decoder": ..., "output_bias": ...}``."""

Observations: TypeAlias = Float[Array, "..."]
"""x as a model takes it, ``[*batch, *event]``: pixels in [0, 1], or numbers as the data hold them.
A jaxtyping string has room for one group of axes only, so both are written as one."""
Images: TypeAlias = Observations
"""Observations that are images, ``[*batch, height, width, channels]``."""
Pixels: TypeAlias = UInt8[Array, "..."]
"""Stored pixels, 0 to 255, ``[*batch, *event]``."""
Stored: TypeAlias = UInt8[Array, "..."] | Float32[Array, "..."] | Int32[Array, "..."]
"""Data as they are stored, ``[*batch, *event]``: pixels, real numbers, or counts."""
Labels: TypeAlias = Int[Array, "*batch"]
"""Classes of examples, counted from 0."""
EventAxes: TypeAlias = tuple[None, ...]
"""Number of axes of an event, as a tuple of as many None: part of the structure of a pytree, so it
stays static where jit, vmap and grad turn numbers into arrays. :func:`event_axes` makes one."""
Latents: TypeAlias = Float[Array, "*batch latents"]
"""Values of z, or of its noise."""
LatentMask: TypeAlias = Bool[Array, " latents"]
"""Mask of the coordinates that a run uses: true on the first ``latent_size``."""


def default_float() -> jnp.dtype:
    """Return float64 in JAX's x64 mode (``--compute_dtype=float64``), float32 otherwise."""
    return jax.dtypes.canonicalize_dtype(float)


def event_axes(rank: int) -> EventAxes:
    """Return the axes of an event of the given rank.

    Example:
        >>> event_axes(3)
        (None, None, None)
    """
    return (None,) * rank
