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

from vae_jax import batches, feed, hosts, parallel, sweep
from vae_jax import train as train_room
from vae_jax.batches import Examples, Gathered
from vae_jax.data import Dataset
from vae_jax.errors import InputError
from vae_jax.evaluate import EvalSpec, in_batches, join, summarize
from vae_jax.hparams import HParams
from vae_jax.model import Trained
from vae_jax.parallel import Devices
from vae_jax.sweep import Layout
from vae_jax.train import TrainSpec, TrainState, TrainTerms
from vae_jax.types import Images, Params, default_float

Row = dict[str, Any]
SHARED_STEPS = 500
_PROBE_SECONDS = 0.05
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

    @property
    def longest(self) -> int:
        """Updates for which the program is built: no fewer than can lie between two visits.

        Short trainings share the program of a chunk, however often the host looks.
        """
        widest = min(self.eval_every, self.checkpoint_every)
        return min(self.chunk_steps, max(widest, SHARED_STEPS))

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
    return parallel.drop_padding(state, len(hparams.seed), layout.devices)


def _starting_images(spec: TrainSpec, data: Dataset) -> Images:
    """Training images, evenly spaced, for the priors that start from some."""
    num = min(spec.model.prior.num_examples, len(data.train))
    places = np.linspace(0, len(data.train), num, endpoint=False).astype(int)
    pixels = batches.stored_pixels(
        "static" if spec.binarize == "dynamic" else spec.binarize, "train", data.train[places]
    )
    return batches.as_images(jnp.asarray(pixels))


def layout_for(
    spec: TrainSpec,
    hparams: HParams,
    max_parallel_runs: int = 0,
    asked: Devices = parallel.AUTOMATIC,
) -> Layout:
    """The devices as asked or as :func:`vae_jax.parallel.arrange` has it, and runs at a time.

    For 0 these are 1 on a CPU, whose cores one run already fills, and elsewhere what the memory
    of a device allows.

    Raises:
        InputError: there are no such devices.
    """
    num_runs = len(_as_study(hparams).seed)
    devices = parallel.arrange(num_runs, spec.batch_size, asked)
    if refusal := parallel.refusal(devices):
        raise InputError(
            f"--run_devices={asked.run} --batch_devices={asked.batch}: {refusal}; give numbers "
            "whose product fits, or leave them out"
        )
    share = -(-num_runs // devices.run)
    fitting = max_parallel_runs or parallel.runs_that_fit(bytes_per_run(spec))
    return Layout(min(share, fitting), *devices)


def bytes_per_run(spec: TrainSpec) -> int:
    """A generous estimate of the memory that one more run at a time needs.

    Six copies of its state (old, new, gradients, temporaries) and forty numbers per pixel of a
    batch for each particle.
    """
    return 6 * _bytes_of_state(spec) + 40 * _bytes_of_batch(spec)


def least_bytes(spec: TrainSpec, num_runs: int, num_examples: int, visits: Visits) -> int:
    """What a device with so many runs needs in any case.

    The states of all runs, two copies of one batch (seen and decoded for each particle), and the
    order of the examples between two visits.
    """
    num_epochs = batches.epochs_touched(visits.longest, spec.batch_size, num_examples)
    order = 4 * num_epochs * num_examples
    return num_runs * _bytes_of_state(spec) + 2 * _bytes_of_batch(spec) + order


def _bytes_of_state(spec: TrainSpec) -> int:
    shape = jax.ShapeDtypeStruct(spec.model.image_shape, default_float())
    one = jax.eval_shape(functools.partial(train_room.init, spec), HParams.of(), shape)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))


