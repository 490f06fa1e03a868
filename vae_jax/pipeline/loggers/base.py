"""Contract of the loggers: each writes the rows of a training run somewhere.

``vae_jax.config.members.LOGGERS`` is their registry; ``vae_jax.pipeline.loggers.guarded`` opens
those that ``--loggers`` names.
"""

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, TypeVar

from vae_jax.reporting.html import Figure
from vae_jax.types import Row

AnyLogger = TypeVar("AnyLogger", bound="Logger")


class StartedStudy(NamedTuple):
    """Study as a logger is told of it before the first update.

    Attributes:
        workdir: folder of the study, which holds what the package writes and nothing else; None of
            a study from Python, which has none.
        flags: text of every flag that has an effect, without swept ones.
        settings: settings of each run that are arrays or swept, by the number of the run.
        resumed_from: step of the checkpoint that each run goes on from; below 0 for its seed.
        id: identifier of the study, the same whenever it goes on; 12 hexadecimal digits.
        name: title of the study.
        metrics: rows up to those checkpoints, as ``metrics.jsonl`` holds them.
    """

    workdir: Path | None
    flags: Mapping[str, str]
    settings: Mapping[int, Row]
    resumed_from: Mapping[int, int]
    id: str = ""
    name: str = "study"
    metrics: Sequence[Row] = ()


class Logger(abc.ABC):
    """Destination of the rows of a training run; a context manager that closes itself.

    :meth:`start` is called before the first update. :meth:`log` is called once an interval, always
    before the checkpoint of the same step is written, so whatever a logger has written for a later
    step than that of the checkpoint is surplus after a kill; :meth:`saved` says up to where nothing
    is. :meth:`finish` is called when all results are written, :meth:`close` once at the end, also
    after an error. In a run of several processes the first alone calls them, :meth:`close`
    excepted. A finished run that is started again starts and finishes its loggers, and logs
    nothing.

    A logger that fails costs a note, never the training: it is left out from there. That does not
    hold of those that write into the workdir, whose disk all depends on.

    Attributes:
        needs: modules of optional libraries that it imports.

    Example:
        A logger needs only :meth:`log`:

        >>> class Steps(Logger):
        ...     def log(self, rows):
        ...         print([row["step"] for row in rows])
        >>> with Steps() as logger:
        ...     logger.log([{"run": 0, "step": 5, "seconds": 0.1, "train_elbo": -3.5}])
        [5]
    """

    needs: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """Name of the logger in messages."""
        return type(self).__name__

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

    def saved(self, runs: Sequence[int], step: int) -> None:  # noqa: B027  few loggers hold back
        """Take note that a checkpoint holds runs as they were at a step; nothing by default.

        No row of these runs up to this step will be logged again.

        Args:
            runs: numbers of the runs.
            step: step of the checkpoint.
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
