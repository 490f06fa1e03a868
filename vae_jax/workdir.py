"""A run's folder: which files it holds, and whether it belongs to the flags at hand."""

from pathlib import Path

from vae_jax import checkpoint, records
from vae_jax.config import FIELDS, Config, as_flags
from vae_jax.errors import InputError

FLAGS_FILE = "flags.txt"
CHECKPOINTS = "checkpoints"


def claim(workdir: Path, config: Config) -> None:
    """Make the folder this run's own, with ``flags.txt`` in it.

    Raises:
        InputError: the folder holds a run that other flags describe, or more updates than asked
            for, or cannot be written.
    """
    path = workdir / FLAGS_FILE
    flags = as_flags(config)
    lines = [f"--{name}={value}\n" for name, value in flags.items()]
    try:
        if path.exists():
            _check_same(workdir, _read(path), flags)
            _check_length(workdir, config.num_steps)
        records.write_text(path, "".join(lines))
    except OSError as error:
        raise InputError(f"--workdir={workdir}: cannot be written ({error.strerror})") from None


def _read(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.removeprefix("--").partition("=") for line in lines if line)
    return {name: value for name, _, value in pairs}


def _check_length(workdir: Path, num_steps: int) -> None:
    done = checkpoint.newest_step(workdir / CHECKPOINTS)
    if done is not None and done > num_steps:
        raise InputError(
            f"--num_steps={num_steps}: --workdir={workdir} already holds {done} updates; "
            "give at least that many, or another --workdir"
        )


def _check_same(workdir: Path, old: dict[str, str], new: dict[str, str]) -> None:
    """What is trained must not have changed; how long and how often looked at may."""
    deciding = {name for name, field in FIELDS.items() if field.metadata["changes_run"]}
    if new["schedule"] != "constant":
        deciding.add("num_steps")
    differences = [
        f"{name}={old.get(name, '(none)')} there but {new.get(name, '(none)')} now"
        for name in FIELDS
        if name in deciding and old.get(name) != new.get(name)
    ]
    if differences:
        raise InputError(
            f"--workdir={workdir}: holds a run with other flags ({'; '.join(differences)}); "
            "give another --workdir"
        )
