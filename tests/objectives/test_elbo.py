"""ELBO against its samples: terms, particles, beta."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracles import tiny_vae
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, importance_weighted_bound
from vae_jax.objectives.base import elbo_terms, log_weights

init = jax.jit(VAE.init, static_argnums=0)


def _noise(model, num_particles, batch, seed=0):
    return model.noise(jax.random.key(seed), num_particles, batch)


def test_one_particle_is_the_elbo_up_to_the_noise_of_the_kl(float64):
    """Check that for the same noise log w and the ELBO differ by log q/p - KL, of mean zero."""
    vae, hparams = tiny_vae(), HParams.of(latent_size=4)
    params = init(vae, hparams, jnp.full((3, 4, 1), 0.4))
    x, noise = jnp.ones((2, 3, 4, 1)), _noise(vae, 1, 2)
    terms = elbo_terms(vae, hparams, params, x, noise)
    q, p = vae.encode(hparams, params, x), vae.prior_at(hparams, params)
    z = q.sample(noise[0])
    ratio = q.log_prob(z) - p.log_prob(z)
    log_w = log_weights(vae, hparams, params, x, noise)
    np.testing.assert_allclose(terms.log_likelihood - ratio, log_w[0], rtol=1e-12)
    np.testing.assert_allclose(importance_weighted_bound(log_w), log_w[0], rtol=1e-12)


def test_the_elbo_of_many_particles_is_the_mean_over_them(float64):
    vae, hparams = tiny_vae(), HParams.of(latent_size=4)
    params = init(vae, hparams, jnp.full((3, 4, 1), 0.4))
    x, noise = jnp.ones((2, 3, 4, 1)), _noise(vae, 7, 2)
    each = [elbo_terms(vae, hparams, params, x, particle[None]).elbo for particle in noise]
    mean = elbo_terms(vae, hparams, params, x, noise).elbo
    np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-12)


def test_beta_weighs_the_kl_but_not_the_reported_terms(float64):
    vae, plain = tiny_vae(), HParams.of(latent_size=4)
    params = init(vae, plain, jnp.full((3, 4, 1), 0.4))
    arguments = (params, jnp.ones((2, 3, 4, 1)), _noise(vae, 1, 2), jnp.int32(0))
    objective, terms = Elbo()(vae, plain, *arguments)[:2]
    heavy, same = Elbo()(vae, HParams.of(latent_size=4, beta=3.0), *arguments)[:2]
    np.testing.assert_allclose(objective - heavy, 2 * terms.kl, rtol=1e-12)
    np.testing.assert_array_equal(terms.elbo, same.elbo)
    np.testing.assert_array_equal(terms.elbo, objective)
