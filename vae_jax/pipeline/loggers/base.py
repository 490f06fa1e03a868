"""Contract of the loggers: each writes the rows of a training run somewhere.

``_open_loggers`` in ``vae_jax/pipeline/train.py`` opens them.
"""

import abc
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from vae_jax.types import Row

AnyLogger = TypeVar("AnyLogger", bound="Logger")


class Logger(abc.ABC):
    """Destination of the rows of a training run; a context manager that closes itself.

    A logger is opened before the first update. :meth:`log` is called once an interval, always
    before the checkpoint of the same step is written, so whatever a logger has written for a later
    step than that of the checkpoint is surplus after a kill. :meth:`close` is called once at the
    end, also after an error. In a run of several processes the first alone logs.

    Example:
        A logger needs only :meth:`log`:

        >>> class Steps(Logger):
        ...     def log(self, rows):
        ...         print([row["step"] for row in rows])
        >>> with Steps() as logger:
        ...     logger.log([{"run": 0, "step": 5, "seconds": 0.1, "train_elbo": -3.5}])
        [5]
    """

    @abc.abstractmethod
    def log(self, rows: Sequence[Row]) -> None:
        """Write the rows of one interval.

        Args:
            rows: one per run of the study or of a part of it, with ``step``, ``run``, ``seconds``
                and terms in nats per example (``train_elbo``, ``valid_kl``, ...). A term may be
                absent, None or not finite.
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
