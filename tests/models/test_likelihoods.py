"""Likelihoods against sums, integrals and published formulas, from one table."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import (
    LIKELIHOODS,
    SCALE_MODES,
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretizedLogisticLikelihood,
    Distribution,
    GaussianLikelihood,
    LaplaceLikelihood,
    Likelihood,
    StudentTLikelihood,
    bits_per_dim,
)
from vae_jax.runtime import jax_versions
from vae_jax.types import default_float

MEMBERS = [
    BernoulliLikelihood(),
    ContinuousBernoulliLikelihood(),
    *(family(mode) for family in (GaussianLikelihood, LaplaceLikelihood) for mode in SCALE_MODES),
    *(StudentTLikelihood(mode) for mode in SCALE_MODES if mode != "optimal"),
    DiscretizedLogisticLikelihood(),
    DiscretizedLogisticLikelihood(3),
    CategoricalLikelihood(),
]
EVERY = pytest.mark.parametrize("family", MEMBERS, ids=repr)
SHAPE = (2, 3, 1)
LEVELS = np.arange(256) / 255


def _hparams(scale: float | jax.Array = 0.3) -> HParams:
    return HParams.of(scale=scale)


def _outputs(family: Likelihood, *batch: int, shape=SHAPE, seed: int = 0) -> np.ndarray:
    outputs = np.random.default_rng(seed).normal(size=(*batch, *shape, family.num_outputs))
    return outputs.astype(default_float())


def _gray(*batch: int, shape=SHAPE, seed: int = 1) -> np.ndarray:
    levels = np.random.default_rng(seed).integers(256, size=(*batch, *shape))
    return (levels / 255).astype(default_float())


def _make(family: Likelihood, outputs: jax.Array, scale: float = 0.3) -> Distribution:
    hparams = _hparams(scale)
    return family(hparams, family.init(hparams, SHAPE), outputs)


@functools.partial(jax.jit, static_argnums=0)
def _terms(family: Likelihood, outputs: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return log-probability and mean; compiled, so that there is one program and not dozens."""
    distribution = _make(family, outputs)
    return distribution.log_prob(x), distribution.mean()


def _log_prob(family: Likelihood, outputs: jax.Array, x: jax.Array) -> jax.Array:
    return _terms(family, outputs, x)[0]


