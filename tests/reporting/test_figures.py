"""Figures ask a model for the right arrays, and a study gets those of its axes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from tests.reporting.small import SWEPT, study
from vae_jax.evaluation import evaluators
from vae_jax.evaluation.evaluators import EVALUATORS, EvalContext
from vae_jax.hparams import HParams
from vae_jax.models.vae import TrainedVAE
from vae_jax.reporting import figures, plots
from vae_jax.reporting.plots import style
from vae_jax.runtime import progress

HPARAMS = HParams.of(latent_size=2, seed=3)


@pytest.fixture(scope="module")
def model():
    vae = dataclasses.replace(tiny_vae(2), num_classes=3)
    params = vae.init(HPARAMS, jnp.full(vae.image_shape, 0.5))
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda a: a + rng.normal(size=a.shape).astype(a.dtype), params)
    return TrainedVAE(vae, HPARAMS, noisy)


@pytest.fixture
def drawn(monkeypatch):
    """The axes of each figure that is saved."""
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, path: saved.append(figure.axes))
    return saved


def test_samples_of_classes_share_their_noise_and_differ_by_the_label_alone(model, monkeypatch):
    seen, generate = [], TrainedVAE.generate

    def spy(self, z, y):
        seen.append((np.asarray(z), np.asarray(y)))
        return generate(self, z, y)

    monkeypatch.setattr(TrainedVAE, "generate", spy)
    for label in (0, 2):
        figures._sample_class(model, label, 4)
    (first, zeros), (second, twos) = seen
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first[:, 0])) == 4
    assert zeros.tolist() == [0] * 4
    assert twos.tolist() == [2] * 4


@pytest.mark.parametrize(
    ("classes", "said"),
    [((), "0 to 2, then"), ((1, 2), "1 to 2, then"), ((0, 2), "0 to 2, without those that no")],
)
def test_samples_are_of_the_classes_that_examples_have(classes, said, model, tmp_path, monkeypatch):
    """Labels from 1 on, or with gaps, leave classes for which nothing was trained."""
    asked, sample = [], TrainedVAE.sample

    def spy(self, key, num, y):
        asked.append(np.asarray(y).tolist())
        return sample(self, key, num, y)

    monkeypatch.setattr(TrainedVAE, "sample", spy)
    monkeypatch.setattr(plots, "samples", lambda path, images: None)
    shown = figures.ShownImages(np.zeros((1, 3, 4, 1)), classes=classes)
    figure = figures._samples(tmp_path, model, shown)
    assert asked == [np.resize(classes or (0, 1, 2), figures.NUM_SAMPLES).tolist()]
    assert said in figure.caption


def test_a_conditional_model_has_a_row_for_each_class(model, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plots, "samples_by_class", lambda path, images, names: drawn.update({path: (images, names)})
    )
    figure = figures._samples_by_class(tmp_path, model, figures.ShownImages(np.zeros((1, 3, 4, 1))))
    images, names = drawn[figure.path]
    assert images.shape == (3, figures.SAMPLES_OF_CLASS, 3, 4, 1)
    assert names == ["class 0", "class 1", "class 2"]
    named = figures.ShownImages(np.zeros((1, 3, 4, 1)), class_names=("cat", "dog", "eel"))
    figures._samples_by_class(tmp_path, model, named)
    assert drawn[figure.path][1] == ["cat", "dog", "eel"]
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_the_map_of_two_latents_is_the_latent_space_itself(model, tmp_path, monkeypatch):
    data = tiny_data()
    labels = [np.arange(len(part), dtype=np.int32) % 3 for part in (data.train, data.valid)]
    data = dataclasses.replace(
        data, train_labels=labels[0], valid_labels=labels[1], test_labels=labels[0][:23]
    )
    plain = dataclasses.replace(model.model, num_classes=0)
    params = plain.init(HPARAMS, jnp.full(plain.image_shape, 0.5))
    drawn = []
    monkeypatch.setattr(plots, "embedding", lambda *arguments: drawn.append(arguments))
    context = EvalContext(TrainedVAE(plain, HPARAMS, params), data, "none")
    figure = figures.embedding(tmp_path, context)
    ((_, points, shown, title, names),) = drawn
    assert names == ()
    np.testing.assert_array_equal(points, context.codes(context.subset("test")))
    np.testing.assert_array_equal(shown, labels[0][:23])
    assert title == "The latent space itself: 23 test examples by label"
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


@pytest.mark.parametrize(("kl", "order"), [([0.5, 2.0], [1, 0]), (None, [0, 1])])
def test_latents_are_traversed_by_their_kl_or_else_by_their_variance(
    model, kl, order, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(plots, "traversals", lambda *arguments: asked.append(arguments))
    shown = figures.ShownImages(np.full((2, 3, 4, 1), 0.5), np.array([1, 2]))
    own = None if kl is None else np.array(kl)
    figures._traversals(tmp_path, model, shown, np.array([0.9, 0.1]), own)
    ((_, images, latents, _, drawn, moved),) = asked
    assert moved == "value of the latent"
    assert images.shape == (2, len(figures.TRAVERSAL), 3, 4, 1)
    assert latents.tolist() == order
    assert drawn is own


def test_a_conditional_run_without_a_kl_has_its_figures(model, tmp_path, drawn):
    shown = figures.ShownImages(np.full((3, 3, 4, 1), 0.5), np.array([1, 2, 0]))
    row = {"run": 0, "kl_per_latent": [None, None], "variance_per_latent": [0.9, 0.1]}
    found = figures.draw(tmp_path, model, shown, [], row)
    assert [figure.path.stem for figure in found] == [
        *("training_curves", "reconstructions", "samples", "samples_by_class", "traversals"),
        "interpolations",
    ]
    assert len(drawn) == len(found)


def test_pictures_of_a_run_are_what_the_model_gives(model):
    shown = figures.ShownImages(np.full((2, 3, 4, 1), 0.5), np.array([1, 2]))
    row = {"run": 7, "test_elbo": -9.0, "kl_per_latent": [0.5, 2.0], "variance_per_latent": [1, 1]}
    pairs, samples, moved = figures._tiles(model, shown, row)
    expected = model.reconstruct(jnp.asarray(shown.images), jnp.array([1, 2]))
    np.testing.assert_allclose(pairs.images[1], expected, rtol=1e-5)
    assert samples.images.shape[:2] == (5, 5)
    assert moved.labels == ("z2, KL 2.00 nats", "z1, KL 0.50 nats")
    done = []
    rows, models = [row, {**row, "run": 8, "diverged": 3}], {7: model, 8: model}
    with progress.watched_by(lambda now: done.append(now.text)):
        found = figures.draw_pictures(models, shown, rows, ["seed"])
    assert [each.title for each in found[7]] == ["Reconstructions", "Samples", "Traversals"]
    assert (list(found), done[1]) == ([7], "drawing pictures of all runs: 1 of 1 runs")


class TestTermsOfAStudy:
    def files(self, tmp_path, rows, swept):
        found = figures.draw_terms(tmp_path, rows, swept)
        assert all(figure.path.exists() for figure in found)
        return {figure.path.name: figure.caption for figure in found}

    def test_two_axes_have_heat_maps_and_the_curve_of_beta(self, tmp_path):
        found = self.files(tmp_path, study(), SWEPT)
        assert list(found) == ["heat_beta_latent_size.png", "rate_distortion.png"]
        assert "Shown at" not in "".join(found.values())

    def test_one_axis_has_curves(self, tmp_path):
        rows = [{**r, "batch_size": r["beta"]} for r in study() if r["latent_size"] == 2]
        assert list(self.files(tmp_path, rows, ["batch_size", "seed"])) == [
            "terms_over_batch_size.png"
        ]

    def test_what_was_evaluated_has_curves_along_every_axis(self, tmp_path, drawn):
        measured = {"mig": 0.1, "mig_se": None, "nll_gap": 2.0}
        rows = [{**r, **measured, "total_correlation": None} for r in study()]
        evaluated = evaluators.columns(EVALUATORS.values())
        found = figures.draw_terms(tmp_path, rows, SWEPT, evaluated)
        names = [figure.path.name for figure in found]
        assert names[1:3] == ["evaluations_over_beta.png", "evaluations_over_latent_size.png"]
        titles = [panel.get_title(loc="left") for panel in drawn[1]]
        assert titles == ["NLL of test - train (nats per example)", "MIG", ""]

    def test_seeds_alone_have_none(self, tmp_path):
        assert self.files(tmp_path, study()[:2], ["seed"]) == {}

    def test_of_three_axes_each_pair_is_shown_at_the_best_of_the_third(self, tmp_path, drawn):
        rows = [{**r, "network": name} for name in ("mlp", "conv") for r in study()]
        for better in rows[12:]:
            better["valid_elbo"] += 1
        found = figures.draw_terms(tmp_path, rows, ["beta", "latent_size", "network", "seed"])
        captions = {figure.path.name: figure.caption for figure in found}
        assert list(captions) == [
            "heat_beta_latent_size.png",
            "heat_beta_network.png",
            "heat_latent_size_network.png",
            "rate_distortion.png",
        ]
        shown = [caption.partition("Shown at ")[2] for caption in captions.values()]
        assert shown == [
            "network = conv, as in the best run.",
            "latent_size = 10, as in the best run.",
            "beta = 1, as in the best run.",
            "network = conv, as in the best run.",
        ]
