"""The runs of a workdir, in groups that are trained by one compiled program each.

Runs that differ only in hyperparameters that are arrays share a group; any other difference starts
another. All groups are recorded in the plan of the study (:mod:`vae_jax.pipeline.plan_file`) before
any is trained, and a group never changes: a study that grows gets further groups, and its old runs
keep numbers and results.
"""

import dataclasses
import itertools
import json
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import rng
from vae_jax.config import build
from vae_jax.config.flags import FLAGS, Config, as_text
from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS
from vae_jax.hparams import HParams
from vae_jax.models.latents import padded_width
from vae_jax.pipeline import plan_file
from vae_jax.pipeline.plan_file import GroupRecord, Identity, Plan
from vae_jax.pipeline.workdir import CHECKPOINTS
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.mesh import Devices
from vae_jax.runtime.progress import phase
from vae_jax.training import checkpoint, memory
from vae_jax.training.selection import BEST
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout

CHUNK_SECONDS = 10.0
"""Longest chunk: signals are obeyed between chunks, and a preempted machine leaves 30 seconds."""

_PLACES = ("dataset", "num_valid", "init_from")
"""Flags that say where data and weights are found and how data are cut, of which the content is the
proof."""
_RANDOM_BITS = "random_bits"
WEIGHTS = "init_weights"
"""Name of the checksum of weights from another run, among the facts that decide about a run."""
FACTS = ("data", WEIGHTS)
"""Names of the facts of a run that are no flags."""
_NOT_READ = ("record", "class_names")
"""Fields of a data set that name and describe it."""
_MOST_WRITTEN = 1000  # numbers of an array that NumPy writes out


@dataclass(frozen=True)
class RunGroup:
    """Runs trained by one program.

    Attributes:
        folder: folder of its checkpoints.
        runs: numbers of the runs in the study.
        configs: flags of each run.
        max_parallel_runs: number of runs that advance together, fixed for the group.
        fingerprint: text by which checkpoints of these runs are known.
        most_steps: bound on the updates of a chunk, measured at the first start and then fixed;
            None before it.
        data: content of the data that the runs are trained on, see :func:`facts_of`: one checksum
            a start, on which evaluations and exports depend too.
    """

    folder: Path
    runs: tuple[int, ...]
    configs: tuple[Config, ...]
    max_parallel_runs: int
    fingerprint: str = ""
    most_steps: int | None = None
    data: str = ""

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
    workdir: Path,
    configs: list[Config],
    dataset: Dataset,
    max_parallel_runs: int,
    *,
    further: Identity | None = None,
    check: Callable[[TrainSpec], object] = lambda spec: None,
    may_restart: bool = False,
) -> list[RunGroup]:
    """Return groups that hold exactly the given runs: those of the workdir first, then new ones.

    The plan of all of them is on the disk when this returns.

    Args:
        workdir: folder of the study; new groups are recorded in it.
        configs: flags of each run.
        dataset: data that the runs are trained on.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.
        further: what decides about a run beside flags and data: weights that it starts from.
        check: raises where the program of new runs cannot start from them.
        may_restart: whether lost runs may be trained anew; what is whole is kept all the same.

    Raises:
        InputError: the workdir holds runs that are not among the given ones.
        LostError: the record of a group cannot be read, and lost runs may not be trained anew.
    """
    known = _known_plan(workdir, may_restart=may_restart)
    with phase("checksums of the data"):
        facts = facts_of(dataset) | (further or {})
    wanted = {_key(identity(config, facts)): config for config in configs}
    old = [_restored(workdir, known.study, record, wanted, facts) for record in known.groups]
    held = {_key(own) for record in known.groups for own in record.identities}
    fresh = [config for key, config in wanted.items() if key not in held]
    new = _grouped(workdir, known, fresh, max_parallel_runs, dataset)
    for group in new:
        check(group.spec(dataset))
    records = [_record(group, facts, dataset) for group in new]
    new = [
        dataclasses.replace(group, fingerprint=record.fingerprint(known.study))
        for group, record in zip(new, records, strict=True)
    ]
    whole = known.with_groups(records)
    if whole.runs != list(range(len(whole.runs))):
        raise LostError(
            f"--workdir={workdir}: runs are lost that are not among those given now; give the "
            "--sweep that made them, or another --workdir"
        )
    plan_file.write(workdir, plan_file.set_aside(workdir, whole))
    return [dataclasses.replace(group, data=facts["data"]) for group in (*old, *new)]


def _known_plan(workdir: Path, *, may_restart: bool) -> Plan:
    """Return the plan of the workdir, or of a new study; what is lost is reported."""
    known = plan_file.read(workdir) or Plan.new()
    if known.lost and not may_restart:
        raise LostError(_lost(workdir, "; ".join(reason for _, reason in known.lost)))
    for line in (*known.notes, *(f"{reason}; training its runs anew" for _, reason in known.lost)):
        print(f"NOTE: {line}")
    return known


