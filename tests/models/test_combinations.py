"""Combinations of every posterior, prior, likelihood and bound; known faults of other projects."""

import dataclasses
import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data
from vae_jax import api
from vae_jax.evaluation.elbo import EvalSpec, evaluate, in_batches, summarize
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, ImportanceWeighted, importance_weighted_bound
from vae_jax.training import batches, loop, vectorized
from vae_jax.training import step as training_step
from vae_jax.training.step import TrainSpec, TrainState

DATA = tiny_data()
EXAMPLES = batches.Examples(jnp.asarray(DATA.train))
SIZES = (2, 5)
SMALL = {
    "iaf": {"flow_hidden_size": 6},
    "flow": {"num_couplings": 2, "coupling_size": 6},
    "mixture": {"num_components": 3},
    "vamp": {"num_components": 3},
}
"""Fields that keep a member small; the others have defaults."""
BOUNDS = {
    "elbo": Elbo(2),
    "elbo_stl": Elbo(estimator="stl"),
    "iwae": ImportanceWeighted(3),
    "iwae_dreg": ImportanceWeighted(3, estimator="dreg"),
    "miwae": ImportanceWeighted(2, 2),
}
DENSE = [name for name, family in POSTERIORS.items() if family.has_density]
UNLABELLED = [name for name, family in PRIORS.items() if not family.needs_labels]
EVERY = list(itertools.product(DENSE, UNLABELLED, LIKELIHOODS, BOUNDS))


def _member(registry: dict, name: str):
    return registry[name](**SMALL.get(name, {}))


def _spec(posterior: str, prior: str, likelihood: str, bound: str, max_latents: int) -> TrainSpec:
    model = VAE(
        (3, 4, 1),
        max_latents,
        MLP((6,), "tanh"),
        _member(POSTERIORS, posterior),
        _member(PRIORS, prior),
        _member(LIKELIHOODS, likelihood),
    )
    return TrainSpec(model, BOUNDS[bound], batch_size=8)


def _sampled(count: int) -> list[tuple[str, ...]]:
    """Return combinations in which every member of every registry occurs."""
    rng = random.Random(4)
    columns = [
        rng.sample(list(names), len(names)) for names in (DENSE, UNLABELLED, LIKELIHOODS, BOUNDS)
    ]
    return [tuple(column[i % len(column)] for column in columns) for i in range(count)]


def _objectives(spec: TrainSpec, hparams: HParams) -> np.ndarray:
    """Return the objectives of three updates, ``[updates, runs]``, all runs under one vmap."""
    images = batches.as_images(jnp.asarray(DATA.train[:8]))

    def start(hparams: HParams) -> TrainState:
        return training_step.init(spec, hparams, images.mean(axis=0), images)

    def step(hparams: HParams, state: TrainState) -> tuple[TrainState, jax.Array]:
        batch = training_step.draw_batch(
            spec, training_step.BatchKeys.at(hparams, state.step), EXAMPLES, jnp.arange(8)
        )
        state, terms = training_step.train_step(spec, hparams, state, batch, len(DATA.train))
        return state, terms.objective

    state, step, found = jax.jit(jax.vmap(start))(hparams), jax.jit(jax.vmap(step)), []
    for _ in range(3):
        state, objective = step(hparams, state)
        found.append(objective)
    assert (state.diverged == -1).all()
    return np.stack(found)


def _check(names: tuple[str, ...]) -> None:
    """Assert that two latent sizes under one vmap are finite and equal runs of their own width."""
    both = HParams.of(latent_size=list(SIZES), seed=3)
    together = _objectives(_spec(*names, max(SIZES)), both)
    assert np.isfinite(together).all()
    alone = _objectives(_spec(*names, SIZES[0]), jax.tree.map(lambda a: a[:1], both))
    np.testing.assert_allclose(together[:, :1], alone, rtol=1e-9)


@pytest.mark.parametrize("names", _sampled(6), ids="-".join)
def test_members_combine(float64, names):
    _check(names)


@pytest.mark.slow
@pytest.mark.parametrize("names", EVERY, ids="-".join)
def test_all_members_combine(float64, names):
    _check(names)


