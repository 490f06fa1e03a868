"""The host's side of training: the only room with a Python ``for`` over chunks.

Between chunks the host only looks (terms, valid) and hands the state to whoever asked to be
called. Which steps it visits changes no number that is trained.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import batches, sweep
from vae_jax.data import Dataset
from vae_jax.evaluate import EvalSpec, in_batches, summarize
from vae_jax.hparams import HParams
from vae_jax.train import TrainSpec, TrainState
from vae_jax.types import default_float

Row = dict[str, Any]


@dataclass(frozen=True)
class Visits:
    """When the host looks.

    Attributes:
        num_steps: updates in all.
        chunk_steps: most updates between two visits.
        eval_every: updates between evaluations on valid; the last update is always one.
        checkpoint_every: updates between checkpoints; the last update is always one.
    """

    num_steps: int
    chunk_steps: int = 500
    eval_every: int = 500
    checkpoint_every: int = 1000

    def after(self, start: int) -> Iterator[int]:
        """Steps to stop at: all multiples of the three intervals, and the end."""
        step = start
        while step < self.num_steps:
            intervals = (self.chunk_steps, self.eval_every, self.checkpoint_every)
            step = min(self.num_steps, *(step - step % n + n for n in intervals))
            yield step

    def is_due(self, step: int, interval: int) -> bool:
        """Whether a multiple of the interval, or the end, is reached."""
        return step % interval == 0 or step == self.num_steps


class Visit(NamedTuple):
    """What the host sees between two chunks.

    Attributes:
        step: updates done.
        state: of all runs; gone when the next chunk starts, so copy what is to be kept.
        rows: one mapping per run: step, run, seconds, ``train_*`` and, if due, ``valid_*`` terms.
        ms_per_step: of the chunk just done, all runs together.
        compile_seconds: spent before the first chunk on building its program.
    """

    step: int
    state: TrainState
    rows: list[Row]
    ms_per_step: float
    compile_seconds: float


def initial_state(spec: TrainSpec, hparams: HParams, data: Dataset) -> TrainState:
    """State of all runs before the first update; every array leads with ``runs``."""
    mean = data.train.mean(axis=0, dtype=np.float64) / 255
    return sweep.init(spec, _as_study(hparams), jnp.asarray(mean, default_float()))


def fit(spec: TrainSpec, hparams: HParams, data: Dataset, num_steps: int) -> TrainState:
    """Train all runs of a study from their seeds.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        num_steps: updates.

    Returns:
        The state of all runs; every array leads with ``runs``.
    """
    state = initial_state(spec, hparams, data)
    visits = Visits(num_steps, eval_every=num_steps, checkpoint_every=num_steps)
    for visit in train(spec, hparams, data, visits, state):
        state = visit.state
    return state


def train(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    visits: Visits,
    state: TrainState,
    *,
    seconds: float = 0.0,
) -> Iterator[Visit]:
    """Train from a state on, chunk by chunk; the caller looks in between.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        visits: when the host looks.
        state: where to go on from; it is donated.
        seconds: training time already spent, to which the rows' ``seconds`` add.
    """
    hparams, start = _as_study(hparams), int(state.step[0])
    if start >= visits.num_steps:
        return
    pixels = jnp.asarray(batches.stored_pixels(spec.binarize, "train", data.train))
    valid = _resident(spec, data, "valid")
    advance, compile_seconds = _compiled(spec, hparams, state, pixels, visits.chunk_steps)
    for stop in visits.after(start):
        began = time.perf_counter()
        state, terms = advance(hparams, state, pixels, jnp.int32(stop - start))
        terms = jax.device_get(terms)
        elapsed = time.perf_counter() - began
        seconds += elapsed
        rows = _rows(stop, seconds, terms)
        if visits.is_due(stop, visits.eval_every):
            _add_valid(rows, _score(EvalSpec(spec.model), hparams, state, valid))
        yield Visit(stop, state, rows, 1e3 * elapsed / (stop - start), compile_seconds)
        start, compile_seconds = stop, 0.0


def score(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Dataset,
    split: batches.Split = "test",
    *,
    num_particles: int = 1,
) -> list[Row]:
    """Terms of every run on a split, in nats per example, with their standard errors.

    Each row is :func:`vae_jax.evaluate.summarize`'s.

    Args:
        spec: as trained.
        hparams: as trained.
        state: of all runs.
        data: images.
        split: ``train``, ``valid`` or ``test``.
        num_particles: K of the importance-weighted bound behind ``nll``.
    """
    eval_spec = EvalSpec(spec.model, num_particles)
    return _score(eval_spec, _as_study(hparams), state, _resident(spec, data, split))


class _Resident(NamedTuple):
    """A split on the device, in padded batches."""

    pixels: jax.Array
    num_examples: int


def _resident(spec: TrainSpec, data: Dataset, split: batches.Split) -> _Resident:
    images = getattr(data, split)
    pixels = batches.stored_pixels(spec.binarize, split, images)
    return _Resident(jnp.asarray(in_batches(pixels, EvalSpec.batch_size)), len(images))


def _score(eval_spec: EvalSpec, hparams: HParams, state: TrainState, split: _Resident) -> list[Row]:
    evaluation = jax.device_get(
        sweep.evaluate(
            eval_spec, hparams, state.params, split.pixels, num_examples=split.num_examples
        )
    )
    return [
        summarize(sweep.take(evaluation, run), int(latent_size), eval_spec.num_particles)
        for run, latent_size in enumerate(hparams.latent_size)
    ]


def _compiled(
    spec: TrainSpec, hparams: HParams, state: TrainState, pixels: jax.Array, max_steps: int
) -> tuple[Callable[..., tuple[TrainState, Any]], float]:
    """The program of a chunk, and the seconds it took to build."""
    began = time.perf_counter()
    lowered = sweep.train_chunk.lower(
        spec, hparams, state, pixels, jnp.int32(0), max_steps=max_steps
    )
    return lowered.compile(), time.perf_counter() - began


def _rows(step: int, seconds: float, terms: Any) -> list[Row]:
    """Training terms of the last chunk, one row per run."""
    columns = terms._asdict() | {"elbo": terms.log_likelihood - terms.kl}
    return [
        {"step": step, "run": run, "seconds": round(seconds, 3)}
        | {f"train_{name}": float(values[run]) for name, values in columns.items()}
        for run in range(len(terms.kl))
    ]


def _add_valid(rows: list[Row], scores: list[Row]) -> None:
    for row, scored in zip(rows, scores, strict=True):
        names = ("elbo", "elbo_se", "log_likelihood", "kl", "active_units")
        row.update({f"valid_{name}": scored[name] for name in names})


def _as_study(hparams: HParams) -> HParams:
    return jax.tree.map(jnp.atleast_1d, hparams)
