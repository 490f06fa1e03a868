"""Optimizers: each rule against NumPy, what is wrapped around all of them, and averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from vae_jax import api
from vae_jax.evaluation import scoring
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError
from vae_jax.training import loop
from vae_jax.training.optimizers import OPTIMIZERS, SGD, Optimizer
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState

DATA = tiny_data()
RATE, NUM_UPDATES = 0.1, 7
SETTINGS = {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.2, "rms_decay": 0.7}
SETTINGS["momentum"] = 0.6


def _adam_moments(gradients):
    mean, square = 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        mean = SETTINGS["b1"] * mean + (1 - SETTINGS["b1"]) * g
        square = SETTINGS["b2"] * square + (1 - SETTINGS["b2"]) * g * g
        yield mean / (1 - SETTINGS["b1"] ** t), square / (1 - SETTINGS["b2"] ** t)


def _adam(start, gradients, decay=0.0):
    w = start
    for mean, square in _adam_moments(gradients):
        w = w - RATE * (mean / (np.sqrt(square) + SETTINGS["eps"]) + decay * w)
    return w


def _adamw(start, gradients):
    return _adam(start, gradients, SETTINGS["weight_decay"])


def _adamax(start, gradients):
    w, largest = start, 0.0
    for (mean, _), g in zip(_adam_moments(gradients), gradients, strict=True):
        largest = np.maximum(SETTINGS["b2"] * largest, np.abs(g) + SETTINGS["eps"])
        w = w - RATE * mean / largest
    return w


def _rmsprop(start, gradients):
    w, square = start, 0.0
    for g in gradients:
        square = SETTINGS["rms_decay"] * square + (1 - SETTINGS["rms_decay"]) * g * g
        w = w - RATE * g / np.sqrt(square + SETTINGS["eps"])
    return w


def _sgd(start, gradients):
    w, total = start, 0.0
    for g in gradients:
        total = SETTINGS["momentum"] * total + g
        w = w - RATE * total
    return w


ORACLES = {
    "adam": _adam,
    "adamw": _adamw,
    "adamax": _adamax,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def _own_settings(name: str) -> dict[str, float]:
    return {each.name: SETTINGS[each.name] for each in OPTIMIZERS[name].own}


def test_every_optimizer_has_an_oracle():
    assert ORACLES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_follow_the_published_rule(name, float64):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 2)), list(rng.normal(size=(NUM_UPDATES, 3, 2)))
    hparams = HParams.of(learning_rate=RATE, **_own_settings(name))
    optimizer = OPTIMIZERS[name]().specialized(hparams)
    params = {"decoder": {"kernel": jnp.asarray(start)}}
    state = optimizer.transformation(hparams, jnp.int32(0)).init(params)
    for step, gradient in enumerate(gradients):
        transformation = optimizer.transformation(hparams, jnp.int32(step))
        own = {"decoder": {"kernel": jnp.asarray(gradient)}}
        updates, state = transformation.update(own, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    expected = ORACLES[name](start, gradients)
    np.testing.assert_allclose(params["decoder"]["kernel"], expected, rtol=1e-12)


def test_weights_decay_and_neither_biases_nor_priors():
    hparams = HParams.of(latent_size=2, learning_rate=1.0, weight_decay=0.5)
    spec = TrainSpec(tiny_vae(), optimizer=OPTIMIZERS["adamw"]()).specialized(hparams)
    params = {
        "encoder": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "prior": {"mean": jnp.ones((2, 2))},
    }
    transformation = spec.optimizer.transformation(hparams, jnp.int32(0))
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transformation.update(zeros, transformation.init(params), params)
    means = jax.tree.map(lambda u: float(u.mean()), updates)
    assert means == {"encoder": {"kernel": -0.5, "bias": 0.0}, "prior": {"mean": 0.0}}


def _fit(optimizer: Optimizer, num_steps: int, **values) -> TrainState:
    spec = TrainSpec(tiny_vae(), optimizer=optimizer, batch_size=16)
    return api.fit(spec, HParams.of(latent_size=2, **values), DATA, num_steps).state


def _same(left, right) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_diverged_run_keeps_its_state_under_every_optimizer(name):
    one, two = (_fit(OPTIMIZERS[name](), n, scale=1.0, beta=[1.0, 3e38]) for n in (1, 4))
    assert one.diverged.tolist()[1] == two.diverged.tolist()[1] >= 0
    before, after = (jax.tree.map(lambda a: a[1], (s.params, s.opt_state)) for s in (one, two))
    assert _same(before, after)
    alive = jax.tree.map(lambda a: a[0], (two.params, two.opt_state))
    assert not _same(jax.tree.map(lambda a: a[0], one.params), alive[0])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(alive))


def test_an_optimal_scale_follows_the_batches_of_skipped_updates_too():
    """Else the start, by the number of updates, would enter an average that is corrected for it."""
    family = GaussianLikelihood("optimal")
    model = VAE((3, 4, 1), 2, MLP((8,)), likelihood=family)
    data = tiny_data(16)
    hparams = HParams.of(latent_size=2, learning_rate=1e-9, skip_norm=[1e-9, jnp.inf])
    spec = TrainSpec(model, batch_size=16)
    state = api.fit(spec, hparams, data, 3).state
    skipped, kept = state.params["likelihood"]["log_scale"].tolist()
    assert abs(kept) > 0.01  # not log 1, where it starts
    assert skipped == pytest.approx(kept, abs=1e-5)


def test_updates_above_the_norm_are_skipped_and_counted():
    hparams = HParams.of(latent_size=2, skip_norm=[1e-9, 1e9])
    spec = TrainSpec(tiny_vae(), optimizer=SGD(), batch_size=16).specialized(hparams)
    start = loop.initial_state(spec, hparams, DATA)
    kept = jax.tree.map(np.asarray, start.params)
    *_, last = loop.train(spec, hparams, DATA, loop.Intervals(3, 3, 3, 3), start)
    assert [row["train_skipped"] for row in last.rows] == [3, 0]
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(last.state.params), strict=True)
    ]
    assert any(moved)
    first = jax.tree.map(lambda a: a[0], (kept, last.state.params))
    assert _same(*first)


def test_parts_that_no_run_needs_are_left_out():
    spec = TrainSpec(tiny_vae())
    assert spec.specialized(HParams.of(latent_size=2)) == spec
    needed = spec.specialized(
        HParams.of(latent_size=2, skip_norm=[1.0, jnp.inf], b1=[0.9, 0.5], ema=[0.0, 0.9])
    )
    assert (needed.optimizer.skips, needed.optimizer.reads_rule, needed.is_averaged) == (True,) * 3
    assert not needed.optimizer.is_clipped


def test_average_of_the_weights_follows_its_recursion(float64):
    decay = 0.3
    states = [_fit(SGD(), num_steps, ema=decay) for num_steps in range(1, 5)]
    start = loop.initial_state(TrainSpec(tiny_vae()), HParams.of(latent_size=2), DATA)
    expected = start.params
    for done, state in enumerate(states):
        own = min(decay, (1 + done) / (10 + done))
        expected = jax.tree.map(lambda a, p: own * a + (1 - own) * p, expected, state.params)  # noqa: B023
    for a, b in zip(*map(jax.tree.leaves, (states[-1].average, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_evaluation_uses_the_average_where_it_is_kept():
    hparams = HParams.of(latent_size=2, ema=[0.0, 0.99], learning_rate=0.01)
    spec = TrainSpec(tiny_vae(), batch_size=16)
    state = api.fit(spec, hparams, DATA, 30).state
    spec = spec.specialized(hparams)
    rows = scoring.score(spec, hparams, state, DATA)
    plain = scoring.score(spec, hparams, state._replace(average=()), DATA)
    assert rows[0]["test_elbo"] == plain[0]["test_elbo"]
    assert rows[1]["test_elbo"] != plain[1]["test_elbo"]
    assert _same(
        jax.tree.map(lambda a: a[0], state.average), jax.tree.map(lambda a: a[0], state.params)
    )


def test_decay_of_one_is_refused():
    with pytest.raises(InputError, match=r"b1=1.*below 1"):
        HParams.of(b1=1.0)


def test_a_schedule_without_updates_is_refused():
    with pytest.raises(InputError, match=r"num_steps=0: schedule=cosine"):
        _fit(OPTIMIZERS["adam"]("cosine"), 1)


def test_a_spec_refuses_what_it_cannot_use():
    spec = TrainSpec(tiny_vae(4))
    with pytest.raises(InputError, match=r"latent_size=5: the model has max_latents=4"):
        spec.specialized(HParams.of(latent_size=[2, 5]))
    with pytest.raises(InputError, match=r"tc_weight=6.0: no member .* reads it"):
        spec.specialized(HParams.of(latent_size=2, tc_weight=6.0))
    with pytest.raises(InputError, match=r"binarize=sometimes: must be one of"):
        TrainSpec(tiny_vae(4), binarize="sometimes")
