"""Regularizers against slow, obvious computations, theory, and the same run at its own width."""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.oracles import tiny_vae
from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.likelihoods.bernoulli import IndependentBernoulli
from vae_jax.models.posteriors import Gaussian, Point
from vae_jax.models.priors import UnitNormal
from vae_jax.objectives import PosteriorSamples
from vae_jax.objectives.regularizers import (
    DIP,
    MMD,
    REGULARIZERS,
    Context,
    FactorVAE,
    TotalCorrelation,
)
from vae_jax.objectives.regularizers.base import column_keys
from vae_jax.objectives.regularizers.factor import discriminator_loss, log_odds, permuted
from vae_jax.objectives.regularizers.mmd import KERNEL_SCALES, squared_mmd
from vae_jax.objectives.regularizers.total_correlation import (
    stratified,
    total_correlation,
    weighted,
)
from vae_jax.training import step
from vae_jax.training.batches import Examples
from vae_jax.training.spec import TrainSpec

PARTICLES, BATCH, LATENTS, NUM_EXAMPLES = 2, 5, 3, 40
ALL = np.ones(LATENTS, bool)
HPARAMS = HParams.of(
    tc_weight=2.0, dip_offdiagonal=3.0, dip_diagonal=5.0, mmd_weight=7.0, factor_weight=11.0
)
MEMBERS = {
    "weighted": TotalCorrelation(),
    "stratified": TotalCorrelation("stratified"),
    "means": DIP(),
    "samples": DIP("samples"),
    "mmd": MMD(),
    "factor": FactorVAE(),
}


def codes(seed=0, latents=LATENTS):
    """Return means, log-variances and particles of a batch."""
    rng = np.random.default_rng(seed)
    mean, log_var = rng.normal(size=(2, BATCH, latents)) * [[[1.0]], [[0.3]]]
    z = mean + np.exp(0.5 * log_var) * rng.normal(size=(PARTICLES, BATCH, latents))
    return mean, log_var, z


def samples_of(mean, log_var, z, latent_mask=ALL, p=None):
    latent_mask, zeros = jnp.asarray(latent_mask), jnp.zeros(z.shape[:-1])
    q = Gaussian(jnp.asarray(mean), jnp.asarray(log_var))
    prior = UnitNormal(latent_mask) if p is None else p
    nothing = IndependentBernoulli(jnp.zeros((*z.shape[:-1], 1, 1, 1)))
    deviation = apply_mask(latent_mask, jnp.asarray(z) - jnp.asarray(mean)[None])
    noise = deviation * jnp.exp(-0.5 * apply_mask(latent_mask, jnp.asarray(log_var)))[None]
    return PosteriorSamples(q, prior, noise, jnp.asarray(z), zeros, zeros, zeros, zeros, nothing)


def context(latent_mask=ALL, num_examples=NUM_EXAMPLES):
    return Context(jnp.asarray(latent_mask), num_examples, jax.random.key(3))


def parameters(member, width):
    """Return parameters of which a narrower code has the first rows."""
    shapes = jax.eval_shape(member.init, jax.random.key(1), jnp.ones(width, bool))
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda leaf: jnp.asarray(0.1 * draw(size=leaf.shape)), shapes)


@functools.partial(jax.jit, static_argnums=0, static_argnames="num_examples")
def penalty(member, samples, latent_mask=ALL, hparams=HPARAMS, num_examples=NUM_EXAMPLES):
    params = parameters(member, len(latent_mask))
    return member(hparams, params, samples, context(latent_mask, num_examples))


def density(z, mean, log_var):
    return math.exp(-0.5 * (math.log(2 * math.pi) + log_var + (z - mean) ** 2 / math.exp(log_var)))


