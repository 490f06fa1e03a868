"""Evaluations of a workdir: those that are due are made, those of earlier starts are kept.

``evaluations/RUN-NAME.json`` holds the numbers of one evaluation of one run, with a checksum,
beside what they depend on: the settings, the step, checksums of the parameters and of the data,
and a format. Only a file in which all of these agree is used, so an interruption costs one run at
most and no number is ever that of another model. An evaluation that fails leaves its cells empty
(:mod:`vae_jax.runtime.failures`).
"""

import dataclasses
import functools
import inspect
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.config import build
from vae_jax.config.flags import Config, as_text
from vae_jax.config.members import find, from_outside
from vae_jax.data import Dataset
from vae_jax.evaluation import columns
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, Evaluator, Runs
from vae_jax.evaluation.evaluators.base import PerRunEvaluator
from vae_jax.hparams import HParams
from vae_jax.pipeline import loggers, results, workdir
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.runtime import checksums, distributed, files
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.lock import Lock
from vae_jax.runtime.progress import phase
from vae_jax.training import divergence, vectorized
from vae_jax.types import Params, Row

FORMAT = 5
"""Version of the kept numbers, raised with every change of a measure so that none older is used."""

Dependencies = dict[str, Any]
"""Facts on which the numbers of an evaluation depend, in the types of JSON."""


def evaluate(
    config: Config,
    trained: Sequence[TrainedGroup],
    dataset: Dataset,
    swept: Sequence[str],
    lock: Lock,
    failures: Failures,
) -> list[Row]:
    """Return the rows of ``results.csv``: one per run, in the order of their numbers.

    Args:
        config: flags of the study.
        trained: all groups.
        dataset: data that they were trained on.
        swept: names of the swept flags.
        lock: lock of the workdir, which is checked before numbers are written.
        failures: takes the evaluations that fail; their columns stay empty.
    """
    print(f"evaluating {len(dataset.test):,} test images, K={config.eval_particles}", flush=True)
    lines = results.by_run(loggers.read(Path(config.workdir) / workdir.METRICS_FILE))
    measured = _measure(config, trained, dataset, lock, failures)
    rows = []
    num_runs = sum(len(done.group.runs) for done in trained)
    with phase("gathering results", num_runs, "runs") as advance:
        for done in trained:
            group, diverged = done.group, done.state.diverged.tolist()
            own_lines = results.of_runs(lines, group.runs)
            last = results.learned(own_lines, done.state, group.runs)
            for i, (run, own) in enumerate(zip(group.runs, group.configs, strict=True)):
                settings = results.settings_of(own, swept)
                row = results.table_row(settings, last[run], measured[run], diverged[i])
                if diverged[i] >= 0:
                    with failures.caught(f"reason why run {run} diverged"):
                        row["diverged_reason"] = divergence.explain(
                            *(done.spec, group.hparams, done.state, dataset, i),
                            by_operation=config.debug_nans,
                        )
                rows.append(row)
                advance(len(rows))
    return sorted(rows, key=lambda row: row["run"])


