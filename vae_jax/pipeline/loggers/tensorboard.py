"""The learning curves in TensorBoard: event files ``tensorboard/run_<i>/``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.pipeline.loggers.base import Logger
from vae_jax.pipeline.loggers.terms import is_number
from vae_jax.pipeline.workdir import TENSORBOARD
from vae_jax.types import Row

_SPLITS = ("train_", "valid_", "test_")


class TensorBoardLogger(Logger):
    """Logger to event files ``<workdir>/tensorboard/run_<i>/``; train and valid share a chart.

    The term ``valid_elbo`` is the curve ``elbo/valid``; a term that is None or not finite is left
    out. A run that logs first purges what an earlier process wrote for steps after the one that it
    resumes from, so that no curve doubles back; the curves of runs that do not log stay. Needs
    tensorboardX.

    Args:
        workdir: folder in which the folder ``tensorboard`` lies.
        resumed_from: step of each run's checkpoint; a run that is absent starts anew, as with -1.

    Example:
        >>> import tempfile
        >>> workdir = Path(tempfile.mkdtemp())
        >>> with TensorBoardLogger(workdir) as logger:
        ...     logger.log([{"step": 5, "run": 0, "seconds": 0.1, "train_elbo": -3.5}])
        >>> [path.name for path in (workdir / "tensorboard").iterdir()]
        ['run_0']
    """

    def __init__(self, workdir: Path, resumed_from: Mapping[int, int] | None = None):
        self._folder = workdir / TENSORBOARD
        self._resumed_from = resumed_from or {}
        self._writers: dict[int, Any] = {}

    def log(self, rows: Sequence[Row]) -> None:
        """Add the rows of one interval to the curves of their runs, and flush them to disk."""
        for row in rows:
            writer = self._writer(row["run"])
            for name, value in row.items():
                if name.startswith(_SPLITS) and is_number(value):
                    writer.write_event(_scalar_event(row["step"], name, float(value)))
            writer.flush()

    def close(self) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, run: int) -> Any:
        """Return the writer of a run, opened on its first use."""
        if run not in self._writers:
            first = self._resumed_from.get(run, -1) + 1
            self._writers[run] = _open(self._folder / f"run_{run}", first)
        return self._writers[run]


def _open(folder: Path, first: int) -> Any:
    """Start an event file whose first event purges older files from the step ``first`` on."""
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
    """Return the event of one point of a curve."""
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2

    split, term = name.split("_", maxsplit=1)
    messages: Any = event_pb2
    scalar = summary.scalar(f"{term}/{split}", value)
    return messages.Event(step=step, wall_time=time.time(), summary=scalar)
