"""Phases that last, as the terminal or a notebook shows them while they do."""

import abc
import contextlib
import contextvars
import html
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import rich.progress
from rich.console import Console
from rich.text import Text

from vae_jax.runtime import progress
from vae_jax.runtime.progress import OnPhase, Progress

_PATIENCE_SECONDS = 1.0  # work that is over sooner is not shown
_SPEED_SECONDS = 60.0


class _PhasesThatLast(abc.ABC):
    """Watcher that shows the phases which are open once the outermost has lasted for a while.

    A thread begins to show them, so that work which says nothing is seen too. Amounts are drawn
    anew a few times in a second, however often they change.

    Args:
        patience: seconds that the outermost phase may take without being shown.
    """

    _interval = 0.1  # shortest time in seconds between two drawings of an amount

    def __init__(self, patience: float):
        self._patience = patience
        self._lock = threading.RLock()
        self._open: list[Progress] = []
        self._timer: threading.Timer | None = None
        self._is_shown = False
        self._next = 0.0

    def __call__(self, now: Progress) -> None:
        """Take the progress of a phase."""
        with self._lock:
            is_same = not now.is_over and now.depth < len(self._open)
            self._open[now.depth :] = [] if now.is_over else [now]
            if not self._open:
                self._finish()
            elif self._timer is None:
                own = contextvars.copy_context()  # by which a notebook knows the running cell
                self._timer = threading.Timer(self._patience, own.run, (self._start,))
                self._timer.daemon = True
                self._timer.start()
            elif self._is_shown and not (is_same and time.monotonic() < self._next):
                self._next = time.monotonic() + self._interval
                self._draw()

    def _start(self) -> None:
        with self._lock:
            if self._open and not self._is_shown:
                self._is_shown = True
                self._begin()
                self._draw()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_shown:
            self._end()
        self._timer, self._is_shown = None, False

    @abc.abstractmethod
    def _begin(self) -> None:
        """Prepare for drawing."""

    @abc.abstractmethod
    def _draw(self) -> None:
        """Draw the phases that are open."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Remove what was drawn."""


class TerminalPhases(_PhasesThatLast):
    """Bars of the phases that take longer than a second, which vanish when they are over.

    Args:
        console: destination, a terminal; standard output by default.
        patience: seconds that a phase may take without being shown.
    """

    def __init__(self, console: Console | None = None, patience: float = _PATIENCE_SECONDS):
        super().__init__(patience)
        self._console = console or Console()
        self._tasks: list[rich.progress.TaskID] = []

    def _begin(self) -> None:
        self._tasks = []
        self._bar = rich.progress.Progress(
            *_columns(),
            console=self._console,
            transient=True,
            refresh_per_second=5,
            speed_estimate_period=_SPEED_SECONDS,
            disable=not self._console.is_interactive,
        )
        self._bar.start()

    def _draw(self) -> None:
        while len(self._tasks) > len(self._open):
            self._bar.remove_task(self._tasks.pop())
        for i, now in enumerate(self._open):
            if i == len(self._tasks):
                self._tasks.append(self._bar.add_task(now.text, total=now.total))
            update = {"description": now.text, "completed": now.done, "total": now.total}
            self._bar.update(self._tasks[i], **update)

    def _end(self) -> None:
        if not self._bar.disable:
            self._bar.stop()


class NotebookPhases(_PhasesThatLast):
    """Lines of HTML with bars of the phases that take longer than a second, cleared at their end.

    Args:
        patience: seconds that a phase may take without being shown.
    """

    _interval = 0.3

    def __init__(self, patience: float = _PATIENCE_SECONDS):
        super().__init__(patience)
        self._handle: Any = None

    def _begin(self) -> None:
        pass

    def _draw(self) -> None:
        from IPython.display import HTML, display

        shown = HTML("<br>".join(map(as_html, self._open)))
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def _end(self) -> None:
        from IPython.display import HTML

        if self._handle is not None:
            self._handle.update(HTML(""))


def as_html(now: Progress) -> str:
    """Return a line of HTML with a bar.

    Example:
        >>> as_html(Progress("reading", 2, 8, "files"))
        "<progress value='2' max='8'></progress> reading: 2 of 8 files"
    """
    if now.total is None:
        return f"<progress></progress> {html.escape(now.text)}"
    bar = f"<progress value='{now.done:g}' max='{now.total:g}'></progress>"
    return f"{bar} {html.escape(now.text)}"


@contextlib.contextmanager
def shown(on_progress: OnPhase | None = None) -> Iterator[None]:
    """Show the phases of the block: by a callback, or where they can be seen.

    Args:
        on_progress: callback; None for the watcher around, or else a bar in a notebook or a
            terminal, and nothing elsewhere.
    """
    watcher = on_progress
    if watcher is None and not progress.is_watched():
        if is_notebook():
            watcher = NotebookPhases()
        elif sys.stdout.isatty():
            watcher = TerminalPhases()
    with progress.watched_by(watcher) if watcher is not None else contextlib.nullcontext():
        yield


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _TimeColumn(rich.progress.ProgressColumn):
    """Time that is left, or that has passed where the amount in all is not known."""

    max_refresh = 0.5

    def render(self, task: rich.progress.Task) -> Text:
        seconds = task.time_remaining if task.total is not None else task.elapsed
        if seconds is None:
            return Text("")
        minutes, rest = divmod(round(seconds), 60)
        word = "left" if task.total is not None else ""
        return Text(f"{minutes}:{rest:02d} {word}".rstrip(), style="progress.remaining")


def _columns() -> list[rich.progress.ProgressColumn]:
    return [
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(bar_width=28),
        _TimeColumn(),
    ]
