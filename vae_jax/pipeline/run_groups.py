"""The runs of a workdir, in groups that are trained by one compiled program each.

Runs that differ only in hyperparameters that are arrays share a group; any other difference starts
another. A group is recorded in ``checkpoints/NUMBER/group.json`` before it is trained and never
changes: a study that grows gets further groups, and its old runs keep numbers and results.
"""

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.config import build
from vae_jax.config.flags import Config, as_text
from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.models.latents import padded_width
from vae_jax.pipeline.workdir import CHECKPOINTS, METRICS_FILE, RESULTS_TABLE
from vae_jax.runtime import checksums, files, mesh
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import checkpoint, memory
from vae_jax.training.step import TrainSpec
from vae_jax.training.vectorized import Layout

GROUP_FILE = "group.json"
CHUNK_SECONDS = 10.0
"""Longest chunk: signals are obeyed between chunks, and a preempted machine leaves 30 seconds."""

Identity = dict[str, str]
"""Flags of a run that decide what is trained, as text, and the fingerprint of the data."""


@dataclass(frozen=True)
class RunGroup:
    """Runs trained by one program.

    Attributes:
        folder: folder of its checkpoints.
        runs: numbers of the runs in the study.
        configs: flags of each run.
        max_parallel_runs: number of runs that advance together, fixed for the group.
        most_steps: bound on the updates of a chunk, measured at the first start and then fixed;
            None before it.
    """

    folder: Path
    runs: tuple[int, ...]
    configs: tuple[Config, ...]
    max_parallel_runs: int
    most_steps: int | None = None

    def spec(self, dataset: Dataset) -> TrainSpec:
        """Return the specification that the runs share."""
        return common_spec(self.configs, dataset.event_shape, dataset.num_classes)

    def layout(self, spec: TrainSpec) -> Layout:
        """Return the arrangement of the runs on the devices."""
        return memory.layout_for(spec, self.hparams, self.max_parallel_runs, self.devices)

    @property
    def devices(self) -> Devices:
        """Devices that the flags ask for, which may differ from those of the last start."""
        return Devices(self.configs[0].run_devices, self.configs[0].batch_devices)

    @property
    def hparams(self) -> HParams:
        """Hyperparameters of the runs, ``[runs]``."""
        return build.hparams(self.configs)


def common_spec(
    configs: Sequence[Config], event_shape: tuple[int, ...], num_classes: int
) -> TrainSpec:
    """Return what runs of one program share: the widest latent space, and what any run needs.

    Args:
        configs: flags of each run.
        event_shape: shape of one x.
        num_classes: classes of the data.
    """
    common = configs[0].replace(
        latent_size=max(config.latent_size for config in configs),
        top_latent_size=max(config.top_latent_size for config in configs),
    )
    spec = build.train_spec(common, event_shape, num_classes)
    return spec.specialized(build.hparams(configs))


def plan(
    workdir: Path, configs: list[Config], dataset: Dataset, max_parallel_runs: int
) -> list[RunGroup]:
    """Return groups that hold exactly the given runs: those of the workdir first, then new ones.

    Args:
        workdir: folder of the study; new groups are recorded in it.
        configs: flags of each run.
        dataset: data that the runs are trained on.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.

    Raises:
        InputError: the workdir holds runs that are not among the given ones.
        LostError: the workdir was used, and the record of a group cannot be read.
    """
    folder, fingerprint = workdir / CHECKPOINTS, _fingerprint(dataset)
    wanted = {_key(identity(config, fingerprint)): config for config in configs}
    old = [_load(path, wanted, workdir) for path in _group_files(workdir)]
    known = {_key(identity(config, fingerprint)) for group in old for config in group.configs}
    fresh = [config for key, config in wanted.items() if key not in known]
    first = sum(len(group.runs) for group in old)
    new = _grouped(folder, fresh, first, len(old), max_parallel_runs, dataset)
    for group in new:
        record(group, dataset)
    return [*old, *new]


class Recorded(NamedTuple):
    """Group as its ``group.json`` tells, without the flags of a start and without the data.

    Attributes:
        folder: folder of its checkpoints.
        runs: numbers of the runs in the study.
        flags: flags of each run that decide what is trained, as text, with the data's name.
        shapes: shape of x and number of classes, see :func:`_shapes`; empty where an older version
            wrote the record.
    """

    folder: Path
    runs: tuple[int, ...]
    flags: tuple[Identity, ...]
    shapes: dict[str, Any]


