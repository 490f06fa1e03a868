"""Progress in the terminal: live bars, or plain lines where standard output is no terminal."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

import rich.progress
from rich.console import Console, RenderableType
from rich.text import Text

from vae_jax.pipeline.loggers.base import Logger
from vae_jax.pipeline.loggers.terms import format_terms
from vae_jax.runtime import progress
from vae_jax.runtime.progress import Progress
from vae_jax.types import Row

_LINE_SECONDS = 10.0
_SPEED_SECONDS = 300.0  # long enough to hold several chunks of a slow model


class TrainingProgress(Logger):
    """Live bar of steps, ms per step, time left and current terms; a context manager.

    Phases of the block, such as compilation, stand under the bar while they last.

    Where standard output is no terminal there is no bar, and each interval prints one plain line.
    :meth:`log` may be given any of a study's runs; the terms shown are those of all runs so far.

    Args:
        num_steps: updates in all.
        start: step from which the runs resume.
        label: name of what is trained where there are several, such as "program 2 of 3".
        console: destination; standard output by default.

    Example:
        >>> import io
        >>> text = io.StringIO()
        >>> with TrainingProgress(100, console=Console(file=text)) as progress:
        ...     progress.advance(50, ms_per_step=3.5)
        ...     progress.log([{"run": 0, "step": 50, "train_elbo": -99.5}])
        >>> print(text.getvalue(), end="")
        step 50 of 100  train elbo -99.50  3.5 ms/step
    """

    def __init__(
        self, num_steps: int, start: int = 0, label: str = "", console: Console | None = None
    ):
        self._console = console or Console()
        self._rows: dict[int, Row] = {}
        self._bar = _Bar(
            *_training_columns(label),
            console=self._console,
            disable=not self._console.is_interactive,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._task = self._bar.add_task(label, total=num_steps, completed=start, ms="")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "TrainingProgress":
        self._stack.enter_context(_shown(self._bar))
        return self

    def close(self) -> None:
        """Stop the bar."""
        self._stack.close()

    def advance(self, step: int, ms_per_step: float) -> None:
        """Move the bar to a step; ``ms_per_step`` is the time of one update of all runs."""
        self._bar.update(self._task, completed=step, ms=f"{ms_per_step:.3g} ms/step")

    def log(self, rows: Sequence[Row]) -> None:
        """Show the rows of one interval: under the bar, or as a plain line without a bar."""
        for row in rows:
            self._rows.setdefault(row["run"], {}).update(row)
        if self._bar.disable:
            self.message(self._plain_line(rows))
        else:
            self._bar.terms = self._terms()

    def message(self, line: str) -> None:
        """Print a line above the bar."""
        _print(self._console, line)

    def _terms(self) -> str:
        return format_terms(list(self._rows.values()))

    def _plain_line(self, rows: Sequence[Row]) -> str:
        """Return the line of one interval: step, terms, speed and time left."""
        task = self._bar.tasks[0]
        left = task.time_remaining
        parts = [
            task.description,
            f"step {rows[0]['step']:,} of {task.total:,.0f}",
            format_terms(rows) if len(self._rows) == 1 else self._terms(),
            task.fields["ms"],
            "" if left is None else f"{_duration(round(left))} left",
        ]
        return "  ".join(part for part in parts if part)


class EvaluationProgress:
    """Live bar of the runs that one evaluation has done, with the time left; a context manager.

    Where standard output is no terminal there is no bar: a plain line every ten seconds reports
    how many runs are done, and one at the end how long it took or that nothing was to be done.

    Args:
        label: name of the evaluation.
        num_runs: runs to be evaluated.
        console: destination; standard output by default.

    Example:
        >>> import io
        >>> text = io.StringIO()
        >>> with EvaluationProgress("ais", 3, console=Console(file=text)) as progress:
        ...     progress.skip(3)
        >>> print(text.getvalue(), end="")
        ais: kept from before
    """

    def __init__(self, label: str, num_runs: int, console: Console | None = None):
        self._console = console or Console()
        self._bar = _Bar(
            *_evaluation_columns(),
            console=self._console,
            disable=not self._console.is_interactive,
            speed_estimate_period=_SPEED_SECONDS,
        )
        self._task = self._bar.add_task(label, total=num_runs)
        self._began = self._last_line = time.monotonic()
        self._is_new = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "EvaluationProgress":
        self._stack.enter_context(_shown(self._bar))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        if self._bar.disable and exc_type is None:
            seconds = time.monotonic() - self._began
            outcome = f"done in {seconds:.1f} s" if self._is_new else "kept from before"
            _print(self._console, f"{self._bar.tasks[0].description}: {outcome}")

    def skip(self, num_runs: int) -> None:
        """Move to a number of runs without counting them for the speed."""
        task = self._bar.tasks[0]
        self._bar.reset(self._task, completed=num_runs, total=int(task.total or 0))

    def advance(self, num_runs: float) -> None:
        """Move to a number of runs, in which the current run counts by the share that is done."""
        self._is_new = True
        self._bar.update(self._task, completed=num_runs)
        now = time.monotonic()
        is_due = now - self._last_line > _LINE_SECONDS and not self._bar.finished
        if self._bar.disable and is_due:
            self._last_line = now
            _print(self._console, self._plain_line())

    def _plain_line(self) -> str:
        """Return the line of the moment: current run, share done and time left."""
        task = self._bar.tasks[0]
        current = min(int(task.completed) + 1, int(task.total or 0))
        left = task.time_remaining
        parts = [
            f"{task.description}: run {current} of {task.total:,.0f}",
            f"{task.percentage:.0f} % done",
            "" if left is None else f"{_duration(round(left))} left",
        ]
        return "  ".join(part for part in parts if part)


class _Bar(rich.progress.Progress):
    """Bar of rich with a line of terms and one of the phase of the moment under it."""

    terms = ""
    phase = ""
    _phase_began = 0.0

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, the line of terms and that of the phase."""
        yield self.make_tasks_table(self.tasks)
        if self.terms:
            yield Text(self.terms)
        if self.phase:
            seconds = time.monotonic() - self._phase_began
            yield Text(f"{self.phase} ... {_duration(round(seconds))}", style="dim")

    def show_phase(self, now: Progress) -> None:
        """Show a phase that stands inside no other."""
        if now.depth:
            return
        if not self.phase:
            self._phase_began = time.monotonic()
        self.phase = "" if now.is_over else now.text


@contextlib.contextmanager
def _shown(bar: _Bar) -> Iterator[None]:
    """Show a bar and the phases of the block, unless there is no terminal."""
    watched = contextlib.nullcontext() if bar.disable else progress.watched_by(bar.show_phase)
    with watched:
        bar.start()
        try:
            yield
        finally:
            _stop(bar)


def _training_columns(label: str) -> list[rich.progress.ProgressColumn]:
    return [
        *([rich.progress.TextColumn("{task.description}")] if label else []),
        rich.progress.TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
        rich.progress.BarColumn(bar_width=28),
        rich.progress.TextColumn("{task.fields[ms]}"),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("left"),
    ]


def _evaluation_columns() -> list[rich.progress.ProgressColumn]:
    return [
        rich.progress.TextColumn("{task.description}"),
        rich.progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} runs"),
        rich.progress.BarColumn(bar_width=28),
        rich.progress.TextColumn("{task.percentage:.0f} %"),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("left"),
    ]


def _print(console: Console, line: str) -> None:
    """Print a line as it stands, neither coloured nor wrapped."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _stop(bar: rich.progress.Progress) -> None:
    """End a bar that was shown; for one that was not, rich below 14 prints a blank line."""
    if not bar.disable:
        bar.stop()


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