def total_correlation_by_loops(mean, log_var, z, weights):
    """Return log q(z) - sum_j log q(z_j) from weighted sums of densities."""
    values = []
    for i, particle in enumerate(z):
        each = [
            [density(*numbers) for numbers in zip(particle, mean[k], log_var[k], strict=True)]
            for k in range(len(mean))
        ]
        joint = sum(weights[i][k] * math.prod(each[k]) for k in range(len(mean)))
        marginals = [
            sum(weights[i][k] * each[k][j] for k in range(len(mean))) for j in range(len(particle))
        ]
        values.append(math.log(joint) - sum(map(math.log, marginals)))
    return values


def paper_weights(num_examples, batch_size, own, light):
    """Return the weights of Chen et al. 2018, appendix C.2: M = batch_size - 1, one is lighter."""
    m = batch_size - 1
    weights = np.full(batch_size, 1 / m)
    weights[own], weights[light] = 1 / num_examples, (num_examples - m) / (num_examples * m)
    return weights


def stratified_by_loops(num_examples, batch_size):
    """Return the mean of the paper's weights over the choice of the light example."""
    rows = []
    for own in range(batch_size):
        others = [k for k in range(batch_size) if k != own]
        rows.append(
            np.mean([paper_weights(num_examples, batch_size, own, k) for k in others], axis=0)
        )
    return np.array(rows)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("weighted", np.full((BATCH, BATCH), 1 / (NUM_EXAMPLES * BATCH))),
        ("stratified", stratified_by_loops(NUM_EXAMPLES, BATCH)),
    ],
)
def test_total_correlation_is_the_loop_over_pairs(float64, name, weights):
    mean, log_var, z = codes()
    values = [total_correlation_by_loops(mean, log_var, particle, weights) for particle in z]
    value = penalty(TotalCorrelation(name), samples_of(mean, log_var, z))
    np.testing.assert_allclose(value, 2.0 * np.mean(values), rtol=1e-12)


def test_the_whole_data_set_as_a_batch_gives_the_exact_mixture(float64):
    mean, log_var, z = codes()
    q, latent_mask = Gaussian(jnp.asarray(mean), jnp.asarray(log_var)), jnp.asarray(ALL)
    exact = total_correlation_by_loops(mean, log_var, z[0], np.full((BATCH, BATCH), 1 / BATCH))
    by_strata = total_correlation(
        q, jnp.asarray(z[0] - mean), latent_mask, stratified(BATCH, BATCH)
    )
    np.testing.assert_allclose(by_strata, exact, rtol=1e-12)
    by_weights = total_correlation(q, jnp.asarray(z[0] - mean), latent_mask, weighted(BATCH, BATCH))
    offset = (LATENTS - 1) * math.log(BATCH)
    np.testing.assert_allclose(by_weights, np.add(exact, offset), rtol=1e-12)


def test_stratified_densities_are_unbiased_over_all_batches(float64):
    num_examples, batch_size = 6, 3
    densities = np.random.default_rng(0).uniform(size=num_examples)
    weights = np.exp(stratified(batch_size, num_examples))
    for own in range(num_examples):
        rest = [n for n in range(num_examples) if n != own]
        batches = [[own, *others] for others in itertools.combinations(rest, batch_size - 1)]
        estimate = np.mean([weights[0] @ densities[batch] for batch in batches])
        assert estimate == pytest.approx(densities.mean(), rel=1e-12)


def test_a_data_set_of_one_example_is_finite_in_every_estimator():
    mean, log_var, z = codes()
    for name in ("weighted", "stratified"):
        samples = samples_of(0 * mean, log_var, z)
        assert np.isfinite(penalty(TotalCorrelation(name), samples, num_examples=1))


