"""Folder of all that is kept only to save time: compiled programs, downloads, decoded images."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``vae_jax`` in the user's cache: ``$XDG_CACHE_HOME``, else ``~/.cache``.

    Example:
        >>> cache_folder().name
        'vae_jax'
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(home), "vae_jax")
