"""Where the scale of a pixel's noise comes from, and what keeps it within reason."""

from typing import Literal, get_args

from jaxtyping import Array, Float

from vae_jax.models.soft_clamp import soft_clamp

ScaleMode = Literal["fixed", "learned", "per_pixel", "optimal"]
SCALE_MODES: tuple[str, ...] = get_args(ScaleMode)
"""``fixed`` at hparams.scale; ``learned``: one number, started there; ``per_pixel``: an output of
the decoder, around it; ``optimal``: the batch's optimum, started there (sigma-VAE)."""

MAX_LOG_RATIO = 6.0
"""Outputs move a scale by less than a factor e^6, about 400, up or down."""


def bounded(output: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log of a scale's ratio to where it starts: about the output, but never beyond the bounds.

    Pixels that never change have no best scale, since their density grows without end as the
    scale shrinks. The bounds make that growth, and every gradient, finite; being smooth, they
    leave a way back.
    """
    return soft_clamp(output, MAX_LOG_RATIO)
