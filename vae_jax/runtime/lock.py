"""One owner per workdir: a lock that dies with its process."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vae_jax.runtime.errors import InputError

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Own a folder, which must exist, for as long as the block lasts.

    The lock is the kernel's and goes when its process does, however that ends; the file only says
    whose it is.

    Raises:
        InputError: another process owns the folder.
    """
    with (workdir / LOCK_FILE).open("a+", encoding="utf-8") as file:
        _lock(file, workdir)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def refuse_if_locked(workdir: Path) -> None:
    """Look before the data are read whether another process owns the folder.

    Raises:
        InputError: it does.
    """
    path = workdir / LOCK_FILE
    with contextlib.suppress(OSError), path.open(encoding="utf-8") as file:
        _lock(file, workdir)


def _lock(file: IO[str], workdir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read() or "another process"
        raise InputError(
            f"--workdir={workdir}: in use by {owner}; wait for it, stop it or give another "
            "--workdir"
        ) from None
