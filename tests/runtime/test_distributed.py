"""A study goes on after the loss of one of its two processes, connected over the loopback."""

import csv
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.robustness.processes import ENVIRONMENT, Process, save_images
from vae_jax import cli
from vae_jax.config import command_line
from vae_jax.pipeline import draw, workdir
from vae_jax.runtime import distributed
from vae_jax.runtime.errors import InputError


@pytest.fixture(autouse=True)
def _single_precision_afterwards():
    yield
    jax.config.update("jax_enable_x64", False)


FLAGS = [
    *("--batch_size=16", "--hidden_sizes=8", "--eval_particles=3", "--sweep=latent_size=2,3"),
    *("--chunk_steps=10", "--eval_every=100", "--checkpoint_every=20"),
    "--compute_dtype=float64",
]


def _pair(argv: list[str]) -> list[Process]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [*argv, "--distributed", f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    return [Process([*argv, f"--process_id={number}"], **flags) for number in range(2)]


def _results(workdir: Path) -> np.ndarray:
    rows = list(csv.DictReader((workdir / "results.csv").read_text().splitlines()))
    names = ("test_elbo", "test_nll", "test_kl", "valid_elbo")
    return np.array([[float(row[name]) for name in names] for row in rows])


def test_a_study_that_loses_a_process_goes_on_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    data = f"--dataset={save_images(tmp_path / 'images.npz')}"
    straight, broken = (
        [data, *FLAGS, f"--workdir={tmp_path / name}"] for name in ("straight", "broken")
    )
    assert cli.main([*straight, "--run_devices=1", "--num_steps=120"]) == 0
    assert cli.main([*broken, "--run_devices=1", "--num_steps=20"]) == 0
    together = ["--run_devices=1", "--batch_devices=2", "--data_on_device=no"]
    first, second = _pair([*broken, *together, "--num_steps=120"])
    try:
        first.wait_for("step 40 of 120")
        second.send(signal.SIGKILL)
        assert first.wait(60.0) == 1
    finally:
        for process in (first, second):
            process.send(signal.SIGKILL)
            process.wait()
    assert "another process of this run has ended" in first.output
    assert "Traceback" not in first.output
    assert cli.main([*broken, "--run_devices=1", "--num_steps=120"]) == 0
    np.testing.assert_allclose(
        _results(tmp_path / "broken"), _results(tmp_path / "straight"), atol=1e-6
    )


def test_a_single_process_sends_nothing(capsys):
    def refuse():
        raise InputError("--x=1: no")

    assert distributed.from_first(lambda: {"anything"}) == {"anything"}
    assert distributed.first_then_all(lambda: 3) == 3
    assert (distributed.largest(2.5), distributed.is_first(), distributed.leave(2)) == (
        2.5,
        True,
        2,
    )
    with pytest.raises(InputError, match="no"):
        distributed.from_first(refuse)
    assert not distributed.is_loss(ValueError("Gloo all-reduce failed"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=a:1"], "--coordinator=a:1: has no effect without --distributed"),
        (
            ["--distributed", "--process_id=1"],
            "--process_id=1: has no effect without --coordinator",
        ),
        (
            ["--distributed", "--coordinator=a:1", "--num_processes=2", "--process_id=2"],
            "--process_id=2: must be below --num_processes=2",
        ),
    ],
)
def test_flags_that_do_not_fit(flags, message):
    with pytest.raises(InputError, match=message):
        command_line.parse(flags)


def test_the_flags_of_a_workdir_do_not_name_a_process(tmp_path):
    flags = ["--distributed", "--coordinator=a:1", "--num_processes=2", "--process_id=1"]
    workdir.write_flags(tmp_path, command_line.parse(flags))
    text = (tmp_path / workdir.FLAGS_FILE).read_text()
    assert "--distributed=False" in text
    assert not any(name in text for name in ("coordinator", "process"))


_SIGNALLED = """
import os, signal, sys, time
from vae_jax.runtime import jax_versions
handled = []
signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
jax_versions.join_processes(sys.argv[1], 1, 0, 30)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.1)
print("handled", len(handled), flush=True)
os._exit(0)
"""


def test_a_process_of_several_handles_its_signals_itself():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-c", _SIGNALLED, address]
    found = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert found.stdout == "handled 1\n", found.stderr
