"""Reading of a workdir: its study, without its data, its lock or the state of an optimizer.

Nothing is written, so a workdir may be running, copied or read-only. The table needs no array of a
checkpoint; weights are read when they are first asked for.
"""

import functools
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.data import Dataset
from vae_jax.pipeline import loggers, results, run_groups, workdir
from vae_jax.pipeline.run_groups import Recorded
from vae_jax.pipeline.study import Study
from vae_jax.pipeline.study_part import StudyPart
from vae_jax.reporting import table
from vae_jax.runtime import files
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase
from vae_jax.settings import as_path
from vae_jax.training import checkpoint, loop, memory, selection
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.types import Row

_OF_DATA = (
    *("dataset", "data_dir", "offline_dataset", "num_valid"),
    *("encoding", "resize", "image_mode"),
)
_TRIES = 3  # a run that goes on may delete a checkpoint while it is read


def load_run(folder: str | Path) -> Study:
    """Open a workdir: its table, learning curves and flags, and all its runs.

    It may be running, finished, copied or read-only, and its data need not be there. A row has
    results on test where the newest checkpoint was evaluated, otherwise the last learning terms.

    Args:
        folder: the workdir.

    Raises:
        InputError: the folder is no workdir, or one of a version that this one cannot read.

    Example:
        >>> import tempfile, vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> study = vae_jax.fit(spec, vae_jax.grid(latent_size=2, beta=[1.0, 4.0]), data, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = load_run(study.save(folder))
        ...     loaded.select(beta=4.0).codes(data, "test").shape
        (180, 2)
    """
    try:
        with loggers.shown(), phase("opening the workdir"):
            return _load_run(as_path("workdir", folder))
    except OSError as error:
        raise InputError(
            setting="workdir",
            value=folder,
            problem=f"cannot be read ({files.reason(error)})",
            advice="mend that, or give another workdir",
        ) from None


def _load_run(folder: Path) -> Study:
    workdir.refuse_name(folder)
    recorded = run_groups.recorded(folder) if folder.is_dir() and workdir.is_ours(folder) else []
    if not recorded:
        raise InputError(
            setting="workdir",
            value=folder,
            problem="holds no runs",
            advice="give the workdir of a run, or a folder of study.save",
        )
    found = _results(folder)
    lines = _lines(folder)
    flags = _flags(lines)
    with phase("reading flags", len(recorded), "programs") as advance:
        configs = []
        for group in recorded:
            configs.append([_config(texts) for texts in group.flags])
            advance(len(configs))
    swept = tuple(found.get("swept", ())) or _swept(lines)
    metrics = loggers.read_whole(folder / workdir.METRICS_FILE)
    parts = tuple(map(_part, recorded, configs))
    return Study(
        parts=parts,
        table=_table(recorded, parts, configs, found.get("runs", []), metrics, swept),
        metrics=metrics,
        swept=swept,
        name=folder.resolve().name,
        id=workdir.read_study_id(folder),
        flags=flags,
        results=found,
        read_data=lambda: _load_data(folder, lines),
        workdir=str(folder),
    )


def _part(group: Recorded, configs: Sequence[Config]) -> StudyPart:
    """Return the runs of a group, whose weights and specification are read when they are needed."""
    spec = run_groups.common_spec(configs, *_shapes(group, configs[0]))
    hparams = build.hparams(configs)
    flags = tuple(
        {name: getattr(config, name) for name in texts if name not in run_groups.FACTS}
        for config, texts in zip(configs, group.flags, strict=True)
    )

    def read_state(dataset: Dataset) -> TrainState:
        return _whole_state(group, spec, build.hparams(configs), dataset)

    encoding = group.shapes.get("encoding", "pixels")  # older versions knew no other
    read_weights = functools.partial(_newest_weights, group)
    return StudyPart(
        *(group.runs, spec, hparams, read_weights, read_state, flags, encoding), data=group.data
    )


def _shapes(group: Recorded, config: Config) -> tuple[tuple[int, ...], int]:
    """Return the shape of x and the number of classes.

    Raises:
        InputError: an older version has recorded neither.
    """
    if group.shapes:
        return tuple(group.shapes["event_shape"]), group.shapes["num_classes"]
    steps = checkpoint.steps(group.folder)
    if config.conditional or not steps:
        raise InputError(
            setting="workdir",
            value=group.folder.parents[1],
            problem="an older version has not recorded the number of classes"
            if steps
            else "holds no checkpoint yet",
            advice="train again" if steps else "wait for the first one",
        )
    return checkpoint.event_shape(group.folder, steps[-1]), 0


def _newest_weights(group: Recorded) -> TrainState:
    """Return the weights of the newest whole checkpoint.

    Raises:
        InputError: there is none.
    """
    return _newest(group, lambda step: checkpoint.restore_weights(group.folder, step))


def _newest(group: Recorded, read: Callable[[int], TrainState]) -> TrainState:
    """Return what is read of the newest whole checkpoint; a later one that is damaged is warned of.

    Args:
        group: the runs.
        read: reads a checkpoint by its step.

    Raises:
        InputError: none can be read.
    """
    problems: dict[int, str] = {}
    for _ in range(_TRIES):
        for step in reversed(checkpoint.steps(group.folder)):
            try:
                found = read(step)
            except (DamagedError, OSError) as error:
                problems[step] = str(error)
                continue
            for later in sorted(problems.keys() & set(checkpoint.steps(group.folder))):
                if later > step:
                    warnings.warn(
                        f"workdir={group.folder.parents[1]}: checkpoint at step {later:,}: "
                        f"{problems[later]}; the weights are those of step {step:,}",
                        stacklevel=2,
                    )
            return found
    listed = "; ".join(f"step {step:,}: {problem}" for step, problem in problems.items())
    raise InputError(
        setting="workdir",
        value=group.folder.parents[1],
        problem=f"no checkpoint can be read ({listed or 'none is written yet'})",
        advice="wait for the first one, or restore the files from a copy",
    )


