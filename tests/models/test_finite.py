"""Densities are finite in float32 wherever float32 can hold their exact value.

Every density is pushed to log-variances, locations and logits of +-120 and held against the same
formula in float64, written out here or computed by the package where that is tested elsewhere.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from tests.models.test_posteriors import MEMBERS, Widths, _case, _noise
from vae_jax.evaluation.metrics import decomposition, evidence
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.likelihoods.gaussian import IndependentGaussian
from vae_jax.models.likelihoods.laplace import IndependentLaplace
from vae_jax.models.posteriors import CholeskyGaussian, Gaussian
from vae_jax.models.posteriors.planar import _log_det, _log_softplus
from vae_jax.models.priors import ClassNormal, GaussianMixture, PosteriorMixture
from vae_jax.objectives.regularizers.total_correlation import stratified, total_correlation
from vae_jax.runtime import jax_versions

EXTREMES = (-120.0, -90.0, 80.0)
"""Log-variances; beyond +88 the closed-form KL itself leaves float32."""
HPARAMS = HParams.of()


def _single(tree):
    return jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, tree)


def _are_finite(tree) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def _extreme(name: str, log_var: float):
    """Return a member whose log-variances are all the same, in float32."""
    case = _case(name, Widths(4, 3), seed=2)
    heads = case.heads | {"log_var": jnp.full_like(case.heads["log_var"], log_var)}
    params = case.params
    if name == "stacked":
        upper = params["upper"]
        fixed = {"kernel": 0.0 * upper["log_var"]["kernel"]}
        fixed["bias"] = jnp.full_like(upper["log_var"]["bias"], log_var)
        params = params | {"upper": upper | {"log_var": fixed}}
    return case._replace(heads=_single(heads), params=_single(params))


@pytest.mark.parametrize("log_var", EXTREMES)
@pytest.mark.parametrize("name", MEMBERS)
def test_log_q_of_an_own_sample_is_that_of_float64(name, log_var):
    """Values of ``draw`` and ``path_log_prob`` agree, and all gradients are finite."""
    case = _extreme(name, log_var)
    noise = _noise(case, 2, 3).astype(np.float32)

    def both(learned, noise):
        q = case(*learned)
        z, log_prob = q.draw(noise)
        return log_prob, q.path_log_prob(z, noise)

    learned = case.params, case.heads
    found = jax.jit(both)(learned, noise)
    with jax_versions.enable_x64(True):
        doubled = jax.tree.map(lambda a: jnp.asarray(a, np.float64), (learned, noise))
        exact = jax.jit(both)(*doubled)
    for value, expected in zip(found, exact, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5)
    slopes = jax.jit(jax.grad(lambda learned: jnp.sum(both(learned, noise)[0])))(learned)
    assert _are_finite(slopes)


@pytest.mark.parametrize("log_var", EXTREMES)
@pytest.mark.parametrize("name", MEMBERS)
def test_the_path_derivative_is_finite_where_it_can_be(name, log_var):
    """The score is of the size exp(-log_var / 2), up to 1e26, which float32 can hold.

    Were correlations of order 1 beside deviations of 1e-26, it would be 1e52.
    """
    case = _extreme(name, log_var)
    if "lower" in case.heads:
        lower = case.heads["lower"] * np.float32(math.exp(min(0.5 * log_var, 0.0)))
        case = case._replace(heads=case.heads | {"lower": lower})
    noise = _noise(case, 2, 3).astype(np.float32)

    def total(heads):
        q = case(case.params, heads)
        return jnp.sum(q.path_log_prob(q.sample(noise), noise))

    slopes = jax.jit(jax.grad(total))(case.heads)
    assert _are_finite(slopes["log_var"])
    if name == "gaussian":
        of_log_var = -0.5 * jnp.sum(noise**2, axis=0)[:, :3]
        np.testing.assert_allclose(slopes["log_var"][:, :3], of_log_var, rtol=1e-5)
        of_mean = -jnp.sum(noise, axis=0)[:, :3] * math.exp(-0.5 * log_var)
        np.testing.assert_allclose(slopes["mean"][:, :3], of_mean, rtol=1e-4)


@pytest.mark.parametrize("log_var", [-120.0, -200.0, 120.0])
def test_a_density_at_its_own_mean_is_that_of_its_peak(log_var):
    mean = jnp.asarray([[0.3, -120.0]])
    peak = -0.5 * 2 * (math.log(2 * math.pi) + log_var)

    def log_prob(q):
        return jnp.sum(q.log_prob(mean))

    lower = jnp.zeros((1, 2, 2))
    log_vars = jnp.full_like(mean, log_var)
    for q in (Gaussian(mean, log_vars), CholeskyGaussian(mean, log_vars, lower)):
        if isinstance(q, CholeskyGaussian) and log_var < -170:
            continue  # its factor has no float
        value, slopes = jax.jit(jax.value_and_grad(log_prob))(q)
        assert float(value) == pytest.approx(peak, rel=1e-6)
        assert _are_finite(slopes)


def _mixture(log_vars, means):
    components = Gaussian(jnp.asarray(means, jnp.float32), jnp.asarray(log_vars, jnp.float32))
    latent_mask = jnp.ones(components.mean.shape[1], bool)
    return GaussianMixture(jnp.zeros(len(means)), components, latent_mask)


@pytest.mark.parametrize("narrow", [-120.0, -90.0, -30.0])
def test_mixtures_hold_components_of_any_width(narrow):
    """A needle and a wide component, evaluated at the needle and away from it."""
    means, log_vars = np.array([[0.5, -1.0], [0.0, 0.2]]), np.array([[narrow] * 2, [0.0] * 2])
    z = jnp.asarray([[0.5, -1.0], [0.4, 0.3], [90.0, -3.0]])
    each = norm.logpdf(np.asarray(z)[:, None], means, np.exp(0.5 * log_vars)).sum(axis=-1)
    exact = logsumexp(each, axis=1) - math.log(2)
    p = _mixture(log_vars, means)
    full = CholeskyGaussian(p.components.mean, p.components.log_var, jnp.zeros((2, 2, 2)))
    for prior in (p, PosteriorMixture(full, p.latent_mask)):

        def total(prior, z):
            return jnp.sum(prior.log_prob(z))

        np.testing.assert_allclose(jax.jit(lambda p, z: p.log_prob(z))(prior, z), exact, rtol=1e-5)
        slopes, of_z = jax.jit(jax.grad(total, argnums=(0, 1), allow_int=True))(prior, z)
        assert _are_finite((slopes.components._replace(latent_mask=None), of_z))


def test_a_full_component_out_of_reach_has_no_weight_and_no_slope():
    """The triangular system ends in inf - inf; the wide component alone has weight."""
    mean = jnp.asarray([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    log_var = jnp.asarray([[-120.0] * 3, [0.0] * 3])
    lower = jnp.ones((2, 3, 3)) * jnp.asarray([1.0, 0.0])[:, None, None]
    z = jnp.asarray([[1.0, 2.0, -3.0]])

    def log_prob(mean, log_var, lower):
        q = CholeskyGaussian(mean, log_var, lower)
        return PosteriorMixture(q, jnp.ones(3, bool)).log_prob(z)[0]

    value, slopes = jax.value_and_grad(log_prob, argnums=(0, 1, 2))(mean, log_var, lower)
    expected = norm.logpdf([1.0, 2.0, -3.0]).sum() - math.log(2)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert _are_finite(slopes)


@pytest.mark.parametrize("log_var", [-120.0, 120.0])
def test_the_kl_from_a_class_as_narrow_or_wide_is_zero(log_var):
    q = Gaussian(jnp.asarray([[1.0, 2.0]]), jnp.full((1, 2), log_var))
    p = ClassNormal(q, jnp.ones(2, bool))
    kl, slopes = jax.value_and_grad(lambda p: jnp.sum(p.kl(q).total), allow_int=True)(p)
    assert float(kl) == 0.0
    assert _are_finite(slopes.gaussian)
    noise = jnp.asarray([[0.3, -1.5]])
    if log_var < 0:
        assert jnp.isfinite(p.log_prob(q.sample(noise)) - q.draw(noise).log_prob).all()


def _needles(log_var: float):
    """Return examples with three means, two of them twice: two components are the same needle."""
    mean = jnp.asarray([[0.5, 2.0], [-1.0, 1.0], [0.5, 2.0], [3.0, 0.0], [-1.0, 1.0]])
    return Gaussian(mean, jnp.full_like(mean, log_var))


def _needle_terms(q, noise):
    """Return log q(z|x), log q(z) and sum_j log q(z_j) in float64, from differences of means."""
    mean, scale = np.asarray(q.mean, np.float64), np.exp(0.5 * np.asarray(q.log_var, np.float64))
    away = mean[:, None] - mean + (scale * np.asarray(noise, np.float64))[:, None]
    each = norm.logpdf(away, 0.0, scale)
    log_n = math.log(len(mean))
    own = np.diagonal(each.sum(axis=-1))
    joint = logsumexp(each.sum(axis=-1), axis=1) - log_n
    return own, joint, (logsumexp(each, axis=1) - log_n).sum(axis=-1)


@pytest.mark.parametrize("log_var", [-120.0, -34.0, -30.0, 0.0])
def test_the_decomposition_computes_needles_from_their_noise(log_var):
    """Rounding z to float32 at -34 costs a deviation or more, and nats of log q(z|x)."""
    q = _needles(log_var)
    noise = jax.random.normal(jax.random.key(0), q.mean.shape)
    log_prior = jnp.zeros(len(noise))
    own, joint, marginals = _needle_terms(q, noise)
    latent_mask = jnp.ones(2, bool)
    for block_size in (2, 8):
        terms = decomposition.decompose(q, latent_mask, q.deviation(noise), log_prior, block_size)
        np.testing.assert_allclose(terms.mutual_information, own - joint, atol=1e-4)
        np.testing.assert_allclose(terms.total_correlation, joint - marginals, atol=1e-4)
        np.testing.assert_allclose(terms.dimensionwise_kl, marginals, rtol=1e-5, atol=1e-4)
    size = len(noise)

    def penalty(q):
        return total_correlation(q, q.deviation(noise), latent_mask, stratified(size, size))

    np.testing.assert_allclose(penalty(q), joint - marginals, atol=1e-4)
    assert _are_finite(jax.grad(lambda q: jnp.sum(penalty(q)))(q))


@pytest.mark.parametrize("log_scale", [-120.0, 120.0])
def test_pixels_that_are_reproduced_exactly_have_the_density_of_the_peak(log_scale):
    x = jnp.asarray(np.linspace(0, 1, 6), jnp.float32).reshape(1, 2, 3, 1)
    of_gaussian, of_laplace = 0.5 * math.log(2 * math.pi), math.log(2)
    for kind, constant in ((IndependentGaussian, of_gaussian), (IndependentLaplace, of_laplace)):

        def log_prob(loc, log_scale, kind=kind):
            return kind(loc, log_scale).log_prob(x)[0]

        value, slopes = jax.value_and_grad(log_prob, argnums=(0, 1))(
            x, jnp.full((1, 1, 1, 1), log_scale)
        )
        assert float(value) == pytest.approx(-6 * (log_scale + constant), rel=1e-6)
        assert _are_finite(slopes)
        assert float(slopes[1].sum()) == pytest.approx(-6)


@pytest.mark.parametrize("size", [-120.0, 120.0])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_is_that_of_float64_at_outputs_of_that_size(name, size):
    """Outputs have both signs, so the probabilities of a softmax differ."""
    family = LIKELIHOODS[name]()
    signs = np.where(np.arange(2 * 3 * family.num_outputs) % 3 == 1, -1.0, 1.0)
    outputs = size * signs.reshape(1, 2, 3, 1, family.num_outputs)
    x = np.round(np.linspace(0, 1, 6) * 255).reshape(1, 2, 3, 1) / 255

    def log_prob(outputs, x):
        return family(HPARAMS, family.init(HPARAMS, (2, 3, 1)), outputs).log_prob(x)[0]

    single = jnp.asarray(outputs, jnp.float32), jnp.asarray(x, jnp.float32)
    value, slope = jax.value_and_grad(log_prob)(*single)
    with jax_versions.enable_x64(True):
        exact = jax.jit(log_prob)(jnp.asarray(outputs), jnp.asarray(x))
    assert float(value) == pytest.approx(float(exact), rel=1e-4)
    assert _are_finite(slope)
    p = family(HPARAMS, family.init(HPARAMS, (2, 3, 1)), single[0])
    assert _are_finite((p.mean(), p.sample(jax.random.key(0))))


def test_weights_of_which_one_dominates_or_some_are_zero_are_summed():
    log_w = jnp.asarray([[-5.0, -120.0, 3e4], [-1e5, -jnp.inf, -jnp.inf], [-1e5, -121.0, 0.0]])
    sums = evidence.add_weights(evidence.no_weights(3, (3,)), log_w)
    with np.errstate(divide="ignore"):
        exact = logsumexp(np.asarray(log_w, np.float64), axis=0) - math.log(3)
    np.testing.assert_allclose(evidence.bound(sums, 3), exact, rtol=1e-6)
    effective = evidence.effective_sample_size(sums, 3)
    share = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(effective, [1.0, 1 / (share**2 + (1 - share) ** 2), 1.0], rtol=2e-5)
    assert np.isfinite(evidence.jackknife_bias(sums, 3)).all()


def test_planar_determinants_have_logarithms_where_they_underflow(float64):
    """The reference is log(h^2 + (1 - h^2) softplus(a)) in float64, at a down to -119.5."""
    for a in (-119.5, -41.0, -39.0, 0.0, 119.5):
        for y in (0.0, 1e-30, 0.3, 50.0):
            h, growth = math.tanh(y), math.log1p(math.exp(a))
            exact = math.log(h**2 + growth / math.cosh(y) ** 2)
            single = jnp.float32(y), jnp.float32(a)

            def log_det(y, a):
                return _log_det(y, _log_softplus(a))

            value, slopes = jax.value_and_grad(log_det, argnums=(0, 1))(*single)
            assert float(value) == pytest.approx(exact, rel=1e-5, abs=1e-5)
            assert _are_finite(slopes)
