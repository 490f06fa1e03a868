"""Progress in a notebook: one line of HTML with a bar, replaced at each interval."""

import contextlib
import html
import sys
from collections.abc import Sequence
from typing import Any

from vae_jax.pipeline.loggers.base import Logger
from vae_jax.pipeline.loggers.phases import is_notebook
from vae_jax.pipeline.loggers.progress import TrainingProgress
from vae_jax.pipeline.loggers.terms import format_terms
from vae_jax.runtime import progress
from vae_jax.runtime.progress import Progress
from vae_jax.types import Row


class NotebookProgress(Logger):
    """Bar of steps with ms per step and current terms, as output of the running cell.

    Args:
        num_steps: updates in all.
        start: step from which the runs resume.
    """

    def __init__(self, num_steps: int, start: int = 0):
        self._num_steps, self._step, self._ms = num_steps, start, 0.0
        self._rows: dict[int, Row] = {}
        self._handle: Any = None
        self._phase = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "NotebookProgress":
        self._stack.enter_context(progress.watched_by(self._show_phase))
        return self

    def close(self) -> None:
        """Take no more phases."""
        self._stack.close()

    def advance(self, step: int, ms_per_step: float) -> None:
        """Move the bar to a step; ``ms_per_step`` is the time of one update of all runs."""
        self._step, self._ms = step, ms_per_step

    def log(self, rows: Sequence[Row]) -> None:
        """Show the rows of one interval."""
        for row in rows:
            self._rows.setdefault(row["run"], {}).update(row)
        self._show()

    def _show_phase(self, now: Progress) -> None:
        """Show a phase such as compilation until rows are shown."""
        if now.depth == 0 and not self._rows:
            self._phase = "" if now.is_over else now.text
            self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        shown = HTML(self.line())
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def line(self) -> str:
        """Return the HTML of the moment.

        Example:
            >>> progress = NotebookProgress(100)
            >>> progress.advance(50, ms_per_step=3.5)
            >>> progress.line()
            "<progress value='50' max='100'></progress> step 50 of 100, 3.5 ms/step"
        """
        terms = format_terms(list(self._rows.values())) if self._rows else ""
        bar = f"<progress value='{self._step}' max='{self._num_steps}'></progress> "
        speed = f"{self._ms:.3g} ms/step" if self._ms else ""
        parts = [f"step {self._step:,} of {self._num_steps:,}", speed, terms or self._phase]
        return bar + html.escape(", ".join(part for part in parts if part))


def progress_bar(num_steps: int, start: int = 0) -> TrainingProgress | NotebookProgress | None:
    """Return the bar that can be seen here: of a notebook, of a terminal, or none.

    Example:
        >>> progress_bar(100) is None  # standard output is a pipe
        True
    """
    if is_notebook():
        return NotebookProgress(num_steps, start)
    return TrainingProgress(num_steps, start) if sys.stdout.isatty() else None
