"""Contract of the loggers: each writes the rows of a training run somewhere.

Those of the package are opened by ``_open_loggers`` in ``vae_jax/pipeline/train.py``, those that
``--loggers`` names by :func:`opened`.
"""

import abc
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from vae_jax import contract
from vae_jax.reporting.html import Figure
from vae_jax.types import Row

AnyLogger = TypeVar("AnyLogger", bound="Logger")


class StartedStudy(NamedTuple):
    """Study as a logger is told of it before the first update.

    Attributes:
        workdir: folder of the study, which holds what the package writes and nothing else.
        flags: text of every flag that has an effect, without swept ones.
        settings: settings of each run that are arrays or swept, by the number of the run.
        resumed_from: step of the checkpoint that each run goes on from; below 0 for its seed.
    """

    workdir: Path
    flags: Mapping[str, str]
    settings: Mapping[int, Row]
    resumed_from: Mapping[int, int]


class Logger(abc.ABC):
    """Destination of the rows of a training run; a context manager that closes itself.

    :meth:`start` is called before the first update. :meth:`log` is called once an interval, always
    before the checkpoint of the same step is written, so whatever a logger has written for a later
    step than that of the checkpoint is surplus after a kill. :meth:`finish` is called when all
    results are written, :meth:`close` once at the end, also after an error. In a run of several
    processes the first alone calls them, :meth:`close` excepted. A finished run that is started
    again starts and finishes its loggers, and logs nothing.

    Example:
        A logger needs only :meth:`log`:

        >>> class Steps(Logger):
        ...     def log(self, rows):
        ...         print([row["step"] for row in rows])
        >>> with Steps() as logger:
        ...     logger.log([{"run": 0, "step": 5, "seconds": 0.1, "train_elbo": -3.5}])
        [5]
    """

    def start(self, study: StartedStudy) -> None:  # noqa: B027  most loggers need no start
        """Prepare for the rows of a study; nothing by default."""

    @abc.abstractmethod
    def log(self, rows: Sequence[Row]) -> None:
        """Write the rows of one interval.

        Args:
            rows: one per run of the study or of a part of it, with ``step``, ``run``, ``seconds``
                and terms in nats per example (``train_elbo``, ``valid_kl``, ...). A term may be
                absent, None or not finite.
        """

    def finish(  # noqa: B027  most loggers write rows alone
        self, results: Mapping[str, Any], figures: Sequence[Figure]
    ) -> None:
        """Write the results of a study; nothing by default.

        Args:
            results: contents of ``results.json``; ``results["runs"]`` are the rows of
                ``results.csv``.
            figures: figures of the report, with their files.
        """

    def close(self) -> None:  # noqa: B027  most loggers hold nothing open
        """Release what the logger holds open; nothing by default."""

    def __enter__(self: AnyLogger) -> AnyLogger:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def opened(names: Sequence[str]) -> Iterator[list[Logger]]:
    """Make the loggers that ``--loggers`` names, and close them after the block.

    Args:
        names: ``MODULE:CLASS`` of each, a subclass of :class:`Logger` that is made without
            arguments.

    Raises:
        InputError: one cannot be imported, or lacks something.
    """
    classes = [
        contract.outside_class(f"loggers={name}", name, Logger, is_spec=False) for name in names
    ]
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each()) for each in classes]
