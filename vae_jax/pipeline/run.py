"""From flags to a complete workdir: train what is missing, evaluate, draw, report.

Declarative: the same command resumes an interrupted run and only evaluates a finished one.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import data
from vae_jax.config import build, sweeps
from vae_jax.config.schema import Config
from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.evaluation import columns, evaluators
from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import evaluate, loggers, results, resume, run_groups, train, workdir
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.reporting import diagnostics, report, summary, table
from vae_jax.runtime import compilation_cache, distributed, files, libraries, lock
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.signals import Stop, StoppedError
from vae_jax.runtime.timing import Clock
from vae_jax.training import batches, divergence, vectorized
from vae_jax.types import Row


def run(config: Config, stop: Stop) -> None:
    """Bring ``config.workdir`` to the state that the flags describe.

    Raises:
        InputError: data or workdir that cannot be used.
        StoppedError: ``stop`` was wanted while there was something to save, which was done.
    """
    jax.config.update("jax_enable_x64", config.compute_dtype == "float64")
    clock, folder = Clock(), Path(config.workdir)
    configs = sweeps.rows(config)
    with contextlib.ExitStack() as stack:
        if config.distributed:
            processes = config.coordinator, config.num_processes, config.process_id
            stack.enter_context(distributed.initialized(*processes))
        precision = _matmul_precision(config)
        jax.config.update(
            "jax_default_matmul_precision", None if precision == "default" else precision
        )
        distributed.from_first(lambda: lock.refuse_if_locked(folder))
        problem = stack.enter_context(compilation_cache.enabled(config.compilation_cache))
        dataset = distributed.first_then_all(lambda: _load(config, configs))
        workdir.make(folder)
        if problem:
            print(f"NOTE: {problem}")
        stack.enter_context(workdir.writing(folder))
        distributed.from_first(lambda: stack.enter_context(lock.locked(folder)))
        stack.enter_context(_naming_checkpoints(folder))
        _complete(config, configs, dataset, stop, clock)


@contextlib.contextmanager
def _naming_checkpoints(folder: Path) -> Iterator[None]:
    """Let an error that nobody expected end by saying what it has not touched."""
    with contextlib.ExitStack() as stack:

        def note(kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
            if error is not None and not isinstance(error, InputError | StoppedError):
                error.add_note(resume.describe_checkpoints(folder))

        stack.push(note)
        yield


def _complete(
    config: Config, configs: list[Config], dataset: Dataset, stop: Stop, clock: Clock
) -> None:
    planned = distributed.first_then_all(lambda: _plan(config, configs, dataset))
    clock.lap("data")
    _say_first(config, dataset, len(configs), len(planned))
    with stop.deferred():
        trained = train.train_all(config, planned, dataset, stop)
    distributed.sync_stop(stop)
    stop.raise_if_wanted("stopped after training; the same command evaluates and reports")
    clock.lap("train")
    rows = _test(config, trained, dataset)
    clock.lap("evaluate")
    if distributed.is_first():
        _publish(config, trained, dataset, rows, clock)
    distributed.barrier()


def _publish(
    config: Config, trained: list[TrainedGroup], dataset: Dataset, rows: list[Row], clock: Clock
) -> None:
    """Figures, results and report."""
    folder = Path(config.workdir)
    swept = [axis.name for axis in sweeps.axes(config)]
    drawn = _draw(config, trained, dataset, rows, swept)
    clock.lap("figures")
    found = _describe(config, dataset, rows, swept)
    found |= _diagnose(config, found)
    compile_seconds = round(sum(done.compile_seconds for done in trained), 2)
    found["seconds"] = clock.laps | {"compile": compile_seconds}
    begun = [done.begun_seconds for done in trained if done.begun_seconds is not None]
    found["seconds"] |= {"command to first update": begun[0]} if begun else {}
    header = results.header(swept, evaluate.selected(config))
    files.write_csv(folder / "results.csv", rows, header)
    files.write_json(folder / "results.json", found)
    report.write(folder / "report.html", found, drawn)
    _say_last(folder, rows, found)


def _matmul_precision(config: Config) -> str:
    """In force on the device at hand."""
    return build.matmul_precision(config, jax.default_backend())


def _plan(config: Config, configs: list[Config], dataset: Dataset) -> list[RunGroup]:
    """The groups; where those of the workdir cannot be read and may be restarted, all new ones."""
    folder = Path(config.workdir)
    try:
        return run_groups.plan(folder, configs, dataset, config.max_parallel_runs)
    except LostError as error:
        if not config.restart:
            raise
        print(f"NOTE: {error}")
    workdir.clear(folder)
    return run_groups.plan(folder, configs, dataset, config.max_parallel_runs)


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
    if refusal := evaluate.refused(config, dataset):
        raise InputError(refusal)
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
    bare = [split for split in batches.SPLITS if dataset.labels_of(split) is None]
    if config.conditional and bare:
        raise InputError(
            f"--conditional: --dataset={config.dataset} has no labels of {', '.join(bare)}; leave "
            "it out, or give a data set with labels"
        )
    if config.binarize != "none" and LIKELIHOODS[config.likelihood].is_eight_bit:
        raise InputError(
            f"--binarize={config.binarize}: leaves two of 256 values to --likelihood="
            f"{config.likelihood}; give --binarize=none, or --likelihood=bernoulli"
        )


def is_binary(dataset: Dataset) -> bool:
    """Whether every training pixel is 0 or 255; looks no farther than the first that is not."""
    starts = range(0, len(dataset.train), 1000)
    return all(np.isin(dataset.train[start : start + 1000], (0, 255)).all() for start in starts)


def _test(config: Config, trained: list[TrainedGroup], dataset: Dataset) -> list[Row]:
    """One row of results per run, in the order of their numbers."""
    print(f"evaluating {len(dataset.test):,} test images, K={config.eval_particles}", flush=True)
    last = {row["run"]: row for row in loggers.read(Path(config.workdir) / "metrics.jsonl")}
    found = evaluate.evaluate(config, trained, dataset)
    swept, rows = [axis.name for axis in sweeps.axes(config)], []
    for group, spec, state, *_ in trained:
        for place, (run, own) in enumerate(zip(group.runs, group.configs, strict=True)):
            diverged = int(state.diverged[place])
            settings = results.settings_of(own, swept)
            row = results.table_row(settings, last[run], found[run], diverged)
            if row["diverged"] != "":
                row["diverged_reason"] = divergence.explain(
                    spec, group.hparams, state, dataset, place, by_operation=config.debug_nans
                )
            rows.append(row)
    return sorted(rows, key=lambda row: row["run"])


def _draw(
    config: Config, trained: list[TrainedGroup], dataset: Dataset, rows: list[Row], swept: list[str]
) -> list[report.Figure]:
    """Figures of the study and of its best run; test images are shown as the model saw them."""
    if not libraries.is_installed("matplotlib"):
        return []
    from vae_jax.reporting import figures  # brings matplotlib, for which no training need wait

    folder = Path(config.workdir) / "figures"
    models = {
        run: TrainedVAE(
            done.spec.model, *vectorized.take((done.group.hparams, done.state.params), i)
        )
        for done in trained
        for i, run in enumerate(done.group.runs)
    }
    pixels = batches.stored_pixels(trained[0].spec.binarize, "test", dataset.test[:100])
    images = np.asarray(batches.as_images(jnp.asarray(pixels)))
    labels = dataset.test_labels
    labels = None if labels is None else labels[:100]
    shown = figures.ShownImages(images, labels, dataset.class_names)
    drawn = figures.draw_study(folder, models, shown, rows, swept) if swept else []
    best = table.best(rows)
    if best is None:
        return drawn
    metrics, model = loggers.read(folder.parent / "metrics.jsonl"), models[best["run"]]
    drawn += figures.draw(folder, model, shown, metrics, best)
    if "representation" in config.evaluate and not best.get(f"codes{NOT_FINITE}"):
        binarize = next(d.spec.binarize for d in trained if best["run"] in d.group.runs)
        subject = EvalContext(model, dataset, binarize)
        drawn.append(figures.embedding(folder, subject))
    return drawn


def _describe(
    config: Config, dataset: Dataset, rows: list[Row], swept: list[str]
) -> dict[str, Any]:
    """Everything that ``results.json`` holds beside timings."""
    flags = as_flags(config)
    splits = {f"num_{split}": len(getattr(dataset, split)) for split in batches.SPLITS}
    facts = {"image_shape": list(dataset.image_shape), "binarize": config.binarize}
    declared = results.declared(swept, evaluate.selected(config))
    declared |= columns.lost_in(rows, declared.values())
    return {
        "title": Path(config.workdir).name,
        "command": f"python run.py --flagfile={config.workdir}/{workdir.FLAGS_FILE}",
        "sweep": list(config.sweep),
        "dataset": dataclasses.asdict(dataset.record) | splits | facts,
        "flags": flags,
        "runs": rows,
        "kl_per_latent": [row["kl_per_latent"] for row in rows],
        "swept": swept,
        "evaluations": {
            name: [each.name for each in evaluators.columns([name])]
            for name in evaluate.selected(config)
        },
        "columns": columns.described(
            (declared | columns.lost_in(rows, declared.values())).values()
        ),
        "notes": results.notes(config.binarize, is_binary(dataset), config.likelihood),
        "precision": config.compute_dtype,
        "matmul_precision": _matmul_precision(config),
    } | results.provenance()


def _diagnose(config: Config, found: dict[str, Any]) -> dict[str, list[Any]]:
    """What may be wrong with each run, in the order of the rows, and the reading of a study."""
    rows, metrics = found["runs"], loggers.read(Path(config.workdir) / "metrics.jsonl")
    histories = [[m for m in metrics if m["run"] == row["run"]] for row in rows]
    pairs = zip(rows, histories, strict=True)
    answers = [diagnostics.diagnose_run(found["flags"] | row, history) for row, history in pairs]
    reading = summary.summarize_study(files.finite(rows), found["swept"]) if found["swept"] else []
    reading += diagnostics.diagnose_study(rows, answers) if len(rows) > 1 else []
    return {"diagnosis": [diagnostics.as_sentences(own) for own in answers], "reading": reading}


def _say_first(config: Config, dataset: Dataset, num_runs: int, num_programs: int) -> None:
    record, shape = dataset.record, "x".join(map(str, dataset.image_shape))
    for line in filter(None, (record.substitution, *record.warnings, libraries.left_out())):
        print(f"NOTE: {line}")
    counts = ", ".join(f"{len(getattr(dataset, split)):,} {split}" for split in batches.SPLITS)
    print(f"data: {record.used} ({record.source}), {shape}, {counts}")
    precision = f"{config.compute_dtype}, matrix products of {_matmul_precision(config)} precision"
    print(f"device: {results.device()}, {precision}; workdir: {config.workdir}")
    if num_runs > 1:
        print(f"study: {num_runs} runs in {num_programs} compiled program(s)")
    print("compiling ...", flush=True)


def _say_last(folder: Path, rows: list[Row], found: dict[str, Any]) -> None:
    best = table.best(rows)
    if best is None:
        print("every run diverged; try a smaller --learning_rate or --clip_norm=1")
    else:
        which = f"best is run {best['run']}: " if len(rows) > 1 else ""
        print(which + _summary(best))
        print("\n".join(found["diagnosis"][best["run"]]))
    if found["reading"]:
        print("\n".join(("the study:", *found["reading"])))
    print(f"report: {folder / 'report.html'}")


def _summary(best: Row) -> str:
    active = f"{best['active_units']} of {best['latent_size']} latents active"

    def told(name: str, sign: int = 1) -> str:
        """A mean and, for more than one example, its standard error."""
        error = best[f"{name}_se"]
        if best[name] is None:
            return "not finite"
        return f"{sign * best[name]:.2f}" + ("" if error is None else f" +- {error:.2f}")

    if best["test_elbo"] is None:
        return f"test distortion {told('test_log_likelihood', -1)} nats per example, {active}"
    bits = best["test_bits_per_dim"]
    return (
        f"test ELBO {told('test_elbo')}, NLL(K={best['eval_particles']}) {told('test_nll')} "
        f"nats per example, {'' if bits is None else f'{bits:.3f} bits per dim, '}{active}"
    )
