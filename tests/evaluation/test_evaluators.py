"""Each evaluation of trained runs against the measure itself, asked another way."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from vae_jax import api, rng
from vae_jax.data import Dataset, Provenance, sprites
from vae_jax.evaluation import columns, elbo, scoring
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, Runs, annealing, base, nll
from vae_jax.evaluation.evaluators import gaps as gaps_evaluator
from vae_jax.evaluation.evaluators.base import ExampleSubset
from vae_jax.evaluation.evaluators.samples import aggregate_samples, prior_samples
from vae_jax.evaluation.metrics import (
    ais,
    decomposition,
    disentanglement,
    gaps,
    intervention,
    samples,
)
from vae_jax.evaluation.metrics.codes import Coded, grid_lookup
from vae_jax.evaluation.metrics.representation import Labelled, accuracies
from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE
from vae_jax.training import batches, loop
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout

SETTINGS = {
    "nll": {"eval_particles": 3},
    "decomposition": {"decomposition_examples": 11},
    "ais": {"ais_steps": 3, "ais_chains": 2, "ais_leapfrog": 2, "ais_examples": 3},
    "bdmc": {"ais_steps": 3, "ais_chains": 2, "ais_leapfrog": 2, "ais_examples": 3},
    "gaps": {"gap_examples": 11, "gap_steps": 3},
    "disentanglement": {"factor_values": 2},
    "representation": {},
    "samples": {"num_samples": 12},
}
"""Small settings of every evaluation."""
FEW_PARTICLES = 100
"""In place of those behind the bound on log p(x), so that there are two chunks of them."""


def _small_sprites(num_train: int = 120, num_test: int = 13) -> Dataset:
    rows = np.random.default_rng(0).choice(sprites.NUM_IMAGES, num_train + 2 * num_test)
    factors = sprites.factors_of(rows)
    cuts = [num_train, num_train + num_test]
    images = np.split(sprites.render(factors)[..., None], cuts)
    labels, parts = np.split(factors[:, 0], cuts), np.split(factors, cuts)
    record = Provenance("sprites", "sprites", "sprites", "cut in order")
    return Dataset(*images, *labels, record, *parts)


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Two runs of different sizes after a few updates; the second is looked at below."""
    data = _small_sprites()
    hparams = HParams.of(latent_size=[2, 3], seed=[0, 5], learning_rate=0.01)
    spec = TrainSpec(VAE(data.event_shape, 3, MLP((6,))), batch_size=8)
    state = api.fit(spec, hparams, data, 5).state
    return Runs(spec, hparams, state, data, Layout())


@pytest.fixture(scope="module")
def rows(runs):
    """What every evaluation says of the second run."""
    few = {"NUM_TRAIN": 300, "NUM_EVAL": 100, "_NUM_REFERENCE": 100, "_NUM_PER_VALUE": 50}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(intervention, name, value)
        patch.setattr(base, "EVIDENCE_PARTICLES", FEW_PARTICLES)
        patch.setattr(annealing, "_CPU_BATCH_SIZE", 2)
        yield {name: _rows(name, runs.take(slice(1, 2)))[0] for name in EVALUATORS}


def test_every_run_of_a_study_has_its_row(runs, rows):
    first, second = _rows("decomposition", runs)
    assert second == pytest.approx(rows["decomposition"], abs=1e-4)
    assert first["dimensionwise_kl"] != second["dimensionwise_kl"]


def _rows(name, runs):
    progress = []
    rows = list(EVALUATORS[name](**SETTINGS[name]).rows(runs, progress.append))
    assert progress == sorted(progress)
    assert progress[-1] == runs.num_runs == len(rows)
    return rows


def _images(pixels):
    return batches.as_observations(jnp.asarray(pixels))


def _codes(runs, pixels):
    model, hparams, params = runs.context(1).trained
    return np.asarray(model.encode(hparams, params, _images(pixels)).center)[:, :3]


@pytest.mark.parametrize("name", EVALUATORS)
def test_numbers_have_the_names_of_their_columns(name, rows):
    known = columns.by_name(EVALUATORS[name].columns).keys()
    if name in ALWAYS:
        known |= columns.by_name(columns.TEST.values()).keys() | {"eval_particles"}
    if name == "representation":  # of 1,000 labels tests/evaluation/test_columns.py looks
        known -= {f"{kind}_1000{end}" for kind in ("probe", "knn") for end in ("", "_se")}
    assert rows[name].keys() == known


def test_every_evaluation_is_in_the_table_of_this_test_and_hashes():
    assert SETTINGS.keys() == EVALUATORS.keys()
    for name, kind in EVALUATORS.items():
        assert hash(kind()) == hash(kind())
        assert {field.name for field in dataclasses.fields(kind)} >= SETTINGS[name].keys()
        assert inspect.getdoc(kind)


