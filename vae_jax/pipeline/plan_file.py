"""The plan of a study on the disk: which runs it has, under which numbers, in which groups.

``checkpoints/plan.json`` holds the whole plan and is replaced in one step, before any of its runs
is trained, so a kill leaves a study without a plan or with all of it. Each group's folder holds its
part again, ``checkpoints/NUMBER/group.json``. Of two copies one may be damaged: it is written anew
from the other. A group is lost where both are.

What is read is checked before it is used, also where its checksum fits, because a checksum holds no
secret: run numbers are 0, 1, ..., each once, and folders are numbers.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vae_jax.pipeline.workdir import (
    CHECKPOINTS,
    GROUP_FILE,
    METRICS_FILE,
    PLAN_FILE,
    RESULTS_TABLE,
)
from vae_jax.runtime import checksums, files
from vae_jax.runtime.checksums import DamagedError
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint

_NUMBER = re.compile(r"[0-9]{3,}")

Identity = dict[str, str]
"""Facts of a run that decide what is trained, as text."""


@dataclass(frozen=True)
class GroupRecord:
    """Part of a plan: runs that one program trains.

    Attributes:
        name: name of the group's folder, its number.
        runs: numbers of the runs in the study.
        identities: identity of each run.
        max_parallel_runs: number of runs that advance together.
        most_steps: bound on the updates of a chunk; None until it is measured.
        shapes: what the model takes from the data, in the types of JSON.
    """

    name: str
    runs: tuple[int, ...]
    identities: tuple[Identity, ...]
    max_parallel_runs: int
    most_steps: int | None = None
    shapes: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the record in the types of JSON; what all runs share is written once."""
        common = dict(set.intersection(*(set(own.items()) for own in self.identities)))
        runs = [
            {
                "run": run,
                "flags": {name: own[name] for name in own if own[name] != common.get(name)},
            }
            for run, own in zip(self.runs, self.identities, strict=True)
        ]
        numbers = {"max_parallel_runs": self.max_parallel_runs, "most_steps": self.most_steps}
        shapes = {"shapes": self.shapes}
        return {"flags": dict(sorted(common.items())), "runs": runs, **numbers, **shapes}

    @classmethod
    def from_json(cls, name: str, facts: Any) -> "GroupRecord":
        """Return the record that :meth:`as_json` wrote.

        Raises:
            DamagedError: it is none.
        """
        try:
            common, rows = facts["flags"], facts["runs"]
            runs = tuple(row["run"] for row in rows)
            identities = tuple({**common, **row["flags"]} for row in rows)
            numbers = facts["max_parallel_runs"], facts["most_steps"]
            shapes = dict(facts.get("shapes", {}))
        except (KeyError, TypeError, AttributeError, ValueError):
            raise DamagedError(f"group {name} is not what was written") from None
        texts = [text for own in identities for pair in own.items() for text in pair]
        is_sound = (
            bool(runs)
            and _NUMBER.fullmatch(name) is not None
            and all(type(run) is int and run >= 0 for run in runs)
            and all(isinstance(text, str) for text in texts)
            and type(numbers[0]) is int
            and numbers[0] > 0
            and (numbers[1] is None or (type(numbers[1]) is int and numbers[1] > 0))
        )
        if not is_sound:
            raise DamagedError(f"group {name} is not what was written")
        return cls(name, runs, identities, *numbers, shapes)

    def fingerprint(self, study: str) -> str:
        """Return a text that two groups share exactly if they are the same runs of one study."""
        runs = list(zip(self.runs, self.identities, strict=True))
        return checksums.with_checksum({"study": study, "runs": runs})["digest"]


