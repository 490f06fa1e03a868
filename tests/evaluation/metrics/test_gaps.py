"""The inference gap's two halves, where both have a closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import rng
from vae_jax.evaluation.metrics import gaps
from vae_jax.evaluation.metrics.ais import EvalBatch
from vae_jax.evaluation.metrics.gaps import RefineSpec
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import Delta, DiagonalGaussian, FullGaussian, InverseAutoregressive
from vae_jax.models.vae import VAE

NUM, PIXELS, LATENTS, VARIANCE = 6, 4, 2, 0.25
WEIGHTS = np.array([[1.0, 0.8], [0.3, 0.6], [0.0, 0.5], [0.4, 0.0]])
PRECISION = np.eye(LATENTS) + WEIGHTS.T @ WEIGHTS / VARIANCE
"""Of p(z|x), the same for every x; its correlations are what a diagonal q lacks."""
X = np.random.default_rng(0).normal(size=(NUM, PIXELS))


@functools.partial(jax.jit, static_argnums=0)
def _refined(spec, hparams, params, x):
    question = EvalBatch(hparams, params, x, None, rng.stream(0, "gaps"), jnp.arange(NUM))
    return gaps.refine(spec, question)


def _measured(posterior, max_latents=LATENTS):
    """With an encoder that says N(0.5, 0.36 I) of every x."""
    model = VAE((1, PIXELS, 1), max_latents, MLP(()), posterior, likelihood=GaussianLikelihood())
    hparams = HParams.of(latent_size=LATENTS, scale=math.sqrt(VARIANCE))
    params = jax.tree.map(jnp.zeros_like, model.init(hparams, jnp.zeros((1, PIXELS, 1))))
    params["encoder"]["mean"]["bias"] += 0.5
    params["encoder"]["log_var"]["bias"] += math.log(0.36)
    kernel = params["decoder"]["latent"]["kernel"].at[:LATENTS].set(WEIGHTS.T)
    params["decoder"]["latent"]["kernel"] = kernel
    spec = RefineSpec(model, num_steps=600, num_particles=4, eval_particles=300)
    return _refined(spec, hparams, params, jnp.asarray(X).reshape(NUM, 1, PIXELS, 1))


def _log_evidence():
    covariance = WEIGHTS @ WEIGHTS.T + VARIANCE * np.eye(PIXELS)
    quadratic = np.einsum("ni,ij,nj->n", X, np.linalg.inv(covariance), X)
    return -0.5 * (np.linalg.slogdet(2 * math.pi * covariance)[1] + quadratic)


def _kl_of_the_encoder():
    """KL(N(0.5, 0.36 I) || p(z|x)) of each example."""
    mean = X @ WEIGHTS @ np.linalg.inv(PRECISION) / VARIANCE
    quadratic = np.einsum("ni,ij,nj->n", mean - 0.5, PRECISION, mean - 0.5)
    log_dets = np.linalg.slogdet(PRECISION)[1] + LATENTS * math.log(0.36)
    return 0.5 * (0.36 * np.trace(PRECISION) + quadratic - LATENTS - log_dets)


def test_a_diagonal_q_lacks_the_correlations(float64):
    """The best has the posterior's mean and 1 / Lambda_jj for variances (Bishop 2006, 10.1.2).

    KL(q* || p) = (sum_j ln Lambda_jj - ln |Lambda|) / 2, and inactive latents change nothing.
    """
    elbos, truth = _measured(DiagonalGaussian()), jnp.asarray(_log_evidence())
    log_diagonal = np.log(np.diagonal(PRECISION)).sum()
    expected = 0.5 * (log_diagonal - np.linalg.slogdet(PRECISION)[1])
    assert expected > 0.2
    np.testing.assert_allclose(elbos.approximation_gap(truth), expected, atol=0.1)
    mean = float(np.mean(elbos.approximation_gap(truth)))
    assert mean == pytest.approx(expected, abs=0.05)
    total = elbos.amortization_gap + elbos.approximation_gap(truth)
    np.testing.assert_allclose(total, _kl_of_the_encoder(), rtol=0.15)
    wide = _measured(DiagonalGaussian(), max_latents=3)
    np.testing.assert_allclose(wide.optimal, elbos.optimal, rtol=1e-9)


def test_with_all_correlations_nothing_is_left_but_amortization(float64):
    """At the exact posterior every weight is p(x), so the ELBO has no noise."""
    elbos = _measured(FullGaussian())
    np.testing.assert_allclose(elbos.optimal, _log_evidence(), atol=1e-3)
    assert (np.asarray(elbos.amortization_gap) > 0).all()


def test_other_families_are_refused_in_words():
    assert "deterministic" in gaps.unsupported(Delta())
    assert "of its own for each" in gaps.unsupported(InverseAutoregressive())
    model = VAE((1, PIXELS, 1), LATENTS, MLP(()), Delta())
    with pytest.raises(ValueError, match="deterministic"):
        gaps.refine(RefineSpec(model), EvalBatch(*[None] * 6))


def test_elbos_in_float32_are_exact_where_all_samples_are_alike():
    """With the prior as the exact posterior of a decoder that reads no z both ELBOs are log p."""
    model = VAE((1, 784, 1), 1, MLP(()), likelihood=GaussianLikelihood())
    hparams = HParams.of(latent_size=1, scale=0.1)
    params = jax.tree.map(jnp.zeros_like, model.init(hparams, jnp.zeros((1, 784, 1))))
    x = np.random.default_rng(0).uniform(size=(NUM, 1, 784, 1)).astype(np.float32)
    deviations = x.reshape(NUM, -1).astype(np.float64) / np.float32(0.1)
    exact = -0.5 * (deviations**2).sum(1) - 784 * (math.log(0.1) + 0.5 * math.log(2 * math.pi))
    elbos = _refined(RefineSpec(model, num_steps=1), hparams, params, jnp.asarray(x))
    np.testing.assert_allclose(elbos.optimal, exact, rtol=5e-7)
