"""Images and sizes at the limits, and the numbers that result from them."""

import contextlib
import csv
import math
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from tests.robustness.conftest import FLAGS, SMALL
from tests.samples import save_npz
from vae_jax import cli
from vae_jax.pipeline import draw
from vae_jax.runtime import mesh
from vae_jax.training import input_pipeline, loop, vectorized
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout, grid

DATA, HPARAMS = tiny_data(), grid(latent_size=[1, 2, 3, 4])
SPEC = TrainSpec(tiny_vae(), batch_size=16)
CONSTANT = {"all 0": 0, "all 255": 255, "constant gray": 100}


def _table(workdir) -> list[dict[str, float]]:
    rows = csv.DictReader((workdir / "results.csv").read_text().splitlines())
    return [{name: float(text or "nan") for name, text in row.items()} for row in rows]


def _finished(tmp_path, monkeypatch, arrays, *flags: str) -> list[dict[str, float]]:
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    images, workdir = save_npz(tmp_path, **arrays), tmp_path / "run"
    assert cli.main([f"--dataset={images}", f"--workdir={workdir}", *flags]) == 0
    return _table(workdir)


@pytest.mark.parametrize("value", CONSTANT.values(), ids=CONSTANT.keys())
def test_images_without_information_cost_no_more_than_their_entropy(value, tmp_path, monkeypatch):
    splits = {"x_train": 64, "x_valid": 8, "x_test": 16}
    arrays = {name: np.full((count, 4, 5), value, np.uint8) for name, count in splits.items()}
    p = value / 255
    entropy = -20 * sum(q * math.log(q) for q in (p, 1 - p) if q > 0)
    for row in _finished(tmp_path, monkeypatch, arrays, *FLAGS):
        assert math.isnan(row["diverged"])
        assert -20.0 < row["test_elbo"] <= -entropy + 1e-3
        assert row["test_nll"] >= entropy - 1e-3
        empty = {"diverged", "test_bits_per_dim", "test_bits_per_dim_se"}
        assert all(math.isfinite(value) for name, value in row.items() if name not in empty)


def test_one_pixel_three_channels_one_example_and_more_latents_than_pixels(tmp_path, monkeypatch):
    pixel = np.array([[[[0, 100, 255]]]], np.uint16)  # in 16 bits, but within 0 to 255
    arrays = {"x_train": pixel, "x_valid": pixel, "x_test": pixel}
    flags = ["--batch_size=1", "--latent_size=7", "--hidden_sizes=2", "--num_steps=3"]
    (row,) = _finished(tmp_path, monkeypatch, arrays, *flags, "--eval_particles=2")
    assert math.isnan(row["diverged"])
    assert math.isfinite(row["test_elbo"])
    assert math.isfinite(row["test_nll"])
    assert row["latent_size"] == 7


def test_checkpoints_of_many_programs_hold_no_threads(tmp_path):
    state = loop.initial_state(SPEC, HPARAMS, DATA)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for number in range(8):
            checkpoints = stack.enter_context(Checkpoints(tmp_path / f"{number:03d}"))
            checkpoints.save(1, state, {})
            checkpoints.wait()
        own = [thread for thread in threading.enumerate() if "PoolExecutor" in thread.name]
        assert threading.active_count() - before < 8, own


def _advanced(state, layout: Layout):
    """Return the state of four runs after two more updates, on the devices of the layout."""
    (hparams, state), shared = mesh.to_devices(
        layout.devices, (HPARAMS, state), (input_pipeline.resident(SPEC, DATA), jnp.int32(2))
    )
    return vectorized.train_chunk(SPEC, hparams, state, *shared, max_steps=2, layout=layout)[0]


def test_a_checkpoint_of_four_devices_goes_on_with_one_and_back(tmp_path):
    one, four = Layout(), Layout(run_devices=4)
    straight = loop.initial_state(SPEC, HPARAMS, DATA, four)
    state = jax.tree.map(jnp.copy, straight)
    with Checkpoints(tmp_path) as checkpoints:
        for step, layout in ((2, four), (4, one), (6, four)):
            straight, state = _advanced(straight, four), _advanced(state, layout)
            checkpoints.save(step, state, {})
            checkpoints.wait()
            state = checkpoints.restore(step, state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(straight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_debug_nans_names_the_operation(straight, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    flags = [*SMALL, "--latent_size=3", "--sweep=learning_rate=1e-3,1e30", "--debug_nans"]
    paths = [f"--dataset={straight / 'images.npz'}", f"--workdir={tmp_path / 'run'}"]
    assert cli.main([*paths, *flags]) == 0
    (line,) = [text for text in capsys.readouterr().out.splitlines() if "diverged: " in text]
    pattern = r"run 1 diverged: \S+ was not finite at update \d+; .* encountered in \w+ at vae_jax/"
    assert re.match(pattern, line)
    (calm, wild) = _table(tmp_path / "run")
    assert math.isfinite(calm["test_elbo"])
    assert math.isnan(wild["test_elbo"])
