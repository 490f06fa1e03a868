"""What a run tells while it trains: `metrics.jsonl`, TensorBoard curves and the terminal.

All three take the same *rows*: one mapping per run of the study, with `step`, `run`, `seconds`
and terms in nats per example (`train_elbo`, `valid_kl`, ...). A term that is absent, None or
not finite is left out of the curves and written as `null`.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rich.progress
from rich.console import Console, RenderableType
from rich.text import Text

from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError
from vae_jax.types import Row

_SPLITS = ("train_", "valid_", "test_")
_RANKING = ("valid_elbo", "train_elbo", "valid_log_likelihood", "train_log_likelihood")
_SHOWN = ("train_elbo", "valid_elbo", "train_kl", "valid_kl")
_TALLY_SECONDS = 10.0
_SPEED_SECONDS = 300.0  # long enough to hold several chunks of a slow model


class JSONLinesLogger:
    """The file `<workdir>/metrics.jsonl`: one JSON line per run per visit.

    A visit's lines must be written before the checkpoint of its step. Then
    `truncate_after({run: step of its checkpoint})` leaves a resumed study with no line twice and
    none missing. The file is open only while it is written, and what is written is forced to the
    disk, so a kill or a loss of power loses at most the visit at hand.
    """

    def __init__(self, workdir: Path):
        self.path = workdir / "metrics.jsonl"

    def write(self, rows: Sequence[Row]) -> None:
        """Appends one visit: a line for each row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(map(files.json_line, rows)))
            file.flush()
            os.fsync(file.fileno())

    def truncate_after(self, steps: Mapping[int, int]) -> None:
        """Drops what runs wrote for steps later than theirs, and what is no whole line.

        Args:
          steps: the last step to keep of each run, -1 for none; a run that is absent keeps all.
        """
        if self.path.exists():
            rows = readable(self.path)
            kept = [row for row in rows if row["step"] <= steps.get(row["run"], row["step"])]
            text = "".join(map(files.json_line, kept))
            if text.encode() != self.path.read_bytes():
                files.write_text(self.path, text)


def read(path: Path) -> list[Row]:
    """Reads the rows of a `metrics.jsonl`, also of a run that is still writing or was killed.

    Raises:
      InputError: a line before the last is not a JSON object.
    """
    rows = _parsed(path)
    if rows and rows[-1] is None:
        rows.pop()
    if None in rows:
        raise InputError(
            f"--workdir={path.parent}: line {rows.index(None) + 1} of {path.name} is damaged; "
            "delete that line, or the whole folder to start anew"
        )
    return [row for row in rows if row is not None]


def readable(path: Path) -> list[Row]:
    """Reads the rows of a `metrics.jsonl` that are whole, wherever they stand; none without it."""
    return [row for row in _parsed(path) if row is not None] if path.exists() else []


def _parsed(path: Path) -> list[Row | None]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [_parse(line) for line in lines]


def _parse(line: str) -> Row | None:
    """Returns the row that a line holds, None where it holds no whole row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # also of numbers and brackets without end
        return None
    is_row = isinstance(row, dict) and all(type(row.get(name)) is int for name in ("step", "run"))
    return row if is_row and type(row.get("seconds")) in (int, float) else None


class TensorBoardLogger:
    """Event files `<workdir>/tensorboard/run_<i>/`, with train and valid in one group.

    The term `valid_elbo` is the curve `elbo/valid`. A run that writes first purges what an earlier
    process wrote for steps after the one it resumes from, so that no curve doubles back; the
    curves of runs that do not write stay. A context manager. Needs tensorboardX.

    Args:
      workdir: where the folder `tensorboard` goes.
      resumed_from: the step of each run's checkpoint; a run that is absent starts anew, as with -1.
    """

    def __init__(self, workdir: Path, resumed_from: Mapping[int, int] | None = None):
        self._folder = workdir / "tensorboard"
        self._resumed_from = resumed_from or {}
        self._writers: dict[int, Any] = {}

    def __enter__(self) -> "TensorBoardLogger":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def write(self, rows: Sequence[Row]) -> None:
        """Adds one visit to the curves of each row's run, and flushes them to disk."""
        for row in rows:
            writer = self._writer(row["run"])
            for name, value in row.items():
                if name.startswith(_SPLITS) and _is_number(value):
                    writer.write_event(_scalar_event(row["step"], name, float(value)))
            writer.flush()

    def _writer(self, run: int) -> Any:
        if run not in self._writers:
            first = self._resumed_from.get(run, -1) + 1
            self._writers[run] = _open(self._folder / f"run_{run}", first)
        return self._writers[run]


