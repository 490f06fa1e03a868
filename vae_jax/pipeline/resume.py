"""Where the runs of a workdir go on: at the newest checkpoint that is whole, told in words.

A checkpoint is *whole* when its seal holds and ``metrics.jsonl`` has every line that was there
when it was made. Nothing is changed before it is known where every group goes on.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax.pipeline import loggers, run_groups, workdir
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import LostError
from vae_jax.training import checkpoint
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.types import Row

FROM_SEEDS = -1


class ResumePoint(NamedTuple):
    """Where a group goes on.

    Attributes:
        step: of its checkpoint, :data:`FROM_SEEDS` without one.
        aside: steps of later checkpoints, which cannot be used.
        words: lines to print.
    """

    step: int
    aside: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


def resume_points(
    folder: Path, planned: Sequence[RunGroup], opened: Sequence[Checkpoints], *, may_restart: bool
) -> list[int]:
    """The step at which each group goes on; tells what is passed over and puts it aside.

    Raises:
        LostError: a group was trained, nothing of it can be used, and it may not be restarted.
    """
    rows, tested = loggers.readable(folder / "metrics.jsonl"), _tested_runs(folder)
    found = []
    for group, checkpoints in zip(planned, opened, strict=True):
        start = _start(group, checkpoints, rows, is_tested=bool(tested & set(group.runs)))
        if start.step == FROM_SEEDS and start.words and not may_restart:
            raise LostError(_lost(folder, group, start))
        found.append(start)
    for start, checkpoints in zip(found, opened, strict=True):
        for line in start.words:
            print(f"NOTE: {line}", flush=True)
        for step in start.aside:
            checkpoints.set_aside(step)
    return [start.step for start in found]


def _start(
    group: RunGroup, checkpoints: Checkpoints, rows: Sequence[Row], *, is_tested: bool
) -> ResumePoint:
    steps = checkpoints.steps[::-1]
    problems = [_problem(group, checkpoints, rows, step) for step in steps]
    passed = [f"checkpoint at step {s:,}: {p}" for s, p in zip(steps, problems, strict=True)]
    for place, (step, problem) in enumerate(zip(steps, problems, strict=True)):
        if problem is None:
            back = [f"{line}; going back to step {step:,}" for line in passed[:place]]
            return ResumePoint(step, tuple(steps[:place]), tuple(back))
    for place, step in enumerate(steps):
        if isinstance(problems[place], _GapError) and _has_line(group, rows, step):
            words = (*passed[:place], f"{passed[place]}; going on with this gap")
            return ResumePoint(step, tuple(steps[:place]), words)
    if not steps and not is_tested:
        return ResumePoint(FROM_SEEDS)
    reasons = passed or ["no checkpoint is left of runs that have results"]
    return ResumePoint(FROM_SEEDS, tuple(steps), (*reasons, f"training {_names(group)} anew"))


def describe_checkpoints(folder: Path) -> str:
    """Which checkpoints a workdir holds, for whoever has to mend something."""
    newest = {
        path.parent.name: max(checkpoint.steps(path.parent), default=0)
        for path in sorted((folder / run_groups.CHECKPOINTS).glob(f"*/{run_groups.GROUP_FILE}"))
    }
    held = ", ".join(f"step {step:,} in {name}" for name, step in newest.items() if step)
    return f"Newest checkpoints of --workdir={folder}: {held or 'none yet'}; nothing else is lost."


class _GapError(Exception):
    """Lines are missing from ``metrics.jsonl``."""


def _problem(
    group: RunGroup, checkpoints: Checkpoints, rows: Sequence[Row], step: int
) -> Exception | None:
    """Why a checkpoint is not whole."""
    try:
        wanted = checkpoints.metadata(step)["lines"]
    except DamagedError as error:
        return error
    held = [sum(r["run"] == run and r["step"] <= step for r in rows) for run in group.runs]
    if any(count != wanted for count in held):
        missing = sum(wanted - count for count in held)
        return _GapError(f"metrics.jsonl lacks {missing} lines that were there")
    return None


def _has_line(group: RunGroup, rows: Sequence[Row], step: int) -> bool:
    """Whether the lines of this very step are there, which the table of results needs."""
    return {row["run"] for row in rows if row["step"] == step} >= set(group.runs)


def _tested_runs(folder: Path) -> set[int]:
    """Runs that ``results.csv`` has rows of."""
    path = folder / workdir.RESULTS_TABLE
    if not path.exists():
        return set()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {int(row["run"]) for row in csv.DictReader(lines) if (row.get("run") or "").isdecimal()}


def _lost(folder: Path, group: RunGroup, start: ResumePoint) -> str:
    return (
        f"--workdir={folder}: {_names(group)} cannot go on ({'; '.join(start.words[:-1])}); "
        "restore the files from a copy, or give --restart to train them anew"
    )


def _names(group: RunGroup) -> str:
    """Its runs, as in ``run 0`` and ``runs 0 to 5``."""
    first, last = group.runs[0], group.runs[-1]
    return f"run {first}" if first == last else f"runs {first} to {last}"
