"""Annealing: closed forms with exact transitions, the right side of known evidence with HMC."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import LinearModel, log_evidence_by_grid, tiny_vae
from vae_jax import rng
from vae_jax.evaluation.metrics import ais, hmc
from vae_jax.evaluation.metrics.ais import AnnealSpec, EvalBatch
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import (
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    LaplaceLikelihood,
)
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import (
    Delta,
    FullGaussian,
    InverseAutoregressive,
    Stacked,
    normal_log_density,
)
from vae_jax.models.priors import ClassPrior, MixturePrior, StackedPrior, VampPrior
from vae_jax.models.vae import VAE

NUM_EXAMPLES = 256
"""Examples behind means; assertions are in standard errors, so fewer can only hide a fault."""


def assert_mean(values, expected):
    """Assert that a mean lies within four standard errors of what is expected."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(values.size)
    assert abs(values.mean() - expected) < 4 * error, (values.mean(), error, expected)


def assert_sign(values, sign):
    """Assert that a mean is not of the other sign by more than four standard errors."""
    values = sign * np.asarray(values, np.float64)
    assert values.mean() > -4 * values.std(ddof=1) / math.sqrt(values.size), values.mean()


@pytest.mark.parametrize("level", [-5_000.3, -34_163.72])
def test_log_weights_in_float32_are_exact_at_any_level(level):
    """Chains that start at the posterior have the log-weight log p(x), however many steps."""
    at = jnp.zeros((2, 3), jnp.float32)
    state = hmc.ChainState(at[..., None], at, at + level, at[..., None], at[..., None])
    for schedule in ais.SCHEDULES:
        t = ais.temperatures(2000, schedule)
        log_w, _ = ais.anneal(t, state, lambda index, state: (state, at + 1.0))
        np.testing.assert_allclose(log_w, np.float32(level), rtol=2e-7)


# --- exact transitions: z ~ N(0, 1), x|z ~ N(z, 0.1), x = 2 ---------------------------------------

X, NOISE_VARIANCE = 2.0, 0.1
LOG_P = -2.784775
CLOSED_FORM = {
    1: (-24.767646, -0.387481),
    10: (-4.331666, -1.893649),
    100: (-2.910413, -2.666612),
    1000: (-2.797003, -2.772623),
}


def _normal(mean, variance):
    def log_density(z):
        full = [jnp.full_like(z, value) for value in (mean, math.log(variance))]
        return jnp.sum(normal_log_density(z, *full), axis=-1)

    return log_density


PRIOR, SEEN = _normal(0.0, 1.0), _normal(X, NOISE_VARIANCE)
PATH = hmc.Path(PRIOR, lambda z: PRIOR(z) + SEEN(z))


def _exact(t, key, z):
    """Draw from the path at temperature t, a Gaussian; z gives only the shape."""
    precision = 1 + t / NOISE_VARIANCE
    mean = X * t / NOISE_VARIANCE / precision
    return hmc.chain_state(PATH, mean + jax.random.normal(key, z.shape) / jnp.sqrt(precision))


@functools.partial(jax.jit, static_argnames=("num", "is_reversed"))
def _annealed_exactly(num, is_reversed):
    t = ais.temperatures(num, "linear")

    def transition(index, state):
        key = jax.random.fold_in(jax.random.key(int(is_reversed)), index)
        return _exact(t[index], key, state.z), jnp.ones_like(state.log_start)

    start = _exact(t[-1 if is_reversed else 0], jax.random.key(2), jnp.zeros((2000, 1, 1)))
    return ais.anneal(t, start, transition, is_reversed=is_reversed)


@pytest.mark.parametrize("num", CLOSED_FORM)
def test_with_exact_transitions_the_weights_have_their_closed_form(num):
    lower, upper = CLOSED_FORM[num]
    assert_mean(_annealed_exactly(num, False)[0], lower)
    assert_mean(-_annealed_exactly(num, True)[0], upper)


def test_a_single_temperature_leaves_no_transition_to_accept():
    assert np.isnan(_annealed_exactly(1, False)[1]).all()
    assert (np.asarray(_annealed_exactly(10, False)[1]) == 1).all()


def test_with_exact_transitions_the_mean_weight_is_the_evidence():
    assert_mean(np.exp(_annealed_exactly(100, False)[0] - LOG_P), 1.0)
    assert_mean(np.exp(_annealed_exactly(100, True)[0] + LOG_P), 1.0)


# --- HMC ------------------------------------------------------------------------------------------

LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
CURVED = tiny_vae(max_latents=1)
EXAMPLES = jnp.arange(NUM_EXAMPLES)
KEY = rng.stream(0, "ais")


def _curved():
    hparams = HParams.of(latent_size=1)
    params = jax.jit(CURVED.init)(hparams, jnp.full((3, 4, 1), 0.3))
    return hparams, jax.tree.map(lambda a: 3.0 * a, params)


@functools.partial(jax.jit, static_argnums=0)
def _sandwich(spec, hparams, params, examples=EXAMPLES):
    simulated = ais.simulate(spec.model, hparams, params, None, KEY, examples)
    batch = EvalBatch(hparams, params, simulated.x, None, KEY, examples)
    return simulated, ais.bidirectional(spec, batch, simulated.z)


