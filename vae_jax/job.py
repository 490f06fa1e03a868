"""From flags to a complete workdir: train what is missing, evaluate, draw, report.

Declarative: the same command resumes an interrupted run and only evaluates a finished one.
"""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import (
    batches,
    build,
    data,
    figures,
    logs,
    loop,
    records,
    report,
    results,
    sweep,
    workdir,
)
from vae_jax.checkpoint import Checkpoints
from vae_jax.config import Config, as_flags
from vae_jax.data import Dataset
from vae_jax.errors import InputError
from vae_jax.hparams import HParams
from vae_jax.loop import Row
from vae_jax.train import TrainSpec, TrainState


class Clock:
    """Seconds of each part of a job."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part and begin the next."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def complete(config: Config) -> None:
    """Bring ``config.workdir`` to the state that the flags describe.

    Raises:
        InputError: data or workdir that cannot be used.
    """
    jax.config.update("jax_enable_x64", config.compute_dtype == "float64")
    clock, folder = Clock(), Path(config.workdir)
    dataset = _load(config)
    workdir.claim(folder, config)
    clock.lap("data")
    spec, hparams = build.train_spec(config, dataset.image_shape), build.hparams(config)
    _say_first(config, dataset)
    state, compile_seconds = _train(config, spec, hparams, dataset)
    clock.lap("train")
    rows = _test(config, spec, hparams, state, dataset)
    clock.lap("evaluate")
    drawn = _draw(folder, spec, hparams, state, dataset, rows)
    clock.lap("figures")
    found = _describe(config, dataset, rows)
    found["seconds"] = clock.laps | {"compile": round(compile_seconds, 2)}
    records.write_csv(folder / "results.csv", rows, results.COLUMNS)
    records.write_json(folder / "results.json", found)
    report.write(folder / "report.html", found, drawn)
    _say_last(folder, rows)


def _load(config: Config) -> Dataset:
    """The data, checked against the flags."""
    dataset = data.load(
        config.dataset,
        data_dir=config.data_dir or data.DEFAULT_DATA_DIR,
        offline_dataset=config.offline_dataset,
        num_valid=config.num_valid,
    )
    if config.batch_size > len(dataset.train):
        raise InputError(
            f"--batch_size={config.batch_size}: exceeds the {len(dataset.train)} training images "
            f"of --dataset={config.dataset}; give at most that many"
        )
    if config.binarize != "none" and is_binary(dataset):
        raise InputError(
            f"--binarize={config.binarize}: has no effect on --dataset={config.dataset}, whose "
            "pixels are binary already; give --binarize=none"
        )
    return dataset


def is_binary(dataset: Dataset) -> bool:
    """Whether every training pixel is 0 or 255."""
    return bool(np.isin(dataset.train, (0, 255)).all())


def _train(
    config: Config, spec: TrainSpec, hparams: HParams, dataset: Dataset
) -> tuple[TrainState, float]:
    """The state after ``num_steps`` updates, and the seconds that compiling took.

    Starts from the newest checkpoint, or from the seeds if there is none. Rows are written before
    the checkpoint of their step, so after a kill none is missing and the surplus is known.
    """
    folder, visits = Path(config.workdir), build.visits(config)
    metrics, compile_seconds = logs.Metrics(folder), 0.0
    state = loop.initial_state(spec, hparams, dataset)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(folder / workdir.CHECKPOINTS))
        start = checkpoints.latest_step
        if start is not None:
            state = _resumed(checkpoints, start, state, visits.num_steps)
        written = -1 if start is None else start
        metrics.truncate_after(written)
        board = stack.enter_context(logs.TensorBoard(folder, written))
        progress = stack.enter_context(logs.Progress(visits.num_steps, start or 0))
        before = _seconds_so_far(metrics)
        for visit in loop.train(spec, hparams, dataset, visits, state, seconds=before):
            state = visit.state
            compile_seconds += visit.compile_seconds
            progress.advance(visit.step, visit.ms_per_step)
            for log in (metrics, board, progress):
                log.write(visit.rows)
            if visits.is_due(visit.step, visits.checkpoint_every):
                checkpoints.save(visit.step, state)
    return state, compile_seconds


def _resumed(checkpoints: Checkpoints, start: int, like: TrainState, num_steps: int) -> TrainState:
    done = "finished" if start == num_steps else "resuming"
    print(f"{done}: checkpoint at step {start:,} of {num_steps:,}", flush=True)
    return checkpoints.restore(like)


def _seconds_so_far(metrics: logs.Metrics) -> float:
    rows = logs.read(metrics.path) if metrics.path.exists() else []
    return rows[-1]["seconds"] if rows else 0.0


def _test(
    config: Config, spec: TrainSpec, hparams: HParams, state: TrainState, dataset: Dataset
) -> list[Row]:
    """One row of results per run: hyperparameters, last visit, test terms."""
    print(f"evaluating {len(dataset.test):,} test images, K={config.eval_particles}", flush=True)
    scores = loop.score(spec, hparams, state, dataset, num_particles=config.eval_particles)
    last = {row["run"]: row for row in logs.read(Path(config.workdir) / "metrics.jsonl")}
    return [
        results.table_row(sweep.take(hparams, run), last[run], test, int(state.diverged[run]))
        for run, test in enumerate(scores)
    ]


def _draw(
    folder: Path,
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    dataset: Dataset,
    rows: list[Row],
) -> list[report.Figure]:
    """Figures of the first run, on the test images as the model saw them."""
    pixels = batches.stored_pixels(spec.binarize, "test", dataset.test[:100])
    run, params = sweep.take((hparams, state.params), 0)
    test = np.asarray(batches.as_images(jnp.asarray(pixels)))
    metrics = logs.read(folder / "metrics.jsonl")
    return figures.draw(folder / "figures", spec.model, run, params, test, metrics, rows[0])


def _describe(config: Config, dataset: Dataset, rows: list[Row]) -> dict[str, Any]:
    """Everything that ``results.json`` holds beside timings."""
    flags = as_flags(config)
    splits = {f"num_{split}": len(getattr(dataset, split)) for split in batches.SPLITS}
    facts = {"image_shape": list(dataset.image_shape), "binarize": config.binarize}
    return {
        "title": Path(config.workdir).name,
        "command": f"python run.py --flagfile={config.workdir}/{workdir.FLAGS_FILE}",
        "dataset": dataclasses.asdict(dataset.record) | splits | facts,
        "flags": flags,
        "runs": rows,
        "kl_per_latent": [row["kl_per_latent"] for row in rows],
        "units": results.UNITS,
        "notes": results.notes(config.binarize, is_binary(dataset), config.likelihood),
        "precision": config.compute_dtype,
    } | results.provenance()


def _say_first(config: Config, dataset: Dataset) -> None:
    record, shape = dataset.record, "x".join(map(str, dataset.image_shape))
    for line in filter(None, (record.substitution, *record.warnings)):
        print(f"NOTE: {line}")
    counts = ", ".join(f"{len(getattr(dataset, split)):,} {split}" for split in batches.SPLITS)
    print(f"data: {record.used} ({record.source}), {shape}, {counts}")
    print(f"device: {results.device()}, {config.compute_dtype}; workdir: {config.workdir}")
    print("compiling ...", flush=True)


def _say_last(folder: Path, rows: list[Row]) -> None:
    for row in rows:
        print(
            f"test ELBO {row['test_elbo']:.2f} +- {row['test_elbo_se']:.2f}, "
            f"NLL(K={row['eval_particles']}) {row['test_nll']:.2f} +- {row['test_nll_se']:.2f} "
            f"nats per example, {row['active_units']} of {row['latent_size']} latents active"
        )
    print(f"report: {folder / 'report.html'}")