def _open(folder: Path, first: int) -> Any:
    """Starts an event file whose first event purges older files from step `first` on."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2  # protobuf makes its names when imported

    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads files in the order of their names, which hold the time; a number before it
    # keeps them in order through a quick resume or a clock that is set back.
    number = len(list(folder.iterdir()))
    writer = EventsWriter(str(folder / f"events.{number:06d}"))
    messages: Any = event_pb2
    start = messages.SessionLog(status=messages.SessionLog.START)
    writer.write_event(messages.Event(step=first, wall_time=time.time(), session_log=start))
    return writer


def _scalar_event(step: int, name: str, value: float) -> Any:
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2

    split, term = name.split("_", maxsplit=1)
    messages: Any = event_pb2
    scalar = summary.scalar(f"{term}/{split}", value)
    return messages.Event(step=step, wall_time=time.time(), summary=scalar)


class TrainingProgress:
    """A live bar of steps, ms per step, time left and current terms; a context manager.

    Where standard output is no terminal there is no bar, and each visit prints one plain line.
    A visit may bring any of a study's runs; the terms shown are those of all runs seen so far.

    Args:
      num_steps: that the runs are trained for.
      start: the step they resume from.
      label: what is being trained, where that must be said, such as "program 2 of 3".
      console: to write to; standard output by default.
    """

    def __init__(
        self, num_steps: int, start: int = 0, label: str = "", console: Console | None = None
    ):
        self._console = console or Console()
        self._rows: dict[int, Row] = {}
        self._bar = _Bar(
            *_bar_columns(label),
            console=self._console,
            disable=not self._console.is_interactive,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._task = self._bar.add_task(label, total=num_steps, completed=start, ms="")

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _stop(self._bar)

    def advance(self, step: int, ms_per_step: float) -> None:
        """Moves the bar to `step`; `ms_per_step` is the time of one training step of the study."""
        self._bar.update(self._task, completed=step, ms=f"{ms_per_step:.3g} ms/step")

    def write(self, rows: Sequence[Row]) -> None:
        """Shows one visit: under the bar, or as a plain line where there is no bar."""
        for row in rows:
            self._rows.setdefault(row["run"], {}).update(row)
        if self._bar.disable:
            self.say(self._plain_line(rows))
        else:
            self._bar.terms = self._terms()

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _terms(self) -> str:
        return in_short(list(self._rows.values()))

    def _plain_line(self, rows: Sequence[Row]) -> str:
        task = self._bar.tasks[0]
        left = task.time_remaining
        parts = [
            task.description,
            f"step {rows[0]['step']:,} of {task.total:,.0f}",
            in_short(rows) if len(self._rows) == 1 else self._terms(),
            task.fields["ms"],
            "" if left is None else f"{_duration(round(left))} left",
        ]
        return "  ".join(part for part in parts if part)


class EvaluationProgress:
    """A live bar of runs that are evaluated, with the time left; a context manager.

    Where standard output is no terminal there is no bar: a plain line says every ten seconds how
    far it is, and one at the end how long it took or that nothing was to be done.

    Args:
      label: what is done.
      num_runs: to how many runs.
      console: to write to; standard output by default.
    """

    def __init__(self, label: str, num_runs: int, console: Console | None = None):
        self._console = console or Console()
        self._bar = rich.progress.Progress(
            *_tally_columns(),
            console=self._console,
            disable=not self._console.is_interactive,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._task = self._bar.add_task(label, total=num_runs)
        self._began = self._told = time.monotonic()
        self._is_new = False

    def __enter__(self) -> "EvaluationProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _stop(self._bar)
        if self._bar.disable and exc_type is None:
            seconds = time.monotonic() - self._began
            how = f"done in {seconds:.1f} s" if self._is_new else "kept from before"
            self._say(f"{self._bar.tasks[0].description}: {how}")

    def skip(self, runs: int) -> None:
        """Moves to so many runs without their counting for the speed."""
        task = self._bar.tasks[0]
        self._bar.reset(self._task, completed=runs, total=int(task.total or 0))

    def tell(self, runs: float) -> None:
        """Moves to so many runs, the one that is looked at counted by its share."""
        self._is_new = True
        self._bar.update(self._task, completed=runs)
        now = time.monotonic()
        is_due = now - self._told > _TALLY_SECONDS and not self._bar.finished
        if self._bar.disable and is_due:
            self._told = now
            self._say(self._plain_line())

    def _plain_line(self) -> str:
        task = self._bar.tasks[0]
        place = min(int(task.completed) + 1, int(task.total or 0))
        left = task.time_remaining
        parts = [
            f"{task.description}: run {place} of {task.total:,.0f}",
            f"{task.percentage:.0f} % done",
            "" if left is None else f"{_duration(round(left))} left",
        ]
        return "  ".join(part for part in parts if part)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tally_columns() -> list[rich.progress.ProgressColumn]:
    return [
        rich.progress.TextColumn("{task.description}"),
        rich.progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} runs"),
        rich.progress.BarColumn(bar_width=28),
        rich.progress.TextColumn("{task.percentage:.0f} %"),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("left"),
    ]


class _Bar(rich.progress.Progress):
    """rich's bar with a line of terms under it."""

    terms = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.terms:
            yield Text(self.terms)


