"""What the TPU's compiler makes of the programs, in a process of its own, without a TPU."""

import csv
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tpu_compile.py"

with_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu; `pip install 'libtpu==0.0.42.*'` beside jax 0.10.2 brings it",
)


def test_the_programs_are_known_without_the_compiler(monkeypatch):
    """The tests below are skipped on most machines."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    with mock.patch.dict(os.environ):
        module = importlib.import_module("tpu_compile")
    programs = {name: module.training(name, own, 1) for name, own in module.TRAININGS.items()}
    runs = {name: program.num_runs for name, program in programs.items()}
    assert runs == {"mlp": 1, "study": 48, "conv": 16}


@pytest.fixture(scope="module")
def compiled():
    """Rows of the benchmark's table by part, chips and runs."""

    def run(*flags: str) -> list[dict[str, str]]:
        # The tests' own flags for XLA are meant for a CPU.
        own = {name: value for name, value in os.environ.items() if not name.startswith("XLA_")}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *flags], env=own, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        lines = [line.strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter="|")]
        return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]

    return run


def _megabytes_per_run(row: dict[str, str]) -> float:
    """Memory that a run takes on its chip, 47 MB of images left out."""
    runs = int(row["runs"]) / int(row["chips"])
    return (float(row["temporary MB"]) + float(row["arguments MB"]) - 47.0) / runs


@pytest.mark.slow
@with_libtpu
def test_runs_send_nothing_and_fit_where_they_are_allotted(compiled):
    """The study of tpu.flags on one chip and on four."""
    one, four = compiled("--parts=study", "--chips=1,4")
    for row in (one, four):
        assert row["sent"] == "none"
        assert row["loops"] == "0", "an update must be one round of one loop"
        assert _megabytes_per_run(row) <= float(row["allotted MB a run"])
    assert _megabytes_per_run(one) > float(one["allotted MB a run"]) / 3


@pytest.mark.slow
@with_libtpu
def test_a_batch_sends_its_shares_of_the_gradient_once(compiled):
    (row,) = compiled("--parts=mlp", "--chips=4")
    assert row["sent"] == "1 all-reduce"
    assert row["loops"] == "0"


@pytest.mark.slow
@with_libtpu
def test_the_memory_of_an_evaluation_and_of_annealing_does_not_grow_with_their_samples(compiled):
    for row in compiled("--parts=nll,ais", "--chips=1"):
        assert row["sent"] == "none"
        assert float(row["temporary MB"]) <= float(row["allotted MB a run"])
