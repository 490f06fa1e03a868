"""From hyperparameters to an optax transformation.

The transformation is rebuilt inside the step from that step's ``hparams`` (Python at trace time,
free at run time), so a vmapped learning rate never hides in a closure that outlives its trace.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.types import Scalar, default_float

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with a warm-up, a schedule and optional gradient clipping.

    Attributes:
        schedule: ``constant``, or ``cosine`` to fall to zero at ``num_steps``.
        num_steps: length of the training, which only the cosine needs.
        is_clipped: whether gradients are scaled down to ``hparams.clip_norm``.
    """

    schedule: str = "constant"
    num_steps: int = 0
    is_clipped: bool = False

    def transformation(
        self, hparams: HParams, step: Int[Array, ""]
    ) -> optax.GradientTransformation:
        """The optax transformation of update number ``step``."""
        clip = optax.clip_by_global_norm(hparams.clip_norm) if self.is_clipped else optax.identity()
        return optax.chain(clip, optax.adam(hparams.learning_rate * self.rate(hparams, step)))

    def rate(self, hparams: HParams, step: Int[Array, ""]) -> Scalar:
        """Share of the peak learning rate that update number ``step`` takes, in [0, 1].

        Linear from 1/warmup_steps to 1, then 1 or (1 + cos(pi t)) / 2 with t the share of the
        remaining updates that is done (Loshchilov & Hutter 2017, eq. 5).
        """
        step = step.astype(default_float())
        warmup = hparams.warmup_steps.astype(step.dtype)
        rise = jnp.minimum(1.0, (step + 1.0) / jnp.maximum(warmup, 1.0))
        if self.schedule == "constant":
            return rise
        return rise * self._cosine(step, warmup)

    def _cosine(self, step: Float[Array, ""], warmup: Float[Array, ""]) -> Scalar:
        progress = (step - warmup) / jnp.maximum(self.num_steps - warmup, 1.0)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
