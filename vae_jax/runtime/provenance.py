"""Origin of numbers: versions of the software, the device, peak memory and the git commit."""

import contextlib
import importlib.metadata
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain"),
    "numpy",
)
"""Packages whose versions are recorded."""

CODE_FOLDER = Path(__file__).parent.parent
"""Folder of the package that this module belongs to."""


def provenance() -> dict[str, Any]:
    """Return versions, device, peak memory and commit, in the types of JSON.

    Example:
        >>> sorted(provenance())
        ['commit', 'device', 'peak_memory_mb', 'versions']
    """
    return {
        "versions": {"python": sys.version.split()[0]} | versions(),
        "device": device(),
        "peak_memory_mb": peak_memory_mb(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Return the versions of those of :data:`PACKAGES` that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def device() -> str:
    """Return number and kind of the devices, as JAX names them."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def peak_memory_mb() -> int:
    """Return the largest resident set of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))


def commit(folder: Path = CODE_FOLDER) -> str:
    """Return the git commit of a package, with ``+`` where its files differ from the commit.

    The result is empty outside a checkout, and also where the package lies inside a checkout of
    something else, as an installed package does in a project's virtual environment: git must track
    its ``__init__.py``.
    """
    if not _git(folder, "ls-files", "--error-unmatch", "--", "__init__.py"):
        return ""
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    return head + ("+" if head and _git(folder, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *arguments: str) -> str:
    """Return what a git command prints; empty where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
