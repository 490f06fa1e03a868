"""Contents of ``results.csv`` and ``results.json``: rows of numbers, and what describes them."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax.config import build
from vae_jax.config.flags import FLAGS, Config, Flag, as_text
from vae_jax.config.members import columns_of, find
from vae_jax.config.validation import as_flags, has_closed_form, without_effect
from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.hparams import shipped
from vae_jax.pipeline import workdir
from vae_jax.reporting import table
from vae_jax.runtime import files, mesh, provenance
from vae_jax.training import compatibility
from vae_jax.training.step import TrainState
from vae_jax.types import Row

_MOST_NAMED = 5  # runs that stopped early and are named one by one


ORIGIN = "init_from"
"""Key of where the weights came from that the runs began with."""


def describe(
    config: Config,
    dataset: Dataset,
    rows: list[Row],
    swept: Sequence[str],
    origin: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the contents of ``results.json``, without conclusions and seconds.

    Args:
        config: flags of the study.
        dataset: data that were used.
        rows: rows of ``results.csv``.
        swept: names of the swept flags.
        origin: where the weights came from that the runs began with; None for their seeds.
    """
    evaluations = build.evaluations(config)
    known = declared([*config.arrays, *swept], evaluations, config.flags)
    known |= columns.counts_not_finite(rows, known.values())
    splits = {f"num_{split}": len(getattr(dataset, split)) for split in SPLITS}
    shown = {"event_shape": list(dataset.event_shape), "binarize": config.binarize}
    if len(dataset.event_shape) == 3:
        shown["image_shape"] = shown["event_shape"]
    shown |= {"encoding": dataset.encoding}
    if dataset.standardization is not None:
        shown["log_volume"] = dataset.standardization.log_volume
    return {
        "title": Path(config.workdir).name,
        "command": f"python run.py --flagfile={config.workdir}/{workdir.FLAGS_FILE}",
        "sweep": list(config.sweep),
        "dataset": dataclasses.asdict(build.provenance(dataset)) | splits | shown,
        "flags": as_flags(config),
        "runs": rows,
        "kl_per_latent": [row.get("kl_per_latent") for row in rows],
        "swept": list(swept),
        "evaluations": {name: [each.name for each in columns_of([name])] for name in evaluations},
        "columns": columns.described(known.values()),
        **({} if origin is None else {ORIGIN: origin}),
        "notes": [
            *notes_on_origin(origin),
            *notes_on_choice(config, rows),
            *notes(config.binarize, config.likelihood, compatibility.is_binary(dataset)),
            *notes_on_numbers(dataset),
            *notes_on_free_bits(config),
            *notes_on_densities(rows),
        ],
        "precision": config.compute_dtype,
        "matmul_precision": build.matmul_precision(config, jax.default_backend()),
    } | provenance.provenance()


def write(config: Config, rows: list[Row], swept: Sequence[str], results: dict[str, Any]) -> None:
    """Write ``results.csv`` and ``results.json``.

    Args:
        config: flags of the study.
        rows: rows of ``results.csv``.
        swept: names of the swept flags.
        results: contents of ``results.json``.
    """
    folder = Path(config.workdir)
    names = header(swept, build.evaluations(config))
    names += [name for name in columns.CHOSEN if any(name in row for row in rows)]
    files.write_csv(folder / workdir.RESULTS_TABLE, rows, names)
    files.write_json(folder / workdir.RESULTS_FILE, results)


def notes(binarize: str, likelihood: str, is_binary: bool) -> list[str]:
    """Return sentences that a reader needs in order to understand the numbers.

    Args:
        binarize: value of ``--binarize``.
        likelihood: value of ``--likelihood``.
        is_binary: whether the pixels of the data are all 0 or 255.

    Example:
        >>> notes("dynamic", "bernoulli", is_binary=False)
        []
        >>> len(notes("none", "bernoulli", is_binary=False))
        1
    """
    if find("likelihood", likelihood).is_binary and binarize == "none" and not is_binary:
        return [
            f"The targets are gray, and a {likelihood.capitalize()} likelihood of gray pixels is a "
            "cross-entropy, not a probability: test_nll and test_elbo compare only with runs of "
            "the same kind and cannot fall below the entropy of the pixels."
        ]
    return []