@dataclass(frozen=True)
class Plan:
    """Runs of a study in groups.

    Attributes:
        study: text that no other study has; checkpoints carry it with their runs, so none of
            another study is used.
        groups: its groups, in the order of their numbers.
        lost: names of folders whose group cannot be read, with the reason of each.
        notes: sentences on what was mended.
    """

    study: str = ""
    groups: tuple[GroupRecord, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def new(cls) -> "Plan":
        """Return the plan of a new study, without runs."""
        return cls(uuid.uuid4().hex)

    def with_groups(self, more: Iterable[GroupRecord]) -> "Plan":
        """Return the plan with further groups."""
        return replace(self, groups=(*self.groups, *more))

    @property
    def runs(self) -> list[int]:
        """Numbers of all runs, ascending."""
        return sorted(run for group in self.groups for run in group.runs)


def read(workdir: Path) -> Plan | None:
    """Return the plan of a workdir; None where it has none yet.

    Raises:
        InputError: it was written in another format.
    """
    folder, names = workdir / CHECKPOINTS, folders(workdir)
    try:
        plan = _checked(_read_plan(workdir, folder / PLAN_FILE))
    except DamagedError as error:
        problem = str(error)
    else:
        return _with_copies(workdir, plan)
    copies, lost = _read_copies(workdir, names)
    is_used = any((workdir / name).exists() for name in (METRICS_FILE, RESULTS_TABLE))
    if not copies and not lost and not is_used and not (folder / PLAN_FILE).exists():
        return None
    return _from_copies(problem, copies, lost)


def folders(workdir: Path) -> list[str]:
    """Return the names of the folders of groups that a workdir has, whether its plan knows them.

    What a process leaves there that writes after its workdir was removed is no group.
    """
    return sorted(path.name for path in _numbered_folders(workdir / CHECKPOINTS))


def _numbered_folders(folder: Path) -> list[Path]:
    """Return the folders of groups; one without a record and a finished checkpoint is none."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()]
    is_unfinished = checkpoint.is_unfinished
    return [path for path in found if not all(is_unfinished(e.name) for e in path.iterdir())]


def _read_plan(workdir: Path, path: Path) -> Plan:
    facts = _facts(workdir, path)
    study, groups = facts.get("study"), facts.get("groups")
    if not isinstance(study, str) or not study or not isinstance(groups, Mapping):
        raise DamagedError(f"{path.name} is not what was written")
    return Plan(study, tuple(GroupRecord.from_json(*group) for group in sorted(groups.items())))


def _facts(workdir: Path, path: Path) -> dict[str, Any]:
    """Return the content of a file whose checksum and format fit."""
    facts = checksums.read(path)
    if facts.get("format") != checkpoint.FORMAT:
        raise InputError(
            f"workdir={workdir}: holds format {facts.get('format')}, written by "
            f"{facts.get('written_by')}, where this version writes and reads {checkpoint.FORMAT}; "
            "use that version, or give another workdir"
        )
    return facts


def _checked(plan: Plan) -> Plan:
    """Return a plan whose runs have the numbers 0, 1, ..., each once.

    Raises:
        DamagedError: they have not.
    """
    if not plan.groups or plan.runs != list(range(len(plan.runs))):
        raise DamagedError(f"{PLAN_FILE} does not number its runs from 0 on, each once")
    return plan


def _read_copy(workdir: Path, name: str) -> tuple[str, GroupRecord]:
    """Return the study and the record of a group from its own folder."""
    facts = _facts(workdir, workdir / CHECKPOINTS / name / GROUP_FILE)
    return str(facts.get("study")), GroupRecord.from_json(name, facts)


def _with_copies(workdir: Path, plan: Plan) -> Plan:
    """Return a sound plan with what the copies of its groups know beyond it."""
    groups, notes = [], []
    for group in plan.groups:
        own = group
        try:
            study, copy = _read_copy(workdir, group.name)
            is_same = copy.fingerprint(study) == group.fingerprint(plan.study)
            if is_same and group.most_steps is None:
                own = copy
        except DamagedError:
            path = Path(CHECKPOINTS, group.name, GROUP_FILE)
            if (workdir / path).exists():
                notes.append(f"{path} is damaged; it is written anew from {PLAN_FILE}")
        groups.append(own)
    return replace(plan, groups=tuple(groups), notes=tuple(notes))


def _read_copies(
    workdir: Path, names: Sequence[str]
) -> tuple[dict[str, tuple[str, GroupRecord]], dict[str, str]]:
    """Return study and record of each group that can be read, and why the others cannot."""
    copies, lost = {}, {}
    for name in names:
        try:
            copies[name] = _read_copy(workdir, name)
        except DamagedError as error:
            damage = "missing" if "missing" in str(error) else "damaged"
            lost[name] = f"{CHECKPOINTS}/{name}/{GROUP_FILE} is {damage}"
    return copies, lost


def _from_copies(
    problem: str, copies: Mapping[str, tuple[str, GroupRecord]], lost: dict[str, str]
) -> Plan:
    """Return the plan that the groups' own folders give where the plan itself is damaged.

    Groups that cannot belong to one study are lost: those of another study than the first, and
    those with a number that another has.
    """
    study = next(iter(copies.values()))[0] if copies else Plan.new().study
    counts = Counter(run for _, group in copies.values() for run in group.runs)
    groups = []
    for name, (own_study, group) in copies.items():
        if own_study != study or any(counts[run] > 1 for run in group.runs):
            lost[name] = f"{CHECKPOINTS}/{name} has runs of another group or study"
        else:
            groups.append(group)
    plan = Plan(study, tuple(groups))
    if not lost and plan.runs != list(range(len(plan.runs))):
        lost[PLAN_FILE] = f"{CHECKPOINTS}/{PLAN_FILE} is missing or damaged, and runs with it"
    if not lost and not groups:
        lost[PLAN_FILE] = f"{CHECKPOINTS} is missing"
    notes = (f"{CHECKPOINTS}/{problem}; written anew from the groups",)
    return replace(plan, lost=tuple(lost.items()), notes=() if lost else notes)


def write(workdir: Path, plan: Plan) -> None:
    """Write a plan in one step, then the copies of its groups, where they are not there already.

    Raises:
        DamagedError: its runs are not numbered from 0 on.
    """
    folder = workdir / CHECKPOINTS
    groups = {group.name: group.as_json() for group in _checked(plan).groups}
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_written(folder / PLAN_FILE, plan.study, {"groups": groups}):
        _write(folder / PLAN_FILE, plan.study, {"groups": groups})
    for name, facts in groups.items():
        path = folder / name / GROUP_FILE
        if not _is_written(path, plan.study, facts):
            (folder / name).mkdir(exist_ok=True)
            _write(path, plan.study, facts)


def _write(path: Path, study: str, facts: Mapping[str, Any]) -> None:
    head = {"format": checkpoint.FORMAT, "written_by": checkpoint.WRITER, "study": study}
    files.write_json(path, checksums.with_checksum({**head, **facts}))


def _is_written(path: Path, study: str, facts: Mapping[str, Any]) -> bool:
    try:
        found = checksums.read(path)
    except DamagedError:
        return False
    return found.get("study") == study and json.dumps(facts, sort_keys=True) == json.dumps(
        {name: found.get(name) for name in facts}, sort_keys=True
    )


def settle_most_steps(workdir: Path, name: str, most_steps: int) -> None:
    """Record the bound on the chunks of a group, in the plan and in the group's copy.

    Args:
        workdir: folder of the study.
        name: name of the group.
        most_steps: updates of the longest chunk.
    """
    plan = read(workdir)
    if plan is not None and not plan.lost:
        groups = (
            replace(group, most_steps=most_steps) if group.name == name else group
            for group in plan.groups
        )
        write(workdir, replace(plan, groups=tuple(groups)))


def set_aside(workdir: Path, plan: Plan) -> Plan:
    """Rename the folders of lost groups, whose files stay, and return the plan without them."""
    for name, _ in plan.lost:
        path = workdir / CHECKPOINTS / name
        if path.exists():
            path.rename(checkpoint.unused(path.with_name(f"{name}.damaged")))
    return replace(plan, lost=())
