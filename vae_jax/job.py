"""From flags to a complete workdir: train what is missing, evaluate, draw, report.

Declarative: the same command resumes an interrupted run and only evaluates a finished one.
"""

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import (
    batches,
    build,
    data,
    figures,
    groups,
    logs,
    loop,
    records,
    report,
    results,
    study,
    sweep,
    table,
    train,
    workdir,
)
from vae_jax.checkpoint import Checkpoints
from vae_jax.config import Config, as_flags
from vae_jax.data import Dataset
from vae_jax.errors import InputError
from vae_jax.groups import Group
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


class Trained(NamedTuple):
    """A group of runs after training."""

    group: Group
    spec: TrainSpec
    state: TrainState


def complete(config: Config) -> None:
    """Bring ``config.workdir`` to the state that the flags describe.

    Raises:
        InputError: data or workdir that cannot be used.
    """
    jax.config.update("jax_enable_x64", config.compute_dtype == "float64")
    clock, folder = Clock(), Path(config.workdir)
    configs = study.rows(config)
    dataset = _load(config, configs)
    workdir.make(folder)
    planned = groups.plan(folder, configs, dataset, config.max_parallel_runs)
    workdir.write_flags(folder, config)
    clock.lap("data")
    _say_first(config, dataset, len(configs), len(planned))
    trained, compile_seconds = _train_all(config, planned, dataset)
    clock.lap("train")
    rows = _test(config, trained, dataset)
    clock.lap("evaluate")
    swept = [axis.name for axis in study.axes(config)]
    drawn = _draw(folder, trained, dataset, rows, swept)
    clock.lap("figures")
    found = _describe(config, dataset, rows) | {"swept": swept}
    found["seconds"] = clock.laps | {"compile": round(compile_seconds, 2)}
    records.write_csv(folder / "results.csv", rows, results.columns(swept))
    records.write_json(folder / "results.json", found)
    report.write(folder / "report.html", found, drawn)
    _say_last(folder, rows)


def _load(config: Config, configs: list[Config]) -> Dataset:
    """The data, checked against the flags of every run."""
    dataset = data.load(
        config.dataset,
        data_dir=config.data_dir or data.DEFAULT_DATA_DIR,
        offline_dataset=config.offline_dataset,
        num_valid=config.num_valid,
    )
    for row in configs:
        _check_fits(row, dataset)
    return dataset


def _check_fits(config: Config, dataset: Dataset) -> None:
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


def is_binary(dataset: Dataset) -> bool:
    """Whether every training pixel is 0 or 255."""
    return bool(np.isin(dataset.train, (0, 255)).all())


def _train_all(
    config: Config, planned: list[Group], dataset: Dataset
) -> tuple[list[Trained], float]:
    """All groups after ``num_steps`` updates, and the seconds that compiling took."""
    folder, trained, compile_seconds = Path(config.workdir), [], 0.0
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Checkpoints(group.folder)) for group in planned]
        starts = {
            run: -1 if checkpoints.latest_step is None else checkpoints.latest_step
            for group, checkpoints in zip(planned, opened, strict=True)
            for run in group.runs
        }
        logs.Metrics(folder).truncate_after(starts)
        board = stack.enter_context(logs.TensorBoard(folder, starts))
        for number, (group, checkpoints) in enumerate(zip(planned, opened, strict=True), 1):
            label = f"program {number} of {len(planned)}" if len(planned) > 1 else ""
            done, seconds = _train(config, group, checkpoints, board, dataset, label)
            trained.append(done)
            compile_seconds += seconds
    return trained, compile_seconds


def _train(
    config: Config,
    group: Group,
    checkpoints: Checkpoints,
    board: logs.TensorBoard,
    dataset: Dataset,
    label: str,
) -> tuple[Trained, float]:
    """One group, from its newest checkpoint or from the seeds.

    Rows are written before the checkpoint of their step, so after a kill none is missing and the
    surplus is known.
    """
    visits, metrics = build.visits(config), logs.Metrics(Path(config.workdir))
    spec, hparams = group.spec(dataset.image_shape), group.hparams
    layout = loop.layout_for(spec, hparams, group.max_parallel_runs)
    state = loop.initial_state(spec, hparams, dataset, layout)
    start, compile_seconds = checkpoints.latest_step, 0.0
    if start is not None:
        state = _resumed(checkpoints, start, state, visits.num_steps)
    before, diverged = _seconds_so_far(metrics, group.runs[0]), state.diverged.tolist()
    with logs.Progress(visits.num_steps, start or 0, label) as progress:
        for visit in loop.train(
            spec, hparams, dataset, visits, state, layout=layout, seconds=before
        ):
            state = visit.state
            compile_seconds += visit.compile_seconds
            rows = [row | {"run": group.runs[row["run"]]} for row in visit.rows]
            progress.advance(visit.step, visit.ms_per_step)
            for log in (metrics, board, progress):
                log.write(rows)
            for place in _newly(diverged, state.diverged.tolist()):
                reason = _reason(spec, hparams, state, dataset, place)
                progress.say(f"run {group.runs[place]} diverged: {reason}")
            diverged = state.diverged.tolist()
            if visits.is_due(visit.step, visits.checkpoint_every):
                checkpoints.save(visit.step, state)
    return Trained(group, spec, state), compile_seconds


def _newly(before: list[int], after: list[int]) -> list[int]:
    """Places of the runs that diverged between two visits."""
    return [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old < 0 <= new]


