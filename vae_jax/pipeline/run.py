"""Path from flags to a complete workdir: prepare, train, evaluate, draw, report.

A run is declarative: the same command resumes an interrupted run and only evaluates a finished one.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vae_jax import data
from vae_jax.config import build, sweeps
from vae_jax.config.flags import Config
from vae_jax.data import Dataset
from vae_jax.pipeline import (
    checks,
    console,
    draw,
    evaluate,
    export,
    loggers,
    results,
    resume,
    run_groups,
    train,
    workdir,
)
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.reporting import conclusions, report
from vae_jax.runtime import compilation_cache, distributed, lock
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.signals import Stop, StoppedError
from vae_jax.runtime.timing import Clock


def run(config: Config, stop: Stop) -> None:
    """Bring ``config.workdir`` to the state that the flags describe.

    Args:
        config: flags of a run or study.
        stop: signals of the process.

    Raises:
        InputError: data or workdir cannot be used.
        StoppedError: ``stop`` was wanted while there was something to save, which was done.
    """
    clock, folder = Clock(), Path(config.workdir)
    configs, swept = sweeps.configs(config), [axis.name for axis in sweeps.axes(config)]
    with loggers.opened(config.loggers) as further, _prepared(config, configs) as dataset:
        groups = distributed.first_then_all(lambda: _plan(config, configs, dataset))
        clock.lap("data")
        opening = console.opening(config, dataset, len(configs), len(groups))
        print("\n".join(opening), flush=True)

        with stop.deferred():
            trained = train.train_all(config, groups, dataset, stop, further)
        distributed.sync_stop(stop)
        stop.raise_if_wanted("stopped after training; the same command evaluates and reports")
        clock.lap("train")

        rows = evaluate.evaluate(config, trained, dataset, swept)
        clock.lap("evaluate")

        if distributed.is_first():
            figures = draw.draw_figures(config, trained, dataset, rows, swept)
            clock.lap("figures")

            found = results.describe(config, dataset, rows, swept)
            found |= conclusions.conclude(found, loggers.read(folder / workdir.METRICS_FILE))
            found["seconds"] = clock.laps | train.seconds_of_start(trained)
            results.write(config, rows, swept, found)
            report.write(folder / workdir.REPORT_FILE, found, figures)
            for logger in further:
                logger.finish(found, figures)
            exported = export.export(config, trained, dataset, rows)
            print("\n".join(console.closing(rows, found)))
            print("".join(f"exported: {path}\n" for path in exported), end="")
            print(f"report: {folder / workdir.REPORT_FILE}")
        distributed.barrier()


@contextlib.contextmanager
def _prepared(config: Config, configs: list[Config]) -> Iterator[Dataset]:
    """Prepare JAX, the other processes, the data and the workdir; yield the data.

    Nothing is written before flags and data are known to fit together. While the block lasts, this
    process owns the workdir, and its errors say what is saved.
    """
    folder = Path(config.workdir)
    jax.config.update("jax_enable_x64", config.compute_dtype == "float64")
    with contextlib.ExitStack() as stack:
        if config.distributed:
            processes = config.coordinator, config.num_processes, config.process_id
            stack.enter_context(distributed.initialized(*processes))
        precision = build.matmul_precision(config, jax.default_backend())
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
        stack.enter_context(_checkpoints_noted(folder))
        yield dataset


def _load(config: Config, configs: list[Config]) -> Dataset:
    """Return the data, checked against the flags of every run."""
    dataset = data.load(
        config.dataset,
        data_dir=config.data_dir or data.DEFAULT_DATA_DIR,
        offline_dataset=config.offline_dataset,
        num_valid=config.num_valid,
        encoding=config.encoding,
        resize=config.resize or None,
        image_mode=config.image_mode,
    )
    checks.check_data(config, configs, dataset)
    return dataset


def _plan(config: Config, configs: list[Config], dataset: Dataset) -> list[RunGroup]:
    """Return the groups of the workdir, all new ones where lost ones may be restarted."""
    folder = Path(config.workdir)
    try:
        return run_groups.plan(folder, configs, dataset, config.max_parallel_runs)
    except LostError as error:
        if not config.restart:
            raise
        print(f"NOTE: {error}")
    workdir.clear(folder)
    return run_groups.plan(folder, configs, dataset, config.max_parallel_runs)


@contextlib.contextmanager
def _checkpoints_noted(folder: Path) -> Iterator[None]:
    """Add to an unexpected error of the block which checkpoints the workdir holds."""
    try:
        yield
    except (InputError, StoppedError):
        raise
    except BaseException as error:
        error.add_note(resume.describe_checkpoints(folder))
        raise