def _bytes_of_batch(spec: TrainSpec) -> int:
    pixels = spec.batch_size * spec.objective.num_draws * math.prod(spec.model.image_shape)
    return pixels * default_float().itemsize


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
    on_device: str = "auto",
    seconds: float = 0.0,
    bound: Callable[[float], int] | None = None,
    begun: Callable[[], None] | None = None,
) -> Iterator[Visit]:
    """Train from a state on, chunk by chunk; the caller looks in between.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        visits: when the host looks.
        state: where to go on from; it is donated.
        layout: where the runs are computed; None for the best of the device.
        on_device: whether the images lie on the device, see :func:`vae_jax.feed.feed`.
        seconds: training time already spent, to which the rows' ``seconds`` add.
        bound: from the seconds that an update takes here to ``visits.most_steps``; asked once.
        begun: called once, when the device has begun with the updates.
    """
    hparams, start = _as_study(hparams), int(parallel.to_host(state.step)[0])
    if start >= visits.num_steps:
        return
    layout = layout or layout_for(spec, hparams)
    num_runs = len(hparams.seed)
    padded, state = parallel.pad_runs((hparams, state), layout.devices)
    source = feed.feed(spec, hparams, data, visits.longest, layout.devices, on_device=on_device)
    valid = _in_batches(spec, data, "valid", layout)

    def advance(
        state: TrainState, examples: Examples | Gathered, num_steps: int
    ) -> tuple[TrainState, TrainTerms]:
        return sweep.train_chunk(
            spec,
            padded,
            state,
            examples,
            parallel.replicate(np.int32(num_steps), layout.devices),
            max_steps=source.max_steps,
            num_examples=len(data.train),
            layout=layout,
        )

    sample = source.sample(start)
    began = time.perf_counter()
    state, _ = advance(state, sample, 0)  # no update: only builds the program
    compile_seconds = time.perf_counter() - began
    if bound is not None:
        pace = _seconds_per_step(lambda copy, n: advance(copy, sample, n), state, source.max_steps)
        visits = dataclasses.replace(visits, most_steps=bound(pace))
    del sample
    pieces = source.along(start, visits.after(start))
    for stop in visits.after(start):
        with jax.transfer_guard("disallow"):
            began = time.perf_counter()
            done, parts = start, list[tuple[TrainTerms, int]]()
            while done < stop:
                examples, num_steps = next(pieces)
                jax.block_until_ready(parts[-2:-1])  # or all pieces would pile up on the device
                state, terms = advance(state, examples, num_steps)
                parts.append((terms, num_steps))
                done += num_steps
                if begun is not None:
                    begun()
                    begun = None
            terms = _mean(parallel.to_host(parts))
            elapsed = time.perf_counter() - began
            seconds += elapsed
            rows = _rows(spec, stop, seconds, terms, num_runs)
            if visits.is_due(stop, visits.eval_every):
                measured = EvalSpec(spec.model), padded, state.params, valid
                _add_valid(rows, _score(*measured, layout, num_runs))
            _blank_diverged(rows, state)
            whole = parallel.drop_padding(state, num_runs, layout.devices)
        yield Visit(stop, whole, rows, 1e3 * elapsed / (stop - start), compile_seconds)
        start, compile_seconds = stop, 0.0


def _mean(parts: list[tuple[TrainTerms, int]]) -> TrainTerms:
    """Means over all updates of a chunk, from those over its pieces."""
    (first, num_steps), *more = parts
    if not more:
        return first
    sums = jax.tree.map(lambda term: term * num_steps, first)
    for terms, length in more:
        sums = jax.tree.map(lambda total, term: total + term * length, sums, terms)  # noqa: B023
        num_steps += length
    return jax.tree.map(lambda total: total / num_steps, sums)


def _labels(spec: TrainSpec, data: Dataset, split: batches.Split) -> np.ndarray | None:
    """Labels of a split, for a model that is given them."""
    return data.labels_of(split) if spec.model.num_classes else None


