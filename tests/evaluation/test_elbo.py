"""Evaluation: the same however a split is cut, and right where the truth is known."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from tests.oracles import LinearModel, tiny_data, tiny_vae
from vae_jax import api, rng
from vae_jax.evaluation import scoring
from vae_jax.evaluation.elbo import (
    ACTIVE_THRESHOLD,
    EvalSpec,
    Evaluation,
    ExampleTerms,
    LatentMoments,
    evaluate,
    example_noise,
    in_batches,
    join,
    standard_error,
    summarize,
)
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import Delta
from vae_jax.models.vae import VAE
from vae_jax.objectives.base import sample_posterior
from vae_jax.training import batches, loop
from vae_jax.training.optimizers import Adam
from vae_jax.training.spec import TrainSpec

LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
MODEL = tiny_vae()
HPARAMS = HParams.of(latent_size=3, seed=5)
PIXELS = tiny_data().train[:23]

_evaluate = jax.jit(evaluate, static_argnums=(0, 4))


def _measured(pixels=PIXELS, **options) -> Evaluation:
    spec = EvalSpec(MODEL, **options)
    batched = in_batches(pixels, spec.batch_size)
    return _evaluate(spec, HPARAMS, _params(), batched, len(pixels))


def _params():
    """Untrained, with means far enough apart for some latents to be active."""
    params = jax.jit(MODEL.init)(HPARAMS, jnp.full((3, 4, 1), 0.3))
    return jax.tree.map(lambda a: 1.5 * a, params)


def _log_weights(num_particles: int) -> tuple[np.ndarray, np.ndarray]:
    """log p(x|z) and log w, ``[particles, examples]``, one particle at a time without batches."""
    params, x = _params(), batches.as_observations(jnp.asarray(PIXELS))
    key, examples = rng.stream(HPARAMS.seed, "evaluate"), jnp.arange(len(x))
    noise = jax.jit(lambda k: example_noise(MODEL, key, examples, k))
    draw = jax.jit(lambda noise: sample_posterior(MODEL, HPARAMS, params, x, noise[None]))
    drawn = [draw(noise(jnp.int32(k))) for k in range(num_particles)]
    columns = [(each.log_likelihood[0], each.log_weight[0]) for each in drawn]
    return tuple(np.stack(column) for column in zip(*columns, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1},
        {"batch_size": 22, "particles_at_once": 4},
        {"batch_size": 7, "particles_at_once": 6},
    ],
)
def test_neither_batches_nor_chunks_of_particles_change_a_number(float64, options):
    whole = _measured(num_particles=6, batch_size=23)
    cut = _measured(num_particles=6, **options)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"particles_at_once": 50}])
def test_a_mean_over_many_particles_is_exact_in_float32(options):
    """Where the decoder reads no z, the mean over particles is the term of any of them."""
    model = VAE((1, 784, 1), 1, MLP(()), likelihood=GaussianLikelihood())
    hparams = HParams.of(latent_size=1, scale=0.03)
    params = jax.tree.map(jnp.zeros_like, model.init(hparams, jnp.zeros((1, 784, 1))))
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 784, 1)).astype(np.uint8)
    one, many = (
        _evaluate(EvalSpec(model, num, **options), hparams, params, in_batches(images, 4), 4).terms
        for num in (1, 3000)
    )
    assert one.log_likelihood.max() < -1e5
    np.testing.assert_allclose(many.log_likelihood, one.log_likelihood, rtol=2e-7)


def test_padding_is_counted_nowhere(float64):
    """A split that fills its batches, against the same one with a ragged end."""
    whole, ragged = _measured(PIXELS[:20], batch_size=10), _measured(batch_size=10)
    assert ragged.latents.num_examples == 23
    for a, b in zip(whole.terms, ragged.terms, strict=True):
        assert b.shape == (23,)
        np.testing.assert_allclose(b[:20], a, rtol=1e-12)


def test_parts_of_several_runs_join_to_the_whole(float64):
    """As where an accelerator evaluates its runs together on more than one block."""
    runs = jax.tree.map(lambda a, b: np.stack([a, b]), _measured(), _measured(PIXELS[::-1]))
    blocks = [
        jax.tree.map(lambda a, b: np.stack([a, b]), _measured(first), _measured(second))
        for first, second in zip(_halves(PIXELS), _halves(PIXELS[::-1]), strict=True)
    ]
    joined = join(blocks)
    assert joined.terms.kl.shape == (2, 23)
    for a, b in zip(joined.latents, runs.latents, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def _halves(pixels):
    return pixels[:10], pixels[10:]


def test_in_batches_keeps_the_order_and_pads_the_end():
    batched = in_batches(PIXELS, 10, np.arange(23)).pixels
    assert batched.shape == (3, 10, 3, 4, 1)
    labels = in_batches(PIXELS, 10, np.arange(23)).labels
    np.testing.assert_array_equal(labels.ravel(), [*range(23), *[0] * 7])
    np.testing.assert_array_equal(batched.reshape(30, 3, 4, 1)[:23], PIXELS)
    assert not batched[2, 3:].any()
    assert in_batches(PIXELS, 1000).pixels.shape == (1, 23, 3, 4, 1)


@pytest.mark.parametrize("particles_at_once", [1, 4])
def test_the_streamed_bound_is_the_logsumexp_of_all_weights(float64, particles_at_once):
    log_likelihood, log_w = _log_weights(9)
    terms = _measured(num_particles=9, batch_size=8, particles_at_once=particles_at_once).terms
    np.testing.assert_allclose(terms.bound, logsumexp(log_w, axis=0) - math.log(9), rtol=1e-11)
    np.testing.assert_allclose(terms.log_likelihood, log_likelihood.mean(axis=0), rtol=1e-11)
    w = np.exp(log_w - log_w.max(axis=0))
    effective = w.sum(axis=0) ** 2 / (w**2).sum(axis=0)
    np.testing.assert_allclose(terms.effective_sample_size, effective, rtol=1e-10)
    without = [np.log(np.delete(w, k, axis=0).mean(axis=0)) for k in range(9)]
    bias = 8 * (np.mean(without, axis=0) - np.log(w.mean(axis=0)))
    np.testing.assert_allclose(terms.bias, bias, rtol=1e-8)


def test_the_bound_of_one_particle_is_its_log_weight(float64):
    evaluation = _measured(num_particles=1)
    _, log_w = _log_weights(1)
    np.testing.assert_allclose(evaluation.terms.bound, log_w[0], rtol=1e-12)
    assert summarize(EvalSpec(MODEL), evaluation, 3)["test_nll"] == pytest.approx(
        -log_w.mean(), rel=1e-12
    )


def test_more_particles_keep_the_noise_of_the_first(float64):
    """So bounds of different K differ by K alone, and example noise is nobody else's."""
    key, examples = rng.stream(0, "evaluate"), jnp.arange(4)
    first = example_noise(MODEL, key, examples, jnp.int32(0))
    np.testing.assert_array_equal(example_noise(MODEL, key, examples[2:], jnp.int32(0)), first[2:])
    others = [example_noise(MODEL, key, examples, jnp.int32(1)), first[::-1]]
    for other in others:
        assert (np.asarray(other) != np.asarray(first))[:, : MODEL.max_latents].all()


