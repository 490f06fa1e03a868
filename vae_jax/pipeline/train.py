"""Training of a workdir's groups: from their checkpoints on, with every log, until a signal."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vae_jax.config import build
from vae_jax.config.schema import Config
from vae_jax.data import Dataset
from vae_jax.pipeline import loggers, resume, run_groups, workdir
from vae_jax.pipeline.run_groups import Group
from vae_jax.runtime import distributed, libraries, mesh, timing
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.signals import Stop
from vae_jax.training import divergence, loop, memory
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.intervals import Visits
from vae_jax.training.loop import Visit
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

    group: Group
    spec: TrainSpec
    state: TrainState
    compile_seconds: float
    begun_seconds: float | None


def train_all(
    config: Config, planned: list[Group], dataset: Dataset, stop: Stop
) -> list[TrainedGroup]:
    """All groups after ``num_steps`` updates.

    Raises:
        StoppedError: a signal came; what was trained is saved.
        LostError: see :func:`vae_jax.pipeline.resume.starts`.
    """
    folder = Path(config.workdir)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Checkpoints(group.folder)) for group in planned]
        starts = distributed.from_first(
            lambda: resume.starts(folder, planned, opened, may_restart=config.restart)
        )
        last = {run: s for group, s in zip(planned, starts, strict=True) for run in group.runs}
        metrics = loggers.Metrics(folder)
        if distributed.is_first():
            for change in workdir.changes(folder, config):
                print(f"changed since the last start: {change}")
            workdir.write_flags(folder, config)
            metrics.truncate_after(last)
        written: list[loggers.Metrics | loggers.TensorBoard] = [metrics]
        if libraries.is_installed("tensorboardX"):
            written.append(stack.enter_context(loggers.TensorBoard(folder, last)))
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
    group: Group
    checkpoints: Checkpoints
    start: int
    metrics: loggers.Metrics
    written: Sequence[loggers.Metrics | loggers.TensorBoard]
    label: str

    @functools.cached_property
    def spec(self) -> TrainSpec:
        return self.group.spec(self.dataset)

    @functools.cached_property
    def visits(self) -> Visits:
        visits = build.visits(self.config)
        if self.group.most_steps is None:
            return visits
        return dataclasses.replace(visits, most_steps=self.group.most_steps)

    def run(self) -> TrainedGroup:
        """Train, and save when that is due and when a signal asks for an end.

        Rows are written before the checkpoint of their step, so after a kill none is missing and
        the surplus is known.
        """
        distributed.agree(self.stop)
        self.stop.raise_if_wanted("stopped; the same command goes on from the last checkpoint")
        rows = [
            row for row in loggers.readable(self.metrics.path) if row["run"] == self.group.runs[0]
        ]
        state, lines, compile_seconds = self._first_state(), len(rows), 0.0
        seconds = max((row["seconds"] for row in rows), default=0.0)
        diverged, begun = mesh.to_host(state.diverged).tolist(), list[float]()
        with loggers.Progress(self.config.num_steps, max(0, self.start), self.label) as progress:
            for visit in self._visit(state, seconds, lambda: self._begin(begun, progress)):
                state, lines = visit.state, lines + 1
                compile_seconds += visit.compile_seconds
                self._tell(visit, progress)
                diverged = self._tell_diverged(diverged, state, progress)
                self._save(visit.step, state, lines)
        final = mesh.at_hand(state)
        return TrainedGroup(self.group, self.spec, final, compile_seconds, *(begun or [None]))

    def _first_state(self) -> TrainState:
        """From the checkpoint, or from the seeds."""
        layout, num_steps = layout_of(self.group, self.spec), self.config.num_steps
        state = loop.initial_state(self.spec, self.group.hparams, self.dataset, layout)
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

    @staticmethod
    def _begin(begun: list[float], progress: loggers.Progress) -> None:
        """The device has begun with the updates."""
        begun.append(round(timing.seconds_since_command(), 2))
        progress.say(f"first update {begun[0]:.1f} s after the command")

    def _visit(
        self, state: TrainState, seconds: float, begun: Callable[[], None]
    ) -> Iterator[Visit]:
        return loop.train(
            self.spec,
            self.group.hparams,
            self.dataset,
            self.visits,
            state,
            layout=layout_of(self.group, self.spec),
            on_device=self.config.data_on_device,
            seconds=seconds,
            bound=self._bound if self.group.most_steps is None else None,
            begun=begun,
        )

    def _bound(self, seconds_per_step: float) -> int:
        most_steps = distributed.from_first(
            lambda: run_groups.settle_most_steps(self.group, seconds_per_step)
        )
        if most_steps < self.visits.chunk_steps:
            print(f"updates are slow here: visits after at most {most_steps} of them", flush=True)
        return most_steps

    def _tell(self, visit: Visit, progress: loggers.Progress) -> None:
        """One visit, under the numbers that the runs have in the study."""
        rows: list[Row] = [row | {"run": self.group.runs[row["run"]]} for row in visit.rows]
        progress.advance(visit.step, visit.ms_per_step)
        for log in (*self.written, progress) if distributed.is_first() else ():
            log.write(rows)

    def _tell_diverged(
        self, before: list[int], state: TrainState, progress: loggers.Progress
    ) -> list[int]:
        """Which runs have diverged; those that did since the visit before are told, and why."""
        after = mesh.to_host(state.diverged).tolist()
        if after != before:
            state = mesh.at_hand(state)
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            if old < 0 <= new:
                why = divergence.reason(
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
        distributed.agree(self.stop)
        is_stopping = self.stop.is_wanted
        if is_stopping or self.visits.is_due(step, self.visits.checkpoint_every):
            self.checkpoints.save(step, state, {"lines": lines})
        if is_stopping:
            self.checkpoints.wait()
            words = f"stopped at step {step:,}; the same command goes on from there"
            self.stop.raise_if_wanted(words)


def layout_of(group: Group, spec: TrainSpec) -> Layout:
    """Where the runs of a group are computed."""
    return memory.layout_for(spec, group.hparams, group.max_parallel_runs, group.devices)