def recorded(workdir: Path) -> list[Recorded]:
    """Return the groups that a workdir holds; nothing is written.

    Raises:
        InputError: the folder holds no runs, or those of another format.
        LostError: the record of a group cannot be read.
    """
    found = []
    for path in _group_files(workdir):
        facts = _facts(path, workdir)
        runs, flags = zip(*((row["run"], row["flags"]) for row in facts["runs"]), strict=True)
        found.append(Recorded(path.parent, runs, flags, facts.get("shapes", {})))
    return found


def _shapes(dataset: Dataset) -> dict[str, Any]:
    """Return what the model takes from the data, so that it can be opened without them."""
    shape, encoding = list(dataset.event_shape), dataset.encoding
    return {"event_shape": shape, "encoding": encoding, "num_classes": dataset.num_classes}


def identity(config: Config, fingerprint: str) -> Identity:
    """Return the facts that two runs share exactly if they are the same run.

    Args:
        config: flags of the run.
        fingerprint: name and checksum of the training images.
    """
    flags = as_flags(config)
    deciding = {name for name, flag in config.flags.items() if flag.changes_run}
    if config.schedule != "constant":
        deciding.add("num_steps")
    return {name: flags[name] for name in flags if name in deciding} | {"data": fingerprint}


def _fingerprint(dataset: Dataset) -> str:
    """Return name and checksum of the training images: a substituted data set is another one."""
    checksum = zlib.crc32(np.ascontiguousarray(dataset.train).data)
    return f"{dataset.record.used} ({len(dataset.train)} images, crc32 {checksum:08x})"


def _key(identity: Identity) -> str:
    return json.dumps(identity, sort_keys=True)


def _grouped(
    folder: Path,
    configs: list[Config],
    first_run: int,
    first_group: int,
    max_parallel_runs: int,
    dataset: Dataset,
) -> list[RunGroup]:
    """Return new groups of runs that share a program, in the order of their first run."""
    members: dict[str, list[tuple[int, Config]]] = {}
    for run, config in enumerate(configs, first_run):
        flags = identity(config, "")
        program = _key(
            {n: v for n, v in flags.items() if n not in config.arrays} | _structure(config)
        )
        members.setdefault(program, []).append((run, config))
    groups = []
    for number, rows in enumerate(members.values(), first_group):
        runs, own = zip(*rows, strict=True)
        group = RunGroup(folder / f"{number:03d}", runs, own, max_parallel_runs)
        layout = group.layout(group.spec(dataset))
        _refuse_too_large(group, dataset, layout)
        groups.append(dataclasses.replace(group, max_parallel_runs=layout.max_parallel_runs))
    return groups


