"""The terms of one or many runs as one line of text, for the terminal."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from vae_jax.types import Row

_RANKING = ("valid_elbo", "train_elbo", "valid_log_likelihood", "train_log_likelihood")
_SHOWN = ("train_elbo", "valid_elbo", "train_kl", "valid_kl")


def format_terms(rows: Sequence[Row]) -> str:
    """Return one line: the terms of a single run, or best and median of several.

    Runs are compared by ``valid_elbo``, or by ``train_elbo`` before there is any; autoencoders,
    which have neither, by their log-likelihood. A run in which such a term is None or not finite
    has diverged.

    Example:
        >>> format_terms([{"run": 0, "train_elbo": -9.0, "train_kl": 2.0}])
        'train elbo -9.00  train kl 2.00'
        >>> format_terms([{"run": i, "train_elbo": -9.0 - i} for i in range(3)])
        'train elbo best -9.00 (run 0), median -10.00, 0 of 3 diverged'
    """
    if len(rows) == 1:
        return _terms(rows[0])
    alive = [row for row in rows if not _has_diverged(row)]
    name = next((name for name in _RANKING if any(name in row for row in alive)), "train_elbo")
    diverged = f"{len(rows) - len(alive)} of {len(rows)} diverged"
    return ", ".join([*_best_and_median([row for row in alive if name in row], name), diverged])


def is_number(value: Any) -> bool:
    """Return whether a term is there and finite."""
    return value is not None and math.isfinite(value)


def _has_diverged(row: Row) -> bool:
    return any(name in row and not is_number(row[name]) for name in _RANKING)


def _best_and_median(rows: Sequence[Row], name: str) -> list[str]:
    if not rows:
        return []
    best = max(rows, key=lambda row: row[name])
    median = statistics.median(float(row[name]) for row in rows)
    label = name.replace("_", " ")
    return [f"{label} best {best[name]:.2f} (run {best['run']})", f"median {median:.2f}"]


def _terms(row: Row) -> str:
    """Return the ELBO of both splits and the KL of the last one that has it.

    An autoencoder without a density has neither, and shows its log-likelihood.
    """
    known = {name: row[name] for name in _SHOWN if name in row}
    known = known or {name: row[name] for name in _RANKING[2:] if name in row}
    if "valid_kl" in known:
        known.pop("train_kl", None)
    texts = {name: f"{value:.2f}" if is_number(value) else "-" for name, value in known.items()}
    return "  ".join(f"{name.replace('_', ' ')} {text}" for name, text in texts.items())
