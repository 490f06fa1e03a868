"""What a finished run says about itself: rows of numbers and where they came from."""

import importlib.metadata
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

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
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def provenance() -> dict[str, Any]:
    """Versions, device, memory and commit behind the numbers."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": {"python": sys.version.split()[0]} | found,
        "device": device(),
        "peak_memory_mb": peak_memory_mb(),
        "commit": commit(),
    }


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


def table_row(
    hparams: HParams, last: dict[str, Any], test: dict[str, Any], diverged: int
) -> dict[str, Any]:
    """One run's row: its hyperparameters, its last visit and its test terms.

    Args:
        hparams: of the run.
        last: its last row of ``metrics.jsonl``.
        test: its score on test.
        diverged: update at which its objective was first not finite, -1 for none.
    """
    settings = {name: _shortest(value) for name, value in hparams._asdict().items()}
    own = {"eval_particles", "active_units", "kl_per_latent", "variance_per_latent"}
    terms = {name if name in own else f"test_{name}": value for name, value in test.items()}
    milliseconds = round(1e3 * last["seconds"] / last["step"], 3)
    extra = {"diverged": diverged if diverged >= 0 else "", "ms_per_step": milliseconds}
    return settings | last | terms | extra


def _shortest(value: jax.Array) -> float | int:
    """The number as it was typed: 0.001, although float32 has no such number."""
    number = np.asarray(value)
    return float(str(number)) if number.dtype.kind == "f" else int(number)