def test_total_correlation_of_gaussian_codes_is_the_formulas(float64):
    """TC(N(0, S)) = (sum_j ln S_jj - ln det S) / 2: -ln(1 - rho^2) / 2 for two of variance 1."""
    rng, size, within = np.random.default_rng(0), 400, 0.3
    noise, estimates = rng.normal(size=(2, size, 2)), []
    for rho in (0.0, 0.5, 0.69):
        between = np.array([[1 - within, rho], [rho, 1 - within]])
        mean = noise[0] @ np.linalg.cholesky(between).T
        q = Gaussian(jnp.asarray(mean), jnp.full((size, 2), math.log(within)))
        deviation = jnp.asarray(math.sqrt(within) * noise[1])
        values = total_correlation(q, deviation, jnp.ones(2, bool), stratified(size, size))
        estimates.append(float(values.mean()))
        error = 4 * float(values.std()) / math.sqrt(size)
        assert abs(estimates[-1] + 0.5 * math.log(1 - rho**2)) < error + 0.02
    assert estimates == sorted(estimates)


@pytest.mark.parametrize("name", ["means", "samples"])
def test_dip_is_the_covariance_of_numpy(float64, name):
    mean, log_var, z = codes()
    covariance = np.cov(mean, rowvar=False)
    if name == "samples":
        covariance += np.diag(np.exp(log_var).mean(axis=0))
    expected = 0.0
    for i, j in itertools.product(range(LATENTS), repeat=2):
        expected += 5 * (covariance[i, i] - 1) ** 2 if i == j else 3 * covariance[i, j] ** 2
    np.testing.assert_allclose(
        penalty(DIP(name), samples_of(mean, log_var, z)), expected, rtol=1e-12
    )


class Fixed(NamedTuple):
    """Prior whose sample is known."""

    values: jax.Array

    def log_prob(self, z):
        return jnp.zeros(z.shape[:-1])

    def sample(self, key, noise):
        return self.values

    def kl(self, q):
        return None


def kernel_by_hand(a, b):
    square = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    widths = [2 * len(a) * scale for scale in KERNEL_SCALES]
    return sum(width / (width + square) for width in widths)


def mmd_by_loops(z, other):
    num, estimate = len(z), 0.0
    for i, j in itertools.product(range(num), repeat=2):
        estimate -= 2 * kernel_by_hand(z[i], other[j]) / num**2
        if i != j:
            own = kernel_by_hand(z[i], z[j]) + kernel_by_hand(other[i], other[j])
            estimate += own / (num * (num - 1))
    return estimate


def test_mmd_is_the_loop_over_pairs(float64):
    mean, log_var, z = codes()
    other = np.random.default_rng(9).normal(size=z.shape)
    expected = np.mean([mmd_by_loops(*pair) for pair in zip(z, other, strict=True)])
    samples = samples_of(mean, log_var, z, p=Fixed(jnp.asarray(other)))
    np.testing.assert_allclose(penalty(MMD(), samples), 7 * expected, rtol=1e-11)


def test_mmd_is_zero_on_average_where_codes_have_the_prior(float64):
    rng, prior = np.random.default_rng(0), UnitNormal(jnp.asarray(ALL))
    z = rng.normal(size=(400, 16, LATENTS))

    @jax.jit
    def estimates(z):
        noise = jnp.asarray(rng.normal(size=z.shape))
        other = prior.sample(jax.random.key(0), noise)
        return jax.vmap(lambda a, b: squared_mmd(a, b, jnp.float64(LATENTS)))(z, other)

    for shift, is_far in ((0.0, False), (0.7, True)):
        values = np.asarray(estimates(jnp.asarray(z + shift)))
        scores = values.mean() / (values.std() / math.sqrt(len(values)))
        assert (scores > 20) if is_far else (abs(scores) < 4)
        assert values.min() < 0 or is_far


def test_mmd_takes_a_deterministic_code(float64):
    mean, log_var, _ = codes()
    samples = samples_of(mean, log_var, np.stack([mean]))
    point = samples._replace(q=Point(jnp.asarray(mean)))
    np.testing.assert_array_equal(penalty(MMD(), point), penalty(MMD(), samples))


