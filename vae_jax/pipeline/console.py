"""Lines that a run prints before training and at its end; progress is in ``loggers``."""

import math
from typing import Any

import jax

from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.data import Dataset
from vae_jax.models.combinations import enumeration
from vae_jax.pipeline import checks
from vae_jax.reporting import table
from vae_jax.runtime import libraries, provenance
from vae_jax.training import batches
from vae_jax.types import Row


def opening(config: Config, dataset: Dataset, num_runs: int, num_programs: int) -> list[str]:
    """Return the lines before training: warnings, data, device, size of the study.

    Args:
        config: flags of the study.
        dataset: data that are used.
        num_runs: runs of the study.
        num_programs: groups, each of which is compiled.
    """
    record, shape = build.provenance(dataset), "x".join(map(str, dataset.event_shape))
    counts = ", ".join(f"{len(getattr(dataset, split)):,} {split}" for split in batches.SPLITS)
    products = build.matmul_precision(config, jax.default_backend())
    precision = f"{config.compute_dtype}, matrix products of {products} precision"
    scale = checks.scale_note(config, dataset)
    notes = filter(None, (record.substitution, *record.warnings, libraries.left_out(), scale))
    return [
        *(f"NOTE: {note}" for note in notes),
        f"data: {record.used} ({record.source}), {shape}, {counts}",
        f"      {'; '.join((*record.recognised, record.splits))}",
        f"device: {provenance.device()}, {precision}; workdir: {config.workdir}",
        *([f"study: {num_runs} runs in {num_programs} compiled program(s)"] * (num_runs > 1)),
        "compiling ...",
    ]


def closing(rows: list[Row], results: dict[str, Any]) -> list[str]:
    """Return the lines at the end: the numbers and the diagnosis of the best run, the study.

    Args:
        rows: rows of ``results.csv``.
        results: contents of ``results.json``.
    """
    best = table.best(rows)
    if best is None and any(row["diverged"] == "" for row in rows):
        lines = ["no run has test terms"]
    elif best is None:
        lines = [f"every run diverged; {_against_divergence(rows, results)}"]
    else:
        which = f"best is run {best['run']}: " if len(rows) > 1 else ""
        notes = [f"NOTE: {note}" for note in results["notes"]]
        lines = [which + format_result(best), *notes, *results["diagnosis"][best["run"]]]
    return lines + (["the study:", *results["reading"]] if results["reading"] else [])


def _against_divergence(rows: list[Row], results: dict[str, Any]) -> str:
    """Return what to try where every run diverged, without what is in force already.

    What diverges before it has learned anything does so of the size of its numbers: of real ones
    the unit is arbitrary.
    """
    is_at_once = all(row["diverged"] == 0 for row in rows)
    unit = ["--encoding=standardized"] if results["dataset"]["encoding"] == "reals" else []
    remedies = [*unit, *([] if is_at_once and unit else ["a smaller --learning_rate"])]
    flags = results["flags"]
    if any(float(row.get("clip_norm") or math.inf) > 1 for row in rows) and not is_at_once:
        remedies.append("--clip_norm=1")
    if flags.get("compute_dtype") != "float64":
        remedies.append("--compute_dtype=float64")
    return f"try {enumeration(remedies)}"


def format_result(row: Row) -> str:
    """Return one line of the test terms of a run, in nats per example.

    Example:
        >>> row = {"test_elbo": -99.5, "test_elbo_se": 0.25, "test_nll": 97.0, "test_nll_se": None,
        ...        "eval_particles": 100, "test_bits_per_dim": None, "active_units": 9,
        ...        "latent_size": 10}
        >>> format_result(row)
        'test ELBO -99.50 +- 0.25, NLL(K=100) 97.00 nats per example, 9 of 10 latents active'
    """
    active = f"{row['active_units']} of {row['latent_size']} latents active"
    if "best_step" in row:
        active += f"; weights of step {row['best_step']:,}, chosen on valid"
    if row["test_elbo"] is None:
        distortion = _with_error(row, "test_log_likelihood", sign=-1)
        return f"test distortion {distortion} nats per example, {active}"
    bits = row["test_bits_per_dim"]
    return (
        f"test ELBO {_with_error(row, 'test_elbo')}, "
        f"NLL(K={row['eval_particles']}) {_with_error(row, 'test_nll')} nats per example, "
        f"{'' if bits is None else f'{bits:.3f} bits per dim, '}{active}"
    )


def _with_error(row: Row, name: str, sign: int = 1) -> str:
    """Return a mean and, for more than one example, its standard error."""
    if row[name] is None:
        return "not finite"
    error = row[f"{name}_se"]
    return f"{sign * row[name]:.2f}" + ("" if error is None else f" +- {error:.2f}")
