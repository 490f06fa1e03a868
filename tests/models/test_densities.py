"""Gaussian posterior and standard normal prior against closed forms by another route."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vae_jax.models.posteriors import Gaussian
from vae_jax.models.priors import UnitNormal

Q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))


def test_kl_has_the_published_value(float64):
    q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))
    assert float(UnitNormal().kl(q).total) == pytest.approx(0.6561104894209437, rel=1e-14)


def test_kl_is_the_mean_log_ratio():
    def log_ratio(noise: jax.Array) -> jax.Array:
        z = Q.sample(noise)
        return Q.log_prob(z) - UnitNormal().log_prob(z)

    noise = jax.random.normal(jax.random.key(0), (200_000, 2))
    ratios = np.asarray(jax.vmap(log_ratio)(noise), np.float64)
    standard_error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - float(UnitNormal().kl(Q).total)) < 4 * standard_error


def test_kl_is_zero_only_where_posterior_equals_prior():
    grid = jnp.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=2)))
    kl = UnitNormal().kl(Gaussian(grid[:, :1], grid[:, 1:])).per_latent[:, 0]
    assert ((kl == 0) == (grid == 0).all(axis=1)).all()
    assert (kl >= 0).all()


def test_densities_are_scipys(float64):
    z = jnp.array([[0.3, -2.0], [1.5, 0.1]])
    q = Gaussian(jnp.array([0.5, -1.0]), jnp.array([0.2, -0.3]))
    expected = stats.norm.logpdf(z, q.mean, np.exp(0.5 * q.log_var)).sum(axis=-1)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-13)
    expected = stats.norm.logpdf(z).sum(axis=-1)
    np.testing.assert_allclose(UnitNormal().log_prob(z), expected, rtol=1e-13)


def test_a_sample_is_a_function_of_the_noise():
    np.testing.assert_allclose(Q.sample(jnp.zeros(2)), Q.mean)
    scale = jax.jacobian(Q.sample)(jnp.zeros(2))
    np.testing.assert_allclose(scale, jnp.diag(jnp.exp(0.5 * Q.log_var)), rtol=1e-6)


def test_latents_that_are_masked_out_add_nothing_and_have_no_gradient():
    latent_mask = jnp.array([True, False])

    def kl(q: Gaussian) -> jax.Array:
        return UnitNormal().kl(q.restrict(latent_mask)).total

    runaway = Gaussian(jnp.array([0.5, 1e30]), jnp.array([0.2, 1e4]))
    alone = UnitNormal().kl(Gaussian(runaway.mean[:1], runaway.log_var[:1])).total
    assert kl(runaway) == alone
    slope = jax.grad(kl)(runaway)[:2]
    assert jnp.isfinite(jnp.stack(slope)).all()
    assert (jnp.stack(slope)[:, 1] == 0).all()
    z = jnp.array([0.7, 3.0])
    first = jnp.array([True])
    narrow = Gaussian(runaway.mean[:1], runaway.log_var[:1])
    assert runaway.restrict(latent_mask).log_prob(z) == narrow.log_prob(z[:1])
    assert UnitNormal(latent_mask).log_prob(z) == UnitNormal(first).log_prob(z[:1])
