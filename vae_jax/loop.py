"""The host's side of training: the only room with a Python ``for`` over chunks.

Between chunks the host only looks (terms, valid) and hands the state to whoever asked to be
called. Which steps it visits changes no number that is trained.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import batches, parallel, sweep
from vae_jax import train as train_room
from vae_jax.batches import Examples
from vae_jax.data import Dataset
from vae_jax.evaluate import EvalSpec, in_batches, join, summarize
from vae_jax.hparams import HParams
from vae_jax.model import Trained
from vae_jax.sweep import Layout
from vae_jax.train import TrainSpec, TrainState, TrainTerms
from vae_jax.types import Images, default_float

Row = dict[str, Any]
_PROBE_SECONDS = 0.2
_NOT_TERMS = ("step", "run", "seconds", "eval_particles")


@dataclass(frozen=True)
class Visits:
    """When the host looks.

    Attributes:
        num_steps: updates in all.
        chunk_steps: most updates between two visits.
        eval_every: updates between evaluations on valid; the last update is always one.
        checkpoint_every: updates between checkpoints; the last update is always one.
        most_steps: a bound on ``chunk_steps`` where updates are slow.
    """

    num_steps: int
    chunk_steps: int = 500
    eval_every: int = 500
    checkpoint_every: int = 1000
    most_steps: int = 2**31 - 1

    def after(self, start: int) -> Iterator[int]:
        """Steps to stop at: all multiples of the intervals, and the end."""
        step = start
        while step < self.num_steps:
            chunk_steps = min(self.chunk_steps, self.most_steps)
            intervals = (chunk_steps, self.eval_every, self.checkpoint_every)
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


def initial_state(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout | None = None
) -> TrainState:
    """State of all runs before the first update; every array leads with ``runs``."""
    hparams = _as_study(hparams)
    layout = layout or layout_for(spec, hparams)
    mean = data.train.mean(axis=0, dtype=np.float64) / 255
    padded, shared = _placed(
        layout, hparams, (jnp.asarray(mean, default_float()), _starting_images(spec, data))
    )
    state = sweep.init(spec, padded, *shared, layout=layout)
    return parallel.drop_padding(state, len(hparams.seed))


def _starting_images(spec: TrainSpec, data: Dataset) -> Images:
    """Training images, evenly spaced, for the priors that start from some."""
    num = min(spec.model.prior.num_examples, len(data.train))
    places = np.linspace(0, len(data.train), num, endpoint=False).astype(int)
    pixels = batches.stored_pixels(
        "static" if spec.binarize == "dynamic" else spec.binarize, "train", data.train[places]
    )
    return batches.as_images(jnp.asarray(pixels))


def layout_for(spec: TrainSpec, hparams: HParams, max_parallel_runs: int = 0) -> Layout:
    """All local devices, and on each as many runs at a time as asked or, for 0, as is best.

    Best is 1 on a CPU, whose cores one run already fills, and elsewhere what the memory allows.
    """
    num_runs = len(_as_study(hparams).seed)
    num_devices = parallel.devices_for(num_runs)
    share = -(-num_runs // num_devices)
    fitting = max_parallel_runs or parallel.runs_that_fit(bytes_per_run(spec))
    return Layout(min(share, fitting), num_devices)


def bytes_per_run(spec: TrainSpec) -> int:
    """A generous estimate of the memory that one more run at a time needs.

    Six copies of its state (old, new, gradients, temporaries) and forty numbers per pixel of a
    batch for each particle.
    """
    shape = jax.ShapeDtypeStruct(spec.model.image_shape, default_float())
    one = jax.eval_shape(functools.partial(train_room.init, spec), HParams.of(), shape)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))
    pixels = spec.batch_size * spec.objective.num_draws * math.prod(spec.model.image_shape)
    return 6 * state + 40 * pixels * default_float().itemsize


def fit(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    num_steps: int,
    *,
    max_parallel_runs: int = 0,
) -> TrainState:
    """Train all runs of a study from their seeds.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``, see :func:`vae_jax.grid`).
        data: images.
        num_steps: updates.
        max_parallel_runs: runs that advance together; 0 for the best of the device.

    Returns:
        The state of all runs; every array leads with ``runs``.
    """
    layout = layout_for(spec, hparams, max_parallel_runs)
    state = initial_state(spec, hparams, data, layout)
    visits = Visits(num_steps, eval_every=num_steps, checkpoint_every=num_steps)
    for visit in train(spec, hparams, data, visits, state, layout=layout):
        state = visit.state
    return state


class Ablation(NamedTuple):
    """A finished study.

    Attributes:
        spec: of all runs.
        hparams: ``[runs]``.
        state: of all runs; every array leads with ``runs``.
        table: one row per run, terms in nats per example with their standard errors.
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    table: list[Row]

    def take(self, run: int) -> Trained:
        """One run's model, for encoding, decoding and sampling."""
        hparams, params = sweep.take((self.hparams, self.state.params), run)
        return Trained(self.spec.model, hparams, params)


