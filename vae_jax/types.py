"""The vocabulary of axes and arrays that every signature of the package uses.

Axis names stand in jaxtyping strings and mean the same everywhere:

============  =====================================================================
``runs``      trained side by side; leads every array of a study's state
``particles`` importance samples of z for one x
``batch``     examples
``height``, ``width``, ``channels``  of an image x
``latents``   coordinates of z, ``max_latents`` of them, active or not
============  =====================================================================

Shapes are checked when a function is traced under pytest
(``--jaxtyping-packages=vae_jax,beartype.beartype``) and cost nothing otherwise.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32

__all__ = [
    "Array",
    "Bool",
    "Float",
    "Images",
    "Int",
    "Labels",
    "LatentMask",
    "Latents",
    "PRNGKey",
    "Params",
    "Pixels",
    "Row",
    "Scalar",
    "UInt8",
    "UInt32",
    "default_float",
]

PRNGKey: TypeAlias = Key[Array, ""]
Scalar: TypeAlias = Float[Array, ""]
Row: TypeAlias = dict[str, Any]
"""One run's values by the names of their columns, which ``vae_jax.evaluation.columns`` declares."""
Params: TypeAlias = Any
"""A pytree of arrays, nested by part: ``{"encoder": ..., "decoder": ..., "output_bias": ...}``."""

Pixels: TypeAlias = UInt8[Array, "*batch height width channels"]
"""Stored images, 0 to 255."""
Images: TypeAlias = Float[Array, "*batch height width channels"]
"""Images as a model sees them, in [0, 1]."""
Labels: TypeAlias = Int[Array, "*batch"]
"""Classes of images, counted from 0."""
Latents: TypeAlias = Float[Array, "*batch latents"]
LatentMask: TypeAlias = Bool[Array, " latents"]
"""True on the first ``latent_size`` coordinates, the ones a run uses."""


def default_float() -> jnp.dtype:
    """Float64 under ``--compute_dtype=float64`` (JAX's x64 mode), float32 otherwise."""
    return jax.dtypes.canonicalize_dtype(float)