def test_the_nll_of_train_is_the_bound_on_its_first_examples(runs, rows):
    model, hparams, params = runs.context(1).trained
    spec = elbo.EvalSpec(model, 3)
    evaluated = jax.jit(elbo.evaluate, static_argnums=(0, 4))

    def bound(pixels):
        data = elbo.in_batches(pixels, 100)
        return np.asarray(evaluated(spec, hparams, params, data, 13).terms.bound)

    train, test, found = bound(runs.data.train[:13]), bound(runs.data.test), rows["nll"]
    assert found["train_nll"] == pytest.approx(-train.mean(), rel=1e-5)
    assert found["test_nll"] == pytest.approx(-test.mean(), rel=1e-5)
    assert found["nll_gap"] == pytest.approx(train.mean() - test.mean(), abs=1e-2)
    error = np.hypot(train.std(ddof=1), test.std(ddof=1)) / np.sqrt(13)
    assert found["nll_gap_se"] == pytest.approx(error, rel=1e-4)


def test_train_and_test_are_compared_at_equal_k(runs, monkeypatch):
    monkeypatch.setattr("vae_jax.evaluation.evaluators.nll.MOST_PARTICLES", 2)
    (row,) = _rows("nll", runs.take(slice(1, 2)))
    hparams, state = jax.tree.map(lambda a: a[1:], (runs.hparams, runs.state))
    (few,) = scoring.score(runs.spec, hparams, state, runs.data, num_particles=2)
    assert row["eval_particles"] == 3
    assert row["nll_gap"] == pytest.approx(few["test_nll"] - row["train_nll"], abs=1e-2)


def test_the_images_behind_the_nll_are_drawn_once_for_all_runs(runs, monkeypatch):
    drawn = []

    def draw(binarize, split, data):
        drawn.append(split)
        return base.fixed_pixels(binarize, split, data)

    monkeypatch.setattr(nll, "fixed_pixels", draw)
    _rows("nll", runs)
    assert runs.layout.max_parallel_runs < runs.num_runs
    assert sorted(drawn) == ["test", "train"]


def test_the_decomposition_is_that_of_the_encoders_gaussians(runs, rows):
    model, hparams, params = runs.context(1).trained
    q = model.encode(hparams, params, _images(runs.data.test[:11]))
    noise = model.noise(rng.stream(5, "decompose"), 11)
    z = q.sample(noise)
    log_prior = model.prior_at(hparams, params).log_prob(z)
    bare, mask = q._replace(latent_mask=None), model.latent_mask(hparams)
    terms = decomposition.decompose(bare, mask, q.deviation(noise), log_prior)
    expected = decomposition.summarize(terms) | {"decomposition_examples": 11}
    assert rows["decomposition"] == pytest.approx(expected, abs=1e-4)
    names = ("mutual_information", "total_correlation", "dimensionwise_kl")
    total = float(jnp.mean(q.log_prob(z) - log_prior))
    assert sum(rows["decomposition"][name] for name in names) == pytest.approx(total, abs=1e-4)


def test_the_decomposition_is_the_same_in_blocks(runs, monkeypatch):
    monkeypatch.setattr("vae_jax.evaluation.evaluators.decomposition.BATCH_SIZE", 4)
    whole = EVALUATORS["decomposition"](11)
    blocks = whole(runs.context(1), lambda share: None)
    monkeypatch.undo()
    assert blocks == pytest.approx(whole(runs.context(1), lambda share: None), abs=1e-4)


def test_annealing_is_the_mean_over_the_examples_in_whatever_batches(runs, rows):
    """The last batch of two is filled up from the first examples, which count once."""
    context = runs.context(1)
    spec, images = ais.AnnealSpec(context.trained.model, 3, 2, 2), _images(runs.data.test)

    def ask(answer, index):
        key = rng.stream(5, "ais", index)
        batches = (np.arange(2)[::-1], np.arange(1, 3))
        found = [answer(key, numbers) for numbers in batches]
        return jax.tree.map(lambda a, b: np.concatenate([a, b[-1:]]), *found)

    def below(key, numbers):
        return annealing._forward(spec, context.eval_batch(images[numbers], None, key, numbers))

    def around(key, numbers):
        z, batch = annealing._simulated(context, None, key, numbers)
        return annealing._bidirectional(spec, batch, z)

    found = ask(below, 0)
    assert len(found.bound) == 3
    assert rows["ais"]["test_ais"] == pytest.approx(found.bound.mean(), rel=1e-4)
    both = ask(around, 1)
    assert rows["bdmc"]["bdmc_lower"] == pytest.approx(both.lower.bound.mean(), rel=1e-4)
    assert rows["bdmc"]["bdmc_upper"] == pytest.approx(both.upper.bound.mean(), rel=1e-4)
    gap = both.upper.bound - both.lower.bound
    assert rows["bdmc"]["bdmc_gap"] == pytest.approx(gap.mean(), abs=0.05)
    assert rows["bdmc"]["bdmc_gap_se"] == pytest.approx(gap.std(ddof=1) / 3**0.5, rel=1e-2)