def ablate(
    spec: TrainSpec,
    grid: HParams,
    data: Dataset,
    num_steps: int,
    *,
    num_particles: int = 1,
    max_parallel_runs: int = 0,
) -> Ablation:
    """Train all runs of a grid as one program and score them on the test split.

    Args:
        spec: what is trained and how.
        grid: hyperparameters ``[runs]``, see :func:`vae_jax.grid`.
        data: images.
        num_steps: updates.
        num_particles: K of the importance-weighted bound behind ``nll``.
        max_parallel_runs: runs that advance together; 0 for the best of the device.
    """
    hparams = _as_study(grid)
    state = fit(spec, hparams, data, num_steps, max_parallel_runs=max_parallel_runs)
    scores = score(spec, hparams, state, data, num_particles=num_particles)
    settings = [sweep.take(hparams, run)._asdict() for run in range(len(scores))]
    table = [
        {"run": run} | {name: value.item() for name, value in own.items()} | row
        for run, (own, row) in enumerate(zip(settings, scores, strict=True))
    ]
    return Ablation(spec, hparams, state, table)


def train(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    visits: Visits,
    state: TrainState,
    *,
    layout: Layout | None = None,
    seconds: float = 0.0,
    bound: Callable[[float], int] | None = None,
) -> Iterator[Visit]:
    """Train from a state on, chunk by chunk; the caller looks in between.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        visits: when the host looks.
        state: where to go on from; it is donated.
        layout: where the runs are computed; None for the best of the device.
        seconds: training time already spent, to which the rows' ``seconds`` add.
        bound: from the seconds that an update takes here to ``visits.most_steps``; asked once.
    """
    hparams, start = _as_study(hparams), int(state.step[0])
    if start >= visits.num_steps:
        return
    layout = layout or layout_for(spec, hparams)
    (padded, state), examples = _placed(layout, (hparams, state), resident(spec, data))
    valid = _in_batches(spec, data, "valid")
    advance = functools.partial(
        sweep.train_chunk, spec, max_steps=visits.chunk_steps, layout=layout
    )
    began = time.perf_counter()
    state, _ = advance(padded, state, examples, jnp.int32(0))  # no update: only builds the program
    compile_seconds = time.perf_counter() - began
    if bound is not None:
        run = functools.partial(advance, padded, data=examples)
        pace = _seconds_per_step(run, state, visits.chunk_steps)
        visits = dataclasses.replace(visits, most_steps=bound(pace))
    for stop in visits.after(start):
        began = time.perf_counter()
        state, terms = advance(padded, state, examples, jnp.int32(stop - start))
        whole, terms = parallel.drop_padding((state, jax.device_get(terms)), len(hparams.seed))
        elapsed = time.perf_counter() - began
        seconds += elapsed
        rows = _rows(spec, stop, seconds, terms)
        if visits.is_due(stop, visits.eval_every):
            _add_valid(rows, _score(EvalSpec(spec.model), hparams, whole, valid, layout))
        _blank_diverged(rows, whole)
        yield Visit(stop, whole, rows, 1e3 * elapsed / (stop - start), compile_seconds)
        start, compile_seconds = stop, 0.0


def resident(spec: TrainSpec, data: Dataset) -> Examples:
    """The training set as it lies on the device."""
    pixels = batches.stored_pixels(spec.binarize, "train", data.train)
    labels = _labels(spec, data, "train")
    return Examples(jnp.asarray(pixels), None if labels is None else jnp.asarray(labels))


def _labels(spec: TrainSpec, data: Dataset, split: batches.Split) -> np.ndarray | None:
    """Labels of a split, for a model that is given them."""
    return data.labels_of(split) if spec.model.num_classes else None


def _seconds_per_step(
    advance: Callable[..., tuple[TrainState, Any]], state: TrainState, most_steps: int
) -> float:
    """Seconds of one update of all runs, tried on copies of the state.

    As many updates are tried as take a while, twice, so that a hiccup of the machine counts little.
    """

    def seconds(num_steps: int) -> float:
        copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
        began = time.perf_counter()
        jax.block_until_ready(advance(copy, num_steps=jnp.int32(num_steps)))
        return time.perf_counter() - began

    fixed, num_steps = seconds(0), 1
    while num_steps < most_steps and seconds(num_steps) - fixed < _PROBE_SECONDS:
        num_steps = min(4 * num_steps, most_steps)
    return max(0.0, min(seconds(num_steps), seconds(num_steps)) - fixed) / num_steps


