"""Training loop: Python on the host, one compiled chunk of many updates at a time.

:func:`train` is the whole story. It compiles the updates of all runs (:class:`TrainingProgram`) and
yields a :class:`ChunkOutput` after each chunk, with which the caller logs, saves, or stops::

    for output in train(spec, hparams, data, intervals, initial_state(spec, hparams, data)):
        log(output.rows)

A chunk is a device loop of many updates (:func:`vae_jax.training.vectorized.train_chunk`). It ends
where :class:`vae_jax.training.intervals.Intervals` says, and no trained number depends on where
that is. Between chunks the host fetches the mean training terms and evaluates valid where it is
due. Training can go on from any state, also from one of a checkpoint.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.runtime import distributed, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.training import batches, divergence, input_pipeline, memory, selection, vectorized
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.input_pipeline import InputBlock
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState, TrainTerms
from vae_jax.training.vectorized import Layout
from vae_jax.types import Observations, Params, Row, default_float

_PROBE_SECONDS = 0.05  # shortest trial of updates from which their speed is computed

ScoreValid = Callable[[Params], list[Row]]
"""Function from the parameters of all runs, padded for the devices, to their ``valid_*`` columns;
:func:`vae_jax.evaluation.scoring.valid_scorer` makes one."""


class ChunkOutput(NamedTuple):
    """State and measurements of all runs after a chunk of updates.

    Attributes:
        step: number of updates so far.
        state: state of all runs, without padding. Its memory is donated to the next chunk, so copy
            what must outlive it.
        rows: one row per run with the columns ``step``, ``run``, ``seconds``, ``train_*`` and, at
            each ``eval_every``, ``valid_*``, in nats per example; None for a diverged run. A run
            that stopped before this chunk has none.
        ms_per_step: milliseconds of one update of all runs, averaged over this chunk.
        is_last: True where all updates are done, or every run has stopped or diverged and one may
            stop.
    """

    step: int
    state: TrainState
    rows: list[Row]
    ms_per_step: float
    is_last: bool = False


def is_finished(spec: TrainSpec, state: TrainState, num_steps: int) -> bool:
    """Return whether no update is left: all are done, or no run goes on any more.

    Args:
        spec: model and training.
        state: state of all runs.
        num_steps: updates of the whole training.
    """
    if int(mesh.to_host(state.step)[0]) >= num_steps:
        return True
    if not spec.is_patient or state.record is None:
        return False
    return selection.all_ended(*mesh.to_host((state.record.stopped, state.diverged)))


def initial_state(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    layout: Layout | None = None,
    given: Mapping[str, np.ndarray] | None = None,
) -> TrainState:
    """Return the state of all runs before the first update; every array is ``[runs, ...]``.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``).
        data: data set; its mean starts the decoder's bias, some of them start a learned prior.
        layout: distribution of the runs; None for the best one here.
        given: parameters by their names that all runs start from, instead of those of their seeds.

    Example:
        >>> import vae_jax
        >>> images = np.zeros((10, 4, 4, 1), np.uint8)
        >>> from vae_jax.data import Provenance
        >>> data = Dataset(images, images, images, None, None, None, Provenance("", "", "", ""))
        >>> spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, vae_jax.MLP((3,))), batch_size=5)
        >>> state = initial_state(spec, vae_jax.grid(latent_size=2, seed=[0, 1]), data)
        >>> state.step.tolist()
        [0, 0]
        >>> for output in train(spec, vae_jax.grid(latent_size=2, seed=[0, 1]), data,
        ...                     Intervals(num_steps=4, chunk_steps=3), state):
        ...     print(output.step, [row["run"] for row in output.rows])
        3 [0, 1]
        4 [0, 1]
    """
    hparams = hparams.as_study()
    layout = layout or memory.layout_for(spec, hparams)
    mean = data.train.mean(axis=0, dtype=np.float64)
    if data.encoding == "pixels":
        mean = mean / 255
    padded, (start, examples, weights) = mesh.to_devices(
        layout.devices,
        hparams,
        (jnp.asarray(mean, default_float()), _starting_examples(spec, data), given),
    )
    state = vectorized.init(spec, padded, start, examples, data.encoding, weights, layout=layout)
    return mesh.drop_padding(state, len(hparams.seed), layout.devices)


def _starting_examples(spec: TrainSpec, data: Dataset) -> Observations:
    """Return evenly spaced training examples, from which a prior with pseudo-inputs starts."""
    num = min(spec.model.prior.num_examples, len(data.train))
    indices = np.linspace(0, len(data.train), num, endpoint=False).astype(int)
    mode = "static" if spec.binarize == "dynamic" else spec.binarize
    pixels = batches.stored_pixels(mode, "train", data.train[indices])
    return batches.as_observations(jnp.asarray(pixels))


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
    """Train from a state on and yield the state and the measurements after each chunk.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``).
        data: data set.
        intervals: length of the training, and its intervals.
        state: state ``[runs, ...]`` to go on from; its memory is donated.
        layout: distribution of the runs; None for the best one here.
        on_device: ``auto``, ``yes`` or ``no``, see
            :func:`vae_jax.training.input_pipeline.make_input_pipeline`.
        score_valid: evaluates valid at each ``eval_every``; None for no evaluation.

    Yields:
        One output per chunk; nothing where the state has all updates already.
    """
    if is_finished(spec, state, intervals.num_steps):
        return
    layout = layout or memory.layout_for(spec, hparams)
    program = TrainingProgram(spec, hparams, data, intervals, layout, on_device=on_device)
    state, _ = program.compile(state)
    yield from program.run(state, intervals, score_valid)


class TrainingProgram:
    """Compiled updates of all runs of a study, with their hyperparameters and data.

    Call :meth:`compile` first and :meth:`run` last; in between :meth:`seconds_per_step` may measure
    the speed of updates.
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
        """Send hyperparameters and, unless they are streamed, the images to the devices.

        Args:
            spec: model and training.
            hparams: hyperparameters of one run (scalars) or of a study (``[runs]``).
            data: data set.
            intervals: intervals whose longest chunk the program is built for.
            layout: distribution of the runs.
            on_device: see :func:`vae_jax.training.input_pipeline.make_input_pipeline`.
        """
        self._spec, self._layout = spec, layout
        hparams = hparams.as_study()
        self._num_runs, self._num_examples = len(hparams.seed), len(data.train)
        self._hparams = mesh.pad_runs(hparams, layout.devices)
        self._input = input_pipeline.make_input_pipeline(
            spec, hparams, data, intervals.longest_chunk, layout.devices, on_device=on_device
        )

    def compile(self, state: TrainState) -> tuple[TrainState, float]:
        """Compile the program by a call of zero updates.

        Args:
            state: state ``[runs, ...]`` to go on from; its memory is donated.

        Returns:
            The same state, padded for the devices, and the seconds that compilation took.
        """
        state = mesh.pad_runs(state, self._layout.devices)
        examples = self._template(state)
        began = time.perf_counter()
        state, _ = self._train_block(state, InputBlock(examples, 0))
        return state, time.perf_counter() - began

    def seconds_per_step(self, state: TrainState) -> float:
        """Return the seconds of one update of all runs, measured on copies of a compiled state.

        The number of updates grows until a trial takes :data:`_PROBE_SECONDS` longer than one of
        zero updates. The faster one of two such trials counts, so that a short disturbance does
        not, and of several hosts the slowest one.
        """
        examples = self._template(state)

        def seconds(num_steps: int) -> float:
            copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
            began = time.perf_counter()
            jax.block_until_ready(self._train_block(copy, InputBlock(examples, num_steps)))
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
        """Train to the last update and yield the state and the measurements after each chunk.

        Args:
            state: state that :meth:`compile` returned; its memory is donated.
            intervals: length of the training, and its intervals.
            score_valid: evaluates valid at each ``eval_every``; None for no evaluation.
            seconds: training time of earlier starts, included in the rows' ``seconds``.

        Raises:
            InputError: what is chosen on valid needs its evaluation.
        """
        if self._spec.has_record and score_valid is None:
            raise InputError(
                setting="keep",
                value=self._spec.keep,
                problem="weights and ends of runs are chosen on valid, which is not evaluated",
                advice="give score_valid, or keep=last and patience=0",
            )
        start = int(mesh.to_host(state.step)[0])
        blocks = self._input.blocks(start, intervals.after(start))
        for stop in intervals.after(start):
            with jax.transfer_guard("disallow"):
                has_stopped = self._have_stopped(state)
                began = time.perf_counter()
                state, terms = self._train_chunk(state, blocks, stop - start)
                elapsed = time.perf_counter() - began
                seconds += elapsed
                measured = _train_terms(self._spec, terms, self._num_runs, stop - start)
                is_look = score_valid is not None and intervals.is_due(stop, intervals.eval_every)
                if score_valid is not None and is_look:
                    scores = score_valid(state.last_params)
                    measured = [row | score for row, score in zip(measured, scores, strict=True)]
                divergence.blank(measured, state)
                if is_look:
                    state = self._remembering(state, measured, stop)
                rows = [
                    {"step": stop, "run": run, "seconds": round(seconds, 3)} | own
                    for run, own in enumerate(measured)
                    if not has_stopped[run]
                ]
                own_state = mesh.drop_padding(state, self._num_runs, self._layout.devices)
                is_last = is_finished(self._spec, state, intervals.num_steps)
            yield ChunkOutput(stop, own_state, rows, 1e3 * elapsed / (stop - start), is_last)
            if is_last:
                return
            start = stop

    def _have_stopped(self, state: TrainState) -> list[bool]:
        """Return for each run whether it has stopped."""
        if state.record is None:
            return [False] * self._num_runs
        return (mesh.to_host(state.record.stopped) >= 0).tolist()

    def _remembering(self, state: TrainState, rows: list[Row], step: int) -> TrainState:
        """Return the state after a look at valid, whose bounds are those of the rows."""
        if state.record is None:
            return state
        devices, name = self._layout.devices, self._spec.valid_bound
        found = (row.get(name) for row in rows)
        bounds = np.array([np.nan if value is None else value for value in found], default_float())
        valid = vectorized.look(
            state.record,
            self._hparams,
            mesh.pad_runs(bounds, devices),
            state.last_params if state.record.params else (),
            state.diverged,
            mesh.replicate(np.int32(step), devices),
            layout=self._layout,
        )
        return state._replace(valid=valid)

    def _train_chunk(
        self, state: TrainState, blocks: Iterator[InputBlock], num_steps: int
    ) -> tuple[TrainState, TrainTerms]:
        """Return the state after ``num_steps`` updates, and their mean terms on the host."""
        parts: list[tuple[TrainTerms, int]] = []
        while num_steps:
            block = next(blocks)
            jax.block_until_ready(parts[-2:-1])  # else the device would hold all blocks at once
            state, terms = self._train_block(state, block)
            parts.append((terms, block.num_steps))
            num_steps -= block.num_steps
        return state, _mean(mesh.to_host(parts))

    def _train_block(self, state: TrainState, block: InputBlock) -> tuple[TrainState, TrainTerms]:
        """Return the state after the updates of one block, and their mean terms."""
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

    def _template(self, state: TrainState) -> Examples | PrefetchedBatches:
        """Return examples of the shape of every block, to compile and to measure with."""
        return self._input.template(int(mesh.to_host(state.step)[0]))


def _mean(parts: list[tuple[TrainTerms, int]]) -> TrainTerms:
    """Return the means over a chunk from the means over its blocks, weighted by their updates."""
    (first, num_steps), *more = parts
    if not more:
        return first
    sums = jax.tree.map(lambda term: term * num_steps, first)
    for terms, length in more:
        sums = jax.tree.map(lambda total, term: total + term * length, sums, terms)  # noqa: B023
        num_steps += length
    return jax.tree.map(lambda total: total / num_steps, sums)


def _train_terms(spec: TrainSpec, terms: TrainTerms, num_runs: int, num_steps: int) -> list[Row]:
    """Return one row per run with the training terms of a chunk, in nats per example."""
    measured = {"train_objective": terms.objective, "train_log_likelihood": terms.log_likelihood}
    if spec.model.posterior.has_density:
        measured |= {"train_kl": terms.kl, "train_elbo": terms.log_likelihood - terms.kl}
    if terms.skipped is not None:
        measured |= {"train_skipped": np.rint(terms.skipped * num_steps)}
    return [
        {name: float(values[run]) for name, values in measured.items()} for run in range(num_runs)
    ]
