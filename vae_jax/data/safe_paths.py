"""Files of a folder that was named as data, of which none may lie outside of it."""

import os
from collections.abc import Iterator
from pathlib import Path

from vae_jax.runtime.errors import InputError


def files_below(folder: Path, flag: str) -> Iterator[str]:
    """Yield the relative paths of all files below a folder; hidden ones are left out.

    Raises:
        InputError: a link to a folder, which could lead out of it or round in a circle.
        OSError: a folder that cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(parent).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for link in (name for name in folders if os.path.islink(f"{parent}/{name}")):
            raise InputError(
                f"{flag}: {prefix}{link} is a link to a folder; put the folder itself there "
                "(cp -rL follows links)"
            )
        yield from (prefix + name for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def refuse_outside(folder: Path, file: str, flag: str) -> None:
    """Check before a file below a folder is opened that it is a file of that folder.

    Raises:
        InputError: a link that leads out of the folder, or no file at all (a pipe or a device
            could make its reader wait for ever).
    """
    path = folder / file
    if os.path.islink(path) and not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{flag}: {file} is a link out of this folder; put the file itself there (cp -rL "
            "follows links)"
        )
    if not path.is_file():
        raise InputError(f"{flag}: {file} is not a file; remove it")
