"""Modes of the scale of a pixel's noise, and the bound on scales that the decoder gives."""

from typing import Literal, get_args

from jaxtyping import Array, Float

from vae_jax.models.soft_clamp import soft_clamp

ScaleMode = Literal["fixed", "learned", "per_pixel", "optimal"]
SCALE_MODES: tuple[str, ...] = get_args(ScaleMode)
"""Sources of the scale. ``fixed``: hparams.scale; ``learned``: one parameter, initially that;
``per_pixel``: an output of the decoder, relative to it; ``optimal``: the batch's optimum and its
running average (sigma-VAE)."""

MAX_LOG_RATIO = 6.0
"""Bound of a log-ratio: an output changes a scale by less than a factor e^6, about 400."""


def bounded_log_ratio(output: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the log-ratio of a scale to its initial value: the output, softly clamped to +-6.

    Pixels that never change have no optimal scale, since their density grows without bound as the
    scale shrinks. The clamp makes that growth, and every gradient, finite. It is smooth, so the
    gradient is not zero beyond the bound.

    Example:
        >>> import jax.numpy as jnp
        >>> bounded_log_ratio(jnp.array([0.0, 1e6])).tolist()
        [0.0, 6.0]
    """
    return soft_clamp(output, MAX_LOG_RATIO)