def test_a_conditional_model_depends_on_its_labels(float64):
    """Encoder, decoder and prior ignore the labels at the start, but not after training."""
    labels = np.arange(len(DATA.train)) % 3
    model = VAE((3, 4, 1), 2, MLP((6,), "tanh"), prior=PRIORS["class_normal"](), num_classes=3)
    data = _labelled(labels)
    spec, hparams = TrainSpec(model, batch_size=8), HParams.of(latent_size=2, learning_rate=0.05)
    start = loop.initial_state(spec, hparams, data)
    trained = api.fit(spec, hparams, data, 20).state
    x = jnp.full((3, 3, 4, 1), 0.5)
    for state, differs in ((start, False), (trained, True)):
        params = vectorized.take(state, 0).params
        q = model.encode(hparams, params, x, jnp.arange(3))
        images = model.generate(hparams, params, jnp.zeros((3, model.width)), jnp.arange(3))
        p = model.sample_prior(hparams, params, jax.random.key(0), 3, jnp.arange(3))
        shifted = model.sample_prior(hparams, params, jax.random.key(0), 3, jnp.array([1, 2, 0]))
        assert np.ptp(q.center, axis=0).any() == differs
        assert np.ptp(images, axis=0).any() == differs
        assert (np.asarray(p) != np.asarray(shifted)).any() == differs


def _labelled(labels: np.ndarray):
    return dataclasses.replace(
        DATA,
        train_labels=labels.astype(np.int32),
        valid_labels=labels[: len(DATA.valid)].astype(np.int32),
        test_labels=labels[: len(DATA.test)].astype(np.int32),
    )


MODEL = VAE((3, 4, 1), 3, MLP((6,), "tanh"))
HPARAMS = HParams.of(latent_size=3, seed=1)


def _value(objective, hparams=HPARAMS, num_draws: int = 6):
    params = jax.jit(VAE.init, static_argnums=0)(MODEL, hparams, jnp.full((3, 4, 1), 0.4))
    params = jax.tree.map(lambda a: 1.5 * a, params)
    x = (jnp.arange(24).reshape(2, 3, 4, 1) % 3 == 0).astype(float)
    noise = MODEL.noise(jax.random.key(2), num_draws, 2)
    return objective(MODEL, hparams, params, x, noise, jnp.int32(0))


def test_iwae_is_the_bound_and_not_a_weighted_loss(float64):
    """PyTorch-VAE and pythae report sum_k w~_k log w_k, which is above the bound."""
    value = _value(ImportanceWeighted(6))
    log_w = np.asarray(value.samples.log_weight)
    weights = np.exp(log_w - log_w.max(axis=0)) / np.exp(log_w - log_w.max(axis=0)).sum(axis=0)
    bound = np.log(np.exp(log_w - log_w.max(axis=0)).mean(axis=0)) + log_w.max(axis=0)
    np.testing.assert_allclose(value.objective, bound, rtol=1e-12)
    assert (np.sum(weights * log_w, axis=0) > bound + 1e-6).all()


def test_weights_grow_with_the_weight(float64):
    """A weight with the wrong sign (softmax of -log w) favours the worst particle."""
    log_w = jnp.array([[0.0], [1.0], [3.0]])
    slope = np.asarray(jax.grad(lambda w: importance_weighted_bound(w)[0])(log_w))[:, 0]
    np.testing.assert_allclose(slope, np.exp([0, 1, 3]) / np.exp([0, 1, 3]).sum(), rtol=1e-12)


def test_the_nll_uses_all_its_samples(float64):
    """Pythae's get_nll ignores its number of samples."""
    bounds = []
    params = jax.jit(VAE.init, static_argnums=0)(MODEL, HPARAMS, jnp.full((3, 4, 1), 0.4))
    batched = in_batches(DATA.test, 100)
    for num_particles in (1, 2, 50):
        spec = EvalSpec(MODEL, num_particles)
        found = jax.jit(evaluate, static_argnums=(0, 4))(
            spec, HPARAMS, jax.tree.map(lambda a: 1.5 * a, params), batched, len(DATA.test)
        )
        bounds.append(-summarize(spec, found, 3)["test_nll"])
    assert bounds[0] < bounds[1] < bounds[2]


def test_the_kl_weighs_the_same_in_training_and_validation(float64):
    """Reported terms are those of beta = 1 on every split, whatever was trained."""
    light, heavy = (_value(Elbo(6), HPARAMS._replace(beta=jnp.asarray(b))) for b in (1.0, 7.0))
    np.testing.assert_array_equal(light.terms.elbo, heavy.terms.elbo)
    np.testing.assert_allclose(light.objective - heavy.objective, 6 * light.terms.kl, rtol=1e-12)
