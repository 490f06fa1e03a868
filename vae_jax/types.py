"""Names of axes and types of arrays that every signature of the package uses.

Axis names stand in jaxtyping strings and have one meaning everywhere:

============  =====================================================================
``runs``      runs trained in parallel; the first axis of every array of a study's state
``particles`` importance samples of z for one x
``batch``     examples
``height``, ``width``, ``channels``  of an image x
``latents``   coordinates of z, ``max_latents`` of them, used or not
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
"""Typed random key, as ``jax.random.key`` makes it."""
Scalar: TypeAlias = Float[Array, ""]
"""Array of one number."""
Row: TypeAlias = dict[str, Any]
"""Values of one run by the names of columns, which ``vae_jax.evaluation.columns`` declares."""
Params: TypeAlias = Any
"""Pytree of arrays, nested by part: ``{"encoder": ..., "decoder": ..., "output_bias": ...}``."""

Pixels: TypeAlias = UInt8[Array, "*batch height width channels"]
"""Stored images, 0 to 255."""
Images: TypeAlias = Float[Array, "*batch height width channels"]
"""Images as a model takes them, in [0, 1]."""
Labels: TypeAlias = Int[Array, "*batch"]
"""Classes of images, counted from 0."""
Latents: TypeAlias = Float[Array, "*batch latents"]
"""Values of z, or of its noise."""
LatentMask: TypeAlias = Bool[Array, " latents"]
"""Mask of the coordinates that a run uses: true on the first ``latent_size``."""


def default_float() -> jnp.dtype:
    """Return float64 in JAX's x64 mode (``--compute_dtype=float64``), float32 otherwise."""
    return jax.dtypes.canonicalize_dtype(float)
