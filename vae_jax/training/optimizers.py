"""Adam with its schedules: an optax transformation made from hyperparameters that are arrays.

The transformation is rebuilt inside the step from that step's ``hparams`` (Python at trace time,
free at run time), so a vmapped learning rate is never captured by a closure that outlives its
trace. A run that diverged is frozen here: ``is_frozen`` keeps the moments and makes every update
zero.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.settings import one_of, real, setting, whole
from vae_jax.types import Bool, Scalar, default_float

SCHEDULES = ("constant", "cosine")
_B1, _B2, _EPS = 0.9, 0.999, 1e-8


def _scale_by_adam(is_frozen: Bool[Array, ""]) -> optax.GradientTransformation:
    """Return :func:`optax.scale_by_adam`, arranged so that XLA can update the moments in place.

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
    """Return a transformation that multiplies by the rate; where frozen it gives 0, never NaN."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: jnp.where(is_frozen, 0.0, rate * u), updates)
    )


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with a warm-up, a schedule and optional gradient clipping.

    Moments with b1 = 0.9 and b2 = 0.999, eps = 1e-8 outside of the root. The learning rate of an
    update is ``hparams.learning_rate * rate(hparams, step)``.

    Attributes:
        schedule: ``constant``, or ``cosine`` to fall to zero at ``num_steps``.
        num_steps: updates of the training, which only the cosine needs.
        is_clipped: True to scale gradients down to the global norm ``hparams.clip_norm``.

    Example:
        >>> import vae_jax
        >>> hparams = vae_jax.HParams.of(learning_rate=0.01)
        >>> transformation = vae_jax.Adam().transformation(hparams, jnp.int32(0))
        >>> params = {"w": jnp.ones(2)}
        >>> updates, _ = transformation.update({"w": jnp.array([5.0, -3.0])},
        ...                                    transformation.init(params))
        >>> updates["w"].round(4).tolist() == jnp.array([-0.01, 0.01]).round(4).tolist()
        True
    """

    schedule: str = setting("constant", one_of(*SCHEDULES), "learning rate after the warm-up")
    num_steps: int = 0
    is_clipped: bool = False

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam("learning_rate", 1e-3, real(0.0, is_open=True), "Adam's step size, at its peak"),
        HParam(
            "warmup_steps",
            0,
            whole(0),
            "updates over which the learning rate rises",
            unit="updates",
        ),
        HParam(
            "clip_norm",
            math.inf,
            real(0.0, is_open=True, or_infinite=True),
            "largest norm of the gradient",
        ),
    )

    def transformation(
        self, hparams: HParams, step: Int[Array, ""], is_frozen: Bool[Array, ""] | None = None
    ) -> optax.GradientTransformation:
        """Return the optax transformation of update number ``step``.

        Args:
            hparams: hyperparameters of one run.
            step: number of updates before this one.
            is_frozen: true for a run that diverged: its moments stay as they were and every update
                is zero. None for False.
        """
        clip = optax.clip_by_global_norm(hparams.clip_norm) if self.is_clipped else optax.identity()
        rate = -hparams.learning_rate * self.rate(hparams, step)
        frozen = jnp.zeros((), bool) if is_frozen is None else is_frozen
        return optax.chain(clip, _scale_by_adam(frozen), _scale_unless(frozen, rate))

    def rate(self, hparams: HParams, step: Int[Array, ""]) -> Scalar:
        """Return the share of the peak learning rate that update number ``step`` takes, in [0, 1].

        The share rises linearly, ``min(1, (step + 1) / warmup_steps)``. The cosine schedule
        multiplies it by ``(1 + cos(pi t)) / 2`` with
        ``t = (step - warmup_steps) / (num_steps - warmup_steps)``, clipped to [0, 1] (Loshchilov &
        Hutter 2017, eq. 5).

        Example:
            >>> from vae_jax.hparams import HParams
            >>> hparams = HParams.of(warmup_steps=4)
            >>> [float(Adam().rate(hparams, jnp.int32(step))) for step in (0, 1, 3, 9)]
            [0.25, 0.5, 1.0, 1.0]
        """
        step = step.astype(default_float())
        warmup = hparams.warmup_steps.astype(step.dtype)
        rise = jnp.minimum(1.0, (step + 1.0) / jnp.maximum(warmup, 1.0))
        if self.schedule == "constant":
            return rise
        return rise * self._cosine(step, warmup)

    def _cosine(self, step: Float[Array, ""], warmup: Float[Array, ""]) -> Scalar:
        """Return ``(1 + cos(pi t)) / 2``, with t the share of the updates after the warm-up."""
        progress = (step - warmup) / jnp.maximum(self.num_steps - warmup, 1.0)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
