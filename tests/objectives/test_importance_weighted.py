"""Importance-weighted bounds against models whose evidence is known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import LinearModel, log_evidence_by_grid, tiny_vae
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE
from vae_jax.objectives import importance_weighted_bound
from vae_jax.objectives.base import log_weights

LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
IMAGES = np.random.default_rng(1).normal(size=(5, 6))
init = jax.jit(VAE.init, static_argnums=0)


def _noise(model, num_particles, batch, seed=0):
    return model.noise(jax.random.key(seed), num_particles, batch)


def _widened(params, ratio):
    """Return the linear model's parameters with the encoder's deviation times a factor."""
    encoder = params["encoder"]
    log_var = encoder["log_var"] | {"bias": encoder["log_var"]["bias"] + 2 * math.log(ratio)}
    return params | {"encoder": encoder | {"log_var": log_var}}


@pytest.mark.parametrize("num_particles", [1, 2, 50])
def test_with_the_exact_posterior_every_sample_gives_the_evidence(float64, num_particles):
    vae, hparams = LINEAR.vae, LINEAR.hparams
    x = jnp.asarray(IMAGES).reshape(5, 1, 6, 1)
    log_w = log_weights(vae, hparams, LINEAR.params, x, _noise(vae, num_particles, 5))
    expected = LINEAR.log_evidence(IMAGES)
    np.testing.assert_allclose(log_w, np.tile(expected, (num_particles, 1)), atol=1e-12)
    np.testing.assert_allclose(importance_weighted_bound(log_w), expected, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.9, 1.2])
def test_a_misscaled_posterior_leaves_the_known_gap(float64, ratio):
    """Check the gap D((r^2 - 1)/2 - ln r), and for the bound of K samples about chi^2/2K."""
    vae, hparams = LINEAR.vae, LINEAR.hparams
    params, x = _widened(LINEAR.params, ratio), jnp.zeros((20_000, 1, 6, 1))
    evidence = LINEAR.log_evidence(np.zeros((1, 6)))[0]
    log_w = log_weights(vae, hparams, params, x, _noise(vae, 50, len(x)))
    gap = 3 * (0.5 * (ratio**2 - 1) - math.log(ratio))
    chi_square = (ratio**2 / math.sqrt(2 * ratio**2 - 1)) ** 3 - 1
    for num_particles, expected in ((1, gap), (50, chi_square / 100)):
        gaps = np.asarray(evidence - importance_weighted_bound(log_w[:num_particles]))
        standard_error = gaps.std() / math.sqrt(len(gaps))
        slack = 4 * standard_error + (0.2 * expected if num_particles > 1 else 0)
        assert abs(gaps.mean() - expected) < slack


@pytest.mark.parametrize("num_latents", [1, 2])
def test_the_bound_rises_with_particles_to_the_evidence(float64, num_latents):
    vae, hparams = tiny_vae(num_latents), HParams.of(latent_size=num_latents, seed=1)
    params = jax.tree.map(lambda a: 0.7 * a, init(vae, hparams, jnp.full((3, 4, 1), 0.4)))
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (3, 3, 4, 1)).astype(float)
    truth = log_evidence_by_grid(vae, hparams, params, x)
    log_w = log_weights(vae, hparams, params, x, _noise(vae, 2**16, 3))
    bounds = {}
    for num_particles in (1, 2, 4, 8):
        groups = jnp.reshape(log_w, (num_particles, -1, 3))
        estimates = np.asarray(importance_weighted_bound(groups))
        bounds[num_particles] = estimates.mean(axis=0)
        standard_error = estimates.std(axis=0) / math.sqrt(len(estimates))
        assert (bounds[num_particles] < truth + 4 * standard_error).all()
    assert (np.diff(np.stack(list(bounds.values())), axis=0) > 0).all()
    weights = np.exp(np.asarray(log_w) - truth)
    relative_error = weights.std(axis=0) / math.sqrt(len(weights))
    assert (relative_error < 0.01).all()
    assert (abs(importance_weighted_bound(log_w) - truth) < 4 * relative_error).all()


def test_importance_weighted_bound_is_symmetric_and_shift_equivariant():
    log_w = jax.random.normal(jax.random.key(0), (5, 3))
    bound = importance_weighted_bound(log_w)
    np.testing.assert_allclose(importance_weighted_bound(log_w[::-1]), bound, rtol=1e-6)
    np.testing.assert_allclose(importance_weighted_bound(log_w + 1e3), bound + 1e3, rtol=1e-6)
    np.testing.assert_allclose(importance_weighted_bound(log_w[:1]), log_w[0], rtol=1e-6)
