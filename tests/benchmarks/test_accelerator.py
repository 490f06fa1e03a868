"""The benchmark for accelerators runs as a whole, with tiny sizes on a CPU."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jaxtyping
import pytest

from vae_jax import cli
from vae_jax.pipeline import draw

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "accelerator.py"
PARTS = {
    *("rates", "mlp", "conv", "trip_count", "parallel_runs", "study", "nll", "float64", "torch"),
}


def measured(*flags: str) -> subprocess.CompletedProcess[str]:
    own = os.environ["XLA_FLAGS"].split()
    one_device = " ".join(flag for flag in own if "device_count" not in flag)
    environment = os.environ | {"XLA_FLAGS": one_device, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, str(SCRIPT), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def rows_of(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def accelerator(monkeypatch):
    """Return the benchmark as a module, whose commands run in this process."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.chdir(ROOT)
    module = importlib.import_module("accelerator")

    def in_this_process(command: list[str], **_) -> SimpleNamespace:
        assert command[:2] == [sys.executable, "run.py"]
        return SimpleNamespace(returncode=cli.main(command[2:]), stderr="")

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=in_this_process))
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    jaxtyping.config.update("jaxtyping_disable", True)  # it gives an int where an array belongs
    yield module
    jaxtyping.config.update("jaxtyping_disable", False)
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def task(accelerator, tmp_path):
    """Return a function that makes the task of a part, all with one small data set."""
    images = accelerator._write_images(tmp_path / "images.npz", True)

    def make(part: str):
        file = tmp_path / f"{part}.jsonl"
        return accelerator.Task(part, time.time() + accelerator.TINY_SECONDS, file, images, True)

    return make


def test_every_part_gives_rows_and_finishes(accelerator, task):
    """In one process, where together they take a tenth; the next test starts some of their own."""
    assert accelerator.PARTS.keys() == PARTS
    rows = []
    for name, part in accelerator.PARTS.items():
        own = task(name)
        part.measure(own)
        rows += [accelerator.Row(*json.loads(line)) for line in own.rows.read_text().splitlines()]
    assert {row.part for row in rows} == PARTS
    assert not [row for row in rows if row.measured in ("not finished", "failed", "not run")]
    found = {row.what: row.measured for row in rows}
    assert "mlp, 2 runs in one vmap" in found
    (apart,) = re.findall(
        r"at most (\S+) apart", found["mlp, 20 updates in float64, device and CPU"]
    )
    assert float(apart) < 1e-12
    (loops,) = [row.beside for row in rows if row.what == "mlp, 1 run, length of the loop known"]
    assert loops.endswith(": 1 and 0")


def test_parts_are_processes_and_one_that_fails_costs_itself_alone(tmp_path):
    flags = ["--tiny", "--parts=nll,rates", f"--npz={tmp_path / 'missing.npz'}"]
    done = measured(*flags, f"--table={tmp_path / 'table.md'}")
    assert done.returncode == 1
    table = (tmp_path / "table.md").read_text()
    rows = rows_of(table)
    assert table in done.stdout
    assert {len(row) for row in rows} == {4}
    assert [row[2] for row in rows if row[0] == "nll"] == ["not finished"]
    assert len([row for row in rows if row[0] == "rates"]) >= 3


def test_a_part_that_does_not_exist_is_refused_with_those_that_do():
    done = measured("--parts=rates,mpl")
    assert done.returncode == 2
    assert "--parts=rates,mpl: no part mpl; of rates, mlp" in done.stderr


def test_the_limits_of_the_parts_add_up_to_eight_minutes_at_most():
    text = SCRIPT.read_text(encoding="utf-8")
    limits = [int(number) for number in re.findall(r"Part\(.*, (\d+)\),", text)]
    assert len(limits) == len(PARTS)
    assert sum(limits) <= 8 * 60


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("TPU v5 lite", "v5e"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA L40", None),
        ("cpu", None),
    ],
)
def test_only_the_card_itself_has_its_published_rates(monkeypatch, kind, name):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    chip = importlib.import_module("scaling").chip_of(kind)
    assert (chip and chip.name) == name


def test_it_imports_nothing_beyond_the_standard_library_before_a_part_runs():
    body = ast.parse(SCRIPT.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imports]
    assert {str(name).partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
