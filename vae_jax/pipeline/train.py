"""Training of a workdir's groups: from their checkpoints on, with every log, until a signal."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vae_jax.config import build
from vae_jax.config.schema import Config
from vae_jax.data import Dataset
from vae_jax.evaluation import scoring
from vae_jax.pipeline import loggers, resume, run_groups, workdir
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.runtime import distributed, libraries, mesh, timing
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.signals import Stop
from vae_jax.training import divergence, loop, memory
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.intervals import Intervals
from vae_jax.training.loop import ChunkOutput, ScoreValid, TrainingProgram
from vae_jax.training.step import TrainSpec, TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Row


class TrainedGroup(NamedTuple):
    """A group of runs after training.

    Attributes:
        group: the runs.
        spec: of their program.
        state: of all of them.
        compile_seconds: spent on building the program.
        begun_seconds: from the command to the first update; None where there was none to do.
    """

    group: RunGroup
    spec: TrainSpec
    state: TrainState
    compile_seconds: float
    begun_seconds: float | None


def train_all(
    config: Config, planned: list[RunGroup], dataset: Dataset, stop: Stop
) -> list[TrainedGroup]:
    """All groups after ``num_steps`` updates.

    Raises:
        StoppedError: a signal came; what was trained is saved.
        LostError: see :func:`vae_jax.pipeline.resume.resume_points`.
    """
    folder = Path(config.workdir)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Checkpoints(group.folder)) for group in planned]
        starts = distributed.from_first(
            lambda: resume.resume_points(folder, planned, opened, may_restart=config.restart)
        )
        last = {run: s for group, s in zip(planned, starts, strict=True) for run in group.runs}
        metrics = loggers.JSONLinesLogger(folder)
        if distributed.is_first():
            for change in workdir.changes(folder, config):
                print(f"changed since the last start: {change}")
            workdir.write_flags(folder, config)
            metrics.truncate_after(last)
        written: list[loggers.JSONLinesLogger | loggers.TensorBoardLogger] = [metrics]
        if libraries.is_installed("tensorboardX"):
            written.append(stack.enter_context(loggers.TensorBoardLogger(folder, last)))
        many = len(planned) > 1
        return [
            _Training(
                config,
                dataset,
                stop,
                group,
                checkpoints,
                start,
                metrics,
                written,
                f"program {number} of {len(planned)}" if many else "",
            ).run()
            for number, (group, checkpoints, start) in enumerate(
                zip(planned, opened, starts, strict=True), 1
            )
        ]


@dataclass(frozen=True)
class _Training:
    """The training of one group."""

    config: Config
    dataset: Dataset
    stop: Stop
    group: RunGroup
    checkpoints: Checkpoints
    start: int
    metrics: loggers.JSONLinesLogger
    written: Sequence[loggers.JSONLinesLogger | loggers.TensorBoardLogger]
    label: str

    @functools.cached_property
    def spec(self) -> TrainSpec:
        return self.group.spec(self.dataset)

    @functools.cached_property
    def layout(self) -> Layout:
        return layout_of(self.group, self.spec)

    def run(self) -> TrainedGroup:
        """Train, and save when that is due and when a signal asks for an end.

        Rows are written before the checkpoint of their step, so after a kill none is missing and
        the surplus is known.
        """
        distributed.sync_stop(self.stop)
        self.stop.raise_if_wanted("stopped; the same command goes on from the last checkpoint")
        rows = [
            row for row in loggers.readable(self.metrics.path) if row["run"] == self.group.runs[0]
        ]
        lines, seconds = len(rows), max((row["seconds"] for row in rows), default=0.0)
        state, num_steps = self._first_state(), self.config.num_steps
        diverged = mesh.to_host(state.diverged).tolist()
        compile_seconds, begun_seconds = 0.0, None
        with loggers.TrainingProgress(num_steps, max(0, self.start), self.label) as progress:
            if self.start < num_steps:
                program, state, compile_seconds = self._compiled(state)
                intervals = self._settled(program, state)
                begun_seconds = round(timing.seconds_since_command(), 2)
                progress.say(f"first update {begun_seconds:.1f} s after the command")
                for output in program.run(state, intervals, self._score_valid(), seconds=seconds):
                    state, lines = output.state, lines + 1
                    self._log(output, progress)
                    diverged = self._log_diverged(diverged, state, progress)
                    self._save(output.step, state, lines)
        final = mesh.addressable(state)
        return TrainedGroup(self.group, self.spec, final, compile_seconds, begun_seconds)

    def _first_state(self) -> TrainState:
        """From the checkpoint, or from the seeds."""
        num_steps = self.config.num_steps
        state = loop.initial_state(self.spec, self.group.hparams, self.dataset, self.layout)
        if self.start == resume.FROM_SEEDS:
            return state
        done = "finished" if self.start == num_steps else "resuming"
        print(f"{done}: checkpoint at step {self.start:,} of {num_steps:,}", flush=True)
        try:
            return self.checkpoints.restore(self.start, state)
        except DamagedError as error:
            raise InputError(
                f"--workdir={self.config.workdir}: checkpoint at step {self.start:,}: {error}; use "
                "the version of vae_jax that wrote it, or give another --workdir"
            ) from None

    def _compiled(self, state: TrainState) -> tuple[TrainingProgram, TrainState, float]:
        """Return the program, the state in its layout, and the seconds of compilation."""
        program = TrainingProgram(
            self.spec,
            self.group.hparams,
            self.dataset,
            self._asked_intervals(),
            self.layout,
            on_device=self.config.data_on_device,
        )
        return program, *program.compile(state)

    def _score_valid(self) -> ScoreValid:
        return scoring.valid_scorer(self.spec, self.group.hparams, self.dataset, self.layout)

    def _asked_intervals(self) -> Intervals:
        """Return the intervals of the flags, and of the group once it has a bound."""
        intervals = build.intervals(self.config)
        if self.group.most_steps is None:
            return intervals
        return dataclasses.replace(intervals, most_steps=self.group.most_steps)

    def _settled(self, program: TrainingProgram, state: TrainState) -> Intervals:
        """Return the intervals, bounded where updates are slow; the group keeps its first bound."""
        intervals = self._asked_intervals()
        if self.group.most_steps is not None:
            return intervals
        pace = program.seconds_per_step(state)
        most_steps = distributed.from_first(lambda: run_groups.settle_most_steps(self.group, pace))
        if most_steps < intervals.chunk_steps:
            print(f"updates are slow here: a chunk is at most {most_steps} of them", flush=True)
        return dataclasses.replace(intervals, most_steps=most_steps)

    def _log(self, output: ChunkOutput, progress: loggers.TrainingProgress) -> None:
        """Log the rows under the numbers that the runs have in the study."""
        rows: list[Row] = [row | {"run": self.group.runs[row["run"]]} for row in output.rows]
        progress.advance(output.step, output.ms_per_step)
        for log in (*self.written, progress) if distributed.is_first() else ():
            log.write(rows)

    def _log_diverged(
        self, before: list[int], state: TrainState, progress: loggers.TrainingProgress
    ) -> list[int]:
        """Return when each run diverged, and log why those did that had not before."""
        after = mesh.to_host(state.diverged).tolist()
        if after != before:
            state = mesh.addressable(state)
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            if old < 0 <= new:
                why = divergence.explain(
                    self.spec,
                    self.group.hparams,
                    state,
                    self.dataset,
                    place,
                    by_operation=self.config.debug_nans,
                )
                progress.say(f"run {self.group.runs[place]} diverged: {why}")
        return after

    def _save(self, step: int, state: TrainState, lines: int) -> None:
        """If it is due, or if a signal asks for an end."""
        distributed.sync_stop(self.stop)
        is_stopping = self.stop.is_wanted
        intervals = build.intervals(self.config)
        if is_stopping or intervals.is_due(step, intervals.checkpoint_every):
            self.checkpoints.save(step, state, {"lines": lines})
        if is_stopping:
            self.checkpoints.wait()
            words = f"stopped at step {step:,}; the same command goes on from there"
            self.stop.raise_if_wanted(words)


def layout_of(group: RunGroup, spec: TrainSpec) -> Layout:
    """Where the runs of a group are computed."""
    return memory.layout_for(spec, group.hparams, group.max_parallel_runs, group.devices)