def _refuse_too_large(group: RunGroup, dataset: Dataset, layout: Layout) -> None:
    """Refuse a model that no device can hold before it is compiled, which could take for ever."""
    share, spec = -(-len(group.runs) // layout.run_devices), group.spec(dataset)
    intervals = build.intervals(group.configs[0])
    needed = memory.least_bytes(spec, share, len(dataset.train), intervals)
    available = mesh.device_memory()
    if available is not None and needed > available:
        raise InputError(
            f"--hidden_sizes={as_text(group.configs[0].hidden_sizes)} and what else makes the size "
            f"of a model, a batch or a study: {_names(group.runs)} would need {needed / 1e9:,.1f} "
            f"GB, but the device has {available / 1e9:,.1f}; give smaller sizes, fewer particles, "
            "fewer runs or a smaller --chunk_steps"
        )


def _names(runs: tuple[int, ...]) -> str:
    return "a run" if len(runs) == 1 else f"{len(runs):,} runs"


def _structure(config: Config) -> Identity:
    """Return the parts of a program that depend on the values of hyperparameters.

    A penalty exists or not depending on whether its weight is zero. On a CPU, where a row is the
    run alone to the last bit, so do the width of z and the clipping: in a wider z the products sum
    in another order, and beside a norm of the gradient XLA rounds its moments differently.
    """
    penalties = sorted(type(penalty).__name__ for penalty in build.regularizers(config))
    layers = "2" if config.top_latent_size else "1"
    parts = {"(penalties)": ",".join(penalties), "(stochastic layers)": layers}
    if jax.default_backend() != "cpu":
        return parts
    widths = padded_width(config.latent_size), padded_width(config.top_latent_size)
    return parts | {"(widths)": as_text(widths), "(clips)": str(config.clip_norm < math.inf)}


def record(group: RunGroup, dataset: Dataset) -> None:
    """Record a group in its ``group.json``."""
    fingerprint = _fingerprint(dataset)
    rows = [
        {"run": run, "flags": identity(config, fingerprint)}
        for run, config in zip(group.runs, group.configs, strict=True)
    ]
    facts = {"format": checkpoint.FORMAT, "written_by": checkpoint.WRITER, "runs": rows}
    facts |= {"max_parallel_runs": group.max_parallel_runs, "most_steps": group.most_steps}
    facts |= {"shapes": _shapes(dataset)}
    files.write_json(group.folder / GROUP_FILE, checksums.with_checksum(facts))


def settle_most_steps(group: RunGroup, seconds_per_step: float) -> int:
    """Return the bound on a chunk: the largest power of two within :data:`CHUNK_SECONDS`.

    It is recorded with the group, because the intervals of a run must not depend on how fast the
    machine was at each start.
    """
    affordable = CHUNK_SECONDS / max(seconds_per_step, 1e-9)
    most_steps = 2 ** min(30, max(0, math.floor(math.log2(affordable))))
    path = group.folder / GROUP_FILE
    files.write_json(
        path, checksums.with_checksum(checksums.read(path) | {"most_steps": most_steps})
    )
    return most_steps


def _group_files(workdir: Path) -> list[Path]:
    """Return the files of groups 0, 1, ...; none in a fresh workdir.

    Raises:
        LostError: a file is missing.
    """
    found = sorted((workdir / CHECKPOINTS).glob(f"*/{GROUP_FILE}"))
    expected = [workdir / CHECKPOINTS / f"{i:03d}" / GROUP_FILE for i in range(len(found))]
    is_used = any((workdir / name).exists() for name in (METRICS_FILE, RESULTS_TABLE))
    if found != expected or (is_used and not found):
        missing = next(iter(set(expected) - set(found)), workdir / CHECKPOINTS)
        raise LostError(_lost(workdir, f"{missing.relative_to(workdir)} is missing"))
    return found


def _lost(workdir: Path, problem: str) -> str:
    """Return the error of a workdir whose groups cannot be read."""
    return (
        f"--workdir={workdir}: {problem}, so its runs cannot go on; restore it from a copy, or "
        "give --restart to train all runs anew"
    )


def _facts(path: Path, workdir: Path) -> dict[str, Any]:
    """Return the record of a group."""
    try:
        facts = checksums.read(path)
    except checksums.DamagedError:
        name = path.relative_to(workdir)
        raise LostError(_lost(workdir, f"{name} is damaged or older than format 2")) from None
    if facts["format"] != checkpoint.FORMAT:
        raise InputError(
            f"--workdir={workdir}: holds format {facts['format']}, written by "
            f"{facts['written_by']}, where this version writes and reads {checkpoint.FORMAT}; "
            "use that version, or give another --workdir"
        )
    return facts


def _load(path: Path, wanted: dict[str, Config], workdir: Path) -> RunGroup:
    """Return a recorded group with the flags of this start.

    Raises:
        InputError: it has a run that is not wanted, or more updates than are wanted.
    """
    facts = _facts(path, workdir)
    keys = [_key(row["flags"]) for row in facts["runs"]]
    for key, row in zip(keys, facts["runs"], strict=True):
        if key not in wanted:
            problem = _unwanted(workdir, row["flags"], [json.loads(k) for k in wanted])
            raise InputError(problem)
    configs = tuple(wanted[key] for key in keys)
    _check_length(workdir, path.parent, configs[0].num_steps)
    runs = tuple(row["run"] for row in facts["runs"])
    return RunGroup(path.parent, runs, configs, facts["max_parallel_runs"], facts["most_steps"])


def _check_length(workdir: Path, folder: Path, num_steps: int) -> None:
    """Refuse fewer updates than are done."""
    done = max(checkpoint.steps(folder), default=0)
    if done > num_steps:
        raise InputError(
            f"--num_steps={num_steps}: --workdir={workdir} already holds {done} updates; "
            "give at least that many, or another --workdir"
        )


def _unwanted(workdir: Path, there: Identity, wanted: list[Identity]) -> str:
    """Return the error of a run that is not wanted: its differences to the nearest that is."""
    nearest = min(wanted, key=lambda flags: len(flags.items() ^ there.items()))
    names = [name for name in there | nearest if there.get(name) != nearest.get(name)]
    differences = "; ".join(
        f"{name}={there.get(name, '(none)')} there but {nearest.get(name, '(none)')} now"
        for name in names
    )
    return (
        f"--workdir={workdir}: holds a run with other flags ({differences}); "
        "give another --workdir, or a --sweep that keeps what is there"
    )