def test_what_ais_gains_is_paired_with_the_importance_weights(runs, rows):
    model, hparams, params = runs.context(1).trained
    spec = elbo.EvalSpec(model, FEW_PARTICLES)
    data = elbo.in_batches(runs.data.test[:3], spec.batch_size)
    terms = jax.jit(elbo.evaluate, static_argnums=(0, 4))(spec, hparams, params, data, 3).terms
    gain = rows["ais"]["test_ais"] - float(terms.bound.mean())
    assert rows["ais"]["ais_gain"] == pytest.approx(gain, abs=1e-4)


def test_the_weighted_bound_of_samples_is_a_mean_of_weights(runs, rows):
    """In float64 from the densities: log 1/K sum_k p(x, z_k) / q(z_k|x)."""
    context = runs.context(1)
    model, hparams, params = context.trained
    _, batch = annealing._simulated(context, None, rng.stream(5, "ais", 1), np.arange(3))

    @jax.jit
    def log_weights(particle):
        q = model.encode(hparams, params, batch.x)
        key = rng.stream(hparams.seed, "evaluate")
        z, log_q = q.draw(elbo.example_noise(model, key, jnp.arange(3), particle))
        likelihood = model.decode(hparams, params, z).log_prob(batch.x)
        return likelihood + model.prior_at(hparams, params).log_prob(z) - log_q

    log_w = np.array([log_weights(k) for k in range(FEW_PARTICLES)], np.float64)
    bound = logsumexp(log_w, axis=0) - np.log(FEW_PARTICLES)
    gain = rows["bdmc"]["bdmc_lower"] - bound.mean()
    assert rows["bdmc"]["bdmc_gain"] == pytest.approx(gain, abs=1e-2)


def test_bdmc_of_a_conditional_model_takes_the_labels_of_test(runs, monkeypatch):
    asked = []

    def simulate(model, hparams, params, y, key, numbers):
        asked.extend(y.tolist())
        return ais.Simulated(jnp.zeros((len(numbers), 3)), jnp.zeros((len(numbers), 3, 4, 1)))

    def sandwich(spec, batch, z):
        assert batch.y.tolist() == asked[-len(z) :]
        known = ais.Annealed(*(jnp.zeros(len(z)) for _ in range(3)))
        return ais.Sandwich(known, known)

    monkeypatch.setattr(annealing, "_simulate", simulate)
    monkeypatch.setattr(annealing, "_bidirectional", sandwich)
    monkeypatch.setattr(
        annealing, "evidence_bound", lambda model, asked: np.zeros(len(asked.examples))
    )
    context = runs.context(1)
    model = dataclasses.replace(context.trained.model, num_classes=3)
    context = context._replace(trained=context.trained._replace(model=model))
    EVALUATORS["bdmc"](ais_examples=20)(context, lambda share: None)
    labels = runs.data.test_labels
    assert asked == [*labels, *labels[:7]]


def test_gaps_are_those_of_all_examples_and_add_up(runs, rows):
    model, hparams, params = runs.context(1).trained
    spec, key = gaps.RefineSpec(model, 3), rng.stream(5, "gaps")
    images = _images(runs.data.test[:11])
    batch = runs.context(1).eval_batch(images, None, key, np.arange(11))
    found = gaps_evaluator._refine(spec, batch)
    row = rows["gaps"]
    gap = float(found.amortization_gap.mean())
    assert row["amortization_gap"] == pytest.approx(gap, abs=1e-2)
    assert row["inference_gap"] == pytest.approx(
        row["approximation_gap"] + row["amortization_gap"], abs=1e-6
    )
    evaluated = jax.jit(elbo.evaluate, static_argnums=(0, 4))
    data = elbo.in_batches(runs.data.test[:11], 1000)
    bound = evaluated(elbo.EvalSpec(model, FEW_PARTICLES), hparams, params, data, 11).terms.bound
    assert row["approximation_gap"] == pytest.approx(
        float((bound - found.optimal).mean()), abs=1e-2
    )


def test_disentanglement_is_that_of_the_posterior_means(runs, rows):
    data, sizes = runs.data, (2, 2, 2, 2, 2)
    grid = sprites.render(sprites.thinned_grid(sizes))[..., None]
    expected = disentanglement.scores(
        Coded(_codes(runs, data.train), data.train_factors),
        Coded(_codes(runs, data.test), data.test_factors),
        grid_lookup(_codes(runs, grid), sizes),
        sizes,
        sprites.IS_ORDERED,
        5,
    )
    assert rows["disentanglement"] == pytest.approx(expected, abs=0.02)