def _pixel(family: Likelihood, outputs: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return log_prob of each x as an image of one pixel, and that pixel's mean."""
    images = np.asarray(x, default_float()).reshape(-1, 1, 1, 1)
    outputs = np.asarray(outputs, default_float()).reshape(-1)
    outputs = np.broadcast_to(outputs, (len(images), 1, 1, 1, outputs.size))
    log_prob, mean = _terms(family, outputs, images)
    return np.asarray(log_prob), float(np.asarray(mean).flat[0])


def _abstract(family: Likelihood, outputs: np.ndarray) -> Distribution:
    """Return the distribution with shapes in place of arrays."""
    return jax.eval_shape(functools.partial(_make, family), outputs)


def _quadrature(family: Likelihood) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a pixel and the weights of a sum, or quadrature, over its whole range."""
    if family.is_eight_bit:
        return LEVELS, np.ones(256)
    if family.is_discrete:
        return np.array([0.0, 1.0]), np.ones(2)
    low, high = (0, 1) if isinstance(family, ContinuousBernoulliLikelihood) else (-150, 150)
    x = np.linspace(low, high, 400_001)
    weights = np.full(len(x), x[1] - x[0])
    weights[[0, -1]] /= 2
    return x, weights


def test_the_table_holds_every_family():
    assert {type(family) for family in MEMBERS} == set(LIKELIHOODS.values())


@EVERY
def test_a_pixel_sums_or_integrates_to_one_and_to_its_mean(family, float64):
    x, weights = _quadrature(family)
    for seed in range(3):
        log_prob, mean = _pixel(family, _outputs(family, shape=(1, 1, 1), seed=seed), x)
        probabilities = np.exp(log_prob)
        assert weights @ probabilities == pytest.approx(1, abs=1e-6)
        assert (probabilities <= 1).all() or not family.is_discrete
        assert (weights * x) @ probabilities == pytest.approx(mean, abs=1e-6)


@EVERY
def test_log_prob_is_a_sum_over_pixels_and_not_the_mean_of_pytorch_vae(family, float64):
    """PyTorch-VAE's reconstruction term is a mean over pixels: its KL then weighs D times more."""
    outputs, x = _outputs(family, 2, 3), _gray(2, 3)
    pixels = outputs.reshape(-1, 1, 1, 1, family.num_outputs), x.reshape(-1, 1, 1, 1)
    apart = np.asarray(_log_prob(family, *pixels)).reshape(2, 3, -1)
    np.testing.assert_allclose(_log_prob(family, outputs, x), apart.sum(axis=-1), rtol=1e-12)


@EVERY
def test_samples_have_the_mean_and_the_range(family):
    num_samples = 4000
    outputs = _outputs(family, shape=(1, 2, 1))
    samples, mean = map(np.asarray, _samples_and_mean(family, num_samples, outputs))
    error = abs(samples.astype(np.float64).mean(axis=0) - mean)
    assert (error < 5 * samples.std(axis=0) / math.sqrt(num_samples)).all()
    assert len(np.unique(samples)) > num_samples / 2 or family.is_discrete
    if family.is_eight_bit:
        assert (abs(255 * samples - np.round(255 * samples)) < 1e-4).all()
    elif family.is_discrete:
        assert np.isin(samples, [0, 1]).all()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _samples_and_mean(
    family: Likelihood, num_samples: int, outputs: jax.Array
) -> tuple[jax.Array, jax.Array]:
    many = _make(family, jnp.broadcast_to(outputs[None], (num_samples, *outputs.shape)))
    return many.sample(jax.random.key(3)), _make(family, outputs).mean()


@EVERY
def test_values_and_slopes_are_finite_at_the_extremes(family):
    extremes = np.array([-1e4, -1.0, 0.0, 1.0, 1e4], np.float32)
    outputs = np.random.default_rng(0).choice(extremes, (128, 1, 1, 1, family.num_outputs))
    x = np.arange(128, dtype=np.float32).reshape(-1, 1, 1, 1) % 2
    for scale in np.array([1e-6, 1e6], np.float32):
        for result in jax.tree.leaves(_value_mean_and_slopes(family, scale, outputs, x)):
            assert np.isfinite(result).all()


@functools.partial(jax.jit, static_argnums=0)
def _value_mean_and_slopes(
    family: Likelihood, scale: jax.Array, outputs: jax.Array, x: jax.Array
) -> tuple:
    hparams = _hparams(scale)

    def value_and_mean(params: dict, outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        distribution = family(hparams, params, outputs)
        return distribution.log_prob(x).sum(), distribution.mean()

    params = family.init(hparams, (1, 1, 1))
    return jax.value_and_grad(value_and_mean, argnums=(0, 1), has_aux=True)(params, outputs)


@EVERY
def test_several_leading_axes_and_vmap_change_nothing(family, float64):
    outputs, x = _outputs(family, 2, 3), _gray(2, 3)
    log_prob, mean = _terms(family, outputs, x)
    assert log_prob.shape == (2, 3)
    assert mean.shape == x.shape
    one = functools.partial(_log_prob, family)
    np.testing.assert_allclose(log_prob, jax.vmap(jax.vmap(one))(outputs, x), rtol=1e-12)
    distribution = _abstract(family, outputs)
    mapped = jax.eval_shape(jax.vmap(jax.vmap(type(distribution).log_prob)), distribution, x)
    assert mapped.shape == (2, 3)
    sample = jax.eval_shape(type(distribution).sample, distribution, jax.random.key(0))
    assert (sample.shape, sample.dtype) == (x.shape, x.dtype)


@EVERY
def test_a_family_hashes_by_value_and_keeps_the_protocol(family):
    twin = dataclasses.replace(family)
    assert twin is not family
    assert (twin, hash(twin)) == (family, hash(family))
    assert isinstance(family, Likelihood)
    assert isinstance(_abstract(family, _outputs(family, 2)), Distribution)


@EVERY
def test_the_initial_bias_decodes_to_the_data_mean(family, float64):
    data_mean = np.array([[[0.06], [0.25], [0.5]], [[0.7], [0.94], [0.0]]])
    bias = np.asarray(jax.jit(family.initial_bias)(data_mean))
    assert bias.shape == (*SHAPE, family.num_outputs)
    assert np.isfinite(bias).all()
    _, mean = _terms(family, np.broadcast_to(bias, (2, 3, *bias.shape)), _gray(2, 3))
    decoded, wanted = np.asarray(mean)[0, 0].ravel(), data_mean.ravel()
    np.testing.assert_allclose(decoded[:-1], wanted[:-1], rtol=1e-10)
    assert abs(decoded[-1]) < 0.0501


@EVERY
def test_only_the_optimal_mode_changes_distribution_and_parameters(family):
    def is_untouched(outputs: jax.Array, x: jax.Array) -> jax.Array:
        params, distribution = family.init(_hparams(), SHAPE), _make(family, outputs)
        untouched.append(family.with_optimal_scale(distribution, x) is distribution)
        untouched.append(family.update(params, distribution, x, jnp.int32(0)) is params)
        return x

    untouched = []
    jax.eval_shape(is_untouched, _outputs(family, 4), _gray(4))
    assert untouched == [getattr(family, "scale_mode", "") != "optimal"] * 2


def test_bernoulli_is_minus_the_cross_entropy_and_so_is_its_slope(float64):
    logits = np.linspace(-30, 30, 60).reshape(3, 4, 5, 1)
    x = np.linspace(0, 1, 60).reshape(3, 4, 5)
    wide = logits[..., 0].astype(np.longdouble)
    sigmoid = 1 / (1 + np.exp(-wide))
    expected = np.sum(-x * np.log1p(np.exp(-wide)) - (1 - x) * np.log1p(np.exp(wide)))
    slopes = jax.jit(jax.value_and_grad(_log_prob, argnums=(1, 2)), static_argnums=0)
    value, (slope, by_x) = slopes(BernoulliLikelihood(), logits, x)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(np.asarray(slope)[..., 0], x - sigmoid, atol=1e-14)
    np.testing.assert_allclose(by_x, logits[..., 0], rtol=1e-14)


def test_bernoulli_is_exact_at_extreme_logits():
    logits = np.array([1e4, 1e4, -1e4, -1e4], np.float32).reshape(-1, 1, 1, 1, 1)
    x = np.array([1, 0, 1, 0], np.float32).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(_log_prob(BernoulliLikelihood(), logits, x), [0, -1e4, -1e4, 0])
    slope = jax.grad(lambda outputs: _log_prob(BernoulliLikelihood(), outputs, x).sum())(logits)
    np.testing.assert_array_equal(np.ravel(slope), [0, -1, 1, 0])


@pytest.mark.parametrize(
    ("rate", "log_constant", "mean"),
    [
        (0.01, 1.5451975, 0.2074181),
        (0.1, 1.0103386, 0.3301196),
        (0.25, 0.7871950, 0.4102392),
        (0.49, 0.6932805, None),
        (0.5, math.log(2), 0.5),
    ],
)
def test_continuous_bernoulli_has_the_constants_of_its_formula(rate, log_constant, mean, float64):
    """References are log C(lambda) and the mean by the paper's formulas in lambda."""
    at_black, got = _pixel(ContinuousBernoulliLikelihood(), special.logit(rate), np.zeros(1))
    assert at_black[0] - math.log1p(-rate) == pytest.approx(log_constant, abs=1e-7)
    if mean is not None:
        assert got == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize("is_double", [False, True])
def test_continuous_bernoulli_is_stable_through_one_half(is_double):
    """The reference is in extended precision, for value and slope, on both sides of each branch."""
    near = np.concatenate([np.logspace(-30, 4, 103), [2.0, np.nextafter(2.0, 3), 0.0]])
    with jax_versions.enable_x64(is_double):
        logits = np.concatenate([-near, near]).astype(default_float()).reshape(-1, 1, 1, 1, 1)
        x = np.full(logits.shape[:-1], 0.25, logits.dtype)

        def log_prob(outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            values = _log_prob(ContinuousBernoulliLikelihood(), outputs, x)
            return values.sum(), values

        slope, value = jax.jit(jax.grad(log_prob, has_aux=True))(logits)
    exact_value, exact_slope = _continuous_bernoulli(logits.ravel(), 0.25)
    rtol = 4e-15 if is_double else 2e-6
    np.testing.assert_allclose(value, exact_value, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(np.ravel(slope), exact_slope, rtol=rtol, atol=rtol)


def _continuous_bernoulli(logits: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
    """Return log-density and slope by the closed formula, or by series where that cancels."""
    wide = logits.astype(np.longdouble)
    rate = np.where(abs(wide) < 1e-2, 1, abs(wide))
    far = np.maximum(wide, 0) + np.log(-np.expm1(-rate)) - np.log(rate)
    near = wide / 2 + wide**2 / 24 - wide**4 / 2880
    low = 1 / rate - 1 / np.expm1(np.minimum(rate, 11000))
    far_mean = np.where(wide > 0, 1 - low, low)
    near_mean = 0.5 + wide / 12 - wide**3 / 720
    is_near = abs(wide) < 1e-2
    value, mean = np.where(is_near, near, far), np.where(is_near, near_mean, far_mean)
    return (x * wide - value).astype(np.float64), (x - mean).astype(np.float64)


@pytest.mark.parametrize(
    ("family", "law"), [(GaussianLikelihood, stats.norm), (LaplaceLikelihood, stats.laplace)]
)
def test_location_scale_densities_are_scipys(family, law, float64):
    outputs, x = _outputs(family("per_pixel"), 2, 3), _gray(2, 3)
    loc, pixels = outputs[..., 0], (2, 3, 4)
    scale = 0.3 * np.exp(6 * np.tanh(outputs[..., 1] / 6))
    got = _log_prob(family("per_pixel"), outputs, x)
    np.testing.assert_allclose(got, law.logpdf(x, loc, scale).sum(axis=pixels), rtol=1e-12)
    expected = law.logpdf(x, loc, 0.3).sum(axis=pixels)
    for mode in ("fixed", "learned", "optimal"):
        got = _log_prob(family(mode), outputs[..., :1], x)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(("family", "power"), [(GaussianLikelihood, 2), (LaplaceLikelihood, 1)])
def test_a_learned_scale_has_the_slope_of_the_formula_and_rests_at_the_optimum(
    family, power, float64
):
    family = family("learned")

    @jax.jit
    @jax.grad
    def slope(log_scale: jax.Array, outputs: jax.Array, x: jax.Array) -> jax.Array:
        return family(_hparams(), {"log_scale": log_scale}, outputs).log_prob(x).mean()

    outputs, x = _outputs(family, 5), _gray(5)
    deviations = abs(x - outputs[..., 0]) ** power
    expected = deviations.sum() / 5 / 0.4**power - math.prod(SHAPE)
    assert float(slope(np.log(0.4), outputs, x)) == pytest.approx(expected, rel=1e-12)
    assert abs(float(slope(np.log(deviations.mean()) / power, outputs, x))) < 1e-12


def test_the_optimal_scale_has_the_value_and_the_slope_of_sigma_vae(float64):
    """The mean over all particles and examples is -D/2 (log(2 pi MSE) + 1)."""
    family, dims = GaussianLikelihood("optimal"), math.prod(SHAPE)

    def published(outputs: jax.Array, x: jax.Array) -> jax.Array:
        error = jnp.mean((x - outputs[..., 0]) ** 2)
        return -0.5 * dims * (jnp.log(2 * math.pi * error) + 1)

    def optimal(outputs: jax.Array, x: jax.Array) -> jax.Array:
        return family.with_optimal_scale(_make(family, outputs), x).log_prob(x).mean()

    batch = _outputs(family, 2, 4), _gray(2, 4)
    expected_value, expected_slope = jax.jit(jax.value_and_grad(published))(*batch)
    value, slope = jax.jit(jax.value_and_grad(optimal))(*batch)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-13)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-10, atol=1e-14)


OPTIMAL = pytest.mark.parametrize(
    "family", [GaussianLikelihood("optimal"), LaplaceLikelihood("optimal")], ids=repr
)


@OPTIMAL
def test_the_optimal_scale_is_the_most_likely_one(family, float64):
    @jax.jit
    def moved(outputs: jax.Array, x: jax.Array, step: float) -> jax.Array:
        best = family.with_optimal_scale(_make(family, outputs), x)
        return best._replace(log_scale=best.log_scale + step).log_prob(x).mean()

    lower, best, higher = (
        moved(_outputs(family, 2, 4), _gray(2, 4), d) for d in (-0.01, 0.0, 0.01)
    )
    assert lower < best
    assert higher < best


@OPTIMAL
def test_evaluation_uses_a_running_average_that_forgets_its_start(family, float64):
    """After t updates it is the average of the t optima with the weights d^(t-i), as in Adam."""

    @jax.jit
    def follow(params: dict, outputs: jax.Array, x: jax.Array, step: int) -> tuple:
        distribution = family(_hparams(), params, outputs)
        best = family.with_optimal_scale(distribution, x)
        after = (family.update(params, of, x, jnp.asarray(step)) for of in (distribution, best))
        return *after, best.log_scale.max(), distribution.log_prob(x), best.log_prob(x)

    params, optima = {"log_scale": np.log(1000.0)}, []
    for step in range(5):
        batch = _outputs(family, 4) * (1 + step), _gray(4)
        once, again, best, before, optimal = follow(params, *batch, step)
        assert once == again
        assert not np.allclose(before, optimal)
        params, optima = once, [*optima, float(best)]
        weights = 0.99 ** np.arange(step, -1, -1)
        expected = np.sum(weights * optima) / weights.sum()
        assert float(params["log_scale"]) == pytest.approx(expected, rel=1e-12)
    assert np.ptp(optima) > 0.5
    _, _, _, settled, optimal = follow({"log_scale": np.asarray(best)}, *batch, 0)
    np.testing.assert_allclose(settled, optimal, rtol=1e-12)


def test_a_scale_per_pixel_stays_within_its_bounds():
    """PyTorch code that trains exp(log_var) freely ends in NaN on pixels that never change."""
    outputs = np.array([0, -1e30], np.float32).reshape(1, 1, 1, 2)
    distribution = jax.jit(functools.partial(_make, GaussianLikelihood("per_pixel")))(outputs)
    np.testing.assert_allclose(distribution.log_scale, math.log(0.3) - 6, rtol=1e-6)


def test_no_scale_fits_a_batch_that_is_reproduced_exactly():
    family = GaussianLikelihood("optimal")

    def log_prob(loc: jax.Array, x: jax.Array) -> jax.Array:
        return family.with_optimal_scale(_make(family, loc[..., None]), x).log_prob(x).sum()

    value, slope = jax.jit(jax.value_and_grad(log_prob))(_gray(4), _gray(4))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("num_logistics", [1, 3])
def test_a_discretized_logistic_is_a_difference_of_distribution_functions(num_logistics, float64):
    family = DiscretizedLogisticLikelihood(num_logistics)
    outputs = _outputs(family, shape=(1, 1, 1))[0, 0, 0]
    n = num_logistics
    loc, scale = outputs[:n], 0.1 * np.exp(6 * np.tanh(outputs[n : 2 * n] / 6))
    weight = special.softmax(outputs[2 * n :]) if n > 1 else np.ones(1)
    edges = (np.arange(1, 256) - 0.5) / 255
    below = special.expit((edges[:, None] - loc) / scale)
    cumulative = np.concatenate([np.zeros((1, n)), below, np.ones((1, n))])
    expected = np.diff(cumulative, axis=0) @ weight
    got, _ = _pixel(family, outputs, LEVELS)
    np.testing.assert_allclose(np.exp(got), expected, rtol=1e-9, atol=1e-14)


def test_a_discretized_logistic_is_exact_far_out_in_its_tails():
    """Differences of float32 distribution functions are 0 there; PixelCNN++ floors them at 1e-12.

    A logistic at 1e3 with scale 0.1 puts exp(-(1e3 - 0.5) / 0.1) or so on the middle of the grid.
    """
    upper = (128.5 / 255 - 1e3) / 0.1
    expected = upper + math.log(-math.expm1(-1 / 25.5))
    got, _ = _pixel(DiscretizedLogisticLikelihood(), np.array([1e3, 0.0]), np.array([128 / 255]))
    assert got[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "family", [DiscretizedLogisticLikelihood(), CategoricalLikelihood()], ids=repr
)
def test_any_gray_counts_as_its_level(family):
    x = np.array([100, 100.4, 99.6, 255, 382]) / 255
    log_prob, _ = _pixel(family, _outputs(family, shape=(1, 1, 1)), x)
    assert (log_prob[:3] == log_prob[0]).all()
    assert log_prob[3] == log_prob[4]


def test_uniform_levels_cost_eight_bits():
    log_prob = _log_prob(CategoricalLikelihood(), np.zeros((5, *SHAPE, 256), np.float32), _gray(5))
    np.testing.assert_allclose(bits_per_dim(log_prob, SHAPE), np.full(5, 8.0), rtol=1e-6)


@pytest.mark.parametrize("degrees", [0.5, 1.0, 4.0, 1e7])
def test_students_t_has_its_degrees_of_freedom(degrees, float64):
    hparams, family = HParams.of(scale=0.3, degrees_of_freedom=degrees), StudentTLikelihood()
    outputs, x = jnp.asarray(_outputs(family, 2)), _gray(2)
    ours = family(hparams, {}, outputs).log_prob(jnp.asarray(x))
    law = stats.norm if degrees == 1e7 else stats.t(degrees)  # the limit is Gaussian
    exact = law.logpdf((x - np.asarray(outputs)[..., 0]) / 0.3) - np.log(0.3)
    np.testing.assert_allclose(ours, exact.sum(axis=(1, 2, 3)), rtol=1e-5)


def test_students_t_is_finite_where_its_square_is_not():
    family, hparams = StudentTLikelihood("learned"), HParams.of()
    outputs, x = jnp.asarray(_outputs(family, 1)), jnp.asarray(_gray(1))

    def log_prob(log_scale, outputs, x):
        return family(hparams, {"log_scale": log_scale}, outputs).log_prob(x).sum()

    for log_scale in (-120.0, 120.0):
        value, slope = jax.value_and_grad(log_prob)(jnp.float32(log_scale), outputs, x)
        assert np.isfinite([value, slope]).all()
    at_loc = jax.grad(log_prob, argnums=1)(jnp.float32(0.0), outputs, outputs[..., 0])
    np.testing.assert_array_equal(at_loc, 0.0)


@pytest.mark.parametrize("degrees", [0.5, 1.0, 4.0, 30.0, 1e5])
@pytest.mark.parametrize("factor", [0.02, 1.0, 50.0])
def test_the_best_scale_of_students_t_is_that_of_its_deviations(degrees, factor):
    """Exact at the scale that fits; elsewhere within the factor 2 that counts as a fit.

    Deviations t(u) at the quantiles u of a grid; their log-likelihood in float64.
    """
    u = (np.arange(20_000) + 0.5) / 20_000
    deviation = 0.3 * stats.t.ppf(u, degrees)
    scale = 0.3 * factor
    constant = (
        special.gammaln((degrees + 1) / 2)
        - special.gammaln(degrees / 2)
        - np.log(degrees * np.pi) / 2
    )
    terms = -np.log(scale) - (degrees + 1) / 2 * np.log1p((deviation / scale) ** 2 / degrees)
    best = StudentTLikelihood.best_scale(
        float(100 * np.mean(constant + terms)), scale, 100, degrees_of_freedom=degrees
    )
    if factor == 1:
        assert best.scale == pytest.approx(0.3, rel=0.01)
    elif degrees > 2:  # else the tails have no variance
        assert 0.15 < best.scale < 0.6
