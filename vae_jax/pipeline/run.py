"""Path from flags to a complete workdir: prepare, train, evaluate, write results, draw, report.

A run is declarative: the same command resumes an interrupted run and only evaluates a finished one.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from vae_jax.config import build, sweeps
from vae_jax.config.flags import Config
from vae_jax.config.validation import is_accepted
from vae_jax.data import Dataset
from vae_jax.data.cache import CacheWarning
from vae_jax.pipeline import (
    checks,
    console,
    draw,
    evaluate,
    explore,
    export,
    loggers,
    results,
    resume,
    run_groups,
    train,
    workdir,
)
from vae_jax.pipeline.loggers import Logger
from vae_jax.pipeline.origin import StartingPoint
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.reporting import conclusions, report
from vae_jax.reporting.study_page import Material
from vae_jax.runtime import compilation_cache, distributed
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.lock import Lock, refuse_if_locked
from vae_jax.runtime.progress import phase
from vae_jax.runtime.signals import Stop, StoppedError
from vae_jax.runtime.timing import Clock


def run(config: Config, stop: Stop) -> list[str]:
    """Bring ``config.workdir`` to the state that the flags describe.

    Args:
        config: flags of a run or study.
        stop: signals of the process.

    Returns:
        Sentences on figures and evaluations that failed; all else is there.

    Raises:
        InputError: data or workdir cannot be used.
        StoppedError: ``stop`` was wanted while there was something to save, which was done.
    """
    clock, failures = Clock(), Failures(Path(config.workdir))
    configs, swept = sweeps.configs(config), [axis.name for axis in sweeps.axes(config)]
    with (
        loggers.opened(config.loggers, but=loggers.ALWAYS) as further,
        _prepared(config, configs) as prepared,
    ):
        dataset, lock, start = prepared
        groups = distributed.first_then_all(lambda: _plan(config, configs, dataset, start))
        source = distributed.from_first(start.record) if start else None
        clock.lap("data")
        opening = console.opening(config, dataset, len(configs), len(groups))
        print("\n".join([*(start.lines if start else []), *opening]), flush=True)

        with stop.deferred():
            given = start.params_for if start else None
            trained = train.train_all(config, groups, dataset, stop, lock, further, given)
        distributed.sync_stop(stop)
        stop.raise_if_wanted("stopped after training; the same command evaluates and reports")
        clock.lap("train")

        rows = evaluate.evaluate(config, trained, dataset, swept, lock, failures)
        clock.lap("evaluate")

        if distributed.is_first():
            found = results.describe(config, dataset, rows, swept, source)
            found["seconds"] = clock.laps | train.seconds_of_start(trained)
            _publish(config, trained, dataset, found, lock, failures, further)
        distributed.barrier()
    return failures.sentences


def _publish(
    config: Config,
    trained: list[train.TrainedGroup],
    dataset: Dataset,
    found: dict[str, Any],
    lock: Lock,
    failures: Failures,
    further: Sequence[Logger],
) -> None:
    """Write the results, then all that is made of them and may fail, then the report."""
    folder, rows, swept, clock = Path(config.workdir), found["runs"], found["swept"], Clock()
    found |= {"diagnosis": [[] for _ in rows], "reading": []}
    with failures.caught("conclusions on the runs"), phase("diagnosing the runs"):
        metrics = loggers.read(folder / workdir.METRICS_FILE)
        found |= conclusions.conclude(found, metrics, is_accepted)
    lock.check()
    results.write(config, rows, swept, found)

    drawn = draw.draw_figures(config, trained, dataset, rows, swept, failures)
    pictures = draw.draw_pictures(trained, dataset, rows, swept, failures) if drawn else {}
    clock.lap("figures")

    found |= {"missing": failures.sentences}
    found["seconds"] |= clock.laps
    lock.check()
    results.write(config, rows, swept, found)
    with failures.caught(workdir.REPORT_FILE), phase("writing the report"):
        metrics = loggers.read(folder / workdir.METRICS_FILE)
        report.write(folder / workdir.REPORT_FILE, found, drawn, Material(metrics, pictures))
    if config.explorer == "auto":
        with failures.caught(workdir.EXPLORER_FILE), phase("writing the explorer"):
            explore.write(config, trained, dataset, found)
    exported = export.export(config, trained, dataset, rows, failures)
    for logger in further:
        with phase(f"results in {logger.name}"):
            logger.finish(found, drawn)
    print("\n".join(console.closing(rows, found)))
    print("".join(f"exported: {path}\n" for path in exported), end="")
    if failures.sentences:
        print(f"{len(failures.sentences)} part(s) are missing; all else is in {folder}")
    print(f"report: {folder / workdir.REPORT_FILE}")
    if config.explorer == "auto":
        print(f"explorer: {folder / workdir.EXPLORER_FILE}")


@contextlib.contextmanager
def _prepared(
    config: Config, configs: list[Config]
) -> Iterator[tuple[Dataset, Lock, StartingPoint | None]]:
    """Prepare JAX, the other processes, the data and the workdir.

    Yield the data, the lock, and the weights that runs start from where those are not of the seeds.

    Nothing is written before flags and data are known to fit together. While the block lasts, this
    process owns the workdir, and its errors say what is saved.
    """
    folder = Path(config.workdir)
    jax.config.update("jax_enable_x64", config.compute_dtype == "float64")
    with contextlib.ExitStack() as stack:
        if config.distributed:
            processes = config.coordinator, config.num_processes, config.process_id
            stack.enter_context(distributed.initialized(*processes))
        if distributed.is_first():
            stack.enter_context(loggers.shown())
        precision = build.matmul_precision(config, jax.default_backend())
        jax.config.update(
            "jax_default_matmul_precision", None if precision == "default" else precision
        )
        distributed.from_first(lambda: _refuse_workdir(config))
        problem = stack.enter_context(compilation_cache.enabled(config.compilation_cache))
        notes = [problem]
        dataset = distributed.first_then_all(lambda: _load(config, configs, notes))
        start = distributed.first_then_all(lambda: _start(config, configs, dataset))

        workdir.make(folder)
        stack.enter_context(workdir.writing(folder))
        lock = Lock(folder)
        distributed.from_first(lambda: stack.enter_context(lock.hold()))
        distributed.from_first(lambda: workdir.refuse_foreign(folder))
        for note in filter(None, (*dict.fromkeys(notes), lock.note)):
            print(f"NOTE: {note}")
        stack.enter_context(_checkpoints_noted(folder))
        stack.enter_context(_checked_again(lock))
        yield dataset, lock, start


@contextlib.contextmanager
def _checked_again(lock: Lock) -> Iterator[None]:
    """Say that the workdir is gone where a failure of the block came from that."""
    try:
        yield
    except OSError:
        lock.check()
        raise


def _refuse_workdir(config: Config) -> None:
    """Refuse a workdir that is in use, holds other files or lies among the images."""
    folder = Path(config.workdir)
    data_folder = Path(os.path.expanduser(config.dataset))
    if data_folder.is_dir() and folder.resolve().is_relative_to(data_folder.resolve()):
        raise InputError(
            f"--workdir={folder}: lies inside of --dataset={config.dataset}, whose images its "
            "figures would join; give another folder"
        )
    workdir.refuse_name(folder)
    for name in ("data_dir", "compilation_cache"):
        value = getattr(config, name)
        if value in ("", compilation_cache.OFF):
            continue
        if Path(os.path.expanduser(value)).resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"--{name}={value}: lies inside of --workdir={folder}, which belongs to its runs "
                "alone; give another folder"
            )
    workdir.refuse_foreign(folder)
    refuse_if_locked(folder)


def _load(config: Config, configs: list[Config], notes: list[str]) -> Dataset:
    """Return the data, checked against the flags of every run; add what must be noted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CacheWarning)
        dataset = build.load_data(config)
    for warning in caught:
        if issubclass(warning.category, CacheWarning):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    checks.check_data(config, configs, dataset)
    return dataset


def _start(config: Config, configs: list[Config], dataset: Dataset) -> StartingPoint | None:
    """Return the weights that the runs start from, which fit each of them; None for the seeds."""
    if not config.init_from:
        return None
    start = StartingPoint(config.init_from, Path(config.workdir), dataset.encoding)
    shape = dataset.event_shape, dataset.num_classes
    for spec in dict.fromkeys(run_groups.common_spec([own], *shape) for own in configs):
        start.check(spec)
    return start


def _plan(
    config: Config, configs: list[Config], dataset: Dataset, start: StartingPoint | None
) -> list[RunGroup]:
    """Return the groups of the workdir, new ones for those that are lost and may be restarted."""
    return run_groups.plan(
        *(Path(config.workdir), configs, dataset, config.max_parallel_runs),
        further=start.facts if start else {},
        check=start.params_for if start else lambda spec: None,
        may_restart=config.restart,
    )


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