MODELS = {
    "conjugate": lambda: (LINEAR.vae, LINEAR.hparams, jax.tree.map(jnp.asarray, LINEAR.params)),
    "nonlinear": lambda: (CURVED, *_curved()),
}
EVIDENCE = {
    "conjugate": lambda x: LINEAR.log_evidence(np.asarray(x).reshape(-1, 6)),
    "nonlinear": lambda x: log_evidence_by_grid(CURVED, *_curved(), x),
}


@pytest.mark.parametrize("name", MODELS)
def test_with_hmc_the_bounds_keep_their_sides_and_close_as_1_over_t(name):
    """And the mean weight of either direction is the evidence, so nothing is adapted on the way."""
    model, hparams, params = MODELS[name]()
    gaps, truth = [], None
    for num in (16, 64):
        simulated, found = _sandwich(AnnealSpec(model, num, 1, 5), hparams, params)
        truth = EVIDENCE[name](simulated.x) if truth is None else truth  # of the same examples
        below, above = truth - found.lower.bound, found.upper.bound - truth
        for gap in (below, above):
            assert_sign(gap, 1)
        gaps.append(below + above)
        assert abs(found.lower.acceptance.mean() - hmc.TARGET_ACCEPTANCE) < 0.1
        assert abs(found.upper.acceptance.mean() - hmc.TARGET_ACCEPTANCE) < 0.1
    at_16, at_64 = gaps
    assert_sign(at_16 - 2 * at_64, 1)  # four times the temperatures: more than a half of it gone
    assert_sign(at_16 - 8 * at_64, -1)  # and less than seven eighths
    assert_mean(np.exp(-below), 1.0)
    assert_mean(np.exp(-above), 1.0)


def test_from_the_exact_posterior_there_is_nothing_to_anneal():
    """Any number of temperatures and chains then gives log p(x) itself, from both sides."""
    model, hparams, params = MODELS["conjugate"]()
    spec = AnnealSpec(model, 2, 3, 2, "posterior", "linear")
    simulated, found = _sandwich(spec, hparams, params, jnp.arange(16))
    truth = EVIDENCE["conjugate"](simulated.x)
    for side in found:
        np.testing.assert_allclose(side.bound, truth, atol=1e-4)
        np.testing.assert_allclose(side.effective_sample_size, 3, rtol=1e-4)


# --- other posteriors, priors and likelihoods -----------------------------------------------------

LAYERS = {"top_width": 4, "top_hidden_sizes": (5,)}
COMBINATIONS = {
    "vamp": (FullGaussian(), VampPrior(3), ContinuousBernoulliLikelihood(), "posterior"),
    "labels": (Delta(), ClassPrior(), CategoricalLikelihood(), "prior"),
    "layers": (
        Stacked(InverseAutoregressive(1, 4), **LAYERS),
        StackedPrior(MixturePrior(2), **LAYERS),
        LaplaceLikelihood(),
        "posterior",
    ),
}
HPARAMS = HParams.of(latent_size=2, top_latent_size=3)


def _ingredients(name, max_latents, examples):
    """Simulated examples, where chains begin, the densities and slopes there, and a draw."""
    posterior, prior, likelihood, start = COMBINATIONS[name]
    num_classes = 3 if name == "labels" else 0
    parts = MLP((4,), "tanh"), posterior, prior, likelihood
    model = VAE((1, 4, 1), max_latents, *parts, num_classes=num_classes)
    y = jnp.array(examples) % 3 if num_classes else None

    @jax.jit
    def measure():
        params = model.init(HPARAMS, jnp.full((1, 4, 1), 0.3))
        simulated = ais.simulate(model, HPARAMS, params, y, KEY, jnp.array(examples))
        batch = EvalBatch(HPARAMS, params, simulated.x, y, KEY, jnp.array(examples))
        chains = ais.initial_chains(AnnealSpec(model, start=start), batch, ais.FORWARD, 2)
        return simulated, chains.state, chains.noise_fn(jnp.int32(3))

    return measure()


@pytest.mark.parametrize("name", ["vamp", "layers"])
def test_inactive_latents_and_other_examples_change_nothing(float64, name):
    """Two latents of two and of five; three examples, and two of them in another order."""
    whole, some = _ingredients(name, 2, (4, 7, 9)), _ingredients(name, 5, (9, 4))
    _assert_that_only_active_latents_move(whole)
    for values, others in zip(whole[0], some[0], strict=True):
        np.testing.assert_allclose(others, values[np.array([2, 0])], rtol=1e-9)
    for values, others in zip(*map(jax.tree.leaves, (whole[1:], some[1:])), strict=True):
        np.testing.assert_allclose(others, values[:, np.array([2, 0])], rtol=1e-9)


def test_chains_of_a_conditional_model_start_at_their_label():
    found = _ingredients("labels", 2, (4, 7, 9))
    _assert_that_only_active_latents_move(found)


def _assert_that_only_active_latents_move(found):
    _, state, noise = found
    assert np.isfinite(state.log_target).all()
    moved, pushed = ((np.asarray(a) != 0).sum(-1) for a in (state.target_grad, noise.momentum))
    np.testing.assert_array_equal(moved, pushed)