def _stop(bar: rich.progress.Progress) -> None:
    """End a bar that was shown; for one that was not, rich below 14 prints a blank line."""
    if not bar.disable:
        bar.stop()


def _bar_columns(label: str) -> list[rich.progress.ProgressColumn]:
    return [
        *([rich.progress.TextColumn("{task.description}")] if label else []),
        rich.progress.TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
        rich.progress.BarColumn(bar_width=28),
        rich.progress.TextColumn("{task.fields[ms]}"),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("left"),
    ]


def in_short(rows: Sequence[Row]) -> str:
    """Returns one line: the terms of a single run, or best and median of several.

    Runs are compared by `valid_elbo`, or by `train_elbo` before there is any; autoencoders, which
    have neither, by their log-likelihood. A run in which such a term is None or not finite has
    diverged.
    """
    if len(rows) == 1:
        return _terms(rows[0])
    alive = [row for row in rows if not _has_diverged(row)]
    name = next((name for name in _RANKING if any(name in row for row in alive)), "train_elbo")
    diverged = f"{len(rows) - len(alive)} of {len(rows)} diverged"
    return ", ".join([*_best_and_median([row for row in alive if name in row], name), diverged])


def _has_diverged(row: Row) -> bool:
    return any(name in row and not _is_number(row[name]) for name in _RANKING)


def _best_and_median(rows: Sequence[Row], name: str) -> list[str]:
    if not rows:
        return []
    best = max(rows, key=lambda row: row[name])
    median = statistics.median(float(row[name]) for row in rows)
    label = name.replace("_", " ")
    return [f"{label} best {best[name]:.2f} (run {best['run']})", f"median {median:.2f}"]


def _terms(row: Row) -> str:
    """Returns the ELBO of both splits and the KL of the last one that has it.

    An autoencoder without a density has neither, and shows its log-likelihood.
    """
    known = {name: row[name] for name in _SHOWN if name in row}
    known = known or {name: row[name] for name in _RANKING[2:] if name in row}
    if "valid_kl" in known:
        known.pop("train_kl", None)
    texts = {name: f"{value:.2f}" if _is_number(value) else "-" for name, value in known.items()}
    return "  ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
