"""A run's folder: the names of its files and the flags that describe it."""

from pathlib import Path

from vae_jax import records
from vae_jax.config import Config, as_lines
from vae_jax.errors import InputError

FLAGS_FILE = "flags.txt"


def write_flags(workdir: Path, config: Config) -> None:
    """Write ``flags.txt``, with which the run or study repeats.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        records.write_text(workdir / FLAGS_FILE, "\n".join(as_lines(config)) + "\n")
    except OSError as error:
        raise InputError(f"--workdir={workdir}: cannot be written ({error.strerror})") from None
