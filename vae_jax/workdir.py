"""A run's folder: the names of its files and the flags that describe it."""

import os
from pathlib import Path

from vae_jax import records
from vae_jax.config import Config, as_lines
from vae_jax.errors import InputError

FLAGS_FILE = "flags.txt"


def make(workdir: Path) -> None:
    """Make the folder, unless it is there.

    Raises:
        InputError: the folder cannot be made or written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot be written ({error.strerror}); give another --workdir"
        ) from None
    if not os.access(workdir, os.W_OK):
        raise InputError(f"--workdir={workdir}: cannot be written; give another --workdir")


def write_flags(workdir: Path, config: Config) -> None:
    """Write ``flags.txt``, with which the run or study repeats."""
    records.write_text(workdir / FLAGS_FILE, "\n".join(as_lines(config)) + "\n")