def notes_on_origin(origin: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence on the run whose weights these began with, if there is one.

    Example:
        >>> notes_on_origin({"given": "runs/a", "run": 3, "step": 5000, "checksum": "crc32 01"})
        ['Started from weights: run 3 of runs/a after 5,000 updates (--init_from, crc32 01).']
    """
    if origin is None:
        return []
    if "run" not in origin:
        return [f"Started from weights: those of {origin['given']} ({origin['weights']})."]
    where = origin.get("workdir") or origin["given"]
    fresh, left = origin.get("fresh"), origin.get("left_over")
    more = f" From the seed, as it has none: {', '.join(fresh)}." if fresh else ""
    more += f" Left over: {', '.join(left)}." if left else ""
    return [
        f"Started from weights: run {origin['run']} of {where} after {origin['step']:,} updates "
        f"(--init_from, {origin['checksum']}).{more}"
    ]


def notes_on_choice(config: Config, rows: Sequence[Row]) -> list[str]:
    """Return sentences on what was chosen on valid: the weights, and the ends of runs.

    Example:
        >>> notes_on_choice(Config(), [{"step": 8}])
        []
        >>> (note,) = notes_on_choice(Config(keep="best"), [{"step": 8, "best_step": 4}])
        >>> note.partition(":")[0]
        'Chosen on valid'
    """
    return [
        *([_choice_of_weights(rows)] if any("best_step" in row for row in rows) else []),
        *([_ends(config, rows)] if any(row.get("stopped") for row in rows) else []),
    ]


def _choice_of_weights(rows: Sequence[Row]) -> str:
    """Return which weights the numbers of runs with ``keep = best`` are of."""
    (row, *others), term = rows, table.bound_on_valid(rows)
    if others:
        which = f"the weights of each run with a best_step are those of its highest {term} on valid"
    else:
        steps = f"step {row['best_step']:,} of {row['step']:,}"
        which = f"the weights are those of the highest {term} on valid, of {steps}"
    return (
        f"Chosen on valid: {which}, and not the last ones (--keep=best). Test terms, figures and "
        f"exports are theirs; the valid {term}, chosen for its height, is a little too good."
    )


def _ends(config: Config, rows: Sequence[Row]) -> str:
    """Return which runs stopped before their last update, and when."""
    ended = [row for row in rows if row.get("stopped")]
    named = [f"run {row['run']} at step {row['stopped']:,}" for row in ended[:_MOST_NAMED]]
    named += [f"{len(ended) - _MOST_NAMED} more"] * (len(ended) > _MOST_NAMED)
    which = f"{len(ended)} of {len(rows)} runs, {', '.join(named)}" if rows[1:] else named[0]
    return (
        f"Stopped early, of --num_steps={config.num_steps}: {which}, because the "
        f"{table.bound_on_valid(rows)} on valid had not risen for {config.patience or 'so many'} "
        "evaluations (--patience)."
    )


def notes_on_free_bits(config: Config) -> list[str]:
    """Return a sentence where free bits are those of the total KL and not of each latent.

    Example:
        >>> len(notes_on_free_bits(Config(kl_penalty="free_bits", prior="vamp")))
        1
        >>> notes_on_free_bits(Config(kl_penalty="free_bits"))
        []
    """
    is_used = config.kl_penalty == "free_bits" and "kl_penalty" not in without_effect(config)
    if not is_used or has_closed_form(config):
        return []
    return [
        f"There is no closed form of the KL of each latent with --posterior={config.posterior} and "
        f"--prior={config.prior}{' in two layers' if config.top_latent_size else ''}: "
        "--free_bits is a floor of the total KL."
    ]


def notes_on_densities(rows: Sequence[Row]) -> list[str]:
    """Return a sentence where an ELBO is positive or an NLL negative.

    Example:
        >>> len(notes_on_densities([{"test_elbo": 1148.4, "test_nll": -1174.9}]))
        1
        >>> notes_on_densities([{"test_elbo": -98.0, "test_nll": 96.0}])
        []
    """
    values = [v for row in rows for v in (row.get("test_elbo"), -(row.get("test_nll") or 0.0))]
    if not any(value is not None and value > 0 for value in values):
        return []
    return [
        "An ELBO above 0 and an NLL below 0 are no error: the likelihood is a density of real "
        "numbers, which may exceed 1. Both depend on the unit of x, of pixels 1 for 255, and "
        "compare only with densities in the same unit."
    ]


def notes_on_numbers(dataset: Dataset) -> list[str]:
    """Return sentences on what the nats of standardized data are."""
    if dataset.standardization is None:
        return []
    return [
        "The data are standardized with the mean and standard deviation of train: nats are those "
        "of a density of standardized x, and log p in the units of the source is lower by "
        f"{dataset.standardization.log_volume:.2f} nats per example."
    ]


def header(swept: Sequence[str], evaluations: Sequence[str]) -> list[str]:
    """Return the columns of ``results.csv``: the fixed ones, swept flags, those of evaluations.

    Example:
        >>> header(["beta", "batch_size"], [])[:2], header(["beta", "batch_size"], [])[-1]
        (['run', 'beta'], 'batch_size')
    """
    evaluated = columns.with_errors(columns_of(evaluations))
    return list(dict.fromkeys([*columns.TABLE, *swept, *(each.name for each in evaluated)]))


def declared(
    settings: Iterable[str] = (),
    evaluations: Iterable[str] = EVALUATORS,
    flags: Mapping[str, Flag] = FLAGS,
) -> dict[str, Column]:
    """Return every column that a row may have: settings, those of every run, of evaluations.

    Args:
        settings: names of the flags in a row beside the hyperparameters that are shipped.
        evaluations: names of the evaluations that were made.
        flags: declarations of the flags.

    Example:
        >>> declared()["test_elbo"].unit
        'nats per example'
    """
    own = columns.by_name(flags[name].column for name in dict.fromkeys([*shipped(), *settings]))
    return own | columns.CORE | columns.by_name(columns_of(evaluations))


def settings_of(config: Config, swept: Sequence[str]) -> Row:
    """Return the settings in a run's row: every array of ``HParams``, and what was swept."""
    names = dict.fromkeys([*config.arrays, *swept])
    return {name: _plain(getattr(config, name)) for name in names}


def by_run(lines: Iterable[Row]) -> dict[int, list[Row]]:
    """Return rows of ``metrics.jsonl`` by the number of their run, in their order.

    Example:
        >>> by_run([{"run": 0, "step": 4}, {"run": 1, "step": 4}, {"run": 0, "step": 8}])[0]
        [{'run': 0, 'step': 4}, {'run': 0, 'step': 8}]
    """
    found: dict[int, list[Row]] = {}
    for line in lines:
        found.setdefault(line["run"], []).append(line)
    return found


def of_runs(
    lines: Mapping[int, Sequence[Row]], runs: Iterable[int], step: int | float = math.inf
) -> list[Row]:
    """Return the rows of some runs up to a step.

    Those of a workdir may be ahead of its checkpoints, which are written after them.

    Args:
        lines: rows by the number of their run.
        runs: numbers of the runs.
        step: last step.
    """
    return [row for run in runs for row in lines.get(run, ()) if row["step"] <= step]


def up_to(lines: Iterable[Row], reached: Mapping[int, int]) -> list[Row]:
    """Return the rows of ``metrics.jsonl`` that are not ahead of the states of their runs.

    Args:
        lines: all rows.
        reached: updates of each run; rows of others are left out.
    """
    return [line for line in lines if line["step"] <= reached.get(line["run"], -1)]


def learned(lines: Sequence[Row], state: TrainState, runs: Sequence[int]) -> dict[int, Row | None]:
    """Return what training logged of each run, as its row has it: :func:`table_row`'s ``last``.

    It is the last line; with ``keep = best`` the terms are those of the look whose weights are
    kept. What was chosen on valid is added: ``best_step``, ``stopped``.

    Args:
        lines: rows of ``metrics.jsonl``.
        state: state of the runs.
        runs: their numbers in the study.
    """
    last = {row["run"]: row for row in lines}
    record = state.record
    if record is None:
        return {run: last.get(run) for run in runs}
    at = {(row["run"], row["step"]): row for row in lines}
    steps, stopped = mesh.to_host((record.step, record.stopped))
    found: dict[int, Row | None] = {}
    for run, best, end in zip(runs, steps.tolist(), stopped.tolist(), strict=True):
        own = last.get(run)
        if own is not None and record.params:
            own = of_best_look(own, at.get((run, best), {}), best)
        found[run] = own and own | {"stopped": end if end >= 0 else ""}
    return found


def of_best_look(last: Row, kept: Row, step: int) -> Row:
    """Return the terms of the look whose weights are kept, with the times of a run's last line.

    Args:
        last: last line of the run.
        kept: line of the look; empty where it is lost.
        step: updates before the look.

    Example:
        >>> last, kept = ({"run": 0, "step": s, "seconds": s / 10, "loss": 9 - s} for s in (8, 4))
        >>> of_best_look(last, kept, 4)
        {'run': 0, 'step': 8, 'seconds': 0.8, 'loss': 5, 'best_step': 4}
    """
    times = {name: last[name] for name in ("step", "run", "seconds")}
    return kept | times | {"best_step": step}


def table_row(settings: Row, last: Row | None, measured: Row, diverged: int) -> Row:
    """Return one run's row, as ``results.csv`` and ``vae_jax.ablate(...).table`` hold it.

    Args:
        settings: settings of the run.
        last: what training logged of it, see :func:`learned`; None before the first line.
        measured: its terms on test and the numbers of its evaluations.
        diverged: update at which its objective was first not finite, -1 for none.

    Example:
        >>> last = {"run": 0, "step": 10, "seconds": 0.5}
        >>> row = table_row({"beta": 4.0}, last, {"test_elbo": -9.0}, diverged=-1)
        >>> row["beta"], row["diverged"], row["ms_per_step"]
        (4.0, '', 50.0)
    """
    last = {"step": 0, "seconds": 0.0} if last is None else last
    milliseconds = round(1e3 * last["seconds"] / max(last["step"], 1), 3)
    extra = {"diverged": diverged if diverged >= 0 else "", "ms_per_step": milliseconds}
    return settings | last | measured | extra


def _plain(value: Any) -> Any:
    """Return a setting in the types of JSON and CSV."""
    return as_text(value) if isinstance(value, tuple) else value
