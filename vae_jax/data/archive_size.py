"""Sizes that an archive of arrays states, looked at before anything in it is unpacked."""

import gzip
import os
import zipfile
from pathlib import Path

from vae_jax.runtime.errors import InputError

_LARGE, _MOST_TIMES = 2**30, 100  # bytes, and how often smaller any real data may be packed


def refuse_bomb(path: Path, label: str) -> None:
    """Refuse an archive whose members would fill the memory, by the sizes that it states.

    Args:
        path: file that may be a zip archive.
        label: `name=value`, which begins every error.

    Raises:
        InputError: its arrays would take more than half of the memory, or are a hundred times as
            large as the file, as only those made to harm are.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return  # the reader says what is wrong
    refuse_size(total, path, label)


def refuse_size(total: int, path: Path, label: str) -> None:
    """Refuse a file whose arrays would fill the memory.

    Args:
        total: bytes of its arrays, as it states them.
        path: the file.
        label: `name=value`, which begins every error.

    Raises:
        InputError: as by :func:`refuse_bomb`.
    """
    packed = path.stat().st_size
    if total > _most(packed):
        raise _too_large(packed, f"{total / 1e9:,.1f} GB", label)


def unzipped(path: Path, label: str) -> bytes:
    """Return the bytes of a file that gzip packed, which states no size that could be believed.

    Raises:
        InputError: as by :func:`refuse_bomb`.
        OSError: it is none, or damaged, as EOFError and `zlib.error` are.
    """
    packed = path.stat().st_size
    with gzip.open(path) as file:
        content = file.read(_most(packed) + 1)
    if len(content) > _most(packed):
        raise _too_large(packed, f"more than {_most(packed) / 1e9:,.1f} GB", label)
    return content


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _most(packed: int) -> int:
    """Return the bytes that a file of a size may unpack to."""
    return min(_memory() // 2, max(_LARGE, _MOST_TIMES * packed))


def _too_large(packed: int, total: str, label: str) -> InputError:
    return InputError(
        f"{label}: {packed / 1e6:,.0f} MB that unpack to {total}, and this machine has "
        f"{_memory() / 1e9:,.1f} GB of memory; give fewer or smaller images, or a folder of image "
        "files, which may be larger than memory"
    )
