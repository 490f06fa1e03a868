"""Posteriors, priors and likelihoods against closed forms by another route."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.oracles import UnitGaussian
from vae_jax.likelihoods import Bernoulli
from vae_jax.posteriors import Gaussian
from vae_jax.priors import StandardNormal

ALL = jnp.ones(2, bool)
Q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))


def test_kl_has_the_published_value(float64):
    q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))
    assert float(StandardNormal().kl(q).sum()) == pytest.approx(0.6561104894209437, rel=1e-14)


def test_kl_is_the_mean_log_ratio():
    def log_ratio(noise: jax.Array) -> jax.Array:
        z = Q.sample(noise)
        return Q.log_prob(z, ALL) - StandardNormal().log_prob(z, ALL)

    noise = jax.random.normal(jax.random.key(0), (200_000, 2))
    ratios = np.asarray(jax.vmap(log_ratio)(noise), np.float64)
    standard_error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - float(StandardNormal().kl(Q).sum())) < 4 * standard_error


def test_kl_is_zero_only_where_posterior_equals_prior():
    grid = jnp.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=2)))
    kl = StandardNormal().kl(Gaussian(grid[:, :1], grid[:, 1:]))[:, 0]
    assert ((kl == 0) == (grid == 0).all(axis=1)).all()
    assert (kl >= 0).all()


def test_densities_are_scipys(float64):
    z = jnp.array([[0.3, -2.0], [1.5, 0.1]])
    q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))
    expected = stats.norm.logpdf(z, q.mean, np.exp(0.5 * q.log_var)).sum(axis=-1)
    np.testing.assert_allclose(jax.vmap(q.log_prob, (0, None))(z, ALL), expected, rtol=1e-13)
    expected = stats.norm.logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(StandardNormal().log_prob(z, ALL), expected, rtol=1e-13)


def test_a_sample_is_a_function_of_the_noise():
    np.testing.assert_allclose(Q.sample(jnp.zeros(2)), Q.mean)
    scale = jax.jacobian(Q.sample)(jnp.zeros(2))
    np.testing.assert_allclose(scale, jnp.diag(jnp.exp(0.5 * Q.log_var)), rtol=1e-6)


def test_inactive_latents_add_nothing_and_have_no_gradient():
    active = jnp.array([True, False])

    def kl(q: Gaussian) -> jax.Array:
        return StandardNormal().kl(q.restrict(active)).sum()

    runaway = Gaussian(jnp.array([0.5, 1e30]), jnp.array([0.2, 1e4]))
    alone = StandardNormal().kl(Gaussian(runaway.mean[:1], runaway.log_var[:1])).sum()
    assert kl(runaway) == alone
    slope = jax.grad(kl)(runaway)
    assert jnp.isfinite(jnp.stack(slope)).all()
    assert (jnp.stack(slope)[:, 1] == 0).all()
    z = jnp.array([0.7, 3.0])
    first = jnp.array([True])
    narrow = Gaussian(runaway.mean[:1], runaway.log_var[:1])
    assert runaway.restrict(active).log_prob(z, active) == narrow.log_prob(z[:1], first)
    assert StandardNormal().log_prob(z, active) == StandardNormal().log_prob(z[:1], first)


def test_bernoulli_sums_to_one(float64):
    logits = jnp.linspace(-3, 3, 6).reshape(2, 3, 1, 1)
    every = jnp.array(list(itertools.product([0.0, 1.0], repeat=6))).reshape(-1, 2, 3, 1)
    probabilities = jnp.exp(jax.vmap(Bernoulli().log_prob, (None, 0))(logits, every))
    assert float(probabilities.sum()) == pytest.approx(1, rel=1e-13)


def test_bernoulli_is_minus_the_cross_entropy_and_so_is_its_slope(float64):
    logits, x = jnp.linspace(-30, 30, 60).reshape(3, 4, 5, 1), jnp.linspace(0, 1, 60)
    x = x.reshape(3, 4, 5)
    wide = np.asarray(logits[..., 0], np.longdouble)
    sigmoid = 1 / (1 + np.exp(-wide))
    gray = np.asarray(x)
    expected = np.sum(-gray * np.log1p(np.exp(-wide)) - (1 - gray) * np.log1p(np.exp(wide)))
    value, slope = jax.value_and_grad(Bernoulli().log_prob)(logits, x)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(slope[..., 0], gray - sigmoid, atol=1e-14)
    by_x = jax.grad(Bernoulli().log_prob, argnums=1)(logits, x)
    np.testing.assert_allclose(by_x, logits[..., 0], rtol=1e-14)


@pytest.mark.parametrize(("logit", "x", "expected"), [(1e4, 1, 0), (1e4, 0, -1e4), (-1e4, 1, -1e4)])
def test_bernoulli_is_exact_at_extreme_logits(logit, x, expected):
    logits, image = jnp.full((1, 1, 1, 1), logit), jnp.full((1, 1, 1), float(x))
    value, slope = jax.value_and_grad(Bernoulli().log_prob)(logits, image)
    assert value == expected
    assert float(slope.sum()) == x - (logit > 0)


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), UnitGaussian()], ids=lambda p: type(p).__name__
)
def test_samples_have_the_mean(likelihood):
    outputs = jnp.linspace(-2, 2, 4).reshape(2, 2, 1, 1)
    many = jnp.broadcast_to(outputs, (20_000, *outputs.shape))
    samples = np.asarray(likelihood.sample(many, jax.random.key(0)), np.float64)
    standard_error = samples.std(axis=0) / math.sqrt(len(samples))
    assert (abs(samples.mean(axis=0) - likelihood.mean(outputs)) < 4 * standard_error).all()


def test_the_initial_bias_decodes_to_the_data_mean():
    data_mean = jnp.array([[[0.25], [0.9]]])
    likelihood = Bernoulli()
    np.testing.assert_allclose(
        likelihood.mean(likelihood.initial_bias(data_mean)), data_mean, rtol=1e-6
    )
    assert jnp.isfinite(likelihood.initial_bias(jnp.array([[[0.0], [1.0]]]))).all()
