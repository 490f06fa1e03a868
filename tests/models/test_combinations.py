"""Combinations of every posterior, prior, likelihood and bound; known faults of other projects."""

import dataclasses
import itertools
import random
import re
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.config.messages import result_or_message
from tests.oracles import tiny_data
from vae_jax import api
from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.config.validation import check_combination, without_effect
from vae_jax.evaluation.elbo import EvalSpec, evaluate, in_batches, summarize
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import MLP, NETWORKS
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.models.vae import VAE
from vae_jax.objectives import OBJECTIVES, Elbo, ImportanceWeighted, importance_weighted_bound
from vae_jax.objectives.gradient_estimators import ESTIMATORS
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.training import batches, loop, vectorized
from vae_jax.training import step as training_step
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState

DATA = tiny_data()
LABELS = np.arange(len(DATA.train)) % 2
EXAMPLES = batches.Examples(jnp.asarray(DATA.train), jnp.asarray(LABELS, jnp.int32))
SIZES = (2, 5)
SMALL = {
    "hidden_sizes": (6,),
    "activation": "tanh",
    "channels": (2,),
    "flow_hidden_size": 6,
    "num_couplings": 2,
    "coupling_size": 6,
    "num_components": 3,
    "num_particles": 3,
    "batch_size": 8,
}
"""Settings that keep a model small, where its members read them."""
AXES: dict[str, Iterable[str]] = {
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
    "estimator": ESTIMATORS,
    "penalty": ("", *REGULARIZERS),
}
"""Choices of which one may exclude another."""
Choice = dict[str, str]


def _choices() -> list[Choice]:
    """Return all combinations of the axes, each with a likelihood and a network in turn.

    Likelihoods and networks exclude none of the other members.
    """
    names, others = [*AXES, "likelihood", "network"], itertools.product(LIKELIHOODS, NETWORKS)
    both = zip(itertools.product(*AXES.values()), itertools.cycle(list(others)), strict=False)
    return [dict(zip(names, [*own, *other], strict=True)) for own, other in both]


def _config(choice: Choice) -> Config:
    """Return the flags of a combination."""
    own = {name: value for name, value in choice.items() if name != "penalty"}
    if choice["penalty"]:
        own[REGULARIZERS[choice["penalty"]].strengths()[0]] = 1.0
    own["conditional"] = PRIORS[choice["prior"]].needs_labels
    read = Config(**own).flags
    return Config(**own, **{name: value for name, value in SMALL.items() if name in read})


def _refusal(choice: Choice) -> str:
    """Return the message by which a combination is refused; "" for one that is allowed."""
    config, default = _config(choice), Config()
    for name, reason in without_effect(config).items():
        if name in choice and choice[name] != getattr(default, name):
            return f"--{name}={choice[name]}: has no effect {reason}; leave it out"
    return result_or_message(check_combination, config) or ""


REFUSALS = [(choice, _refusal(choice)) for choice in _choices()]
ALLOWED = [choice for choice, refusal in REFUSALS if not refusal]


def _covering(choices: list[Choice]) -> list[Choice]:
    """Return a few of the choices in which every member that any of them has occurs.

    Of two that add as many, the one with more defaults is taken: it compiles faster.
    """
    defaults = vars(Config())
    left = {item for choice in choices for item in choice.items()}
    shuffled, found = random.Random(4).sample(choices, len(choices)), []

    def plain(choice: Choice) -> int:
        return sum(defaults.get(name) == value for name, value in choice.items())

    while left:
        found.append(max(shuffled, key=lambda choice: (len(left & choice.items()), plain(choice))))
        left -= set(found[-1].items())
    return found


def _name(choice: Choice) -> str:
    return "-".join(filter(None, choice.values()))


def _objectives(config: Config, sizes: Sequence[int]) -> np.ndarray:
    """Return the objectives of three updates, ``[runs, updates]``, all runs under one vmap."""
    spec = build.train_spec(config.replace(latent_size=max(sizes)), (3, 4, 1), num_classes=2)
    images = batches.as_observations(jnp.asarray(DATA.train[:8]))

    def train(hparams: HParams) -> tuple[jax.Array, jax.Array]:
        def step(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
            keys = training_step.BatchKeys.at(hparams, state.step)
            batch = training_step.draw_batch(spec, keys, EXAMPLES, jnp.arange(8))
            state, terms = training_step.train_step(spec, hparams, state, batch, len(DATA.train))
            return state, terms.objective

        start = training_step.init(spec, hparams, images.mean(axis=0), images)
        state, objectives = jax.lax.scan(step, start, length=3)
        return state.diverged, objectives

    configs = [config.replace(latent_size=size, seed=3) for size in sizes]
    diverged, objectives = jax.jit(jax.vmap(train))(build.hparams(configs))
    assert (diverged == -1).all()
    assert np.isfinite(objectives).all()
    return np.asarray(objectives)


def test_what_does_not_combine_is_refused_in_one_line():
    refusals = [refusal for _, refusal in REFUSALS if refusal]
    assert 0 < len(refusals) < len(REFUSALS)
    for refusal in set(refusals):
        assert re.fullmatch(r"--\w+=\S*: .+; .+", refusal)


@pytest.mark.parametrize(
    "choice", _covering([choice | {"network": "mlp"} for choice in ALLOWED]), ids=_name
)
def test_members_combine(float64, choice):
    _objectives(_config(choice), SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ALLOWED, ids=_name)
def test_all_members_combine_and_runs_of_two_sizes_are_those_of_their_own_width(float64, choice):
    """Two latent sizes under one vmap are finite, and each is the run alone."""
    config = _config(choice)
    together, alone = _objectives(config, SIZES), _objectives(config, SIZES[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-9)


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