@pytest.mark.parametrize("num_particles", [1, 2, 33])
def test_with_the_exact_posterior_the_nll_is_minus_the_log_evidence(float64, num_particles):
    pixels = np.random.default_rng(3).integers(0, 256, (5, 1, 6, 1)).astype(np.uint8)
    spec, hparams = EvalSpec(LINEAR.vae, num_particles), LINEAR.hparams
    batched = in_batches(pixels, 2)
    params = jax.tree.map(jnp.asarray, LINEAR.params)
    evaluation = _evaluate(spec, hparams, params, batched, 5)
    evidence = LINEAR.log_evidence(pixels.reshape(5, 6) / 255)
    np.testing.assert_allclose(evaluation.terms.bound, evidence, atol=1e-11)
    row = summarize(spec, evaluation, 3)
    assert row["test_nll"] == pytest.approx(-evidence.mean(), abs=1e-11)
    assert row["test_nll_se"] == pytest.approx(evidence.std(ddof=1) / math.sqrt(5), rel=1e-9)


def test_latent_statistics_are_those_of_all_examples_at_once(float64):
    evaluation = _measured(batch_size=6)
    q = MODEL.encode(HPARAMS, _params(), batches.as_observations(jnp.asarray(PIXELS)))
    variance = np.var(q.mean, axis=0)
    np.testing.assert_allclose(evaluation.latents.variance, variance, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(evaluation.latents.mean, np.mean(q.mean, axis=0), rtol=1e-10)
    row = summarize(EvalSpec(MODEL), evaluation, 3)
    assert row["active_units"] == int(np.sum(variance > 0.01))
    assert row["variance_per_latent"] == pytest.approx(variance[:3].tolist())


def test_only_a_variance_above_the_threshold_is_active():
    zeros = np.zeros(3)
    variance = np.array([0.0, 1.0, 1.01]) * ACTIVE_THRESHOLD
    moments = LatentMoments(np.float64(2), zeros, zeros, variance)
    evaluation = Evaluation(ExampleTerms(*np.zeros((5, 2))), jax.tree.map(jnp.asarray, moments))
    assert summarize(EvalSpec(MODEL), evaluation, 3)["active_units"] == 1
    assert summarize(EvalSpec(MODEL), evaluation, 2)["active_units"] == 0


def test_the_kl_of_the_latents_sums_to_the_kl(float64):
    row = summarize(EvalSpec(MODEL), _measured(batch_size=6), 3)
    assert len(row["kl_per_latent"]) == 3
    assert sum(row["kl_per_latent"]) == pytest.approx(row["test_kl"], rel=1e-11)
    assert row["test_elbo"] == pytest.approx(row["test_log_likelihood"] - row["test_kl"], rel=1e-12)


def test_means_come_with_the_standard_error_of_the_mean(float64):
    evaluation = _measured(num_particles=2)
    row = summarize(EvalSpec(MODEL, 2), evaluation, 3)
    elbo = np.asarray(evaluation.terms.log_likelihood - evaluation.terms.kl)
    assert row["test_elbo"] == pytest.approx(elbo.mean(), rel=1e-12)
    assert row["test_elbo_se"] == pytest.approx(np.std(elbo, ddof=1) / math.sqrt(23), rel=1e-12)
    assert math.isnan(standard_error(np.ones(1)))


def test_the_row_says_how_far_the_nll_is_to_be_trusted():
    """Six examples of 100 weights; half of them have too few that count."""
    effective, bias = np.array([2.0, 3.0, 4.0, 50.0, 60.0, 70.0]), np.linspace(-0.6, -0.1, 6)
    terms = ExampleTerms(*np.zeros((3, 6)), effective, bias)
    evaluation = Evaluation(terms, LatentMoments(*np.zeros((4, 3))))
    row = summarize(EvalSpec(MODEL, 100), evaluation, 3)
    assert row["test_ess_median"] == 27
    assert row["test_ess_min"] == 2
    assert row["test_ess_low_share"] == 0.5
    assert row["test_nll_bias"] == pytest.approx(0.35)
    assert row["test_nll_bias_se"] == pytest.approx(bias.std(ddof=1) / math.sqrt(6))
    assert "50% of the examples" in row["test_nll_distrust"]
    assert "K = 100" in row["test_nll_distrust"]
    certain = dataclasses.replace(MODEL, posterior=Delta())
    for spec in (EvalSpec(MODEL, 1), EvalSpec(certain, 9)):
        unknown = summarize(spec, evaluation, 3)
        names = ("test_nll_bias", "test_nll_bias_se", "test_ess_median", "test_nll_distrust")
        assert {unknown[name] for name in names} == {None}


def test_memory_does_not_grow_with_particles():
    sizes = []
    for num_particles in (64, 4096):
        spec = EvalSpec(MODEL, num_particles)
        batched = in_batches(PIXELS, spec.batch_size)
        lowered = _evaluate.lower(spec, HPARAMS, _params(), batched, len(PIXELS))
        sizes.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    assert sizes[0] == sizes[1] > 0


def test_when_nothing_is_coded_the_nll_is_that_of_independent_pixels():
    """A decoder that ignores z and q equal to the prior leave the pixels' training means."""
    data, spec = tiny_data(), TrainSpec(tiny_vae(), binarize="static")
    state = loop.initial_state(spec, HPARAMS, data)
    nets = {part: state.params[part] for part in ("encoder", "decoder")}
    silent = state._replace(params=state.params | jax.tree.map(jnp.zeros_like, nets))
    row = scoring.score(spec, HPARAMS, silent, data, num_particles=5)[0]
    _assert_independent_pixels(row, data, spec.binarize)


def test_a_beta_that_forbids_coding_ends_at_independent_pixels(float64):
    """Trained, not set: the KL goes to zero and with it what the decoder makes of z."""
    data, num_steps = tiny_data(640), 1500
    fading = Adam("cosine", num_steps)
    spec = TrainSpec(tiny_vae(), optimizer=fading, batch_size=64, binarize="static")
    hparams = HParams.of(latent_size=3, beta=1e4, learning_rate=0.01)
    state = api.fit(spec, hparams, data, num_steps).state
    row = scoring.score(spec, hparams, state, data, num_particles=50)[0]
    assert row["test_kl"] < 1e-3
    assert row["active_units"] == 0
    _assert_independent_pixels(row, data, spec.binarize, tolerance=0.05)


def _assert_independent_pixels(row, data, binarize, tolerance=1e-5):
    flat = functools.partial(batches.stored_pixels, binarize)
    x = flat("test", data.test).reshape(len(data.test), -1) / 255
    train = data.train if tolerance < 1e-3 else flat("train", data.train)
    p = np.clip(train.reshape(len(train), -1).mean(axis=0) / 255, 1e-3, 1 - 1e-3)
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1).mean()
    assert row["test_nll"] == pytest.approx(expected, abs=tolerance)
