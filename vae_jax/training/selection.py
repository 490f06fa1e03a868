"""Choice by the valid split: which weights of a run are kept, and when a run stops early.

At each evaluation in training, a *look*, the host gives the mean bound of every run on valid, as it
is logged. :func:`look` compares it with the highest one so far, in the precision of the state. What
is remembered, :class:`ValidRecord`, is part of the state of a run and of its checkpoint, so a
resumed run chooses as a straight one.

A run that has stopped is frozen by what freezes a diverged one
(:func:`vae_jax.training.step.train_step`): its weights stay those of the look that ended it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vae_jax.types import Params, default_float

LAST, BEST = "last", "best"
KEPT = (LAST, BEST)
"""Weights that a run may be evaluated with: those after its last update, or those of its best look.
"""


class ValidRecord(NamedTuple):
    """Memory of a run of its looks at valid.

    Attributes:
        bound: highest bound so far, in nats per example; -inf before the first finite one.
        step: updates before the look that gave it.
        num_since: looks since then.
        stopped: updates after which the run stopped because the bound had not risen; -1 while it
            goes on.
        params: parameters of that look, as evaluation uses them; empty where the last are kept.

    Example:
        >>> record = start({"w": jnp.zeros(2)}, is_best_kept=True)
        >>> for step, bound in ((10, -99.0), (20, -98.0), (30, -98.5)):
        ...     record = look(record, 1, jnp.float32(bound), step, {"w": jnp.full(2, step)}, False)
        >>> int(record.step), record.params["w"].tolist(), int(record.stopped)
        (20, [20.0, 20.0], 30)
    """

    bound: Float[Array, "*runs"]
    step: Int[Array, "*runs"]
    num_since: Int[Array, "*runs"]
    stopped: Int[Array, "*runs"]
    params: Params


def start(params: Params, *, is_best_kept: bool) -> ValidRecord:
    """Return the record of a run before its first look.

    Args:
        params: initial parameters.
        is_best_kept: whether the parameters of the best look are kept.
    """
    zero = jnp.zeros((), jnp.int32)
    kept: Any = jax.tree.map(jnp.copy, params) if is_best_kept else ()
    return ValidRecord(jnp.full((), -jnp.inf, default_float()), zero, zero, zero - 1, kept)


def look(
    record: ValidRecord,
    patience: Int[Array, ""] | int,
    bound: Float[Array, ""],
    step: Int[Array, ""] | int,
    params: Params,
    is_diverged: Bool[Array, ""] | bool,
) -> ValidRecord:
    """Return the record of a run after a look at valid.

    A bound that is not finite is no rise. Until one is finite, the last parameters are kept. The
    record of a run that has stopped or diverged stays as it is.

    Args:
        record: the record before.
        patience: looks without a rise after which the run stops; 0 for never.
        bound: mean bound on valid, in nats per example.
        step: updates so far.
        params: parameters that gave the bound; empty where the last are kept.
        is_diverged: whether the run has diverged.
    """
    is_open = (record.stopped < 0) & ~jnp.asarray(is_diverged)
    is_rise = is_open & jnp.isfinite(bound) & (bound > record.bound)
    is_kept = is_rise | (is_open & (record.bound == -jnp.inf))
    num_since = jnp.where(is_rise, 0, record.num_since + is_open)
    is_end = is_open & (jnp.asarray(patience) > 0) & (num_since >= patience)
    return ValidRecord(
        jnp.where(is_rise, bound, record.bound).astype(record.bound.dtype),
        jnp.where(is_kept, step, record.step),
        num_since,
        jnp.where(is_end, step, record.stopped),
        jax.tree.map(lambda new, old: jnp.where(is_kept, new, old), params, record.params),
    )


def all_ended(stopped: np.ndarray, diverged: np.ndarray) -> bool:
    """Return whether every run has stopped or diverged.

    Args:
        stopped: updates after which each run stopped, -1 for none.
        diverged: update at which each run diverged, -1 for none.

    Example:
        >>> all_ended(np.array([8, -1]), np.array([-1, 5]))
        True
    """
    return bool(np.all((stopped >= 0) | (diverged >= 0)))
