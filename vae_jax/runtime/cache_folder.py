"""Folder of all that is kept only to save time: compiled programs, downloads, decoded images."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path


def cache_folder() -> Path:
    """Return ``vae_jax`` in the user's cache: ``$XDG_CACHE_HOME``, else ``~/.cache``.

    A variable that holds no absolute path counts as not set, as the XDG specification has it, so
    that nothing is kept in whatever folder a program is started in. Where there is no home either,
    the folder is one that cannot be made, and nothing is kept.

    Example:
        >>> cache_folder().name
        'vae_jax'
    """
    return Path(next(filter(os.path.isabs, _candidates()), os.devnull), "vae_jax")


def _candidates() -> Iterator[str]:
    """Yield the user's cache as each source has it; the empty text and relative paths are none."""
    yield os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
    if home := os.environ.get("HOME"):
        yield os.path.join(home, ".cache")
    with contextlib.suppress(KeyError):  # a user without an entry, as in containers
        yield os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".cache")