def score(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Dataset,
    split: batches.Split = "test",
    *,
    num_particles: int = 1,
    layout: Layout | None = None,
) -> list[Row]:
    """Terms of every run on a split, in nats per example, with their standard errors.

    Each row is :func:`vae_jax.evaluate.summarize`'s; the terms of a diverged run are None.

    Args:
        spec: as trained.
        hparams: as trained.
        state: of all runs.
        data: images.
        split: ``train``, ``valid`` or ``test``.
        num_particles: K of the importance-weighted bound behind ``nll``.
        layout: where the runs are computed; None for the best of the device.
    """
    hparams = _as_study(hparams)
    layout = layout or layout_for(spec, hparams)
    eval_spec = EvalSpec(spec.model, num_particles)
    rows = _score(eval_spec, hparams, state, _in_batches(spec, data, split), layout)
    _blank_diverged(rows, state)
    return rows


def _placed(layout: Layout, mapped: Any, shared: Any) -> tuple[Any, Any]:
    """Arrays of the runs split over the devices (padded), and the others on each of them."""
    return (
        parallel.pad_runs(mapped, layout.num_devices),
        parallel.replicate(shared, layout.num_devices),
    )


class _Split(NamedTuple):
    """A split on the host, in padded batches."""

    examples: Examples
    num_examples: int


def _in_batches(spec: TrainSpec, data: Dataset, split: batches.Split) -> _Split:
    images = getattr(data, split)
    pixels = batches.stored_pixels(spec.binarize, split, images)
    labels = _labels(spec, data, split)
    return _Split(in_batches(pixels, EvalSpec.batch_size, labels), len(images))


def _score(
    eval_spec: EvalSpec, hparams: HParams, state: TrainState, split: _Split, layout: Layout
) -> list[Row]:
    num_runs = len(hparams.seed)
    (padded, params), examples = _placed(layout, (hparams, state.params), split.examples)
    evaluation = jax.device_get(
        sweep.evaluate(
            eval_spec, padded, params, examples, num_examples=split.num_examples, layout=layout
        )
    )
    return [
        summarize(
            sweep.take(evaluation, run),
            int(latent_size),
            eval_spec.num_particles,
            has_density=eval_spec.model.posterior.has_density,
        )
        for run, latent_size in zip(range(num_runs), hparams.latent_size, strict=True)
    ]


def score_by_parts(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    *,
    num_particles: int,
    layout: Layout,
    tell: Callable[[float], None],
) -> list[Row]:
    """What :func:`score` gives, of any examples, a part of them after the other.

    Args:
        spec: as trained.
        hparams: ``[runs]``.
        state: of all runs.
        pixels: as the model sees them, 0 to 255.
        labels: one each; only conditional models look at them.
        num_particles: K of the importance-weighted bound behind ``nll``.
        layout: where the runs are computed.
        tell: is told the share that is done.
    """
    eval_spec, num_runs, found = EvalSpec(spec.model, num_particles), len(hparams.seed), []
    given = labels if spec.model.num_classes else None
    for first in range(0, len(pixels), eval_spec.batch_size):
        rows = slice(first, first + eval_spec.batch_size)
        known = None if given is None else given[rows]
        shared = in_batches(pixels[rows], eval_spec.batch_size, known), jnp.int32(first)
        (padded, params), (part, start) = _placed(layout, (hparams, state.params), shared)
        num = len(pixels[rows])
        evaluation = sweep.evaluate(
            eval_spec, padded, params, part, num_examples=num, first_example=start, layout=layout
        )
        found.append(jax.tree.map(lambda a: a[:num_runs], jax.device_get(evaluation)))
        tell((first + num) / len(pixels))
    evaluation = join(found)
    scored = [
        summarize(
            sweep.take(evaluation, run),
            int(hparams.latent_size[run]),
            num_particles,
            has_density=spec.model.posterior.has_density,
        )
        for run in range(num_runs)
    ]
    _blank_diverged(scored, state)
    return scored


def _blank_diverged(rows: list[Row], state: TrainState) -> None:
    """A diverged run keeps its place and loses its numbers."""
    for row, diverged in zip(rows, state.diverged.tolist(), strict=True):
        if diverged >= 0:
            kept = {name: row[name] for name in _NOT_TERMS if name in row}
            row.update(dict.fromkeys(row) | kept)


def _rows(spec: TrainSpec, step: int, seconds: float, terms: TrainTerms) -> list[Row]:
    """Training terms of the last chunk, one row per run."""
    columns = {"objective": terms.objective, "log_likelihood": terms.log_likelihood}
    if spec.model.posterior.has_density:
        columns |= {"kl": terms.kl, "elbo": terms.log_likelihood - terms.kl}
    return [
        {"step": step, "run": run, "seconds": round(seconds, 3)}
        | {f"train_{name}": float(values[run]) for name, values in columns.items()}
        for run in range(len(terms.kl))
    ]


def _add_valid(rows: list[Row], scores: list[Row]) -> None:
    for row, scored in zip(rows, scores, strict=True):
        names = ("elbo", "elbo_se", "log_likelihood", "kl", "active_units")
        known = {name: scored[name] for name in names if scored[name] is not None}
        row.update({f"valid_{name}": value for name, value in known.items()})


def _as_study(hparams: HParams) -> HParams:
    return jax.tree.map(jnp.atleast_1d, hparams)
