"""Writing of a study that was trained from Python, as a workdir like those of the command line."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_jax.config import build, sweeps
from vae_jax.config.flags import Config, as_text
from vae_jax.config.validation import is_accepted
from vae_jax.data import Dataset
from vae_jax.pipeline import loggers, results, run_groups, workdir
from vae_jax.pipeline.run_groups import RunGroup
from vae_jax.pipeline.study_part import StudyPart, looks_every
from vae_jax.reporting import conclusions, table
from vae_jax.runtime import files, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.step import TrainState
from vae_jax.types import Row


def write(
    folder: Path,
    parts: Sequence[StudyPart],
    rows: Sequence[Row],
    metrics: Sequence[Row],
    swept: Sequence[str],
    data: Dataset,
    *,
    origin: dict[str, Any] | None = None,
    study_id: str = "",
) -> Path:
    """Write a workdir and return it: flags, learning curves, checkpoints, and results if known.

    Runs that are no product of values have ``runs.txt`` in place of ``flags.txt`` and of results.

    Args:
        folder: new or empty folder.
        parts: runs with the state of their optimizer.
        rows: table of the study.
        metrics: learning curves.
        swept: names of what differs between the runs.
        data: data that the runs were trained on.
        origin: where the weights came from that the runs began with; None for their seeds.
        study_id: identifier under which it is tracked; "" where it is not.

    Raises:
        InputError: the folder holds something, or a model is not one that flags can name.
    """
    workdir.refuse_name(folder)
    with _writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                setting="workdir",
                value=folder,
                problem="is not an empty folder",
                advice="give the name of a new one",
            )
    states = [part.read_state(data) for part in parts]
    steps = [int(mesh.to_host(state.step)[0]) for state in states]
    reached = {run: step for part, step in zip(parts, steps, strict=True) for run in part.runs}
    metrics = results.up_to(metrics, reached)
    lines = results.by_run(metrics)
    configs = [
        configs_of(part, step, folder, data, results.of_runs(lines, part.runs), origin)
        for part, step in zip(parts, steps, strict=True)
    ]
    groups = [
        RunGroup(folder / workdir.CHECKPOINTS / f"{number:03d}", part.runs, own, 1)
        for number, (part, own) in enumerate(zip(parts, configs, strict=True))
    ]
    facts = {run_groups.WEIGHTS: origin["weights"]} if origin else {}
    runs = [number for part in parts for number in part.runs]
    ordered = [
        own for _, own in sorted(zip(runs, itertools.chain(*configs), strict=True), key=_by_run)
    ]
    workdir.make(folder)
    with _writing(folder), _whole(folder):
        recorded = run_groups.record(folder, groups, data, facts)
        for group, state in zip(recorded, states, strict=True):
            _write_state(group, state, [len(lines.get(run, ())) for run in group.runs])
        if origin:
            files.write_json(folder / workdir.ORIGIN_FILE, origin)
        loggers.JSONLinesLogger(folder).log(metrics)
        if study_id:
            workdir.write_study_id(folder, study_id)
        config = _swept_config(ordered, swept)
        if config is None:
            workdir.write_runs(folder, ordered)
            return folder
        workdir.write_flags(folder, config)
        if any(table.is_number(row.get("test_log_likelihood")) for row in rows):
            found = results.describe(config, data, list(rows), swept, origin)
            found |= conclusions.conclude(found, metrics, is_accepted)
            results.write(config, list(rows), swept, found)
    return folder


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a refusal of the file system into an error that the user can mend.

    Raises:
        InputError: in place of an ``OSError`` of the block.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            setting="workdir",
            value=folder,
            problem=f"cannot be written ({files.reason(error)})",
            advice="mend that or give another folder, then save again",
        ) from None


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Leave a folder that was empty as empty as it was where the block fails."""
    try:
        yield
    except BaseException:
        for path in map(folder.joinpath, workdir.CONTENTS):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        raise


def _by_run(numbered: tuple[int, Config]) -> int:
    return numbered[0]


def configs_of(
    part: StudyPart,
    step: int,
    folder: Path,
    data: Dataset,
    metrics: Sequence[Row],
    origin: dict[str, Any] | None = None,
) -> tuple[Config, ...]:
    """Return the flags of each run of a part.

    Raises:
        InputError: a model is not one that flags can name.
    """
    facts: dict[str, Any] = {
        "workdir": str(folder),
        "dataset": data.record.asked,
        "num_steps": max(step, 1),
        "init_from": (origin or {}).get("given", ""),
    }
    if (eval_every := looks_every(part, metrics)) is not None:
        facts["eval_every"] = eval_every  # it decides what is chosen
    arrays = mesh.to_host(part.hparams)._asdict()
    settings = [
        {name: _shortest(values[i]) for name, values in arrays.items()}
        for i in range(len(part.runs))
    ]
    return build.configs_of(part.spec, settings, data.num_classes, **facts)


def _shortest(value: Any) -> Any:
    """Return a number whose text gives the same float32: 0.1 and not 0.10000000149."""
    return float(str(value)) if value.dtype.kind == "f" else value.item()


def _write_state(group: RunGroup, state: TrainState, num_lines: list[int]) -> None:
    """Write a checkpoint, which knows the number of its log lines."""
    metadata: dict[str, Any] = {"lines": num_lines, "runs": group.fingerprint}
    if state.record:
        metadata["stopped"] = mesh.to_host(state.record.stopped).tolist()
    with Checkpoints(group.folder) as checkpoints:
        checkpoints.save(int(mesh.to_host(state.step)[0]), state, metadata)


def _swept_config(configs: Sequence[Config], swept: Sequence[str]) -> Config | None:
    """Return the flags whose sweep gives exactly these runs; None where there is no such sweep."""
    values = {name: list(dict.fromkeys(getattr(own, name) for own in configs)) for name in swept}
    marks = {name: "/" if isinstance(own[0], tuple) else "," for name, own in values.items()}
    texts = tuple(f"{name}={marks[name].join(map(as_text, own))}" for name, own in values.items())
    config = configs[0].replace(sweep=texts)
    try:
        return config if sweeps.configs(config) == list(configs) else None
    except InputError:
        return None
