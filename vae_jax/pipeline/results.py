"""What a finished run says about itself: rows of numbers and where they came from."""

import contextlib
import importlib.metadata
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax.config.schema import Config, as_text, setting
from vae_jax.evaluation import columns, evaluators
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.hparams import HParams
from vae_jax.types import Row

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain"),
    "numpy",
)


def provenance() -> dict[str, Any]:
    """Versions, device, memory and commit behind the numbers."""
    return {
        "versions": {"python": sys.version.split()[0]} | versions(),
        "device": device(),
        "peak_memory_mb": peak_memory_mb(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def device() -> str:
    """Kind and number of devices, as JAX names them."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def peak_memory_mb() -> int:
    """Largest resident set of this process so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))


def commit() -> str:
    """Git commit of the code with ``+`` where files differ from it; empty outside a checkout."""
    folder = Path(__file__).parent
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    return head + ("+" if head and _git(folder, "status", "--porcelain", "--", ".") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def notes(binarize: str, is_binary: bool, likelihood: str) -> list[str]:
    """Sentences that a reader needs in order to understand the numbers."""
    if likelihood == "bernoulli" and binarize == "none" and not is_binary:
        return [
            "The targets are gray, and a Bernoulli likelihood of gray pixels is a cross-entropy, "
            "not a probability: test_nll and test_elbo compare only with runs of the same kind "
            "and cannot fall below the entropy of the pixels."
        ]
    return []


def header(swept: Sequence[str], evaluations: Sequence[str]) -> list[str]:
    """Return the columns of ``results.csv``: the fixed ones, swept flags, those of evaluations."""
    evaluated = columns.with_errors(evaluators.columns(evaluations))
    return list(dict.fromkeys([*columns.TABLE, *swept, *(each.name for each in evaluated)]))


def declared(
    swept: Sequence[str] = (), evaluations: Iterable[str] = EVALUATORS
) -> dict[str, Column]:
    """Return every column that a row may have: settings, those of every run, of evaluations.

    Args:
        swept: names of the flags that differ in the study; all arrays of ``HParams`` are settings.
        evaluations: names of the evaluations that were made.
    """
    settings = columns.by_name(setting(name) for name in _settings(swept))
    return settings | columns.CORE | columns.by_name(evaluators.columns(evaluations))


def settings_of(config: Config, swept: Sequence[str]) -> Row:
    """Return the settings in a run's row: every array of ``HParams``, and what was swept."""
    return {name: _plain(getattr(config, name)) for name in _settings(swept)}


def _settings(swept: Sequence[str]) -> Iterable[str]:
    return dict.fromkeys([*HParams._fields, *swept])


def table_row(settings: Row, last: Row, measured: Row, diverged: int) -> Row:
    """Return one run's row, as ``results.csv`` and ``vae_jax.ablate(...).table`` hold it.

    Args:
        settings: of the run.
        last: its last row of ``metrics.jsonl``.
        measured: its terms on test and the numbers of its evaluations.
        diverged: update at which its objective was first not finite, -1 for none.
    """
    milliseconds = round(1e3 * last["seconds"] / last["step"], 3)
    extra = {"diverged": diverged if diverged >= 0 else "", "ms_per_step": milliseconds}
    return settings | last | measured | extra


def _plain(value: Any) -> Any:
    return as_text(value) if isinstance(value, tuple) else value
