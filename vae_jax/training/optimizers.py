"""From hyperparameters to an optax transformation.

The transformation is rebuilt inside the step from that step's ``hparams`` (Python at trace time,
free at run time), so a vmapped learning rate never hides in a closure that outlives its trace.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.types import Bool, Scalar, default_float

SCHEDULES = ("constant", "cosine")
_B1, _B2, _EPS = 0.9, 0.999, 1e-8


def _scale_by_adam(is_frozen: Bool[Array, ""]) -> optax.GradientTransformation:
    """:func:`optax.scale_by_adam`, arranged so that XLA can update the moments in place.

    The step is taken from the new moments behind a barrier. Without it XLA computes it from the old
    ones, which must then be copied at every update (a tenth of a step of a small network on CPU).
    """
    adam = optax.scale_by_adam(_B1, _B2, _EPS)

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        moved = adam.update(updates, state, params)[1]
        kept = jax.tree.map(lambda new, old: jnp.where(is_frozen, old, new), moved, state)
        kept = jax.lax.optimization_barrier(kept)
        mean = optax.tree.bias_correction(kept.mu, _B1, kept.count)
        square = optax.tree.bias_correction(kept.nu, _B2, kept.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + _EPS), mean, square), kept

    return optax.GradientTransformation(adam.init, update)


def _scale_unless(is_frozen: Bool[Array, ""], rate: Scalar) -> optax.GradientTransformation:
    """Multiply by the rate, or give zero where frozen (NaN included)."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: jnp.where(is_frozen, 0.0, rate * u), updates)
    )


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
        self, hparams: HParams, step: Int[Array, ""], is_frozen: Bool[Array, ""] | None = None
    ) -> optax.GradientTransformation:
        """The optax transformation of update number ``step``.

        Args:
            hparams: of one run.
            step: updates done before this one.
            is_frozen: where true the state stays as it was and every update is zero.
        """
        clip = optax.clip_by_global_norm(hparams.clip_norm) if self.is_clipped else optax.identity()
        rate = -hparams.learning_rate * self.rate(hparams, step)
        frozen = jnp.zeros((), bool) if is_frozen is None else is_frozen
        return optax.chain(clip, _scale_by_adam(frozen), _scale_unless(frozen, rate))

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