def _seconds_per_step(
    advance: Callable[[TrainState, int], Any], state: TrainState, most_steps: int
) -> float:
    """Seconds of one update of all runs, tried on copies of the state.

    As many updates are tried as take a while, twice, so that a hiccup of the machine counts little.
    The slowest host counts.
    """

    def seconds(num_steps: int) -> float:
        copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
        began = time.perf_counter()
        jax.block_until_ready(advance(copy, num_steps))
        return hosts.largest(time.perf_counter() - began)

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
    eval_spec, num_runs = EvalSpec(spec.model, num_particles), len(hparams.seed)
    padded, params = parallel.pad_runs((hparams, state.params), layout.devices)
    shared = _in_batches(spec, data, split, layout)
    rows = _score(eval_spec, padded, params, shared, layout, num_runs)
    _blank_diverged(rows, state)
    return rows


def _placed(layout: Layout, mapped: Any, shared: Any) -> tuple[Any, Any]:
    """Arrays of the runs split over the devices (padded), and the others on each of them."""
    return (
        parallel.pad_runs(mapped, layout.devices),
        parallel.replicate(shared, layout.devices),
    )


class _Split(NamedTuple):
    """A split on the devices, in padded batches."""

    examples: Examples
    num_examples: int


def _in_batches(spec: TrainSpec, data: Dataset, split: batches.Split, layout: Layout) -> _Split:
    images = getattr(data, split)
    pixels = batches.stored_pixels(spec.binarize, split, images)
    examples = in_batches(pixels, EvalSpec.batch_size, _labels(spec, data, split))
    return _Split(parallel.replicate(examples, layout.devices), len(images))


def _score(
    eval_spec: EvalSpec,
    hparams: HParams,
    params: Params,
    split: _Split,
    layout: Layout,
    num_runs: int,
) -> list[Row]:
    """Terms of the runs, whose arrays are placed already and may be padded."""
    examples, num_examples = split
    evaluation, latent_sizes = parallel.to_host(
        (
            sweep.evaluate(
                eval_spec, hparams, params, examples, num_examples=num_examples, layout=layout
            ),
            hparams.latent_size,
        )
    )
    return [
        summarize(
            sweep.take(evaluation, run),
            int(latent_sizes[run]),
            eval_spec.num_particles,
            has_density=eval_spec.model.posterior.has_density,
        )
        for run in range(num_runs)
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
    padded, params = parallel.pad_runs((hparams, state.params), layout.devices)
    for first in range(0, len(pixels), eval_spec.batch_size):
        rows = slice(first, first + eval_spec.batch_size)
        known, num = None if given is None else given[rows], len(pixels[rows])
        shared = in_batches(pixels[rows], eval_spec.batch_size, known), np.int32(first)
        part, start = parallel.replicate(shared, layout.devices)
        evaluation = sweep.evaluate(
            eval_spec, padded, params, part, num_examples=num, first_example=start, layout=layout
        )
        found.append(parallel.to_host(evaluation))
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
    for row, diverged in zip(rows, parallel.to_host(state.diverged).tolist(), strict=False):
        if diverged >= 0:
            kept = {name: row[name] for name in _NOT_TERMS if name in row}
            row.update(dict.fromkeys(row) | kept)


def _rows(
    spec: TrainSpec, step: int, seconds: float, terms: TrainTerms, num_runs: int
) -> list[Row]:
    """Training terms of the last chunk, one row per run."""
    columns = {"objective": terms.objective, "log_likelihood": terms.log_likelihood}
    if spec.model.posterior.has_density:
        columns |= {"kl": terms.kl, "elbo": terms.log_likelihood - terms.kl}
    return [
        {"step": step, "run": run, "seconds": round(seconds, 3)}
        | {f"train_{name}": float(values[run]) for name, values in columns.items()}
        for run in range(num_runs)
    ]


def _add_valid(rows: list[Row], scores: list[Row]) -> None:
    for row, scored in zip(rows, scores, strict=True):
        names = ("elbo", "elbo_se", "log_likelihood", "kl", "active_units")
        known = {name: scored[name] for name in names if scored[name] is not None}
        row.update({f"valid_{name}": value for name, value in known.items()})


def _as_study(hparams: HParams) -> HParams:
    return jax.tree.map(jnp.atleast_1d, hparams)
