"""Annealing: closed forms with exact transitions, the right side of known evidence with HMC."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import LinearModel, log_evidence_by_grid, tiny_vae
from vae_jax import keys
from vae_jax.hparams import HParams
from vae_jax.metrics import ais, hmc
from vae_jax.metrics.ais import AnnealSpec, Question
from vae_jax.posteriors import normal_log_density

NUM_EXAMPLES = 128


def assert_mean(values, expected):
    """Within four standard errors."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(values.size)
    assert abs(values.mean() - expected) < 4 * error, (values.mean(), error, expected)


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
    """A sample from the path at temperature t, a Gaussian; z gives but the shape."""
    precision = 1 + t / NOISE_VARIANCE
    mean = X * t / NOISE_VARIANCE / precision
    return hmc.arrive(PATH, mean + jax.random.normal(key, z.shape) / jnp.sqrt(precision))


@functools.partial(jax.jit, static_argnames=("num", "is_reversed"))
def _annealed_exactly(num, is_reversed):
    t = ais.temperatures(num, "linear")

    def transition(number, place):
        key = jax.random.fold_in(jax.random.key(int(is_reversed)), number)
        return _exact(t[number], key, place.z), jnp.ones_like(place.log_start)

    start = _exact(t[-1 if is_reversed else 0], jax.random.key(2), jnp.zeros((2000, 1, 1)))
    return ais.anneal(t, start, transition, is_reversed=is_reversed)


@pytest.mark.parametrize("num", CLOSED_FORM)
def test_with_exact_transitions_the_weights_have_their_closed_form(num):
    lower, upper = CLOSED_FORM[num]
    assert_mean(_annealed_exactly(num, False)[0], lower)
    assert_mean(-_annealed_exactly(num, True)[0], upper)


def test_with_exact_transitions_the_mean_weight_is_the_evidence():
    assert_mean(np.exp(_annealed_exactly(100, False)[0] - LOG_P), 1.0)
    assert_mean(np.exp(_annealed_exactly(100, True)[0] + LOG_P), 1.0)


# --- HMC ------------------------------------------------------------------------------------------

LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
CURVED = tiny_vae(max_latents=1)
EXAMPLES = jnp.arange(NUM_EXAMPLES)
KEY = keys.stream(0, "ais")


def _curved():
    hparams = HParams.of(latent_size=1)
    params = jax.jit(CURVED.init)(hparams, jnp.full((3, 4, 1), 0.3))
    return hparams, jax.tree.map(lambda a: 3.0 * a, params)


@functools.partial(jax.jit, static_argnums=0)
def _sandwich(spec, hparams, params):
    simulated = ais.simulate(spec.model, hparams, params, None, KEY, EXAMPLES)
    question = Question(hparams, params, simulated.x, None, KEY, EXAMPLES)
    return simulated, ais.bidirectional(spec, question, simulated.z)


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
    model, hparams, params = MODELS[name]()
    gaps = {}
    for num in (20, 80):
        spec = AnnealSpec(model, num, num_chains=1, num_leapfrog=5)
        simulated, found = _sandwich(spec, hparams, params)
        truth = EVIDENCE[name](simulated.x)
        below, above = truth - found.lower.bound, found.upper.bound - truth
        print(name, num, below.mean(), above.mean(), below.std() / math.sqrt(NUM_EXAMPLES), found.lower.acceptance.mean(), found.upper.acceptance.mean())
        gaps[num] = below.mean() + above.mean()
    print(gaps[20] / gaps[80])