def _whole_state(group: Recorded, spec: TrainSpec, hparams: Any, dataset: Dataset) -> TrainState:
    """Return the newest state with that of the optimizer, for training on."""
    layout = memory.layout_for(spec, hparams)
    like = loop.initial_state(spec, hparams, dataset, layout)
    if not checkpoint.steps(group.folder):
        return like
    return _newest(group, lambda step: Checkpoints(group.folder).restore(step, like))


def _table(
    recorded: Sequence[Recorded],
    parts: Sequence[StudyPart],
    configs: Sequence[Sequence[Config]],
    tested: Sequence[Row],
    metrics: Sequence[Row],
    swept: Sequence[str],
) -> list[Row]:
    """Return a row per run: with its results where they are those of its newest checkpoint."""
    known = {row["run"]: row for row in tested}
    lines = results.by_run(metrics)
    rows = []
    for group, part, settled in zip(recorded, parts, configs, strict=True):
        step = checkpoint.newest_described(group.folder)
        for run, config in zip(group.runs, settled, strict=True):
            settings = {"run": run} | results.settings_of(config, swept)
            own = known.get(run, {})
            if own.get("step") in (step, own.get("stopped", step)):  # stopped, weights stay
                rows.append(own | settings)  # JSON has no infinite settings
            else:
                learned = _learned(lines.get(run, []), step, part.spec)
                rows.append(results.table_row(settings, learned, {}, -1))
    return sorted(rows, key=lambda row: row["run"])


def _learned(lines: Sequence[Row], step: int, spec: TrainSpec) -> Row | None:
    """Return what :func:`results.learned` does, without the arrays of the state.

    Args:
        lines: learning curve of a run.
        step: updates of its newest checkpoint, whose record knows no later looks.
        spec: specification of the run.
    """
    last, bound = (lines[-1] if lines else None), spec.valid_bound
    looks = [line for line in lines if line["step"] <= step and table.is_number(line.get(bound))]
    if last is None or spec.keep != selection.BEST or not looks:
        return last
    best = max(looks, key=lambda line: line[bound])  # the first of equals, as selection.look
    return results.of_best_look(last, best, best["step"])


def _results(folder: Path) -> dict[str, Any]:
    """Return the contents of ``results.json``; where there is none yet, the origin of the weights.

    Without it a study that is saved anew would claim to come from its seeds.
    """
    path = folder / workdir.RESULTS_FILE
    found: Any = {}
    try:
        found = json.loads(files.read_bytes(path))
    except FileNotFoundError:
        pass
    except (ValueError, RecursionError):
        found = None
    if not _are_results(found):
        raise InputError(
            setting="workdir",
            value=folder,
            problem=f"{path.name} is damaged",
            advice="start its command again, which writes it anew",
        )
    if results.ORIGIN not in found and (origin := workdir.read_origin(folder)):
        found[results.ORIGIN] = origin
    return found


def _are_results(found: Any) -> bool:
    """Return whether an object of JSON has rows, names and an origin as ``results.json`` has."""
    if not isinstance(found, dict):
        return False
    rows, swept = found.get("runs", []), found.get("swept", [])
    origin = found.get(results.ORIGIN)
    return (
        isinstance(rows, list)
        and all(isinstance(row, dict) and type(row.get("run")) is int for row in rows)
        and isinstance(swept, list)
        and all(isinstance(name, str) for name in swept)
        and (origin is None or workdir.is_origin(origin))
    )


def _lines(folder: Path) -> list[tuple[str, str]]:
    """Return names and texts of the lines of ``flags.txt``."""
    path = folder / workdir.FLAGS_FILE
    lines = files.read_text(path).splitlines() if path.exists() else []
    pairs = (line.removeprefix("--").partition("=") for line in lines if line.startswith("--"))
    return [(name, text) for name, _, text in pairs]


def _flags(lines: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the flags of the study; all as text where this version does not know one of them."""
    texts = {name: text for name, text in lines if name != "sweep"}
    sweep = tuple(text for name, text in lines if name == "sweep")
    try:
        config = Config.of_texts(texts, sweep)
    except (InputError, KeyError):
        return texts
    return {name: getattr(config, name) for name in texts}


def _swept(lines: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(text.partition("=")[0] for name, text in lines if name == "sweep")


def _config(texts: dict[str, str]) -> Config:
    """Return the flags of a run that decide what is trained.

    Raises:
        InputError: a flag that this version does not know.
    """
    own = {name: text for name, text in texts.items() if name not in run_groups.FACTS}
    try:
        config = Config.of_texts(own)
        unknown = sorted(own.keys() - config.flags.keys())
    except KeyError as error:
        config, unknown = Config(), list(error.args)
    if unknown:
        raise InputError(
            setting=unknown[0],
            value=texts.get(unknown[0], ""),
            problem="no flag of this version of vae_jax",
            advice="open the workdir with the version that wrote it",
        )
    return config


def _load_data(folder: Path, lines: Sequence[tuple[str, str]]) -> Dataset:
    """Return the data that a workdir was trained on."""
    texts = {name: text for name, text in lines if name in _OF_DATA}
    if "dataset" not in texts:
        raise InputError(
            setting="workdir",
            value=folder,
            problem=f"{workdir.FLAGS_FILE} does not say on which data it was trained",
            advice="give the data: vae_jax.load(...)",
        )
    return build.load_data(Config.of_texts(texts))
