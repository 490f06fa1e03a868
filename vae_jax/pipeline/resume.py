"""Choice of the checkpoint at which each group of a workdir resumes: the newest whole one.

A checkpoint is *whole* when its checksums hold, it was written for these very runs, and
``metrics.jsonl`` has the lines that it had when the checkpoint was written, no fewer and no more.
Nothing is changed before the choice is made for every group.
"""

import bisect
import contextlib
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax.pipeline import loggers, workdir
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.runtime import files
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import LostError
from vae_jax.runtime.progress import phase
from vae_jax.training import checkpoint
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.types import Row

FROM_SEEDS = -1
"""Step of a group that has no checkpoint and starts from its seeds."""
_MOST_DIGITS = 10  # of the number of a run, which a damaged table may not hold


class ResumePoint(NamedTuple):
    """Checkpoint at which a group resumes.

    Attributes:
        step: step of the checkpoint, :data:`FROM_SEEDS` without one.
        unusable: steps of the later checkpoints, which cannot be used.
        notes: lines to print.
    """

    step: int
    unusable: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class History:
    """Lines of ``metrics.jsonl``, counted by run and step.

    Attributes:
        seconds: latest training time of each run.
    """

    def __init__(self, rows: Iterable[Row]):
        self.seconds: dict[int, float] = {}
        self._steps: dict[int, list[int]] = {}
        for row in rows:
            self._steps.setdefault(row["run"], []).append(row["step"])
            self.seconds[row["run"]] = max(row["seconds"], self.seconds.get(row["run"], 0.0))
        for steps in self._steps.values():
            steps.sort()

    def num_lines(self, run: int, step: int) -> int:
        """Return the number of lines of a run up to a step.

        Example:
            >>> History([{"run": 0, "step": s, "seconds": 0.1} for s in (4, 8)]).num_lines(0, 7)
            1
        """
        return bisect.bisect_right(self._steps.get(run, []), step)

    def has_line(self, run: int, step: int) -> bool:
        """Return whether a run has a line of this very step."""
        return self.num_lines(run, step) > self.num_lines(run, step - 1)


def resume_points(
    folder: Path, groups: Sequence[RunGroup], opened: Sequence[Checkpoints], *, may_restart: bool
) -> list[int]:
    """Return the step at which each group resumes; report unusable checkpoints and set them aside.

    Args:
        folder: the workdir.
        groups: the groups of the workdir.
        opened: checkpoints of each group.
        may_restart: whether a group of which nothing can be used may start from its seeds.

    Raises:
        LostError: a group was trained, nothing of it can be used, and it may not be restarted.
    """
    history = History(loggers.read_whole(folder / workdir.METRICS_FILE))
    tested = _tested_runs(folder)
    points = []
    with phase("checking checkpoints", len(groups), "programs") as advance:
        for group, checkpoints in zip(groups, opened, strict=True):
            is_tested = bool(tested & set(group.runs))
            point = _resume_point(group, checkpoints, history, is_tested=is_tested)
            if point.step == FROM_SEEDS and point.notes and not may_restart:
                raise LostError(_lost(folder, group, point))
            points.append(point)
            advance(len(points))
    for point, checkpoints in zip(points, opened, strict=True):
        for line in point.notes:
            print(f"NOTE: {line}", flush=True)
        for step in point.unusable:
            checkpoints.set_aside(step)
    return [point.step for point in points]


