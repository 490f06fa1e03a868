"""A run's folder: the names of its files, the flags that describe it, what to say of failures."""

import contextlib
import dataclasses
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vae_jax.config.schema import Config
from vae_jax.config.validation import as_lines
from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError

FLAGS_FILE = "flags.txt"
RESULTS_TABLE = "results.csv"
CONTENTS = (
    *("checkpoints", "metrics.jsonl", "tensorboard", RESULTS_TABLE, "results.json", "report.html"),
    *("evaluations", "figures", FLAGS_FILE),
)

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
    """Make the folder, unless it is there.

    Raises:
        InputError: the folder cannot be made or written.
    """
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK):
        raise InputError(f"--workdir={workdir}: cannot be written; give another --workdir")


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Turn a file system that refuses to write into an error that the user can mend.

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
        cure = "free some space" if error.errno in _FULL else "mend that or give another --workdir"
        raise InputError(
            f"--workdir={workdir}: cannot be written ({error.strerror}{where}); {cure}, then start "
            "the same command again: what was saved before is whole"
        ) from None


def write_flags(workdir: Path, config: Config) -> None:
    """Write ``flags.txt``, with which the run or study repeats."""
    lines = as_lines(dataclasses.replace(config, **_ONE_OFF))
    files.write_text(workdir / FLAGS_FILE, "\n".join(lines) + "\n")


def changes(workdir: Path, config: Config) -> list[str]:
    """Flags that differ from those of the last start, such as ``num_steps 8 -> 12``."""
    path = workdir / FLAGS_FILE
    if not path.exists():
        return []
    old = _values(path.read_text(encoding="utf-8", errors="replace").splitlines())
    new = _values(as_lines(config))
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return [f"{n} {old.get(n, '(none)')} -> {new.get(n, '(none)')}" for n in names]


def _values(lines: list[str]) -> dict[str, str]:
    """Texts by the names of the flags; those of ``--sweep``, which is repeated, together."""
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
