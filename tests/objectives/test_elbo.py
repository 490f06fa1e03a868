"""ELBO against its samples: terms, particles, beta."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_vae
from vae_jax.hparams import HParams
from vae_jax.models.priors import MixturePrior
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, importance_weighted_bound
from vae_jax.objectives.base import elbo_terms, log_weights
from vae_jax.runtime.errors import InputError
from vae_jax.training.spec import TrainSpec

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


FREE_BITS = Elbo(kl_penalty="free_bits")


def test_free_bits_are_of_the_latents_in_use(float64):
    """Unused columns, which pad a model for the widest run of its study, cost nothing."""
    vae, hparams = tiny_vae(), HParams.of(latent_size=3, free_bits=0.7)
    params = init(vae, hparams, jnp.full((3, 4, 1), 0.4))
    x, noise, step = jnp.ones((2, 3, 4, 1)), _noise(vae, 1, 2), jnp.int32(0)
    objective, terms = FREE_BITS(vae, hparams, params, x, noise, step)[:2]
    per_latent = vae.prior_at(hparams, params).kl(vae.encode(hparams, params, x)).per_latent
    floored = np.maximum(np.mean(per_latent, axis=0), 0.7)[:3].sum()
    assert vae.width > 3
    np.testing.assert_allclose(objective, terms.log_likelihood - floored, rtol=1e-12)


def test_free_bits_of_a_prior_without_closed_form_are_of_the_total(float64):
    vae = dataclasses.replace(tiny_vae(), prior=MixturePrior(2))
    hparams = HParams.of(latent_size=3, free_bits=50.0)
    params = init(vae, hparams, jnp.full((3, 4, 1), 0.4))
    x, noise, step = jnp.ones((2, 3, 4, 1)), _noise(vae, 1, 2), jnp.int32(0)
    objective, terms = FREE_BITS(vae, hparams, params, x, noise, step)[:2]
    np.testing.assert_allclose(objective, terms.log_likelihood - 50.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("more", "setting"),
    [({"kl": "monte_carlo"}, "kl=monte_carlo"), ({"estimator": "stl"}, "estimator=stl")],
)
def test_free_bits_of_latents_refuse_a_sampled_kl(more, setting):
    objective = dataclasses.replace(FREE_BITS, **more)
    with pytest.raises(InputError, match=f"^{setting}: has no effect with kl_penalty=free_bits"):
        TrainSpec(tiny_vae(), objective)
    TrainSpec(dataclasses.replace(tiny_vae(), prior=MixturePrior(2)), objective)
