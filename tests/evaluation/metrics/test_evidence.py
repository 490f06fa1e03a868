"""Importance weights: streaming sums, effective samples, the jackknife's view of the bias."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.evaluation.metrics import evidence
from vae_jax.objectives import importance_weighted_bound


def log_normal_weights(num_particles, num_examples, deviation):
    """Weights of mean 1, so that log p(x) = 0, and variance exp(deviation^2) - 1."""
    normal = np.random.default_rng(1).normal(size=(num_particles, num_examples))
    return jnp.asarray(deviation * normal - deviation**2 / 2, jnp.float32)


add_weights = jax.jit(evidence.add_weights)
bound, jackknife_bias = (
    jax.jit(fn, static_argnums=1) for fn in (evidence.bound, evidence.jackknife_bias)
)
_effective_sample_size = jax.jit(evidence.effective_sample_size, static_argnums=1)


def effective_sample_size(log_w):
    return _effective_sample_size(sums_of(log_w), len(log_w))


@jax.jit
def sums_of(log_w):
    return evidence.add_weights(evidence.no_weights(len(log_w), log_w.shape[1:]), log_w)


def exact(log_w):
    return np.exp(np.asarray(log_w, np.float64))


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_sums_do_not_depend_on_how_the_particles_come(at_once):
    log_w = log_normal_weights(50, 6, 2.0) - 500
    padding = -len(log_w) % at_once
    padded = jnp.pad(log_w, ((0, padding), (0, 0)), constant_values=-jnp.inf)
    sums = evidence.no_weights(50, (6,))
    for first in range(0, len(padded), at_once):
        sums = add_weights(sums, padded[first : first + at_once], jnp.asarray(first))
    for streamed, whole in zip(sums, sums_of(log_w), strict=True):
        np.testing.assert_allclose(streamed, whole, atol=1e-4)
    blocks = [exact(log_w - log_w.max(0)[None])[block::20].sum(0) for block in range(20)]
    np.testing.assert_allclose(sums.log_sums, np.log(blocks), atol=1e-4)
    np.testing.assert_array_equal(sums.log_max, log_w.max(0))


def test_the_bound_is_that_of_all_weights():
    log_w = log_normal_weights(33, 4, 3.0) - 90
    found = bound(sums_of(log_w), 33)
    np.testing.assert_allclose(found, importance_weighted_bound(log_w), atol=1e-5)


def test_effective_samples_by_hand():
    weights = np.array([[1.0, 1.0], [1.0, 1e-9], [1.0, 1e-9], [1.0, 1e-9]])
    found = effective_sample_size(jnp.log(weights) - 700)
    np.testing.assert_allclose(found, [4, 1], rtol=1e-3)


def test_effective_samples_are_those_of_numpy():
    w = exact(log_w := log_normal_weights(70, 5, 1.5))
    found = effective_sample_size(log_w)
    np.testing.assert_allclose(found, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-4)


def delete_one(w):
    """(K - 1) (mean of the bounds without one weight - the bound of all), the textbook formula."""
    num = len(w)
    without = [np.log(np.delete(w, k, axis=0).mean(0)) for k in range(num)]
    return (num - 1) * (np.mean(without, axis=0) - np.log(w.mean(0)))


def test_blocks_of_one_particle_make_the_textbook_jackknife():
    log_w = log_normal_weights(12, 5, 1.0)
    found = jackknife_bias(sums_of(log_w), 12)
    np.testing.assert_allclose(found, delete_one(exact(log_w)), atol=1e-5)


@pytest.mark.parametrize("num_particles", [100, 110])
def test_the_jackknife_finds_the_bias(num_particles):
    """Equal and ragged blocks; log p(x) = 0, so the bias is the bound, about -var(w) / 2K."""
    log_w = log_normal_weights(num_particles, 4000, 0.8)
    sums = sums_of(log_w)
    found = jackknife_bias(sums, num_particles)
    error = np.asarray(bound(sums, num_particles) - found, np.float64)
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(4000)
    predicted = -math.expm1(0.64) / (2 * num_particles)
    assert float(found.mean()) == pytest.approx(predicted, rel=0.15)


def test_a_single_particle_says_nothing_of_its_bias():
    assert np.isnan(jackknife_bias(sums_of(jnp.zeros((1, 3))), 1)).all()


def test_equal_weights_of_one_example_without_axes():
    assert float(effective_sample_size(jnp.zeros(40))) == pytest.approx(40, rel=1e-5)
    assert float(jackknife_bias(sums_of(jnp.zeros(40)), 40)) == pytest.approx(0, abs=1e-5)


@jax.jit
def streamed(log_w):
    """Sums of the weights as an evaluation makes them: one particle after the other."""

    def add(k, sums):
        return evidence.add_weights(sums, log_w[k][None], k)

    start = evidence.no_weights(len(log_w), log_w.shape[1:])
    return jax.lax.fori_loop(0, len(log_w), add, start)


@pytest.mark.parametrize("level", [-100.0, -5_000.0, -50_000.0])
def test_float32_sums_are_exact_at_any_level(level):
    """Equal weights are K effective ones and never more; the jackknife is that of float64."""
    num = 2000
    equal = streamed(jnp.full((num, 4), level, jnp.float32))
    size = float(evidence.effective_sample_size(equal, num).max())
    assert size <= num
    assert size == pytest.approx(num, rel=1e-4)
    log_w = log_normal_weights(num, 4, 1.0) + jnp.float32(level)
    sums, relative = streamed(log_w), np.asarray(log_w, np.float64) - level
    w = np.exp(relative)
    blocks = [np.delete(w, np.s_[block::20], axis=0).mean(0) for block in range(20)]
    expected = 19 * (np.mean(np.log(blocks), axis=0) - np.log(w.mean(0)))
    np.testing.assert_allclose(evidence.jackknife_bias(sums, num), expected, atol=5e-5)
    np.testing.assert_allclose(
        evidence.effective_sample_size(sums, num), w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-3
    )


def test_a_warning_says_on_how_many_examples_and_what_to_do():
    effective = np.array([3.0, 4.0, 5.0, 50.0, 60.0])
    sentence = evidence.distrust(effective, np.full(5, -0.25), 1000)
    assert sentence.startswith("On 60% of the examples the bound with K = 1,000 importance")
    assert "more than 0.05 nats" in sentence
    assert "(median effective sample size 5.0)" in sentence
    assert "puts the bound 0.25 nats below log p(x)" in sentence
    assert "raise --eval_particles" in sentence


def test_no_warning_where_nine_in_ten_examples_have_enough():
    effective = np.r_[1.0, np.full(9, 10.0)]
    assert evidence.distrust(effective, np.full(10, -0.01), 100) == ""


def test_few_weights_are_trusted_where_they_are_equal():
    """With the exact posterior 5 or 10 weights leave no bias."""
    for num, size in ((5, 5.0), (10, 9.98), (12, 6.0)):
        assert evidence.distrust(np.full(4, size), np.full(4, -3e-4), num) == ""
    assert evidence.distrust(np.full(4, 1.2), np.full(4, -1.0), 5)


def test_the_bias_by_the_effective_sample_size_is_that_of_log_normal_weights():
    log_w = log_normal_weights(200, 4000, 0.5)
    found = evidence.bias_of_few(np.asarray(effective_sample_size(log_w)), 200)
    bias = -np.asarray(bound(sums_of(log_w), 200), np.float64)
    assert found.mean() == pytest.approx(math.expm1(0.25) / 400, rel=0.1)
    assert abs(found.mean() - bias.mean()) < 4 * bias.std() / math.sqrt(4000)