def test_representation_is_that_of_the_posterior_means(runs, rows):
    data = runs.data
    train, test = _codes(runs, data.train), _codes(runs, data.test)
    expected = accuracies(Labelled(train, data.train_labels), Labelled(test, data.test_labels), 5)
    assert rows["representation"] == pytest.approx(expected, abs=1e-6)
    assert "probe_1000" not in rows["representation"]


def test_samples_are_compared_with_as_many_test_images(runs, rows):
    def flat(pixels):
        return pixels.reshape(len(pixels), -1) / np.float32(255)

    context, data = runs.context(1), runs.data
    drawn = prior_samples(context, None, 12)
    assert drawn.shape == (12, 64, 64, 1)
    assert set(np.unique(drawn)) == {0, 255}
    expected = samples.compare(flat(data.test[:12]), flat(drawn), "pixels")
    assert {name: rows["samples"][name] for name in expected} == pytest.approx(expected)
    coded = aggregate_samples(context, ExampleSubset(data.train[:12], data.train_labels[:12]))
    expected = samples.mmd(flat(data.test[:12]), flat(coded))
    assert rows["samples"]["mmd_aggregate"] == pytest.approx(expected.mean)
    assert rows["samples"]["num_samples"] == 12
    assert 0 <= rows["samples"]["classifier_accuracy"] <= 1


@pytest.mark.parametrize("is_binary", [True, False])
def test_samples_have_the_frequencies_of_the_decoder(runs, is_binary):
    """Of a Bernoulli pixels are drawn, unless gray ones were trained on: then means stand in."""
    context = runs.context(1)
    if not is_binary:
        gray = dataclasses.replace(runs.data, test=runs.data.test // 2)
        context = context._replace(data=gray)
    drawn = prior_samples(context, None, 300)
    model, hparams, params = context.trained
    z_key, _ = jax.random.split(rng.stream(5, "compare", 0))
    z = model.sample_prior(hparams, params, z_key, 300)
    means = np.asarray(model.generate(hparams, params, z))
    if is_binary:
        expected, error = means.mean(), np.sqrt((means * (1 - means)).sum()) / means.size
        assert abs((drawn / 255).mean() - expected) < 5 * error
    else:
        np.testing.assert_allclose(drawn / 255, means, atol=0.502 / 255)


def test_without_labels_the_features_are_left_out(runs):
    data = dataclasses.replace(runs.data, train_labels=None, valid_labels=None, test_labels=None)
    row = EVALUATORS["samples"](12)(runs.context(1)._replace(data=data), lambda share: None)
    assert "mmd_pixels" in row
    assert not any("features" in name for name in row)


def test_a_conditional_model_is_asked_with_labels(runs):
    model = dataclasses.replace(runs.spec.model, num_classes=3)
    spec = dataclasses.replace(runs.spec, model=model)
    state = loop.initial_state(spec, runs.hparams, runs.data)
    asked = runs._replace(spec=spec, state=state)
    for name in ("decomposition", "samples"):
        numbers = EVALUATORS[name](**SETTINGS[name])(asked.context(1), lambda share: None)
        assert np.isfinite(list(numbers.values())).all(), name


def test_what_training_draws_anew_is_drawn_once(runs):
    gray = dataclasses.replace(runs.data, train=runs.data.train // 2)
    context = runs.context(1)._replace(data=gray, binarize="dynamic")
    first, second = context.subset("train"), context.subset("train", 5)
    assert set(np.unique(first.pixels)) == {0, 255}
    np.testing.assert_array_equal(first.pixels[:5], second.pixels)


def test_own_factors_on_a_full_grid_give_the_measures_of_drawn_factors(runs):
    """The grid of other data than sprites is made of the examples of all splits."""
    x = np.arange(24, dtype=np.uint8).reshape(24, 1) * 10
    factors = np.stack(np.unravel_index(np.arange(24), (2, 3, 4)), axis=1).astype(np.int32)
    rows = np.random.default_rng(0).permutation(24)
    parts, own = np.split(x[rows], [12, 18]), np.split(factors[rows], [12, 18])
    record = Provenance("own", "own", "own", "cut")
    data = Dataset(*parts, None, None, None, record, *own)
    context = runs.context(0)._replace(data=data)
    examples, sizes = EVALUATORS["disentanglement"](factor_values=2)._grid(context)
    assert sizes == (2, 2, 2)
    kept = factors[(factors[:, 1] != 2) & (factors[:, 2] % 2 == 0)]
    expected = np.ravel_multi_index(tuple(kept.T), (2, 3, 4)) * 10
    np.testing.assert_array_equal(examples[:, 0], expected)
    broken = dataclasses.replace(data, test=parts[2][:1], test_factors=None)
    assert (
        EVALUATORS["disentanglement"](factor_values=4)._grid(context._replace(data=broken)) is None
    )
