"""Training of the groups of a workdir: from their checkpoints on, logged, until a signal."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax
import numpy as np

from vae_jax.config import build, sweeps
from vae_jax.config.flags import Config
from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import fitting, loggers, results, resume, run_groups, workdir
from vae_jax.pipeline.loggers import Logger, StartedStudy, TrainingProgress
from vae_jax.pipeline.resume import History
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.runtime import distributed, libraries, mesh, timing
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.lock import Lock
from vae_jax.runtime.progress import phase
from vae_jax.runtime.signals import Stop
from vae_jax.training import divergence, loop, vectorized
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.intervals import Intervals
from vae_jax.training.loop import ChunkOutput, TrainingProgram
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Row

Given: TypeAlias = Callable[[TrainSpec], Mapping[str, np.ndarray]]
"""Function from a specification to parameters by their names, from which its runs start."""


@dataclass(frozen=True, eq=False)
class TrainedGroup:
    """Group of runs after training.

    Attributes:
        group: the runs.
        spec: specification that they share.
        state: state of all runs; every array leads with ``runs``.
        compile_seconds: seconds of compilation.
        first_update_seconds: seconds from the command to the first update; None where no update
            was left to do.
    """

    group: RunGroup
    spec: TrainSpec
    state: TrainState
    compile_seconds: float = 0.0
    first_update_seconds: float | None = None

    @functools.cached_property
    def models(self) -> dict[int, TrainedVAE]:
        """Models by the numbers of their runs, with arrays on the host, fetched once for all."""
        arrays = jax.device_get((self.group.hparams, self.state.eval_params))
        return {
            run: TrainedVAE(self.spec.model, *vectorized.take(arrays, i))
            for i, run in enumerate(self.group.runs)
        }


def train_all(
    config: Config,
    groups: list[RunGroup],
    dataset: Dataset,
    stop: Stop,
    lock: Lock,
    further: Sequence[Logger] = (),
    given: Given | None = None,
) -> list[TrainedGroup]:
    """Train every group to ``num_steps`` updates and return them.

    Args:
        config: flags of the study.
        groups: groups of the workdir.
        dataset: images.
        stop: signals of the process.
        lock: lock of the workdir, which is checked before anything is written.
        further: loggers beside those of the package.
        given: returns the weights that the runs of a specification start from; None for those of
            their seeds.

    Raises:
        StoppedError: a signal came; what was trained is saved.
        InputError: the workdir was removed or replaced meanwhile.
        LostError: see :func:`vae_jax.pipeline.resume.resume_points`.
    """
    folder = Path(config.workdir)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Checkpoints(group.folder, lock.check)) for group in groups]
        starts = distributed.from_first(
            lambda: resume.resume_points(folder, groups, opened, may_restart=config.restart)
        )
        log = [*_open_loggers(config, groups, starts, stack), *further]
        metrics = loggers.read_whole(folder / workdir.METRICS_FILE)
        if distributed.is_first():
            _start(log, config, groups, starts, metrics)
        history = resume.History(metrics)
        trained = []
        for group, checkpoints, start in zip(groups, opened, starts, strict=True):
            number = len(trained) + 1
            label = f"program {number} of {len(groups)}" if len(groups) > 1 else ""
            training = _Training(
                *(config, dataset, stop, lock, group, checkpoints, start, history),
                *(log, further, label, given),
            )
            trained.append(training.run())
            _report_saved(further, group, checkpoints)
        for group, checkpoints in zip(groups, opened, strict=True):
            checkpoints.wait()
            _report_saved(further, group, checkpoints)
        return trained


def _report_saved(further: Sequence[Logger], group: RunGroup, checkpoints: Checkpoints) -> None:
    """Tell loggers which step the newest checkpoint holds."""
    if further and distributed.is_first() and (steps := checkpoints.steps):
        for logger in further:
            logger.saved(group.runs, steps[-1])


def seconds_of_start(trained: Sequence[TrainedGroup]) -> dict[str, float]:
    """Return the seconds of compilation, and those to the first update where there was one."""
    seconds = {"compile": round(sum(done.compile_seconds for done in trained), 2)}
    first = [s for done in trained if (s := done.first_update_seconds) is not None]
    return seconds | ({"command to first update": first[0]} if first else {})


def _open_loggers(
    config: Config, groups: list[RunGroup], starts: list[int], stack: contextlib.ExitStack
) -> list[Logger]:
    """Open the logs of the workdir, cut back to the checkpoints, and record the flags."""
    folder = Path(config.workdir)
    steps = {run: start for group, start in zip(groups, starts, strict=True) for run in group.runs}
    metrics = stack.enter_context(loggers.JSONLinesLogger(folder))
    if distributed.is_first():
        unknown = {row["run"] for row in loggers.read_whole(metrics.path)} - set(steps)
        for change in workdir.changes(folder, config):
            print(f"changed since the last start: {change}")
        workdir.write_flags(folder, config)
        metrics.truncate_after(steps | dict.fromkeys(unknown, resume.FROM_SEEDS))
        metrics.open()
    opened: list[Logger] = [metrics]
    if libraries.is_installed("tensorboardX"):
        opened.append(stack.enter_context(loggers.TensorBoardLogger()))
    return opened


def _start(
    log: Sequence[Logger],
    config: Config,
    groups: list[RunGroup],
    starts: list[int],
    metrics: Sequence[Row],
) -> None:
    """Tell the loggers of the study that starts, and what is logged of it."""
    swept = [axis.name for axis in sweeps.axes(config)]
    settings, steps = {}, {}
    for group, start in zip(groups, starts, strict=True):
        for run, own in zip(group.runs, group.configs, strict=True):
            settings[run], steps[run] = results.settings_of(own, swept), start
    folder = Path(config.workdir)
    study = StartedStudy(
        *(folder, as_flags(config), settings, steps),
        id=workdir.study_id(folder) if config.loggers else "",
        name=folder.resolve().name,
        metrics=metrics,
    )
    for logger in log:
        logger.start(study)


@dataclass(frozen=True)
class _Training:
    """Training of one group.

    Attributes:
        config: flags of the study.
        dataset: images.
        stop: signals of the process.
        lock: lock of the workdir.
        group: the runs.
        checkpoints: their checkpoints.
        start: step of the checkpoint to resume from, :data:`resume.FROM_SEEDS` for none.
        history: lines of ``metrics.jsonl`` when the training began.
        loggers: all loggers.
        further: those of them that are told of checkpoints.
        label: name of the group in the terminal, empty where it is the only one.
        given: returns the weights that the runs start from; None for those of their seeds.
    """

    config: Config
    dataset: Dataset
    stop: Stop
    lock: Lock
    group: RunGroup
    checkpoints: Checkpoints
    start: int
    history: History
    loggers: Sequence[Logger]
    further: Sequence[Logger]
    label: str
    given: Given | None = None

    @functools.cached_property
    def spec(self) -> TrainSpec:
        """Specification that the runs share."""
        return self.group.spec(self.dataset)

    @functools.cached_property
    def layout(self) -> Layout:
        """Arrangement of the runs on the devices."""
        return self.group.layout(self.spec)

    def run(self) -> TrainedGroup:
        """Train what is left to train.

        Raises:
            StoppedError: a signal came; what was trained is saved.
        """
        distributed.sync_stop(self.stop)
        self.stop.raise_if_wanted("stopped; the same command goes on from the last checkpoint")
        with phase("preparing the runs"):
            state, num_steps = self._first_state(), self.config.num_steps
        if not loop.is_finished(self.spec, state, num_steps):
            with TrainingProgress(num_steps, max(0, self.start), self.label) as progress:
                return self._train(state, progress)
        return TrainedGroup(self.group, self.spec, mesh.addressable(state))

    def _first_state(self) -> TrainState:
        """Return the state of the checkpoint, or that of the seeds."""
        num_steps = self.config.num_steps
        is_new = self.start == resume.FROM_SEEDS
        given = self.given(self.spec) if self.given and is_new else None
        state = loop.initial_state(self.spec, self.group.hparams, self.dataset, self.layout, given)
        if is_new:
            return state
        try:
            state = self.checkpoints.restore(self.start, state)
        except DamagedError as error:
            raise InputError(
                f"workdir={self.config.workdir}: checkpoint at step {self.start:,}: {error}; use "
                "the version of vae_jax that wrote it, or give another workdir"
            ) from None
        action = "finished" if loop.is_finished(self.spec, state, num_steps) else "resuming"
        ended = sum(step >= 0 for step in self._stopped(state))
        early = f", {ended} of {len(self.group.runs)} runs stopped early" if ended else ""
        print(f"{action}: checkpoint at step {self.start:,} of {num_steps:,}{early}", flush=True)
        return state

    def _train(self, state: TrainState, progress: TrainingProgress) -> TrainedGroup:
        """Compile, then do the updates that are left; log, and save when that is due.

        Rows are written before the checkpoint of their step, so after a kill none is missing and
        the surplus is known.
        """
        with phase("sending the data to the device"):
            program = TrainingProgram(
                self.spec,
                self.group.hparams,
                self.dataset,
                self._intervals(self.group.most_steps),
                self.layout,
                on_device=self.config.data_on_device,
            )
            diverged, stopped = mesh.to_host(state.diverged).tolist(), self._stopped(state)
        with phase("compiling"):
            state, compile_seconds = program.compile(state)
        with phase("measuring the speed"):
            intervals = self._intervals(self._most_steps(program, state))
        score_valid = fitting.valid_scorer(self.spec, self.group.hparams, self.dataset, self.layout)
        num_lines, seconds = self._already_logged()

        first_update_seconds = round(timing.seconds_since_command(), 2)
        progress.message(f"first update {first_update_seconds:.1f} s after the command")
        for output in program.run(state, intervals, score_valid, seconds=seconds):
            state = output.state
            num_lines[[row["run"] for row in output.rows]] += 1
            self._log(output, progress)
            diverged = self._report_diverged(diverged, state, progress)
            stopped = self._report_stopped(stopped, output, progress)
            self._save(output, num_lines)
        final = mesh.addressable(state)
        return TrainedGroup(self.group, self.spec, final, compile_seconds, first_update_seconds)

    def _intervals(self, most_steps: int | None) -> Intervals:
        """Return the intervals of the flags, with a bound on the chunks if there is one."""
        intervals = build.intervals(self.config)
        if most_steps is None:
            return intervals
        return dataclasses.replace(intervals, most_steps=most_steps)

    def _most_steps(self, program: TrainingProgram, state: TrainState) -> int:
        """Return the bound on the chunks of the group, which is measured at the first start."""
        if self.group.most_steps is not None:
            return self.group.most_steps
        seconds = program.seconds_per_step(state)
        most_steps = distributed.from_first(
            lambda: run_groups.settle_most_steps(self.group, seconds)
        )
        if most_steps < build.intervals(self.config).chunk_steps:
            print(f"updates are slow here: a chunk is at most {most_steps} of them", flush=True)
        return most_steps

    def _already_logged(self) -> tuple[np.ndarray, float]:
        """Return the log lines that each run has already, and the seconds of training so far."""
        lines = [self.history.num_lines(run, self.start) for run in self.group.runs]
        seconds = [self.history.seconds.get(run, 0.0) for run in self.group.runs]
        return np.array(lines), max(seconds)  # a run that stopped early was trained for less

    def _log(self, output: ChunkOutput, progress: TrainingProgress) -> None:
        """Log the rows under the numbers that the runs have in the study.

        Raises:
            InputError: the workdir is not this process's any more.
        """
        distributed.from_first(self.lock.check)
        _report_saved(self.further, self.group, self.checkpoints)
        rows: list[Row] = [row | {"run": self.group.runs[row["run"]]} for row in output.rows]
        progress.advance(output.step, output.ms_per_step)
        if distributed.is_first():
            for logger in (*self.loggers, progress):
                logger.log(rows)

    def _report_diverged(
        self, before: list[int], state: TrainState, progress: TrainingProgress
    ) -> list[int]:
        """Return when each run diverged, and report why those did that had not before."""
        after = mesh.to_host(state.diverged).tolist()
        if after != before:
            state = mesh.addressable(state)
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            if old < 0 <= new:
                name, unknown = f"run {self.group.runs[i]}", Failures(tell=progress.message)
                with unknown.caught(f"reason why {name} diverged"):
                    with phase(f"looking why {name} diverged"):
                        reason = divergence.explain(
                            *(self.spec, self.group.hparams, state, self.dataset, i),
                            by_operation=self.config.debug_nans,
                        )
                    progress.message(f"{name} diverged: {reason}")
        return after

    def _stopped(self, state: TrainState) -> list[int]:
        """Return the updates after which each run stopped early, -1 for none."""
        if state.record is None:
            return [-1] * len(self.group.runs)
        return mesh.to_host(state.record.stopped).tolist()

    def _report_stopped(
        self, before: list[int], output: ChunkOutput, progress: TrainingProgress
    ) -> list[int]:
        """Return when each run stopped, and report those that had not before."""
        after, record = self._stopped(output.state), output.state.record
        if after == before or record is None:
            return after
        best, steps = mesh.to_host((record.bound, record.step))
        bound = self.spec.valid_bound.replace("_", " ")
        for i, run in enumerate(self.group.runs):
            if before[i] < 0 <= after[i]:
                is_known = np.isfinite(best[i])
                why = f"has not risen since step {steps[i]:,}" if is_known else "was never finite"
                progress.message(
                    f"run {run} stopped at step {after[i]:,}: its {bound} {why} (--patience)"
                )
        return after

    def _save(self, output: ChunkOutput, num_lines: np.ndarray) -> None:
        """Save the state if that is due, or if a signal asks for an end.

        Raises:
            StoppedError: a signal came; the state is saved.
        """
        distributed.sync_stop(self.stop)
        step, is_stopping = output.step, self.stop.is_wanted
        intervals = build.intervals(self.config)
        is_due = output.is_last or intervals.is_due(step, intervals.checkpoint_every)
        if is_stopping or is_due:
            metadata = {"lines": num_lines.tolist(), "runs": self.group.fingerprint}
            metadata |= {"stopped": self._stopped(output.state)} if output.state.record else {}
            with phase("writing a checkpoint"):
                self.checkpoints.save(step, output.state, metadata)
        if is_stopping:
            self.checkpoints.wait()
            _report_saved(self.further, self.group, self.checkpoints)
            self.stop.raise_if_wanted(
                f"stopped at step {step:,}; the same command goes on from there"
            )
