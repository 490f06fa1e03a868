"""The host's side of training: the only room with a Python ``for`` over chunks.

Between chunks the host only looks (terms, valid) and hands the state to whoever asked to be
called. Which steps it visits changes no number that is trained.
"""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
    """

    step: int
    state: TrainState
    rows: list[Row]
    ms_per_step: float


def initial_state(spec: TrainSpec, hparams: HParams, data: Dataset) -> TrainState:
    """State of all runs before the first update; every array leads with ``runs``."""
    return sweep.init(spec, _as_study(hparams), data_mean(data.train))


def data_mean(pixels: np.ndarray) -> Float[Array, "height width channels"]:
    """Mean of each pixel in [0, 1]."""
    return jnp.asarray(pixels.mean(axis=0, dtype=np.float64) / 255, default_float())


def fit(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    visits: Visits | int,
    *,
    state: TrainState | None = None,
    on_visit: Callable[[Visit], None] = lambda visit: None,
    seconds: float = 0.0,
) -> TrainState:
    """Train all runs of a study up to a number of updates.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        visits: when the host looks, or just the number of updates.
        state: where to go on from; None starts from the seeds.
        on_visit: called between chunks, for logs and checkpoints.
        seconds: training time already spent, to which the rows' ``seconds`` add.

    Returns:
        The state of all runs; every array leads with ``runs``.
    """
    visits = Visits(visits) if isinstance(visits, int) else visits
    hparams = _as_study(hparams)
    state = initial_state(spec, hparams, data) if state is None else state
    pixels = jnp.asarray(batches.stored_pixels(spec.binarize, "train", data.train))
    start, before = int(state.step[0]), seconds
    for stop in visits.after(start):
        began = time.perf_counter()
        state, terms = _advance(spec, hparams, state, pixels, stop - start, visits.chunk_steps)
        elapsed = time.perf_counter() - began
        before += elapsed
        rows = _rows(stop, before, terms)
        if visits.is_due(stop, visits.eval_every):
            _add_valid(rows, score(spec, hparams, state, data, "valid"))
        on_visit(Visit(stop, state, rows, 1e3 * elapsed / (stop - start)))
        start = stop
    return state


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

    Each row is :func:`vae_jax.evaluate.summarize`'s, with ``kl_per_latent`` added.

    Args:
        spec: as trained.
        hparams: as trained.
        state: of all runs.
        data: images.
        split: ``train``, ``valid`` or ``test``.
        num_particles: K of the importance-weighted bound behind ``nll``.
    """
    pixels = _resident_batches(data, split, spec.binarize, EvalSpec.batch_size)
    evaluation = sweep.evaluate(
        EvalSpec(spec.model, num_particles),
        _as_study(hparams),
        state.params,
        pixels,
        num_examples=len(getattr(data, split)),
    )
    evaluation = jax.device_get(evaluation)
    num_runs = len(evaluation.latents.count)
    runs = [sweep.take(evaluation, run) for run in range(num_runs)]
    return [
        summarize(run, num_particles) | {"kl_per_latent": run.latents.kl.tolist()} for run in runs
    ]


@functools.lru_cache(maxsize=4)
def _resident_batches(
    data: Dataset, split: batches.Split, binarize: str, batch_size: int
) -> jax.Array:
    """A split on the device, kept there between visits."""
    pixels = batches.stored_pixels(binarize, split, getattr(data, split))
    return jnp.asarray(in_batches(pixels, batch_size))


def _advance(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: jax.Array,
    num_steps: int,
    max_steps: int,
) -> tuple[TrainState, Any]:
    """One chunk, and its terms on the host."""
    state, terms = sweep.train_chunk(
        spec, hparams, state, pixels, jnp.int32(num_steps), max_steps=max_steps
    )
    return state, jax.device_get(terms)


def _rows(step: int, seconds: float, terms: Any) -> list[Row]:
    """Training terms of the last chunk, one row per run."""
    columns = terms._asdict() | {"elbo": terms.elbo}
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
