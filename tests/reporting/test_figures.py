"""What a model is asked for its figures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.hparams import HParams
from vae_jax.models.vae import TrainedVAE
from vae_jax.reporting import figures, plots

HPARAMS = HParams.of(latent_size=2, seed=3)


@pytest.fixture(scope="module")
def model():
    vae = dataclasses.replace(tiny_vae(2), num_classes=3)
    params = vae.init(HPARAMS, jnp.full(vae.image_shape, 0.5))
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda a: a + rng.normal(size=a.shape).astype(a.dtype), params)
    return figures.Model(TrainedVAE(vae, HPARAMS, noisy))


def test_samples_of_classes_share_their_noise_and_differ_by_the_label_alone(model, monkeypatch):
    seen, generate = [], TrainedVAE.generate

    def spy(self, z, y):
        seen.append((np.asarray(z), np.asarray(y)))
        return generate(self, z, y)

    monkeypatch.setattr(TrainedVAE, "generate", spy)
    for label in (0, 2):
        model.samples_of(label, 4)
    (first, zeros), (second, twos) = seen
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first[:, 0])) == 4
    assert zeros.tolist() == [0] * 4
    assert twos.tolist() == [2] * 4


def test_a_conditional_model_has_a_row_for_each_class(model, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plots, "samples_by_class", lambda path, images, names: drawn.update({path: (images, names)})
    )
    figure = figures._samples_by_class(tmp_path, model)
    images, names = drawn[figure.path]
    assert images.shape == (3, figures.SAMPLES_OF_CLASS, 3, 4, 1)
    assert names == ["class 0", "class 1", "class 2"]
    figures._samples_by_class(tmp_path, model._replace(class_names=("cat", "dog", "eel")))
    assert drawn[figure.path][1] == ["cat", "dog", "eel"]
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_the_map_of_two_latents_is_the_latent_space_itself(model, tmp_path, monkeypatch):
    data = tiny_data()
    labels = [np.arange(len(part), dtype=np.int32) % 3 for part in (data.train, data.valid)]
    data = dataclasses.replace(
        data, train_labels=labels[0], valid_labels=labels[1], test_labels=labels[0][:23]
    )
    plain = dataclasses.replace(model.trained.model, num_classes=0)
    params = plain.init(HPARAMS, jnp.full(plain.image_shape, 0.5))
    drawn = []
    monkeypatch.setattr(plots, "embedding", lambda *arguments: drawn.append(arguments))
    subject = EvalContext(TrainedVAE(plain, HPARAMS, params), data, "none")
    figure = figures.embedding(tmp_path, subject)
    ((_, points, shown, title, names),) = drawn
    assert names == ()
    np.testing.assert_array_equal(points, subject.codes(subject.subset("test")))
    np.testing.assert_array_equal(shown, labels[0][:23])
    assert title == "The latent space itself: 23 test images by label"
    assert "Neighbours" not in figure.caption


def test_bounds_are_differences_from_the_lower_one_and_from_the_weighted_one(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plots, "bounds", lambda path, panels: drawn.append(panels))
    row = {"bdmc_gap": 0.5, "bdmc_gap_se": 0.1, "bdmc_gain": -0.4, "ais_gain": 0.2}
    figures._bounds(tmp_path, figures._bounds_of(row | {"ais_examples": 9}))
    samples, test = drawn[0].values()
    assert [(bound.nats, bound.error) for bound in samples] == [(0, 0), (0.5, 0.1), (0.4, 0)]
    assert [bound.nats for bound in test] == [0, 0.2]
    assert test[1].name == "AIS (9 examples)"
    assert figures._bounds_of({"test_nll": 100.0}) == {}
