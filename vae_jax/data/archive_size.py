"""Sizes that an archive of arrays states, looked at before anything in it is unpacked."""

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
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packed = max(path.stat().st_size, 1)
    if total > memory // 2 or (total > _LARGE and total > _MOST_TIMES * packed):
        raise InputError(
            f"{label}: {packed / 1e6:,.0f} MB that unpack to {total / 1e9:,.1f} GB, and this "
            f"machine has {memory / 1e9:,.1f} GB of memory; give fewer or smaller images, or a "
            "folder of image files, which may be larger than memory"
        )
