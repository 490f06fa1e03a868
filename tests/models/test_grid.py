"""Codes on a grid: the bound, the evidence by enumeration, and the straight-through gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import FSQ, nearest_level
from vae_jax.models.priors import UniformGrid
from vae_jax.models.priors.uniform_grid import UniformOnGrid
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo
from vae_jax.objectives.base import elbo_terms, log_weights

NUM_LEVELS, NUM_LATENTS = 3, 2
MODEL = VAE(
    (2, 3, 1), NUM_LATENTS, MLP((5,)), posterior=FSQ(NUM_LEVELS), prior=UniformGrid(NUM_LEVELS)
)
HPARAMS = HParams.of(latent_size=NUM_LATENTS)
X = jnp.asarray(np.random.default_rng(0).integers(2, size=(6, 2, 3, 1)), float)


def _params():
    params = jax.jit(MODEL.init)(HPARAMS, jnp.full(MODEL.image_shape, 0.5))
    return jax.tree.map(lambda leaf: 3.0 * leaf, params)


def _codes() -> np.ndarray:
    levels = np.linspace(-1, 1, NUM_LEVELS)
    codes = np.array(list(itertools.product(levels, repeat=NUM_LATENTS)))
    return np.pad(codes, ((0, 0), (0, MODEL.width - NUM_LATENTS)))


def _evidence(params) -> np.ndarray:
    """Return log p(x) = log sum_z p(z) p(x|z) over all codes."""
    codes = jnp.asarray(_codes())
    decoder = jax.jit(MODEL.decode)(HPARAMS, params, jnp.repeat(codes[:, None], len(X), axis=1))
    joint = np.asarray(decoder.log_prob(jnp.broadcast_to(X, (len(codes), *X.shape))), float)
    return special.logsumexp(joint - NUM_LATENTS * np.log(NUM_LEVELS), axis=0)


def test_prior_is_uniform_over_the_codes_and_zero_elsewhere(float64):
    p = UniformOnGrid(jnp.asarray(float(NUM_LEVELS)), MODEL.latent_mask(HPARAMS))
    log_p = np.asarray(p.log_prob(jnp.asarray(_codes())))
    assert np.exp(log_p).sum() == pytest.approx(1)
    assert p.log_prob(jnp.full(MODEL.width, 0.3)) == -jnp.inf
    z = p.sample(jax.random.key(0), MODEL.standard_noise(jax.random.key(1), 9000))
    codes, counts = np.unique(np.asarray(z), axis=0, return_counts=True)
    np.testing.assert_allclose(codes, _codes(), atol=1e-12)
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_elbo_bounds_the_evidence_by_what_the_posterior_lacks(float64):
    """The gap is KL(q || p(z|x)), for a point mass minus the log posterior of its code."""
    params = _params()
    noise = MODEL.noise(jax.random.key(0), 1, len(X))
    elbo = np.asarray(elbo_terms(MODEL, HPARAMS, params, X, noise).elbo)
    evidence, q = _evidence(params), MODEL.encode(HPARAMS, params, X)
    joint = MODEL.decode(HPARAMS, params, q.code).log_prob(X) - NUM_LATENTS * np.log(NUM_LEVELS)
    np.testing.assert_allclose(elbo, joint, rtol=1e-12)
    assert (elbo <= evidence).all()
    assert (evidence - elbo > 1e-3).any()
    weights = log_weights(MODEL, HPARAMS, params, X, MODEL.noise(jax.random.key(0), 4, len(X)))
    np.testing.assert_allclose(special.logsumexp(weights, axis=0) - np.log(4), elbo, rtol=1e-12)


def test_gradient_passes_through_the_rounding():
    heads = jnp.array([0.1, -0.7, 2.0])
    mask = jnp.ones(3, bool)

    def code(values):
        return FSQ(8)(HPARAMS, {}, {"code": values}, mask).code

    np.testing.assert_array_equal(code(heads), nearest_level(jnp.tanh(heads), 8))
    slopes = jax.grad(lambda values: code(values).sum())(heads)
    np.testing.assert_allclose(slopes, 1 - jnp.tanh(heads) ** 2, rtol=1e-6)


@pytest.mark.parametrize("num_levels", [2, 3, 8])
def test_levels_are_equally_spaced_from_minus_one_to_one(num_levels):
    found = np.unique(nearest_level(jnp.linspace(-1.5, 1.5, 2001), num_levels))
    np.testing.assert_allclose(found, np.linspace(-1, 1, num_levels), atol=1e-6)


def test_the_kl_is_the_logarithm_of_the_number_of_codes():
    output = Elbo()(
        MODEL, HPARAMS, _params(), X, MODEL.noise(jax.random.key(0), 1, len(X)), jnp.int32(0)
    )
    np.testing.assert_allclose(output.terms.kl, NUM_LATENTS * np.log(NUM_LEVELS), rtol=1e-6)
