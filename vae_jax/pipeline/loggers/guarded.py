"""Loggers that ``--loggers`` names, each behind a guard: what fails in one is never the training's.

The guard is the one place for that promise. A logger whose class cannot be imported is refused
before anything is trained.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vae_jax import contract
from vae_jax.config.members import LOGGERS
from vae_jax.pipeline.loggers.base import Logger, StartedStudy
from vae_jax.reporting.html import Figure
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.failures import reason
from vae_jax.runtime.signals import StoppedError
from vae_jax.settings import is_name
from vae_jax.types import Row

ALWAYS = "tensorboard"
"""Name of the logger that a workdir has unasked where its library is installed."""


class GuardedLogger(Logger):
    """Logger whose first failure is printed in one line and ends its part in the study.

    Signals are no failures. A logger that is left out is still closed.

    Args:
        name: name of the logger, for the note.
        make: returns the logger.

    Example:
        >>> class Broken(Logger):
        ...     def log(self, rows):
        ...         raise OSError("no route to host")
        >>> import contextlib, io
        >>> with contextlib.redirect_stdout(io.StringIO()) as text:
        ...     with GuardedLogger("my:Broken", Broken) as logger:
        ...         logger.log([{"run": 0, "step": 5, "seconds": 0.1}])
        ...         logger.log([{"run": 0, "step": 10, "seconds": 0.2}])
        >>> text.getvalue().count("NOTE"), text.getvalue()[:44]
        (1, 'NOTE: logger my:Broken is left out from here')
    """

    def __init__(self, name: str, make: Callable[[], Logger]):
        self._name, self._is_left_out = name, False
        self._logger: Logger | None = self._guarded(make)

    @property
    def name(self) -> str:
        """Name by which it was asked for."""
        return self._name

    def start(self, study: StartedStudy) -> None:
        """Start the logger."""
        self._call("start", study)

    def log(self, rows: Sequence[Row]) -> None:
        """Give it the rows of an interval."""
        self._call("log", rows)

    def saved(self, runs: Sequence[int], step: int) -> None:
        """Tell it what a checkpoint holds."""
        self._call("saved", runs, step)

    def finish(self, results: Mapping[str, Any], figures: Sequence[Figure]) -> None:
        """Give it the results."""
        self._call("finish", results, figures)

    def close(self) -> None:
        """Close it, also one that is left out."""
        if self._logger is not None:
            self._guarded(self._logger.close)

    def _call(self, method: str, *arguments: Any) -> None:
        if self._logger is not None and not self._is_left_out:
            self._guarded(getattr(self._logger, method), *arguments)

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; print what it raised, unless something was printed before."""
        try:
            return function(*arguments)
        except StoppedError:
            raise
        except Exception as error:
            if not self._is_left_out:
                self._is_left_out = True
                line = f"logger {self._name} is left out from here ({reason(error)})"
                print(f"NOTE: {InputError(line)}; all else goes on", flush=True)
            return None


@contextlib.contextmanager
def opened(given: Sequence[str | Logger], but: str = "") -> Iterator[Sequence[Logger]]:
    """Make the loggers that are named, guard them and those that are there, close all afterwards.

    Args:
        given: names in :data:`vae_jax.config.members.LOGGERS`, ``MODULE:CLASS`` of a subclass of
            :class:`Logger` that is made without arguments, or loggers.
        but: name of one that is checked and not made, because it is open already.

    Raises:
        InputError: one cannot be imported, lacks something, or needs a library that is not
            installed.
    """
    makers = [(each, _maker(each)) for each in given]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(GuardedLogger(_name(each), make))
            for each, make in makers
            if each != but
        ]


def _name(given: str | Logger) -> str:
    return given if isinstance(given, str) else type(given).__name__


def _maker(given: str | Logger) -> Callable[[], Logger]:
    """Return what makes a logger.

    Raises:
        InputError: it cannot be had.
    """
    if isinstance(given, Logger):
        return lambda: given
    if isinstance(given, str) and is_name(LOGGERS, given):
        return logger_class(given)
    raise InputError(
        setting="loggers",
        value=given,
        problem=f"must be one of {', '.join(LOGGERS)}, MODULE:CLASS, or a Logger",
        advice="give a name or an instance",
    )


def logger_class(name: str) -> type:
    """Return the class of a logger, whose libraries are installed.

    Args:
        name: name in :data:`vae_jax.config.members.LOGGERS`, or ``MODULE:CLASS``.

    Raises:
        InputError: it cannot be imported, lacks something, or needs a library that is missing.

    Example:
        >>> logger_class("tensorboard").__name__
        'TensorBoardLogger'
    """
    label = f"loggers={name}"
    found = contract.outside_class(label, LOGGERS.get(name, name), Logger, is_spec=False)
    for module in found.needs:
        if problem := libraries.refusal(module, label):
            raise InputError(f"{problem}, or leave {name} out")
    return found