class Recorded(NamedTuple):
    """Group as the plan of a workdir has it, without the flags of a start and without the data.

    Attributes:
        folder: folder of its checkpoints.
        runs: numbers of the runs in the study.
        flags: flags of each run that decide what is trained, as text, with the data's checksum.
        shapes: shape of x and number of classes, see :func:`_shapes`.
        data: fingerprint of the data, see :func:`fingerprint_of`.
    """

    folder: Path
    runs: tuple[int, ...]
    flags: tuple[Identity, ...]
    shapes: dict[str, Any]
    data: str = ""


def recorded(workdir: Path) -> list[Recorded]:
    """Return the groups that a workdir holds; nothing is written.

    Raises:
        InputError: the folder holds runs of another format.
        LostError: the record of a group cannot be read.
    """
    known = plan_file.read(workdir) or Plan.new()
    if known.lost:
        reasons = "; ".join(reason for _, reason in known.lost)
        raise LostError(
            setting="workdir",
            value=workdir,
            problem=f"{reasons}, so its runs cannot be opened",
            advice="restore it from a copy",
        )
    return [
        Recorded(
            *(workdir / CHECKPOINTS / own.name, own.runs, _flags(own), own.shapes),
            str(own.identities[0].get("data", "")),
        )
        for own in known.groups
    ]


def _flags(record: GroupRecord) -> tuple[Identity, ...]:
    """Return the flags of each run of a record, and the checksum of the data."""
    return tuple(
        {name: text for name, text in own.items() if name != _RANDOM_BITS}
        for own in record.identities
    )


def record(
    workdir: Path, groups: Sequence[RunGroup], dataset: Dataset, further: Identity
) -> list[RunGroup]:
    """Write the plan of a new study that holds these groups, and return them with its marks.

    Args:
        workdir: folder of the study.
        groups: its groups; their folders are those of the workdir.
        dataset: data that the runs were trained on.
        further: further facts that decide about the runs.
    """
    facts, plan = facts_of(dataset) | further, Plan.new()
    records = [_record(group, facts, dataset) for group in groups]
    plan_file.write(workdir, plan.with_groups(records))
    return [
        dataclasses.replace(group, fingerprint=own.fingerprint(plan.study))
        for group, own in zip(groups, records, strict=True)
    ]


def _shapes(dataset: Dataset) -> dict[str, Any]:
    """Return what the model takes from the data, so that it can be opened without them."""
    shape, encoding = list(dataset.event_shape), dataset.encoding
    return {"event_shape": shape, "encoding": encoding, "num_classes": dataset.num_classes}


def identity(config: Config, facts: Identity) -> Identity:
    """Return the facts that two runs share exactly if they are the same run.

    Args:
        config: flags of the run.
        facts: what decides beside the flags, see :func:`facts_of`.
    """
    flags = as_flags(config)
    deciding = {name for name, flag in config.flags.items() if flag.changes_run}
    if config.schedule != "constant":
        deciding.add("num_steps")
    if config.keep == BEST or config.patience:
        deciding.add("eval_every")
    return {name: flags[name] for name in flags if name in deciding} | facts


def facts_of(dataset: Dataset) -> Identity:
    """Return what decides about a run beside its flags: the data, and the source of random bits.

    The data are their content, wherever they lie and whatever they are called.
    """
    return {"data": fingerprint_of(dataset), _RANDOM_BITS: rng.fingerprint()}


def fingerprint_of(dataset: Dataset) -> str:
    """Return sizes and checksum of all that training or evaluation reads of the data."""
    checksum = 0
    for field in dataclasses.fields(dataset):
        value = getattr(dataset, field.name)
        if field.name in _NOT_READ or value is None:
            continue
        is_array = isinstance(value, np.ndarray)
        content = f"{value.dtype.str}{value.shape}" if is_array else _repr(value)
        checksum = zlib.crc32(f"{field.name} {content}".encode(), checksum)
        parts = value if isinstance(value, tuple) else ()
        whole = [value] if is_array else [own for own in parts if np.size(own) > _MOST_WRITTEN]
        for array in whole:
            checksum = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, checksum)
    sizes = ", ".join(f"{len(getattr(dataset, split))} {split}" for split in SPLITS)
    return f"{sizes}, crc32 {checksum:08x}"


def _repr(value: object) -> str:
    """Return ``repr`` with arrays as NumPy writes them by itself, not as a notebook has set it."""
    options: dict[str, Any] = {"precision": 8, "floatmode": "maxprec", "sign": "-"}
    options |= {"edgeitems": 3, "threshold": _MOST_WRITTEN, "linewidth": 75, "suppress": False}
    options |= {"nanstr": "nan", "infstr": "inf", "formatter": None, "legacy": False}
    with np.printoptions(**options):
        return repr(value)


