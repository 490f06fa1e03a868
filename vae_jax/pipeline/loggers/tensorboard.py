"""The learning curves in TensorBoard: event files ``tensorboard/run_<i>/``."""

import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.pipeline.loggers.base import Logger, StartedStudy
from vae_jax.pipeline.loggers.terms import is_number
from vae_jax.pipeline.workdir import TENSORBOARD
from vae_jax.runtime import files
from vae_jax.types import Row

_SPLITS = ("train_", "valid_", "test_")


class TensorBoardLogger(Logger):
    """Logger to event files ``<workdir>/tensorboard/run_<i>/``; train and valid share a chart.

    The term ``valid_elbo`` is the curve ``elbo/valid``; a term that is None or not finite is left
    out. A run that logs first purges what an earlier process wrote for steps after the one that it
    resumes from, so that no curve doubles back; the curves of runs that do not log stay. It is
    always there where tensorboardX is installed; ``--loggers=tensorboard`` asks for that.

    Example:
        >>> import tempfile
        >>> from vae_jax.pipeline.loggers.base import StartedStudy
        >>> workdir = Path(tempfile.mkdtemp())
        >>> with TensorBoardLogger() as logger:
        ...     logger.start(StartedStudy(workdir, {}, {0: {}}, {0: -1}))
        ...     logger.log([{"step": 5, "run": 0, "seconds": 0.1, "train_elbo": -3.5}])
        >>> [path.name for path in (workdir / "tensorboard").iterdir()]
        ['run_0']
    """

    needs = ("tensorboardX",)

    def start(self, study: StartedStudy) -> None:
        """Take the folder of the events, below the workdir, which must be there."""
        assert study.workdir is not None
        self._folder = study.workdir / TENSORBOARD
        self._resumed_from = study.resumed_from
        self._files: dict[int, Path] = {}

    def log(self, rows: Sequence[Row]) -> None:
        """Append the rows of one interval to the curves of their runs.

        Files are open only while they are written: a study may have more runs than a process may
        have open files.
        """
        for row in rows:
            events = [
                _scalar_event(row["step"], name, float(value))
                for name, value in row.items()
                if name.startswith(_SPLITS) and is_number(value)
            ]
            self._append(row["run"], events)

    def _append(self, run: int, events: Sequence[Any]) -> None:
        """Append events to the file of a run, which is begun with its first ones."""
        if run not in self._files:
            first = self._resumed_from.get(run, -1) + 1
            self._files[run] = _new_file(self._folder / f"run_{run}")
            events = [*_first_events(first), *events]
        records = b"".join(_record(event.SerializeToString()) for event in events)
        with files.open_to_append(self._files[run]) as file:
            file.write(records)


def _new_file(folder: Path) -> Path:
    """Return the path of a new event file of a run, whose folder is made."""
    folder.parent.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    # TensorBoard reads files in the order of their names, which hold the time; a number before it
    # keeps them in order through a quick resume or a clock that is set back.
    number = len(list(folder.iterdir()))
    name = f"events.{number:06d}.out.tfevents.{time.time():.0f}.{socket.gethostname()}"
    return folder / name


def _first_events(first: int) -> list[Any]:
    """Return the version of the format, and an event that purges older files from a step on."""
    from tensorboardX.proto import event_pb2  # protobuf makes its names when imported

    messages: Any = event_pb2
    start, now = messages.SessionLog(status=messages.SessionLog.START), time.time()
    return [
        messages.Event(wall_time=now, file_version="brain.Event:2"),
        messages.Event(step=first, wall_time=now, session_log=start),
    ]


def _record(data: bytes) -> bytes:
    """Return a TFRecord: length, its checksum, the data, their checksum."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def _scalar_event(step: int, name: str, value: float) -> Any:
    """Return the event of one point of a curve."""
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2

    split, term = name.split("_", maxsplit=1)
    messages: Any = event_pb2
    scalar = summary.scalar(f"{term}/{split}", value)
    return messages.Event(step=step, wall_time=time.time(), summary=scalar)
