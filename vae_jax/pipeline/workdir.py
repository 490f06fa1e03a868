"""The workdir of a run: names of its files, the flags that describe it, errors of its disk.

A workdir belongs to this project alone. A folder that holds other files is refused, at its first
start and at every later one, and nothing is deleted or replaced but what was written here
(:func:`refuse_foreign`).
"""

import contextlib
import errno
import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_jax.config.flags import Config
from vae_jax.config.sweeps import as_lines, runs_as_lines
from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint

FLAGS_FILE = "flags.txt"
RUNS_FILE = "runs.txt"
"""Name of the file that stands for :data:`FLAGS_FILE` where no command line gives the runs."""
METRICS_FILE = "metrics.jsonl"
RESULTS_TABLE = "results.csv"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"
EXPLORER_FILE = "explorer.html"
FIGURES = "figures"
EVALUATIONS = "evaluations"
EXPORTS = "exports"
ORIGIN_FILE = "init_from.json"
"""Name of the record of where the weights came from that the runs began with."""
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
PLAN_FILE = "plan.json"
"""Name of the plan of a study, in :data:`CHECKPOINTS`."""
STUDY_FILE = "study.json"
"""Name of the file with a study's identifier, in :data:`CHECKPOINTS`."""
GROUP_FILE = "group.json"
"""Name of a group's part of the plan, in the group's folder of checkpoints."""
CONTENTS = (
    *(CHECKPOINTS, METRICS_FILE, TENSORBOARD, RESULTS_TABLE, RESULTS_FILE, REPORT_FILE),
    *(EXPLORER_FILE, EVALUATIONS, EXPORTS, FIGURES, FLAGS_FILE, RUNS_FILE, ORIGIN_FILE),
)
"""Names of what a run leaves in its workdir, beside hidden files."""

_OF_DISKS = ("lost+found", "Thumbs.db", "desktop.ini")
_ONE_OFF = {
    **{"restart": False, "debug_nans": False, "distributed": False},
    **{"coordinator": "", "num_processes": 0, "process_id": 0},
}
_NOT_COMPARED = ("--workdir=", *(f"--{name}=" for name in _ONE_OFF))
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refuse_foreign(workdir: Path) -> None:
    """Refuse a folder that holds anything that is not a run's own.

    In a workdir these are the names that a run does not leave in it. What makes a folder a workdir
    is a file that only this project writes: a plan, the record of a group, or flags; in any other
    folder all files are foreign, whatever they are called. Hidden files count as nobody's, and so
    does what file systems and file managers leave in any folder. What lies within a run's own
    folders, as a further picture among the figures, is no reason to stop it, and stays.

    Args:
        workdir: folder that may not exist.

    Raises:
        InputError: the folder holds what belongs to others, or a link, a pipe or a device.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(workdir))
    except OSError:  # none, or one that cannot be read, which is reported when it is written
        return
    is_known = is_ours(workdir)
    present = [name for name in names if not name.startswith(".") and name not in _OF_DISKS]
    foreign = [
        name
        for name in present
        if name not in CONTENTS or (not is_known and _holds_files(workdir / name))
    ]
    if foreign and is_known:
        raise InputError(
            f"workdir={workdir}: holds {_listed(foreign)} beside the files of its runs, to which "
            "it belongs alone; move that elsewhere and start the same command again"
        )
    if foreign:
        raise InputError(
            f"workdir={workdir}: is no folder of vae_jax and holds {_listed(foreign)}; give a new "
            "or an empty folder"
        )
    for path in _own_paths(workdir, names):
        raise InputError(
            f"workdir={workdir}: {path.relative_to(workdir)} is a link, or no file and no "
            "folder; put a copy of what it leads to there (cp -rL), or give another workdir"
        )


def refuse_name(workdir: Path) -> None:
    """Refuse a folder whose whole path is not UTF-8, which the library of checkpoints cannot open.

    Raises:
        InputError: one of the folders above it has such a name.
    """
    path = os.path.abspath(workdir)
    if files.encoded(path) != os.fsencode(path):
        raise InputError(
            f"workdir={workdir}: lies in {files.encoded(path).decode()}, whose name is not UTF-8; "
            "rename that folder, or give a workdir elsewhere"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def is_ours(workdir: Path) -> bool:
    """Return whether a folder has a file that only this project writes."""
    checkpoints = workdir / CHECKPOINTS
    try:
        if any(checkpoints.glob(PLAN_FILE)) or any(checkpoints.glob(f"[0-9]*/{GROUP_FILE}")):
            return True
        lines = files.read_text(workdir / FLAGS_FILE, 2**16).splitlines()
    except OSError:
        return False
    starts = ("--workdir=", "--dataset=", "--num_steps=")
    return all(any(line.startswith(start) for line in lines) for start in starts)


def _holds_files(path: Path) -> bool:
    """Return whether a path is a file, a link or a folder with more in it than folders.

    What a checkpoint that is being written leaves does not count: a process whose workdir was
    removed may still have put it there.
    """
    if path.is_symlink() or not path.is_dir():
        return True
    files = (each for each in path.rglob("[!.]*") if not each.is_dir() or each.is_symlink())
    return any(
        not any(checkpoint.is_unfinished(parent.name) for parent in f.parents) for f in files
    )


def _own_paths(workdir: Path, names: list[str]) -> Iterator[Path]:
    """Yield what is neither file nor folder among the names that a run writes, and below them."""
    hidden = re.compile(r"\.(lock.*|.*\.tmp)")
    folders = []
    for name in names:
        if name in CONTENTS or hidden.fullmatch(name):
            folders.append(workdir / name)
    while folders:
        path = folders.pop()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield path
        elif path.is_dir():
            folders += [
                Path(entry.path)
                for entry in os.scandir(path)
                if not entry.is_file(follow_symlinks=False)
            ]


def make(workdir: Path) -> None:
    """Create the folder unless it exists.

    Raises:
        InputError: the folder cannot be created or written.
    """
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK):
        raise InputError(f"workdir={workdir}: cannot be written; give another workdir")


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Turn a refusal of the file system to write into an error that the user can mend.

    Raises:
        InputError: in place of an ``OSError`` that an operation gives, of whatever number: disks
            are full, read-only, broken or gone, and a process may have too many open files.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        is_full = error.errno in _FULL
        remedy = "free some space" if is_full else "mend that or give another workdir"
        raise InputError(
            f"workdir={workdir}: cannot be written ({files.reason(error)}); {remedy}, then "
            "start the same command again: what was saved before is whole"
        ) from None


def write_flags(workdir: Path, config: Config) -> None:
    """Write ``flags.txt``, the flags that repeat the run or study."""
    lines = as_lines(config.replace(**_ONE_OFF))
    files.write_text(workdir / FLAGS_FILE, "\n".join(lines) + "\n")


def new_study_id() -> str:
    """Return an identifier for a study, drawn at random: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def study_id(workdir: Path) -> str:
    """Return the identifier of a study, which is drawn when it is first asked for and then kept.

    A copy of a workdir has the same. One that cannot be read is drawn anew.
    """
    found = read_study_id(workdir) or new_study_id()
    if not read_study_id(workdir):
        write_study_id(workdir, found)
    return found