def _key(identity: Identity) -> str:
    """Return the text by which runs are compared: not where the data lie, but what they are.

    A flag at its default counts as not given, so that a run begun before a flag existed is the same
    run after it.
    """
    own = {n: v for n, v in identity.items() if n not in _PLACES and v != _default(n)}
    return json.dumps(own, sort_keys=True)


def _default(name: str) -> str | None:
    """Return the text of a flag's default, None for what is no flag of the package."""
    return as_text(FLAGS[name].default) if name in FLAGS else None


def _grouped(
    workdir: Path, known: Plan, configs: list[Config], max_parallel_runs: int, dataset: Dataset
) -> list[RunGroup]:
    """Return new groups of runs that share a program, in the order of their first run.

    Runs and groups get the smallest numbers that are free.
    """
    taken = set(known.runs)
    numbers = (run for run in itertools.count() if run not in taken)
    members: dict[str, list[tuple[int, Config]]] = {}
    for run, config in zip(numbers, configs, strict=False):
        flags = identity(config, {})
        program = _key(
            {n: v for n, v in flags.items() if n not in config.arrays} | _structure(config)
        )
        members.setdefault(program, []).append((run, config))
    # A folder that the plan does not know may hold checkpoints of another study. Those of lost
    # groups are renamed before anything is written.
    held = {record.name for record in known.groups} | set(plan_file.folders(workdir))
    held -= {name for name, _ in known.lost}
    names = (name for i in itertools.count() if (name := f"{i:03d}") not in held)
    groups = []
    for name, rows in zip(names, members.values(), strict=False):
        runs, own = zip(*rows, strict=True)
        group = RunGroup(workdir / CHECKPOINTS / name, runs, own, max_parallel_runs)
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
    run alone to the last bit, so do the width of z and the parts of the optimizer: in a wider z the
    products sum in another order, and beside a norm of the gradient XLA rounds its moments
    differently.
    """
    penalties = sorted(type(penalty).__name__ for penalty in build.regularizers(config))
    layers = "2" if config.top_latent_size else "1"
    parts = {"(penalties)": ",".join(penalties), "(stochastic layers)": layers}
    if jax.default_backend() != "cpu":
        return parts
    widths = padded_width(config.latent_size), padded_width(config.top_latent_size)
    of_update = build.chosen("optimizer", config).parts_for(vars(config))
    switches = *of_update.values(), config.ema > 0, config.patience > 0
    return parts | {"(widths)": as_text(widths), "(parts of the update)": as_text(switches)}


def _record(group: RunGroup, facts: Identity, dataset: Dataset) -> GroupRecord:
    """Return what the plan holds of a group."""
    runs = tuple(int(run) for run in group.runs)
    identities = tuple(identity(config, facts) for config in group.configs)
    numbers = group.max_parallel_runs, group.most_steps
    return GroupRecord(group.folder.name, runs, identities, *numbers, _shapes(dataset))


def settle_most_steps(group: RunGroup, seconds_per_step: float) -> int:
    """Return the bound on a chunk: the largest power of two within :data:`CHUNK_SECONDS`.

    It is recorded with the group, because the intervals of a run must not depend on how fast the
    machine was at each start.
    """
    affordable = CHUNK_SECONDS / max(seconds_per_step, 1e-9)
    most_steps = 2 ** min(30, max(0, math.floor(math.log2(affordable))))
    plan_file.settle_most_steps(group.folder.parent.parent, group.folder.name, most_steps)
    return most_steps


def _lost(workdir: Path, problem: str) -> str:
    """Return the error of a workdir whose groups cannot be read."""
    return (
        f"--workdir={workdir}: {problem}, so its runs cannot go on; restore it from a copy, or "
        "give --restart to train what is lost anew"
    )


def _restored(
    workdir: Path, study: str, record: GroupRecord, wanted: dict[str, Config], facts: Identity
) -> RunGroup:
    """Return a recorded group with the flags of this start.

    Raises:
        InputError: it has a run that is not wanted, or more updates than are wanted.
    """
    keys = [_key(own) for own in record.identities]
    for key, own in zip(keys, record.identities, strict=True):
        if key not in wanted:
            now = [identity(config, facts) for config in wanted.values()]
            raise InputError(_unwanted(workdir, own, now))
    configs = tuple(wanted[key] for key in keys)
    folder = workdir / CHECKPOINTS / record.name
    _check_length(workdir, folder, configs[0].num_steps)
    fingerprint = record.fingerprint(study)
    return RunGroup(
        *(folder, record.runs, configs, record.max_parallel_runs, fingerprint, record.most_steps)
    )


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
    if there.get("data") == nearest.get("data"):  # the same data may lie elsewhere
        names = [name for name in names if name not in _PLACES]
    differences = "; ".join(
        f"{name}={there.get(name, '(none)')} there but {nearest.get(name, '(none)')} now"
        for name in names
    )
    return (
        f"--workdir={workdir}: holds a run with other flags ({differences}); "
        "give another --workdir, or a --sweep that keeps what is there"
    )