def _resume_point(
    group: RunGroup, checkpoints: Checkpoints, history: History, *, is_tested: bool
) -> ResumePoint:
    """Choose the newest whole checkpoint of a group, else the newest that lacks log lines only.

    Args:
        group: the runs.
        checkpoints: theirs.
        history: undamaged lines of ``metrics.jsonl``.
        is_tested: whether ``results.csv`` has a row of any of the runs.
    """
    steps = checkpoints.steps[::-1]
    problems = [_problem(group, checkpoints, history, step) for step in steps]
    notes = [f"checkpoint at step {s:,}: {p}" for s, p in zip(steps, problems, strict=True)]
    for i, (step, problem) in enumerate(zip(steps, problems, strict=True)):
        if problem is None:
            newer = [f"{note}; going back to step {step:,}" for note in notes[:i]]
            return ResumePoint(step, tuple(steps[:i]), tuple(newer))
    for i, (step, problem) in enumerate(zip(steps, problems, strict=True)):
        if isinstance(problem, _GapError) and _has_rows_of(step, group, checkpoints, history):
            gap = f"{notes[i]}; going on with this gap"
            return ResumePoint(step, tuple(steps[:i]), (*notes[:i], gap))
    if not steps and not is_tested:
        return ResumePoint(FROM_SEEDS)
    reasons = notes or ["no checkpoint is left of runs that have results"]
    return ResumePoint(FROM_SEEDS, tuple(steps), (*reasons, f"training {_names(group)} anew"))


def describe_checkpoints(folder: Path) -> str:
    """Return a sentence on the newest checkpoints of a workdir, to be added to an error."""
    newest = {
        path.parent.name: max(checkpoint.steps(path.parent), default=0)
        for path in sorted((folder / workdir.CHECKPOINTS).glob(f"*/{workdir.GROUP_FILE}"))
    }
    held = ", ".join(f"step {step:,} in {name}" for name, step in newest.items() if step)
    return f"Newest checkpoints of --workdir={folder}: {held or 'none yet'}; nothing else is lost."


class _GapError(Exception):
    """Log lines of a checkpoint that are missing from ``metrics.jsonl``."""


def _problem(
    group: RunGroup, checkpoints: Checkpoints, history: History, step: int
) -> Exception | None:
    """Return the reason why a checkpoint is not whole, None where it is."""
    try:
        metadata = checkpoints.metadata(step)
    except DamagedError as error:
        return error
    wanted = metadata.get("lines")
    if not isinstance(wanted, list) or len(wanted) != len(group.runs):
        wanted = None
    if metadata.get("runs") != group.fingerprint or wanted is None:
        return DamagedError("it was written for other runs, or by another study")
    surplus = [
        history.num_lines(run, step) - count for run, count in zip(group.runs, wanted, strict=True)
    ]
    if max(surplus) > 0:
        return DamagedError(
            f"metrics.jsonl has {sum(n for n in surplus if n > 0)} lines more than there were"
        )
    if min(surplus) < 0:
        return _GapError(f"metrics.jsonl lacks {-sum(surplus)} lines that were there")
    return None


def _has_rows_of(step: int, group: RunGroup, checkpoints: Checkpoints, history: History) -> bool:
    """Return whether all runs have the row that ``results.csv`` needs.

    That is one of this very step or, of a run that stopped before, of the step at which it did.
    """
    stopped = checkpoints.metadata(step).get("stopped", [-1] * len(group.runs))
    return all(
        history.has_line(run, end if end >= 0 else step)
        for run, end in zip(group.runs, stopped, strict=True)
    )


def _tested_runs(folder: Path) -> set[int]:
    """Return the numbers of the runs that have a row in ``results.csv``."""
    path = folder / workdir.RESULTS_TABLE
    if not path.exists():
        return set()
    runs = set()
    with contextlib.suppress(csv.Error):  # it is damaged: what comes before tells enough
        for row in csv.DictReader(files.read_text(path).splitlines()):
            text = row.get("run") or ""
            runs |= {int(text)} if text.isdecimal() and len(text) < _MOST_DIGITS else set()
    return runs


def _lost(folder: Path, group: RunGroup, point: ResumePoint) -> str:
    """Return the error of a group of which nothing can be used."""
    return (
        f"--workdir={folder}: {_names(group)} cannot go on ({'; '.join(point.notes[:-1])}); "
        "restore the files from a copy, or give --restart to train them anew"
    )


def _names(group: RunGroup) -> str:
    """Return the runs of a group as text, ``run 0`` or ``runs 0 to 5``."""
    first, last = group.runs[0], group.runs[-1]
    return f"run {first}" if first == last else f"runs {first} to {last}"
