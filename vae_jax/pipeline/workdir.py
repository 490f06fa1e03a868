"""The workdir of a run: names of its files, the flags that describe it, errors of its disk."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vae_jax.config.flags import Config
from vae_jax.config.sweeps import as_lines
from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError

FLAGS_FILE = "flags.txt"
METRICS_FILE = "metrics.jsonl"
RESULTS_TABLE = "results.csv"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
FIGURES = "figures"
EVALUATIONS = "evaluations"
EXPORTS = "exports"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
CONTENTS = (
    *(CHECKPOINTS, METRICS_FILE, TENSORBOARD, RESULTS_TABLE, RESULTS_FILE, REPORT_FILE),
    *(EVALUATIONS, EXPORTS, FIGURES, FLAGS_FILE),
)
"""Names of what a run leaves in its workdir."""

_ONE_OFF = {
    **{"restart": False, "debug_nans": False, "distributed": False},
    **{"coordinator": "", "num_processes": 0, "process_id": 0},
}
_NOT_COMPARED = ("--workdir=", *(f"--{name}=" for name in _ONE_OFF))
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOLCK, errno.ESTALE),
)


def make(workdir: Path) -> None:
    """Create the folder unless it exists.

    Raises:
        InputError: the folder cannot be created or written.
    """
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK):
        raise InputError(f"--workdir={workdir}: cannot be written; give another --workdir")


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Turn a refusal of the file system to write into an error that the user can mend.

    Raises:
        InputError: in place of an ``OSError`` of the kind that full, read-only, vanished and broken
            disks give.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, *_REFUSED):
            raise
        where = f" at {error.filename}" if error.filename else ""
        is_full = error.errno in _FULL
        remedy = "free some space" if is_full else "mend that or give another --workdir"
        raise InputError(
            f"--workdir={workdir}: cannot be written ({error.strerror}{where}); {remedy}, then "
            "start the same command again: what was saved before is whole"
        ) from None


def write_flags(workdir: Path, config: Config) -> None:
    """Write ``flags.txt``, the flags that repeat the run or study."""
    lines = as_lines(config.replace(**_ONE_OFF))
    files.write_text(workdir / FLAGS_FILE, "\n".join(lines) + "\n")


def changes(workdir: Path, config: Config) -> list[str]:
    """Return the flags that differ from those of the last start, as ``num_steps 8 -> 12``."""
    path = workdir / FLAGS_FILE
    if not path.exists():
        return []
    old = _values(path.read_text(encoding="utf-8", errors="replace").splitlines())
    new = _values(as_lines(config))
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return [f"{n} {old.get(n, '(none)')} -> {new.get(n, '(none)')}" for n in names]


def _values(lines: list[str]) -> dict[str, str]:
    """Return the value of each flag as text; the values of a repeated ``--sweep`` are joined."""
    values: dict[str, str] = {}
    for line in lines:
        name, _, text = line.removeprefix("--").partition("=")
        if not line.startswith(_NOT_COMPARED):
            values[name] = f"{values[name]} {text}" if name in values else text
    return values


def clear(workdir: Path) -> None:
    """Delete what runs leave in their folder, and nothing else."""
    for name in CONTENTS:
        path = workdir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
