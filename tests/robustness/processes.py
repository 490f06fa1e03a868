"""Real processes of ``run.py`` on a study small enough to be killed often, and their results."""

import atexit
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parent.parent.parent
_MAIN = """
import signal, sys
sys.modules["torch"] = None  # tensorboardX imports it where it is installed: seconds for nothing
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if started in the background
from vae_jax.cli import main
sys.exit(main(sys.argv[1:]))
"""
_PROGRAMS = tempfile.mkdtemp()  # of this session: kills cut short what is written there
atexit.register(shutil.rmtree, _PROGRAMS, ignore_errors=True)
# Those of the tests are read from there; `soak`, which is no test, has none.
for _program in Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", _PROGRAMS)).glob("*"):
    with contextlib.suppress(FileExistsError):
        (Path(_PROGRAMS) / _program.name).symlink_to(_program.resolve())
ENVIRONMENT = os.environ | {
    "JAX_COMPILATION_CACHE_DIR": _PROGRAMS,
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}


class Process:
    """Running command line, whose output is collected while it runs."""

    def __init__(self, argv: list[str], **environment: str):
        self._popen = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *argv],
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stream:
            for line in stream:
                self.lines.append(line)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait_for(self, text: str, seconds: float = 120.0) -> None:
        """Return when the text was printed."""
        end = time.monotonic() + seconds
        while text not in self.output:
            if time.monotonic() > end or not self.is_running:
                raise AssertionError(f"no {text!r} in {self.output!r}")
            time.sleep(0.005)

    def send(self, signum: int) -> None:
        self._popen.send_signal(signum)

    def wait(self, seconds: float = 120.0) -> int:
        """Return the exit status when all output is collected; kill a process that hangs."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            raise
        finally:
            self._reader.join(5.0)
        return status


def save_images(path: Path, num_train: int = 64) -> Path:
    """Save a data set of 4x5 pixels and return its path."""
    rng = np.random.default_rng(0)
    splits = {"x_train": num_train, "x_valid": 8, "x_test": 16}
    arrays = {name: rng.integers(0, 256, (count, 4, 5), np.uint8) for name, count in splits.items()}
    np.savez(path, **arrays)
    return path


def what_is_left(workdir: Path, num_groups: int = 1) -> dict[str, list]:
    """Return final arrays, table and metrics of a finished study, without their times."""
    table = list(csv.DictReader((workdir / "results.csv").read_text().splitlines()))
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {
        "arrays": [final_arrays(workdir, number) for number in range(num_groups)],
        "results.csv": [_without_seconds(row) for row in table],
        "metrics.jsonl": [_without_seconds(json.loads(line)) for line in lines],
    }


def final_arrays(workdir: Path, group: int = 0) -> list[list]:
    """Return all numbers of the newest checkpoint, in lists that compare to the last bit."""
    folder = workdir / "checkpoints" / f"{group:03d}"
    step = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        state = reader.restore((folder / str(step) / "state").absolute())
    return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(state)]


def _without_seconds(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "seconds"}
