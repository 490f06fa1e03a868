"""Training from the host: the Python loop over chunks of updates.

A chunk is many updates in one device loop (:func:`vae_jax.training.vectorized.train_chunk`).
Between chunks the host takes the mean training terms, scores valid where that is due, and hands the
state to its caller, who logs and saves. At which steps it does so changes no number that is
trained.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.runtime import distributed, mesh
from vae_jax.training import batches, divergence, input_pipeline, memory, vectorized
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.input_pipeline import InputBlock
from vae_jax.training.intervals import Intervals
from vae_jax.training.step import TrainSpec, TrainState, TrainTerms
from vae_jax.training.vectorized import Layout
from vae_jax.types import Images, Params, Row, default_float

_PROBE_SECONDS = 0.05

ScoreValid = Callable[[Params], list[Row]]
"""From the parameters of all runs to their ``valid_*`` columns, such as
:func:`vae_jax.evaluation.scoring.valid_scorer` gives."""


class ChunkOutput(NamedTuple):
    """State and measurements of all runs after a chunk of updates.

    Attributes:
        step: updates done.
        state: of all runs; gone when the next chunk starts, so copy what is to be kept.
        rows: one per run: step, run, seconds, ``train_*`` and, where due, ``valid_*`` columns.
        ms_per_step: milliseconds of an update in this chunk, all runs together.
    """

    step: int
    state: TrainState
    rows: list[Row]
    ms_per_step: float


def initial_state(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout | None = None
) -> TrainState:
    """State of all runs before the first update; every array leads with ``runs``."""
    hparams = hparams.as_study()
    layout = layout or memory.layout_for(spec, hparams)
    mean = data.train.mean(axis=0, dtype=np.float64) / 255
    padded, shared = mesh.placed(
        layout.devices, hparams, (jnp.asarray(mean, default_float()), _starting_images(spec, data))
    )
    state = vectorized.init(spec, padded, *shared, layout=layout)
    return mesh.drop_padding(state, len(hparams.seed), layout.devices)


def _starting_images(spec: TrainSpec, data: Dataset) -> Images:
    """Training images, evenly spaced, for the priors that start from some."""
    num = min(spec.model.prior.num_examples, len(data.train))
    places = np.linspace(0, len(data.train), num, endpoint=False).astype(int)
    pixels = batches.stored_pixels(
        "static" if spec.binarize == "dynamic" else spec.binarize, "train", data.train[places]
    )
    return batches.as_images(jnp.asarray(pixels))


def train(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    intervals: Intervals,
    state: TrainState,
    *,
    layout: Layout | None = None,
    on_device: str = "auto",
    score_valid: ScoreValid | None = None,
) -> Iterator[ChunkOutput]:
    """Train from a state on and yield the state after each chunk.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        intervals: after which updates the host takes over.
        state: where to go on from; it is donated.
        layout: where the runs are computed; None for the best of the device.
        on_device: whether the images lie on the device, see
            :func:`vae_jax.training.input_pipeline.make_input_pipeline`.
        score_valid: measures valid at each ``eval_every``; None for no measurement.
    """
    if int(mesh.to_host(state.step)[0]) >= intervals.num_steps:
        return
    layout = layout or memory.layout_for(spec, hparams)
    program = TrainingProgram(spec, hparams, data, intervals, layout, on_device=on_device)
    state, _ = program.compile(state)
    yield from program.run(state, intervals, score_valid)


class TrainingProgram:
    """The compiled updates of all runs of a study, and the data that they read.

    ``compile``, then ``run``; in between ``seconds_per_step`` measures how fast updates are here.
    """

    def __init__(
        self,
        spec: TrainSpec,
        hparams: HParams,
        data: Dataset,
        intervals: Intervals,
        layout: Layout,
        *,
        on_device: str = "auto",
    ) -> None:
        """Put hyperparameters and data where the program will find them.

        Args:
            spec: what is trained and how.
            hparams: of one run (scalars) or of a study (``[runs]``).
            data: images.
            intervals: their longest chunk bounds the number of updates of a call.
            layout: where the runs are computed.
            on_device: see :func:`vae_jax.training.input_pipeline.make_input_pipeline`.
        """
        self._spec, self._layout = spec, layout
        hparams = hparams.as_study()
        self._num_runs, self._num_examples = len(hparams.seed), len(data.train)
        self._hparams = mesh.pad_runs(hparams, layout.devices)
        self._input = input_pipeline.make_input_pipeline(
            spec, hparams, data, intervals.longest, layout.devices, on_device=on_device
        )

    def compile(self, state: TrainState) -> tuple[TrainState, float]:
        """Return the state, padded for the devices, and the seconds that compilation took.

        A call of no updates compiles the program; its argument is donated.
        """
        state = mesh.pad_runs(state, self._layout.devices)
        examples = self._sample(state)
        began = time.perf_counter()
        state, _ = self._advance(state, InputBlock(examples, 0))
        return state, time.perf_counter() - began

    def seconds_per_step(self, state: TrainState) -> float:
        """Return the seconds of one update of all runs, tried on copies of a compiled state.

        As many updates are tried as take a while, twice, so that a hiccup of the machine counts
        little. The slowest host counts.
        """
        examples = self._sample(state)

        def seconds(num_steps: int) -> float:
            copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
            began = time.perf_counter()
            jax.block_until_ready(self._advance(copy, InputBlock(examples, num_steps)))
            return distributed.largest(time.perf_counter() - began)

        fixed, num_steps, most = seconds(0), 1, self._input.max_steps
        while num_steps < most and seconds(num_steps) - fixed < _PROBE_SECONDS:
            num_steps = min(4 * num_steps, most)
        return max(0.0, min(seconds(num_steps), seconds(num_steps)) - fixed) / num_steps

    def run(
        self,
        state: TrainState,
        intervals: Intervals,
        score_valid: ScoreValid | None = None,
        *,
        seconds: float = 0.0,
    ) -> Iterator[ChunkOutput]:
        """Train to the last update and yield the state after each chunk.

        Args:
            state: a compiled one; it is donated.
            intervals: after which updates the host takes over.
            score_valid: measures valid at each ``eval_every``; None for no measurement.
            seconds: training time already spent, to which the rows' ``seconds`` add.
        """
        start = int(mesh.to_host(state.step)[0])
        blocks = self._input.along(start, intervals.after(start))
        for stop in intervals.after(start):
            with jax.transfer_guard("disallow"):
                began = time.perf_counter()
                state, terms = self._chunk(state, blocks, stop - start)
                elapsed = time.perf_counter() - began
                seconds += elapsed
                measured = _train_terms(self._spec, terms, self._num_runs)
                if score_valid is not None and intervals.is_due(stop, intervals.eval_every):
                    scores = score_valid(state.params)
                    measured = [own | more for own, more in zip(measured, scores, strict=True)]
                divergence.blank(measured, state)
                rows = [
                    {"step": stop, "run": run, "seconds": round(seconds, 3)} | own
                    for run, own in enumerate(measured)
                ]
                whole = mesh.drop_padding(state, self._num_runs, self._layout.devices)
            yield ChunkOutput(stop, whole, rows, 1e3 * elapsed / (stop - start))
            start = stop

    def _chunk(
        self, state: TrainState, blocks: Iterator[InputBlock], num_steps: int
    ) -> tuple[TrainState, TrainTerms]:
        """Return the state after so many updates, and their mean terms on the host."""
        parts: list[tuple[TrainTerms, int]] = []
        while num_steps:
            block = next(blocks)
            jax.block_until_ready(parts[-2:-1])  # or all blocks would pile up on the device
            state, terms = self._advance(state, block)
            parts.append((terms, block.num_steps))
            num_steps -= block.num_steps
        return state, _mean(mesh.to_host(parts))

    def _advance(self, state: TrainState, block: InputBlock) -> tuple[TrainState, TrainTerms]:
        """Do the updates of one block; the state is donated."""
        return vectorized.train_chunk(
            self._spec,
            self._hparams,
            state,
            block.examples,
            mesh.replicate(np.int32(block.num_steps), self._layout.devices),
            max_steps=self._input.max_steps,
            num_examples=self._num_examples,
            layout=self._layout,
        )

    def _sample(self, state: TrainState) -> Examples | PrefetchedBatches:
        """Return examples of the shape of those that come, to compile and to measure with."""
        return self._input.sample(int(mesh.to_host(state.step)[0]))


def _mean(parts: list[tuple[TrainTerms, int]]) -> TrainTerms:
    """Return the means over all updates of a chunk, from those over its blocks."""
    (first, num_steps), *more = parts
    if not more:
        return first
    sums = jax.tree.map(lambda term: term * num_steps, first)
    for terms, length in more:
        sums = jax.tree.map(lambda total, term: total + term * length, sums, terms)  # noqa: B023
        num_steps += length
    return jax.tree.map(lambda total: total / num_steps, sums)


def _train_terms(spec: TrainSpec, terms: TrainTerms, num_runs: int) -> list[Row]:
    """Return the training terms of the last chunk, one row per run."""
    measured = {"train_objective": terms.objective, "train_log_likelihood": terms.log_likelihood}
    if spec.model.posterior.has_density:
        measured |= {"train_kl": terms.kl, "train_elbo": terms.log_likelihood - terms.kl}
    return [
        {name: float(values[run]) for name, values in measured.items()} for run in range(num_runs)
    ]
