"""Runs side by side; the only room that maps over them.

Every array here leads with a ``runs`` axis, and a single run is a study of one. ``jax.lax.map``
goes through the runs ``max_parallel_runs`` at a time inside one compiled program.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jaxtyping import Array, Float, Int

from vae_jax import evaluate as evaluation
from vae_jax import train
from vae_jax.evaluate import EvalSpec, Evaluation
from vae_jax.hparams import HParams
from vae_jax.objectives import Terms
from vae_jax.train import TrainSpec, TrainState
from vae_jax.types import Params, Pixels

T = TypeVar("T")


def over_runs(fn: Callable[..., T], max_parallel_runs: int) -> Callable[..., T]:
    """``fn`` mapped over the leading axis of all its arguments, so many runs at a time.

    With one run at a time the program of a run is the program of that run alone, to the bit.
    """
    batch_size = None if max_parallel_runs == 1 else max_parallel_runs
    return lambda *args: jax.lax.map(lambda run: fn(*run), args, batch_size=batch_size)


@functools.partial(jax.jit, static_argnames=("spec", "max_parallel_runs"))
def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "height width channels"],
    *,
    max_parallel_runs: int = 1,
) -> TrainState:
    """States of all runs before the first update; every array ``[runs, ...]``."""
    start = functools.partial(train.init, spec, data_mean=data_mean)
    return over_runs(start, max_parallel_runs)(hparams)


@functools.partial(
    jax.jit,
    static_argnames=("spec", "max_steps", "max_parallel_runs"),
    donate_argnames="state",
)
def train_chunk(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: Pixels,
    num_steps: Int[Array, ""],
    *,
    max_steps: int,
    max_parallel_runs: int = 1,
) -> tuple[TrainState, Terms]:
    """``num_steps`` updates of every run; terms ``[runs]`` are means over these updates.

    The state is donated: the caller's is gone afterwards.
    """
    advance = functools.partial(
        train.train_chunk, spec, pixels=pixels, num_steps=num_steps, max_steps=max_steps
    )
    return over_runs(advance, max_parallel_runs)(hparams, state)


@functools.partial(jax.jit, static_argnames=("spec", "num_examples", "max_parallel_runs"))
def evaluate(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    pixels: Pixels,
    *,
    num_examples: int,
    max_parallel_runs: int = 1,
) -> Evaluation:
    """Evaluation of every run on one split; terms ``[runs, examples]``."""
    measure = functools.partial(evaluation.evaluate, spec, pixels=pixels, num_examples=num_examples)
    return over_runs(measure, max_parallel_runs)(hparams, params)


def take(tree: Any, run: int) -> Any:
    """One run's share of a study's pytree: ``hparams``, ``params``, a state or an evaluation."""
    return jax.tree.map(lambda a: a[run], tree)