def _reason(
    spec: TrainSpec, hparams: HParams, state: TrainState, dataset: Dataset, place: int
) -> str:
    """At which update a run diverged, and the first array there that was not finite."""
    own_hparams, own_state = sweep.take((hparams, state), place)
    pixels = jnp.asarray(batches.stored_pixels(spec.binarize, "train", dataset.train))
    name = train.first_not_finite(spec, own_hparams, own_state, pixels)
    return f"{name} was not finite at update {int(own_state.diverged)}"


def _resumed(checkpoints: Checkpoints, start: int, like: TrainState, num_steps: int) -> TrainState:
    done = "finished" if start == num_steps else "resuming"
    print(f"{done}: checkpoint at step {start:,} of {num_steps:,}", flush=True)
    return checkpoints.restore(like)


def _seconds_so_far(metrics: logs.Metrics, run: int) -> float:
    rows = logs.read(metrics.path) if metrics.path.exists() else []
    return max((row["seconds"] for row in rows if row["run"] == run), default=0.0)


def _test(config: Config, trained: list[Trained], dataset: Dataset) -> list[Row]:
    """One row of results per run, in the order of their numbers."""
    print(f"evaluating {len(dataset.test):,} test images, K={config.eval_particles}", flush=True)
    last = {row["run"]: row for row in logs.read(Path(config.workdir) / "metrics.jsonl")}
    rows = [row for done in trained for row in _test_group(config, done, dataset, last)]
    return sorted(rows, key=lambda row: row["run"])


def _test_group(config: Config, done: Trained, dataset: Dataset, last: dict[int, Row]) -> list[Row]:
    group, spec, state = done
    hparams, swept = group.hparams, [axis.name for axis in study.axes(config)]
    layout = loop.layout_for(spec, hparams, group.max_parallel_runs)
    scores = loop.score(
        spec, hparams, state, dataset, num_particles=config.eval_particles, layout=layout
    )
    rows = []
    for place, (run, own, score) in enumerate(zip(group.runs, group.configs, scores, strict=True)):
        row = results.table_row(own, swept, last[run], score, int(state.diverged[place]))
        if row["diverged"] != "":
            row["diverged_reason"] = _reason(spec, hparams, state, dataset, place)
        rows.append(row)
    return rows


def _draw(
    folder: Path, trained: list[Trained], dataset: Dataset, rows: list[Row], swept: list[str]
) -> list[report.Figure]:
    """Figures of the study and of its best run; test images are shown as the model saw them."""
    models = {
        run: figures.Model(done.spec.model, *sweep.take((done.group.hparams, done.state.params), i))
        for done in trained
        for i, run in enumerate(done.group.runs)
    }
    pixels = batches.stored_pixels(trained[0].spec.binarize, "test", dataset.test[:100])
    test = np.asarray(batches.as_images(jnp.asarray(pixels)))
    drawn = figures.draw_study(folder / "figures", models, test, rows, swept) if swept else []
    best = table.best(rows)
    if best is None:
        return drawn
    metrics = logs.read(folder / "metrics.jsonl")
    return drawn + figures.draw(folder / "figures", models[best["run"]], test, metrics, best)


def _describe(config: Config, dataset: Dataset, rows: list[Row]) -> dict[str, Any]:
    """Everything that ``results.json`` holds beside timings."""
    flags = as_flags(config)
    splits = {f"num_{split}": len(getattr(dataset, split)) for split in batches.SPLITS}
    facts = {"image_shape": list(dataset.image_shape), "binarize": config.binarize}
    return {
        "title": Path(config.workdir).name,
        "command": f"python run.py --flagfile={config.workdir}/{workdir.FLAGS_FILE}",
        "sweep": list(config.sweep),
        "dataset": dataclasses.asdict(dataset.record) | splits | facts,
        "flags": flags,
        "runs": rows,
        "kl_per_latent": [row["kl_per_latent"] for row in rows],
        "units": results.UNITS,
        "notes": results.notes(config.binarize, is_binary(dataset), config.likelihood),
        "precision": config.compute_dtype,
    } | results.provenance()


def _say_first(config: Config, dataset: Dataset, num_runs: int, num_programs: int) -> None:
    record, shape = dataset.record, "x".join(map(str, dataset.image_shape))
    for line in filter(None, (record.substitution, *record.warnings)):
        print(f"NOTE: {line}")
    counts = ", ".join(f"{len(getattr(dataset, split)):,} {split}" for split in batches.SPLITS)
    print(f"data: {record.used} ({record.source}), {shape}, {counts}")
    print(f"device: {results.device()}, {config.compute_dtype}; workdir: {config.workdir}")
    if num_runs > 1:
        print(f"study: {num_runs} runs in {num_programs} compiled program(s)")
    print("compiling ...", flush=True)


def _say_last(folder: Path, rows: list[Row]) -> None:
    best = table.best(rows)
    if best is None:
        print("every run diverged; try a smaller --learning_rate or --clip_norm=1")
    else:
        which = f"best is run {best['run']}: " if len(rows) > 1 else ""
        print(
            f"{which}test ELBO {best['test_elbo']:.2f} +- {best['test_elbo_se']:.2f}, "
            f"NLL(K={best['eval_particles']}) {best['test_nll']:.2f} +- {best['test_nll_se']:.2f} "
            f"nats per example, {best['active_units']} of {best['latent_size']} latents active"
        )
    print(f"report: {folder / 'report.html'}")