def _measure(
    config: Config,
    trained: Sequence[TrainedGroup],
    dataset: Dataset,
    lock: Lock,
    failures: Failures,
) -> dict[int, Row]:
    """Return the numbers of each run; a diverged run has those of :data:`ALWAYS` alone."""
    found: dict[int, Row] = {run: {} for done in trained for run in done.group.runs}
    for name in build.evaluations(config):
        with loggers.EvaluationProgress(name, len(found)) as progress:
            finished = 0
            for done in trained:
                evaluation = _Evaluation(
                    *(name, config, done, dataset),
                    *(progress, finished, lock, failures),
                )
                for run, row in evaluation.numbers():
                    found[run] |= row
                finished += len(done.group.runs)
    return found


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """One evaluation of one group of runs.

    Attributes:
        name: name that ``--evaluate`` takes.
        config: flags of the study.
        done: the group.
        dataset: data that it was trained on.
        progress: bar in the terminal, shared by all groups.
        finished: number of runs in the groups before this one.
        lock: lock of the workdir.
        failures: takes the runs whose evaluation fails.
    """

    name: str
    config: Config
    done: TrainedGroup
    dataset: Dataset
    progress: loggers.EvaluationProgress
    finished: int
    lock: Lock
    failures: Failures

    def numbers(self) -> Iterator[tuple[int, Row]]:
        """Yield each run with its numbers: those that are kept, then those that are due."""
        kept = dict(zip(self._indices, distributed.from_first(self._all_kept), strict=True))
        known = {i: row for i, row in kept.items() if row is not None}
        for i, row in known.items():
            yield self.done.group.runs[i], row
        due = [i for i in kept if i not in known]
        before = self.finished + len(self.done.group.runs) - len(due)
        self.progress.skip(before)
        if not due:
            return

        for i, row in self._measured(due, before):
            facts = {"mark": self._dependencies(i), "row": files.finite(row)}
            if distributed.is_first():
                self.lock.check()
                files.write_json(self._path(i), checksums.with_checksum(facts))
            yield self.done.group.runs[i], facts["row"]

    def _measured(self, due: list[int], before: int) -> Iterator[tuple[int, Row]]:
        """Yield the runs that are due with their numbers, without those whose evaluation fails.

        An evaluator that takes all runs at once fails for all of them.

        Args:
            due: indices of the runs.
            before: number of runs that are done.
        """
        left = due
        while left:
            finished = 0
            rows = self._rows(left, before)
            while finished < len(left):
                row = self._attempt(rows, left[finished:])
                if row is None:
                    break
                yield left[finished], row
                finished += 1
            is_by_run = isinstance(self._evaluator, PerRunEvaluator)
            failed = finished + 1 if is_by_run else len(left)
            left, before = left[failed:], before + failed
            self.progress.advance(float(before))

    def _rows(self, left: list[int], before: int) -> Iterator[Row]:
        """Yield what the evaluator gives for each run; it is called when the first is asked for."""
        yield from self._evaluator.rows(
            self._runs.take(np.array(left, int)),
            lambda num_runs: self.progress.advance(float(before + num_runs)),
        )

    def _attempt(self, rows: Iterator[Row], left: list[int]) -> Row | None:
        """Return the numbers of the first of some runs, None where its evaluation fails."""
        is_by_run = isinstance(self._evaluator, PerRunEvaluator)
        runs = [self.done.group.runs[i] for i in (left[:1] if is_by_run else left)]
        names = f"run {runs[0]}" if len(runs) == 1 else f"runs {runs[0]} to {runs[-1]}"
        with self.failures.caught(f"evaluation {self.name} of {names}"):
            row = next(rows)
            return row if self.name in EVALUATORS else checked_row(type(self._evaluator), row)
        return None

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        return build.member(find("evaluate", self.name), self.config)

    @functools.cached_property
    def _runs(self) -> Runs:
        done = self.done
        return Runs(
            done.spec, done.group.hparams, done.state, self.dataset, done.group.layout(done.spec)
        )

    @functools.cached_property
    def _model(self) -> tuple[HParams, Params]:
        """Hyperparameters and parameters of all runs of the group, on the host."""
        return jax.device_get((self._runs.hparams, self._runs.state.eval_params))

    @property
    def _indices(self) -> list[int]:
        """Indices in the group of the runs to be evaluated."""
        diverged = self.done.state.diverged.tolist()
        return [i for i, step in enumerate(diverged) if step < 0 or self.name in ALWAYS]

    def _path(self, i: int) -> Path:
        """Return the file of the numbers of a run."""
        name = f"{self.done.group.runs[i]}-{self.name.replace(':', '.')}.json"
        return Path(self.config.workdir) / workdir.EVALUATIONS / name

    def _all_kept(self) -> list[Row | None]:
        """Return the kept numbers of each run to be evaluated, None where it has none."""
        return [self._kept(i) for i in self._indices]

    def _kept(self, i: int) -> Row | None:
        """Return the kept numbers of a run; None where they are damaged or of another model."""
        if not self._path(i).exists():
            return None
        try:
            facts = checksums.read(self._path(i))
        except DamagedError as error:
            print(f"NOTE: {workdir.EVALUATIONS}/{error}; evaluating anew", flush=True)
            return None
        return facts["row"] if facts["mark"] == self._dependencies(i) else None

    def _dependencies(self, i: int) -> Dependencies:
        """Return the facts on which the numbers of a run depend."""
        values = dataclasses.asdict(self._evaluator)  # pyright: ignore[reportArgumentType]
        return {
            "format": FORMAT,
            "evaluation": self.name,
            "settings": {name: as_text(value) for name, value in values.items()},
            "step": int(self.done.state.eval_step[i]),
            "model": checksum(vectorized.take(self._model, i)),
            "data": data_of(self.done),
            **self._outside,
        }

    @functools.cached_property
    def _outside(self) -> Dependencies:
        """Checksums of the files of members from outside, whose code may change."""
        return checksums_of_outside(self.done.group.configs[0], (self.name,))


def checksums_of_outside(config: Config, evaluators: tuple[str, ...] = ()) -> dict[str, int]:
    """Return the CRC-32 of the files of a run's members from outside, and of these evaluators."""
    found = from_outside(vars(config) | {"evaluate": evaluators})
    paths = {name: Path(inspect.getfile(member)) for name, member in found.items()}
    return {name: zlib.crc32(path.read_bytes()) for name, path in paths.items()}


def checksum(tree: Any) -> int:
    """Return the CRC-32 of the bytes of all arrays of a tree."""
    total = 0
    for array in jax.device_get(jax.tree.leaves(tree)):
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


def checked_row(evaluator: Any, row: Any) -> Row:
    """Return what an evaluator from outside gave as numbers by the names of its columns.

    Raises:
        InputError: it is no row, has a column that is not declared, or a value that is no number.

    Example:
        >>> checked_row(EVALUATORS["gaps"], {"inference_gap": np.float32(0.5)})
        {'inference_gap': 0.5}
    """
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise InputError(f"returns a {kind}; return a row, a dictionary of its columns")
    known = columns.counts_not_finite([row], evaluator.columns) | columns.by_name(evaluator.columns)
    for name in row.keys() - known.keys():
        raise InputError(f"returns {name}, which its columns do not declare; declare a Column")
    return {name: _number(name, value) for name, value in row.items()}


def _number(name: str, value: Any) -> Any:
    """Return a value of a row in the types of Python."""
    number = value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
    if number is not None and not isinstance(number, bool | int | float | str):
        kind = f"shape {np.shape(value)}" if np.shape(value) else f"a {type(value).__name__}"
        raise InputError(f"returns {name} of {kind}; return one number")
    return number


def data_of(done: TrainedGroup) -> str:
    """Return the content of the data of some runs, as their pixels are binarized."""
    return f"{done.group.data}, binarize={done.spec.binarize}"
