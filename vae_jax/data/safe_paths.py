"""Files of a folder that was named as data, of which none may lie outside of it."""

import os
from collections.abc import Iterator
from pathlib import Path

from vae_jax.runtime.errors import InputError

MOST_LEVELS = 200
"""Depth of folders within folders from which on they are taken for a mistake."""


def files_below(folder: Path, label: str) -> Iterator[str]:
    """Yield the relative paths of all files below a folder; hidden ones are left out.

    A link to a folder is followed where that lies inside too and does not hold the link.

    Raises:
        InputError: a link to a folder that leads out or round in a circle, or folders too deep.
        OSError: a folder that cannot be read.
    """
    return _walk(folder, "", (os.path.realpath(folder),), label)


def _walk(root: Path, prefix: str, parents: tuple[str, ...], label: str) -> Iterator[str]:
    """Yield the files below `root / prefix`, whose real path is the last of its parents'."""
    if len(parents) > MOST_LEVELS:
        raise InputError(
            f"{label}: {prefix[:60]}... lies more than {MOST_LEVELS} folders deep; move the images "
            "up"
        )
    with os.scandir(root / prefix) as entries:
        shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in shown:
        name = prefix + entry.name
        if not entry.is_dir():
            yield name
            continue
        real = os.path.realpath(entry.path) if entry.is_symlink() else f"{parents[-1]}/{entry.name}"
        if entry.is_symlink():
            _refuse_link(name, real, parents, label)
        yield from _walk(root, f"{name}/", (*parents, real), label)


def _refuse_link(name: str, real: str, parents: tuple[str, ...], label: str) -> None:
    if os.path.commonpath((parents[0], real)) != parents[0]:
        raise InputError(
            f"{label}: {name} is a link to a folder outside of it; put the folder itself there "
            "(cp -rL follows links)"
        )
    if any(os.path.commonpath((parent, real)) == real for parent in parents):
        raise InputError(f"{label}: {name} is a link to a folder that holds it; remove the link")


def refuse_outside(folder: Path, file: str, label: str) -> None:
    """Check before a file below a folder is opened that it is a file of that folder.

    Raises:
        InputError: a link that leads out of the folder, or no file at all (a pipe or a device
            could make its reader wait for ever).
    """
    path = folder / file
    if os.path.islink(path) and not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{label}: {file} is a link out of this folder; put the file itself there (cp -rL "
            "follows links)"
        )
    if not path.is_file():
        raise InputError(f"{label}: {file} is not a file; remove it")
