"""The learning curves as a file: ``metrics.jsonl``, one line of JSON per run and interval."""

import contextlib
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from vae_jax.pipeline.loggers.base import Logger
from vae_jax.pipeline.workdir import METRICS_FILE
from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError
from vae_jax.types import Row


class JSONLinesLogger(Logger):
    """Logger to the file ``metrics.jsonl`` of a workdir: one line per run and interval.

    The lines of an interval must be written before the checkpoint of its step. Then
    ``truncate_after({run: step of its checkpoint})`` leaves a resumed study with no line twice and
    none missing. What is written is forced to the disk, so a kill or a loss of power costs at most
    the lines of one interval. The file stays open from :meth:`open` on: if it is removed and its
    path used again, nothing is written into what is there then. A term that is None or not finite
    is written as ``null``.

    Attributes:
        path: file that is written.

    Example:
        >>> import tempfile
        >>> logger = JSONLinesLogger(Path(tempfile.mkdtemp()))
        >>> logger.log([{"step": 5, "run": 0, "seconds": 0.1, "train_elbo": float("nan")}])
        >>> read(logger.path)
        [{'step': 5, 'run': 0, 'seconds': 0.1, 'train_elbo': None}]
    """

    def __init__(self, workdir: Path):
        self.path = workdir / METRICS_FILE
        self._file: IO[bytes] | None = None
        workdir.mkdir(parents=True, exist_ok=True)

    def open(self) -> None:
        """Open the file, which is made if need be, until :meth:`close`."""
        if self._file is None:
            self._file = files.open_to_append(self.path)

    def log(self, rows: Sequence[Row]) -> None:
        """Append the rows of one interval, a line for each.

        Raises:
            FileNotFoundError: the file was removed since it was opened.
        """
        opened = contextlib.nullcontext(self._file) if self._file else None
        with opened or files.open_to_append(self.path) as file:
            if os.fstat(file.fileno()).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "it was removed", str(self.path))
            file.write(files.encoded("".join(map(files.json_line, rows))))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def truncate_after(self, steps: Mapping[int, int]) -> None:
        """Drop what runs wrote for steps later than theirs, and what is no whole line.

        A file that shares its content with another by a hard link, as a cheap copy of a workdir
        does, is written anew, so that the other gets no lines of this study.

        Args:
            steps: last step to keep of each run, -1 for none; a run that is absent keeps all.
        """
        self.close()
        if self.path.exists():
            rows = read_whole(self.path)
            kept = [row for row in rows if row["step"] <= steps.get(row["run"], row["step"])]
            text = "".join(map(files.json_line, kept))
            is_shared = self.path.stat().st_nlink > 1
            if is_shared or files.encoded(text) != self.path.read_bytes():
                files.write_text(self.path, text)


def read(path: Path) -> list[Row]:
    """Return the rows of a ``metrics.jsonl``, also of a run that is still writing or was killed.

    Raises:
        InputError: a line before the last is damaged.
    """
    rows = _parsed(path)
    if rows and rows[-1] is None:
        rows.pop()
    if None in rows:
        raise InputError(
            f"workdir={path.parent}: line {rows.index(None) + 1} of {path.name} is damaged; "
            "delete that line, or the whole folder to start anew"
        )
    return [row for row in rows if row is not None]


def read_whole(path: Path) -> list[Row]:
    """Return the undamaged rows of a ``metrics.jsonl``; none where there is no such file."""
    return [row for row in _parsed(path) if row is not None] if path.exists() else []


def _parsed(path: Path) -> list[Row | None]:
    """Return the row of each line, None where a line is damaged."""
    lines = files.read_text(path).splitlines()
    return [_parse(line) for line in lines]


def _parse(line: str) -> Row | None:
    """Return the row of a line, None where it is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # also of numbers and brackets without end
        return None
    is_row = isinstance(row, dict) and all(type(row.get(name)) is int for name in ("step", "run"))
    return row if is_row and type(row.get("seconds")) in (int, float) else None
