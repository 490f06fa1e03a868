"""The decomposition of the KL: brute force in float64, and sets whose terms are known."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from scipy.special import logsumexp
from scipy.stats import norm

from tests.laplace_posterior import Laplace
from vae_jax.evaluation.metrics import decomposition
from vae_jax.models.posteriors import Gaussian

decompose = jax.jit(decomposition.decompose, static_argnames="block_size")


def posteriors(means, deviation):
    means = np.asarray(means, np.float32)
    return Gaussian(jnp.asarray(means), jnp.full(means.shape, 2 * math.log(deviation), jnp.float32))


def samples(q, seed=0):
    return q.sample(jax.random.normal(jax.random.key(seed), q.mean.shape))


def log_normal(z):
    return jnp.sum(jax.scipy.stats.norm.logpdf(z), axis=-1)


def terms_of(q, z=None, block_size=64):
    z = samples(q) if z is None else z
    latent_mask = jnp.ones(z.shape[1], bool)
    return decompose(q, latent_mask, z - q.mean[: len(z)], log_normal(z), block_size=block_size)


def means_of(q):
    return decomposition.summarize(terms_of(q))


def random_posteriors(num=37, latents=3):
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(size=(num, latents)), rng.normal(-1, 1, (num, latents))
    return Gaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(log_var, jnp.float32))


def brute_force(q, z):
    """The three terms of each sample, every density written out in float64."""
    mean, deviation, z = (np.asarray(a, np.float64) for a in (q.mean, jnp.exp(q.log_var / 2), z))
    each = norm.logpdf(z[:, None], mean, deviation)  # samples, examples, latents
    own = np.diagonal(each.sum(-1))
    joint = logsumexp(each.sum(-1), axis=1) - math.log(len(mean))
    marginals = (logsumexp(each, axis=1) - math.log(len(mean))).sum(-1)
    return own - joint, joint - marginals, marginals - norm.logpdf(z).sum(-1)


@pytest.mark.parametrize("block_size", [5, 64])
def test_terms_are_those_of_brute_force_for_every_block_size(block_size):
    q = random_posteriors()
    found = terms_of(q, block_size=block_size)
    np.testing.assert_allclose(np.stack(found), brute_force(q, samples(q)), atol=2e-5)


def test_fewer_samples_than_examples_keep_the_whole_aggregate():
    q = random_posteriors()
    z = samples(q)[:10]
    expected = [term[:10] for term in brute_force(q, samples(q))]
    np.testing.assert_allclose(np.stack(terms_of(q, z)), expected, atol=2e-5)


def test_the_sum_of_the_terms_is_the_kl_of_each_sample(float64):
    q = Gaussian(*(a.astype(jnp.float64) for a in random_posteriors(400)[:2]))
    z = samples(q)
    terms = terms_of(q, z)
    log_q = q.log_prob(z)
    np.testing.assert_allclose(sum(terms), log_q - log_normal(z), atol=1e-12)
    exact_kl = 0.5 * jnp.sum(q.mean**2 + jnp.exp(q.log_var) - q.log_var - 1, axis=-1)
    error = np.sum(terms, axis=0) - exact_kl
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(400)


def test_inactive_latents_add_nothing_whatever_they_hold():
    q = random_posteriors(latents=5)
    latent_mask = jnp.arange(5) < 3
    slim = Gaussian(q.mean[:, :3], q.log_var[:, :3])
    z = samples(q)
    wild = Gaussian(q.mean, jnp.where(latent_mask, q.log_var, jnp.float32(200.0)))
    found = decompose(wild, latent_mask, z - q.mean, log_normal(z[:, :3]), block_size=64)
    np.testing.assert_allclose(np.stack(found), np.stack(terms_of(slim, z[:, :3])), atol=1e-5)


def test_any_prior_changes_only_the_last_term():
    q = random_posteriors()
    z, latent_mask = samples(q), jnp.ones(3, bool)
    normal, other = (
        decompose(q, latent_mask, z - q.mean, log_normal(z) - c, block_size=64) for c in (0, 2.5)
    )
    np.testing.assert_array_equal(normal.mutual_information, other.mutual_information)
    np.testing.assert_array_equal(normal.total_correlation, other.total_correlation)
    np.testing.assert_allclose(other.dimensionwise_kl - normal.dimensionwise_kl, 2.5, atol=1e-5)


def test_one_posterior_for_all_has_no_information():
    terms = terms_of(posteriors(np.tile([0.3, -1.0, 0.0], (37, 1)), 0.7))
    np.testing.assert_allclose(terms.mutual_information, 0, atol=1e-5)
    np.testing.assert_allclose(terms.total_correlation, 0, atol=1e-5)


def test_separated_posteriors_tell_each_example():
    """In every latent too: TC = (latents - 1) ln N."""
    far = 100.0 * np.arange(37)[:, None] * np.ones(3)
    terms = terms_of(posteriors(far, 0.1))
    np.testing.assert_allclose(terms.mutual_information, math.log(37), atol=1e-5)
    np.testing.assert_allclose(terms.total_correlation, 2 * math.log(37), atol=1e-3)


def test_a_product_of_marginals_has_no_total_correlation():
    """All pairs of 6 and 7 means: q(z) factorises exactly, sample by sample."""
    pairs = itertools.product(np.linspace(-1, 1, 6), np.linspace(0, 2, 7))
    terms = terms_of(posteriors(list(pairs), 0.3))
    np.testing.assert_allclose(terms.total_correlation, 0, atol=1e-5)


def test_a_gaussian_aggregate_has_the_gaussian_total_correlation():
    covariance = np.array([[1.0, 0.8], [0.8, 1.0]])
    rng = np.random.default_rng(3)
    means = rng.multivariate_normal([0, 0], covariance - 0.19 * np.eye(2), 3000)
    row = means_of(posteriors(means, math.sqrt(0.19)))
    expected = -0.5 * math.log(1 - 0.64)
    assert decomposition.gaussian_total_correlation(covariance) == pytest.approx(expected)
    assert row["total_correlation"] == pytest.approx(expected, abs=4 * row["total_correlation_se"])
    assert row["dimensionwise_kl"] == pytest.approx(0, abs=4 * row["dimensionwise_kl_se"])


def test_gaussian_total_correlation_of_independent_latents_is_zero():
    found = decomposition.gaussian_total_correlation(np.diag([1.0, 4.0, 1e-6]))
    assert found == pytest.approx(0, abs=1e-12)


def test_the_summary_gives_means_and_standard_errors():
    row = decomposition.summarize(decomposition.KLTerms(*jnp.array([[1.0, 3.0], [0, 0], [5, 5]])))
    assert row["mutual_information"] == 2
    assert row["mutual_information_se"] == 1
    assert row["dimensionwise_kl"] == 5
    assert row["total_correlation_se"] == 0


def test_memory_does_not_grow_with_the_number_of_examples():
    """Ten times the examples need ten times the arguments, not a hundred times the scratch."""

    def scratch(num):
        rows = jax.ShapeDtypeStruct((num, 3), jnp.float32)
        log_prior = jax.ShapeDtypeStruct((num,), jnp.float32)
        args = (Gaussian(rows, rows), jnp.ones(3, bool), rows, log_prior)
        memory = decompose.lower(*args, block_size=64).compile().memory_analysis()
        return memory.temp_size_in_bytes

    assert scratch(5000) < scratch(500) + 5000 * 3 * 4 * 10


def test_a_posterior_that_is_no_gaussian_is_decomposed_by_its_own_densities(float64):
    """The terms add up to log q(z|x) - log p(z), and log q(z) is the mixture of numpy."""
    rng = np.random.default_rng(3)
    q = Laplace(*(jnp.asarray(rng.normal(size=(6, 2))) for _ in range(2)))
    deviation, log_prior = jnp.asarray(rng.normal(size=(6, 2))), jnp.asarray(rng.normal(size=6))
    terms = decompose(q, jnp.ones(2, bool), deviation, log_prior, block_size=4)
    z = np.asarray(q.location + deviation)
    scale = np.exp(np.asarray(q.log_scale))
    each = stats.laplace.logpdf(z[:, None], np.asarray(q.location), scale)
    own = each[np.arange(6), np.arange(6)].sum(axis=-1)
    joint = special.logsumexp(each.sum(axis=-1), axis=1) - np.log(6)
    marginals = (special.logsumexp(each, axis=1) - np.log(6)).sum(axis=-1)
    np.testing.assert_allclose(terms.mutual_information, own - joint, rtol=1e-10)
    np.testing.assert_allclose(terms.total_correlation, joint - marginals, rtol=1e-10)
    np.testing.assert_allclose(terms.dimensionwise_kl, marginals - log_prior, rtol=1e-10)