def read_study_id(workdir: Path) -> str:
    """Return the identifier of a study, "" where it has none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(files.read_bytes(workdir / CHECKPOINTS / STUDY_FILE))["id"]
        return found if re.fullmatch(r"[0-9a-f]{12}", found) else ""
    return ""


def write_study_id(workdir: Path, study_id: str) -> None:
    """Write the identifier of a study."""
    files.write_json(workdir / CHECKPOINTS / STUDY_FILE, {"id": study_id})


def read_origin(workdir: Path) -> dict[str, Any]:
    """Return what a workdir holds of the origin of its weights; nothing where there is none.

    A file that is damaged counts as none.
    """
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(files.read_bytes(workdir / ORIGIN_FILE))
        return found if is_origin(found) else {}
    return {}


def is_origin(found: Any) -> bool:
    """Return whether an object of JSON is a record of where weights came from.

    Example:
        >>> is_origin({"given": "runs/a", "weights": "crc32 01"}), is_origin({"given": "runs/a"})
        (True, False)
    """
    texts, numbers = ["given", "weights"], []
    if isinstance(found, dict) and "run" in found:
        texts, numbers = [*texts, "checksum"], ["run", "step"]
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(name), str) for name in texts)
        and all(type(found.get(name)) is int for name in numbers)
    )


def write_runs(workdir: Path, configs: Sequence[Config]) -> None:
    """Write ``runs.txt``, the settings of runs that no command line gives."""
    lines = runs_as_lines([config.replace(**_ONE_OFF) for config in configs])
    files.write_text(workdir / RUNS_FILE, "\n".join(lines) + "\n")


def changes(workdir: Path, config: Config) -> list[str]:
    """Return the flags that differ from those of the last start, as ``num_steps 8 -> 12``."""
    path = workdir / FLAGS_FILE
    if not path.exists():
        return []
    old = _values(files.read_text(path).splitlines())
    new = _values(as_lines(config))
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return [f"{n} {old.get(n, '(none)')} -> {new.get(n, '(none)')}" for n in names]


def _values(lines: list[str]) -> dict[str, str]:
    """Return the value of each flag as text; the values of a repeated ``--sweep`` are joined."""
    values: dict[str, str] = {}
    for line in lines:
        name, _, text = line.removeprefix("--").partition("=")
        if not line.startswith(_NOT_COMPARED):
            values[name] = f"{values[name]} {text}" if name in values else text
    return values
