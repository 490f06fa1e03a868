"""Two processes over the loopback: one run that survives the loss of either."""

import csv
import signal
import socket
from pathlib import Path

import numpy as np

from tests.faults.processes import Process, save_images
from vae_jax import cli, job

FLAGS = [
    *("--batch_size=16", "--hidden_sizes=8", "--eval_particles=3", "--sweep=latent_size=2,3"),
    *("--chunk_steps=10", "--eval_every=100", "--checkpoint_every=10"),
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
    monkeypatch.setattr(job, "_draw", lambda *_: [])
    data = f"--dataset={save_images(tmp_path / 'images.npz')}"
    straight, broken = (
        [data, *FLAGS, f"--workdir={tmp_path / name}"] for name in ("straight", "broken")
    )
    assert cli.main([*straight, "--run_devices=1", "--num_steps=400"]) == 0
    assert cli.main([*broken, "--run_devices=1", "--num_steps=20"]) == 0
    first, second = _pair([*broken, "--run_devices=1", "--batch_devices=2", "--num_steps=400"])
    try:
        first.wait_for("step 30 of 400")
        second.send(signal.SIGKILL)
        assert first.wait(60.0) == 1
    finally:
        for process in (first, second):
            process.send(signal.SIGKILL)
            process.wait()
    assert "another process of this run has ended" in first.output
    assert "Traceback" not in first.output
    assert cli.main([*broken, "--run_devices=1", "--num_steps=400"]) == 0
    np.testing.assert_allclose(
        _results(tmp_path / "broken"), _results(tmp_path / "straight"), atol=1e-6
    )
