"""Vectors of reals against the exact evidence of a linear-Gaussian model (probabilistic PCA)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_wine

import vae_jax
from tests.oracles import LinearModel
from vae_jax.data import encodings
from vae_jax.data.dataset import Provenance, RawDataset, RawSplit
from vae_jax.data.registry import build_dataset
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.training import loop
from vae_jax.training.spec import TrainSpec

NUM_LATENTS = 3


@pytest.fixture(scope="module")
def wine():
    raw = RawDataset({"train": RawSplit(load_wine().data)}, "wine")
    return build_dataset(raw, Provenance("w", "w", "w", ""), "--dataset=w", encoding="standardized")


def scored(oracle: LinearModel, params: dict, data, num_particles: int) -> dict:
    spec, hparams = TrainSpec(oracle.vae), oracle.hparams
    state = loop.initial_state(spec, hparams, data)
    state = state._replace(params=jax.tree.map(lambda a: jnp.asarray(a)[None], params))
    (row,) = vae_jax.score(spec, hparams, state, data, num_particles=num_particles)
    return row


@pytest.mark.usefixtures("float64")
def test_with_the_exact_posterior_the_nll_is_the_exact_evidence(wine):
    oracle = LinearModel.fitted(wine.train.astype(float), NUM_LATENTS)
    expected = oracle.log_evidence(wine.test.astype(float)).mean()
    row = scored(oracle, oracle.params, wine, 2)
    assert row["test_nll"] == pytest.approx(-expected, abs=1e-9)
    assert row["test_elbo"] == pytest.approx(expected, abs=0.5)  # a mean over z, not over all


def test_with_another_posterior_the_bound_is_the_evidence_within_its_error(wine):
    oracle = LinearModel.fitted(wine.train.astype(float), NUM_LATENTS)
    params = oracle.params
    params["encoder"]["log_var"]["bias"] = params["encoder"]["log_var"]["bias"] + 0.3
    evidence = oracle.log_evidence(wine.test.astype(float)).mean()
    row = scored(oracle, params, wine, 500)
    assert row["test_elbo"] < evidence - 0.02
    # The bound's bias is about half the relative variance of the weights over K.
    assert -row["test_nll"] == pytest.approx(evidence, abs=0.01)


def test_evidence_in_the_units_of_the_source_is_lower_by_the_log_volume(wine):
    x = load_wine().data
    standardized, statistics = encodings.standardize({"train": x}, is_overall=False)
    oracle = LinearModel.fitted(standardized["train"].astype(float), NUM_LATENTS)
    covariance = oracle.weights @ oracle.weights.T + oracle.variance * np.eye(13)
    scale = np.diag(statistics.deviation)
    _, log_det = np.linalg.slogdet(2 * np.pi * scale @ covariance @ scale)
    centred = x - statistics.mean
    quadratic = np.einsum(
        "ni,ij,nj->n", centred, np.linalg.inv(scale @ covariance @ scale), centred
    )
    own_units = (-0.5 * (log_det + quadratic)).mean()
    evidence = oracle.log_evidence(standardized["train"].astype(float)).mean()
    assert own_units == pytest.approx(evidence - statistics.log_volume, abs=1e-4)


def test_training_on_vectors_of_reals_starts_at_their_mean_and_improves(wine):
    model = vae_jax.VAE(
        wine.event_shape,
        NUM_LATENTS,
        vae_jax.MLP(()),
        likelihood=GaussianLikelihood("learned"),
    )
    hparams = vae_jax.HParams.of(latent_size=NUM_LATENTS, learning_rate=0.02)
    spec = TrainSpec(model, batch_size=71)
    start = loop.initial_state(spec, hparams, wine)
    bias = np.asarray(start.params["output_bias"])[0, :, 0]
    np.testing.assert_allclose(bias, wine.train.mean(axis=0), atol=1e-6)
    (before,) = vae_jax.score(spec, hparams, start, wine)
    trained = vae_jax.fit(spec, hparams, wine, num_steps=60).state
    (after,) = vae_jax.score(spec, hparams, trained, wine)
    assert after["test_elbo"] > before["test_elbo"] + 1
    best = LinearModel.fitted(wine.train.astype(float), NUM_LATENTS)
    train = best.log_evidence(wine.train.astype(float)).mean()
    (on_train,) = vae_jax.score(spec, hparams, trained, wine, "train")
    assert on_train["train_elbo"] < train  # no linear model has more evidence