@pytest.mark.parametrize("name", ["weighted", "means"])
def test_without_variances_the_error_names_posterior_and_remedy(name):
    mean, log_var, z = codes()
    point = samples_of(mean, log_var, z)._replace(q=Point(jnp.asarray(mean)))
    with pytest.raises(TypeError, match=r"posterior: Point .*variances.*leave the regularizer out"):
        penalty(MEMBERS[name], point)


def test_permuted_codes_are_shuffled_coordinate_by_coordinate(float64):
    z, latent_mask = jnp.asarray(codes()[2]), jnp.asarray(ALL)
    mixed = permuted(jax.random.key(3), z, latent_mask)
    np.testing.assert_array_equal(np.sort(mixed, axis=1), np.sort(z, axis=1))
    orders = np.argmax(np.asarray(mixed[0, :, None] == z[0, None]), axis=1)
    assert len({tuple(order) for order in orders.T}) == LATENTS


@pytest.fixture
def factor(float64):
    """Return parameters of a discriminator, codes and the context of the penalty."""
    return parameters(FactorVAE(), LATENTS), jnp.asarray(codes()[2]), context()


def test_one_gradient_of_factorvae_is_that_of_both_losses(factor):
    params, z, given = factor
    samples = samples_of(*codes())

    def both(params, z):
        return FactorVAE()(HPARAMS, params, samples._replace(z=z), given)

    value, (discriminators, models) = jax.jit(jax.value_and_grad(both, (0, 1)))(params, z)
    own, gradient = jax.value_and_grad(
        lambda z: 11 * log_odds(params, z, given.latent_mask).mean()
    )(z)
    assert float(value) == pytest.approx(float(own), rel=1e-12)
    np.testing.assert_allclose(models, gradient, rtol=1e-12)
    alone = jax.jit(lambda params: jax.grad(discriminator_loss)(params, z, given))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), discriminators, alone)


def test_the_discriminators_loss_is_the_cross_entropy(factor):
    params, z, given = factor
    mixed = permuted(given.key, z, given.latent_mask)
    whole, shuffled = (np.asarray(log_odds(params, a, given.latent_mask)) for a in (z, mixed))
    probabilities = 1 / (1 + np.exp(-whole)), 1 / (1 + np.exp(-shuffled))
    expected = -0.5 * (np.log(probabilities[0]).mean() + np.log(1 - probabilities[1]).mean())
    loss = discriminator_loss(params, z, given)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_a_trained_discriminator_knows_the_total_correlation():
    rho, latent_mask = 0.8, jnp.ones(2, bool)
    factor, root = jnp.linalg.cholesky(jnp.array([[1, rho], [rho, 1]])), jax.random.key(0)
    adam = optax.adam(2e-3)

    def sample(key):
        return jax.random.normal(key, (1, 256, 2)) @ factor.T

    def advance(carry, key):
        params, state = carry
        given = Context(latent_mask, 1, jax.random.fold_in(key, 1))
        gradient = jax.grad(discriminator_loss)(params, sample(key), given)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    params = FactorVAE().init(root, latent_mask)
    train_on = jax.jit(lambda *carry: jax.lax.scan(advance, carry, jax.random.split(root, 300)))
    (params, _), _ = train_on(params, adam.init(params))
    estimate = log_odds(params, sample(jax.random.key(5)), latent_mask).mean()
    assert abs(float(estimate) + 0.5 * math.log(1 - rho**2)) < 0.15


@functools.partial(jax.jit, static_argnums=0)
def values_and_gradients(member, arrays, latent_mask):
    def value(arrays):
        return penalty(member, samples_of(*arrays, latent_mask), latent_mask)

    return jax.value_and_grad(value)(arrays)


def spread(arrays, latent_mask, filling):
    """Return wide arrays: the given columns where used, the filling between and behind."""
    wide = [
        np.full((*a.shape[:-1], len(latent_mask)), f) for a, f in zip(arrays, filling, strict=True)
    ]
    for new, old in zip(wide, arrays, strict=True):
        new[..., latent_mask] = old
    return wide


