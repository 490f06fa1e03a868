"""A command that is started again loses nothing and does nothing twice."""

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.small import (
    SHORT,
    SMALL,
    killed_at,
    read_csv,
    read_metrics,
    saved_arrays,
    without_seconds,
)
from vae_jax.training import checkpoint, input_pipeline, loop


def test_a_finished_run_is_not_trained_again(start, tmp_path, monkeypatch):
    start(*SHORT)
    written = (tmp_path / "run" / "results.csv").read_bytes()
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(checkpoint.Checkpoints, "save", _interrupt)
    status, out, err = start(*SHORT)
    assert (status, err) == (0, "")
    assert "finished: checkpoint at step 12 of 12" in out
    assert (tmp_path / "run" / "results.csv").read_bytes() == written
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def _interrupt(*args):
    raise KeyboardInterrupt


def test_a_longer_run_is_the_straight_one(start, tmp_path):
    straight = f"--workdir={tmp_path / 'straight'}"
    assert start(*SHORT, straight)[0] == 0
    assert start(*SHORT, "--num_steps=8")[0] == 0
    status, out, _ = start(*SHORT)
    assert status == 0
    assert "resuming: checkpoint at step 8 of 12" in out
    _assert_same_run(tmp_path / "run", tmp_path / "straight")


def test_a_killed_run_goes_on_from_its_last_checkpoint(start, tmp_path):
    straight = f"--workdir={tmp_path / 'straight'}"
    assert start(*SHORT, "--binarize=dynamic", straight)[0] == 0
    with killed_at(8):
        start(*SHORT, "--binarize=dynamic")
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [4, 8]
    assert not (tmp_path / "run" / "results.csv").exists()
    _, out, _ = start(*SHORT, "--binarize=dynamic")
    assert "resuming: checkpoint at step 4 of 12" in out
    _assert_same_run(tmp_path / "run", tmp_path / "straight")


def _assert_same_run(resumed: Path, straight: Path) -> None:
    """Assert that two runs agree to the last bit, but for the time that they took."""
    left, right = saved_arrays(resumed, 12), saved_arrays(straight, 12)
    assert len(left) > 10
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_seconds(read_csv(resumed)) == without_seconds(read_csv(straight))
    assert without_seconds(read_metrics(resumed)) == without_seconds(read_metrics(straight))


def test_what_is_not_trained_may_change(start, tmp_path):
    start(*SHORT)
    status, out, _ = start(*SHORT, "--eval_particles=5", "--chunk_steps=2")
    assert status == 0
    assert "finished" in out
    assert read_csv(tmp_path / "run")[0]["eval_particles"] == "5"


def test_intervals_change_no_bit(start, tmp_path):
    odd = [*SMALL, "--num_steps=12", "--chunk_steps=5", "--eval_every=3", "--checkpoint_every=7"]
    assert start(*SHORT, "--binarize=dynamic")[0] == 0
    assert start(*odd, "--binarize=dynamic", f"--workdir={tmp_path / 'odd'}")[0] == 0
    left, right = saved_arrays(tmp_path / "run", 12), saved_arrays(tmp_path / "odd", 12)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [without_seconds(read_csv(folder)) for folder in (tmp_path / "run", tmp_path / "odd")]
    for (row,) in rows:  # means over the updates since the last interval, so they depend on it
        assert row.pop("train_elbo")
    assert rows[0] == rows[1]


def test_a_run_goes_on_streaming_where_it_began_on_the_device(start, tmp_path, monkeypatch):
    flags = [*SHORT, "--binarize=dynamic"]
    monkeypatch.setattr(input_pipeline, "BLOCK_BYTES", 3 * 16 * 20)
    assert start(*flags)[0] == 0
    again = [*flags, f"--workdir={tmp_path / 'again'}"]
    assert start(*again, "--num_steps=5", "--data_on_device=yes")[0] == 0
    assert start(*again, "--data_on_device=no")[0] == 0
    left, right = saved_arrays(tmp_path / "run", 12), saved_arrays(tmp_path / "again", 12)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_differs_from_the_last_start_is_listed(start):
    start(*SHORT, "--num_steps=8")
    _, out, _ = start(*SHORT, "--chunk_steps=2")
    changes = [
        line for line in out.splitlines() if line.startswith("changed since the last start: ")
    ]
    assert [line.partition(": ")[2] for line in changes] == [
        "num_steps 8 -> 12",
        "chunk_steps 500 -> 2",
    ]
    _, out, _ = start(*SHORT, "--chunk_steps=2")
    assert "changed since" not in out


@pytest.mark.parametrize(("pace", "steps"), [(1e-3, [4, 8, 12]), (6.0, list(range(1, 13)))])
def test_slow_updates_shorten_the_chunks_of_a_run_for_good(
    start, tmp_path, monkeypatch, pace, steps
):
    monkeypatch.setattr(loop.TrainingProgram, "seconds_per_step", lambda *_: pace)
    _, out, _ = start(*SHORT, "--num_steps=6")
    assert ("updates are slow here: a chunk is at most 1 of them" in out) == (pace > 1)
    monkeypatch.setattr(loop.TrainingProgram, "seconds_per_step", lambda *_: 1e-9)
    start(*SHORT)
    found = [row["step"] for row in read_metrics(tmp_path / "run")]
    assert found == sorted({*steps, *([6] if pace < 1 else [])})
