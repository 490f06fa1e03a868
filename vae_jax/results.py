"""What a finished run says about itself: rows of numbers and where they came from."""

import contextlib
import importlib.metadata
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax.config import Config, as_text
from vae_jax.hparams import HParams

COLUMNS = (
    "run",
    "beta",
    "latent_size",
    "learning_rate",
    "seed",
    "step",
    "diverged",
    "test_elbo",
    "test_elbo_se",
    "test_log_likelihood",
    "test_log_likelihood_se",
    "test_kl",
    "test_kl_se",
    "test_nll",
    "test_nll_se",
    "eval_particles",
    "active_units",
    "valid_elbo",
    "train_elbo",
    "seconds",
)
"""Columns of ``results.csv``; terms in nats per example."""

UNITS = (
    "nats per example; test_nll is minus the importance-weighted bound with K = eval_particles, "
    "an upper bound on -log p(x) in expectation; test_elbo has beta = 1 whatever was trained"
)
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


def columns(swept: Sequence[str], evaluated: Sequence[str]) -> list[str]:
    """Columns of ``results.csv``: the fixed ones, further swept flags, those of evaluations."""
    return list(dict.fromkeys([*COLUMNS, *swept, *evaluated]))


def table_row(
    config: Config,
    swept: Sequence[str],
    last: dict[str, Any],
    test: dict[str, Any],
    diverged: int,
    evaluated: Sequence[str] = (),
) -> dict[str, Any]:
    """One run's row: its settings, its last visit and its test terms.

    Args:
        config: of the run.
        swept: names of the flags that differ in the study.
        last: its last row of ``metrics.jsonl``.
        test: its score on test and the numbers of its evaluations.
        diverged: update at which its objective was first not finite, -1 for none.
        evaluated: columns of the evaluations, whose names stand as they are.
    """
    names = dict.fromkeys([*HParams._fields, *swept])
    settings = {name: _plain(getattr(config, name)) for name in names}
    own = {"eval_particles", "active_units", "kl_per_latent", "variance_per_latent", *evaluated}
    terms = {name if name in own else f"test_{name}": value for name, value in test.items()}
    milliseconds = round(1e3 * last["seconds"] / last["step"], 3)
    extra = {"diverged": diverged if diverged >= 0 else "", "ms_per_step": milliseconds}
    return settings | last | terms | extra


def _plain(value: Any) -> Any:
    return as_text(value) if isinstance(value, tuple) else value