RUNAWAYS = [(1e200, -2000.0, 1e200), (-1e200, 2000.0, np.inf), (np.nan, np.nan, np.nan)]


@pytest.mark.parametrize("name", MEMBERS)
def test_unused_coordinates_contribute_nothing_whatever_they_hold(float64, name):
    arrays, member = codes(), MEMBERS[name]
    latent_mask = np.arange(50) < LATENTS
    narrow, gradients = values_and_gradients(member, arrays, ALL)
    for filling in RUNAWAYS:
        filled = spread(arrays, latent_mask, filling)
        wide, spread_gradients = values_and_gradients(member, filled, latent_mask)
        np.testing.assert_allclose(wide, narrow, rtol=1e-11)
        for large, small in zip(spread_gradients, gradients, strict=True):
            np.testing.assert_allclose(large[..., :LATENTS], small, rtol=1e-8, atol=1e-12)
            assert not np.asarray(large[..., LATENTS:]).any()


def test_random_numbers_depend_on_the_rank_among_used_columns():
    latent_mask = jnp.array([True, True, False, False, True])
    keys = jax.random.key_data(column_keys(jax.random.key(0), latent_mask))
    slim = jax.random.key_data(column_keys(jax.random.key(0), jnp.ones(3, bool)))
    np.testing.assert_array_equal(keys[np.array([0, 1, 4])], slim)


@pytest.mark.parametrize("name", MEMBERS)
def test_strengths_may_differ_between_runs(float64, name):
    member, samples = MEMBERS[name], samples_of(*codes())
    sizes = jnp.array([0.0, 1.0, 2.5])
    fields = {field: sizes * getattr(HPARAMS, field) for field in member.strengths()}
    hparams = HPARAMS._replace(**fields)
    axes = HParams(**{field: 0 if field in fields else None for field in HPARAMS._fields})
    values = jax.vmap(lambda h: penalty(member, samples, hparams=h), in_axes=(axes,))(hparams)
    np.testing.assert_allclose(values, sizes * penalty(member, samples), rtol=1e-12)


def test_every_strength_belongs_to_one_penalty():
    strengths = [name for kind in REGULARIZERS.values() for name in kind.strengths()]
    assert len(strengths) == len(set(strengths))
    assert set(strengths) <= set(HPARAMS._fields)
    assert {type(member) for member in MEMBERS.values()} == set(REGULARIZERS.values())


def fit(regularizers, max_latents, hparams):
    """Return the terms of three updates."""
    spec = TrainSpec(tiny_vae(max_latents), regularizers=regularizers, batch_size=6)
    pixels = jnp.arange(6 * 12, dtype=jnp.uint8).reshape(6, 3, 4, 1)

    def advance(state, _):
        batch = step.draw_batch(
            spec, step.BatchKeys.at(hparams, state.step), Examples(pixels), jnp.arange(6)
        )
        return step.train_step(spec, hparams, state, batch, 9)

    start = step.init(spec, hparams, jnp.full((3, 4, 1), 0.4))
    return jax.lax.scan(advance, start, length=3)[1]


@pytest.mark.slow
def test_a_row_of_a_study_is_the_run_alone_with_penalties_that_sample_and_learn(float64):
    regularizers = MMD(), FactorVAE()
    shared = {"mmd_weight": 7.0, "factor_weight": 11.0, "learning_rate": 0.01}
    study, run = (HParams.of(latent_size=size, **shared) for size in ([2, 50], 2))
    rows = jax.jit(jax.vmap(lambda hparams: fit(regularizers, 50, hparams)))(study)
    alone = jax.jit(lambda hparams: fit(regularizers, 2, hparams))(run)
    for row, term in zip(rows, alone, strict=True):
        assert np.isfinite(row).all()
        np.testing.assert_allclose(row[0], term, rtol=1e-9)
