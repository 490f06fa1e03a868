"""What an explorer holds computes what the model does; what cannot run in a page is said."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.reporting import explored
from vae_jax import MLP, Conv, ResNet
from vae_jax.models.priors import VampPrior
from vae_jax.reporting.explorer import contents, distributions, layers, packing


def _held(path: Path) -> dict:
    """Return the contents of a page, with its runs by their numbers."""
    pattern = r'<script type="application/json" id="(.*?)">(.*?)</script>'
    found = re.findall(pattern, path.read_text(encoding="utf-8"), re.S)
    parts = {name: json.loads(text) for name, text in found}
    runs = {name[4:]: run for name, run in parts.items() if name.startswith("run-")}
    return parts["contents"] | {"runs": runs}


def _mean(run, z, y=None):
    h = layers.outputs(layers.of_run(run), z, y).reshape(len(z), *run.model.event_shape)
    return 1 / (1 + np.exp(-h - run.params["output_bias"][None, ..., 0]))


@pytest.mark.parametrize(
    "network",
    [
        MLP(()),
        MLP((5, 6, 7), weight_norm=True),
        Conv((3,), (6, 5), weight_norm=True),
        Conv((2, 3, 4), (6,), activation="elu"),
        ResNet((4, 3), 2, (6, 5), weight_norm=True),
    ],
    ids=str,
)
def test_the_layers_give_the_outputs_of_the_decoder(network):
    run, z = explored.trained(network), np.random.default_rng(1).normal(size=(4, 3))
    mean = np.asarray(run.generate(z.astype(np.float32)))
    assert mean.std() > 0.1
    np.testing.assert_allclose(_mean(run, z), mean, atol=1e-5)


def test_a_class_adds_its_features_as_in_a_conditional_model():
    run, z = explored.trained(num_classes=3), np.ones((3, 3), np.float32)
    mean = np.asarray(run.generate(z, np.arange(3)))
    np.testing.assert_allclose(_mean(run, z, np.arange(3)), mean, atol=1e-5)
    assert np.ptp(mean, axis=0).max() > 0.05


def test_eight_bits_are_within_half_a_step_of_each_outputs_largest_weight():
    kernel = np.random.default_rng(0).normal(size=(20, 5)) * 10.0 ** np.arange(-2, 3)
    found = packing.unpack(packing.pack(kernel, "int8"))
    assert (np.abs(found - kernel) <= np.abs(kernel).max(axis=0) / 254 * 1.001).all()
    np.testing.assert_allclose(packing.unpack(packing.pack(kernel)), kernel, rtol=1e-3)


@pytest.mark.parametrize(("room", "storage", "count"), [(10**7, "float16", 4), (3000, "int8", 2)])
def test_a_study_has_as_many_runs_as_there_is_room_for_the_best_of_each_setting_first(
    room, storage, count, monkeypatch, tmp_path
):
    monkeypatch.setattr(contents, "MOST_CHARACTERS", room)
    results, models = explored.study(dict.fromkeys(("mlp", "other"), explored.trained()), seeds=2)
    held = _held(explored.write(tmp_path / "page.html", results, models))
    assert held["order"] == [0, 2, 1, 3][:count]  # runs 0 and 1 differ in the seed alone
    assert len(held["rows"]) == 4
    kernel = held["runs"]["0"]["layers"][0]["kernel"]
    assert kernel["type"] == storage
    said = [s for s in held["left_out"] if s.startswith(f"{count} of 4 runs are here")]
    assert len(said) == (count < 4)


@pytest.mark.parametrize("room", [10**7, 1500])
def test_the_error_that_a_page_states_is_that_of_its_weights(room, monkeypatch, tmp_path):
    monkeypatch.setattr(contents, "MOST_CHARACTERS", room)
    run = explored.trained(explored.NETWORKS["mlp"])
    own = _held(explored.write_run(tmp_path / "page.html", run))["runs"]["0"]
    codes = packing.unpack(own["codes"])
    h = layers.outputs(packing.unpack_layers(own["layers"]), codes) + packing.unpack(
        own["bias"]
    ).reshape(1, -1)
    error = np.abs(
        np.asarray(jax.nn.sigmoid(h)) - np.asarray(run.generate(codes)).reshape(h.shape)
    ).max()
    assert own["error"] == pytest.approx(error, rel=0.2)
    assert (1e-3 < error < 0.05) if room == 1500 else (0 < error < 1e-3)


@dataclass(frozen=True)
class Own(MLP):
    """A network from outside, which may compute anything."""


def test_what_cannot_run_in_a_page_is_said_in_a_sentence(tmp_path):
    runs = {"mlp": explored.trained(), "own": explored.trained(Own((4,)))}
    results, models = explored.study(runs)
    held = _held(explored.write(tmp_path / "page.html", results, models))
    assert held["order"] == [0]
    assert any(
        s.startswith("Run 1 cannot be computed here: its network Own") for s in held["left_out"]
    )
    alone = _held(explored.write_run(tmp_path / "alone.html", runs["own"]))
    assert alone["runs"] == {}
    assert "It cannot run here: its network Own" in alone["left_out"][0]


def test_weights_that_are_not_finite_in_the_page_are_left_out(tmp_path):
    run = explored.trained()
    run.params["output_bias"] = run.params["output_bias"] + 1e6
    held = _held(explored.write_run(tmp_path / "page.html", run))
    assert "not finite" in held["left_out"][0]


def test_no_text_from_data_becomes_part_of_the_page(tmp_path):
    results, models = explored.study({explored.HOSTILE: explored.trained()})
    path = explored.write(tmp_path / "page.html", results, models)
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 3  # contents, a run, the script
    assert explored.HOSTILE not in text
    assert html.escape(explored.HOSTILE) in text
    assert _held(path)["classes"][1]["name"] == explored.HOSTILE


def test_a_page_that_would_hold_the_same_is_not_written_again(tmp_path):
    run = explored.trained()
    path = explored.write_run(tmp_path / "page.html", run)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    explored.write_run(path, run)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    explored.write_run(path, explored.trained(seed=1))
    assert path.stat().st_ino != before[1]


def test_a_prior_that_a_page_cannot_draw_from_comes_with_draws_of_the_model():
    from vae_jax.models.posteriors import FullGaussian

    run = explored.trained(posterior=FullGaussian(), prior=VampPrior(4))
    found = distributions.prior(run)
    z = packing.unpack(found["z"])
    assert (found["kind"], z.shape) == ("draws", (distributions.NUM_DRAWS, 3))
    p = run.model.prior_at(run.hparams, run.params)
    mean = np.asarray(p.components.mean[:, :3]).mean(axis=0)
    assert (np.abs(z.mean(axis=0) - mean) < 5 * z.std(axis=0) / np.sqrt(len(z))).all()
