"""Progress of work that takes long: how libraries tell of it, and whoever owns a screen shows it.

A library says what it does in a *phase*, and prints nothing::

    with phase("decoding images", len(files), "images") as advance:
        for done, file in enumerate(files):
            ...
            advance(done + 1)

Whoever owns a screen watches the phases of a block, as the command line and the functions of Python
do::

    with watched_by(print):
        load("photos/")

Where nobody watches a phase costs nothing. Phases may stand inside others. What happens in other
threads is not told.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias


class Progress(NamedTuple):
    """Progress of one phase at one moment.

    Attributes:
        label: what is done, such as "decoding images".
        done: amount that is done.
        total: amount in all; None where that is not known.
        unit: plural noun of the amounts, such as "images".
        depth: number of phases that this one stands inside.
        is_over: whether the phase has ended.

    Example:
        >>> Progress("decoding images", 3, 12, "images").text
        'decoding images: 3 of 12 images'
        >>> Progress("compiling").text
        'compiling'
    """

    label: str
    done: int | float = 0
    total: int | float | None = None
    unit: str = ""
    depth: int = 0
    is_over: bool = False

    @property
    def text(self) -> str:
        """Text of what is done, and how far."""
        if self.total is None:
            return self.label
        amounts = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}".rstrip()
        return f"{self.label}: {amounts}"


OnPhase: TypeAlias = Callable[[Progress], None]
"""Callback with the progress of a phase: when it begins, as it goes on, and when it is over."""

_watcher: contextvars.ContextVar[OnPhase | None] = contextvars.ContextVar("watcher", default=None)
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


@contextlib.contextmanager
def watched_by(watcher: OnPhase | None) -> Iterator[None]:
    """Tell a callback of the phases of the block, which stands in for the one around it.

    Args:
        watcher: callback; None for silence.
    """
    token, depth = _watcher.set(watcher), _depth.set(0)
    try:
        yield
    finally:
        _watcher.reset(token)
        _depth.reset(depth)


def is_watched() -> bool:
    """Return whether anybody is told of phases.

    Example:
        >>> is_watched()
        False
    """
    return _watcher.get() is not None


@contextlib.contextmanager
def phase(
    label: str, total: int | float | None = None, unit: str = ""
) -> Iterator[Callable[[int | float], None]]:
    """Tell of the work of the block; yield what takes the amount that is done.

    Args:
        label: what is done, such as "decoding images".
        total: amount in all; None where that is not known.
        unit: plural noun of the amounts.

    Example:
        >>> with watched_by(lambda progress: print(progress.text, progress.is_over)):
        ...     with phase("reading", 2, "files") as advance:
        ...         advance(1)
        reading: 0 of 2 files False
        reading: 1 of 2 files False
        reading: 1 of 2 files True
    """
    watcher = _watcher.get()
    if watcher is None:
        yield _unwatched
        return
    now = Progress(label, 0, total, unit, _depth.get())
    token = _depth.set(now.depth + 1)

    def advance(done: int | float) -> None:
        nonlocal now
        now = now._replace(done=done)
        watcher(now)

    watcher(now)
    try:
        yield advance
    finally:
        _depth.reset(token)
        watcher(now._replace(is_over=True))


def _unwatched(done: int | float) -> None:
    """Take an amount of which nobody is told."""
