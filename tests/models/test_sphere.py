"""Von Mises-Fisher posterior and uniform prior on the sphere, against Bessel functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special

from vae_jax.models.posteriors import VonMisesFisher, VonMisesFisherFamily, log_area
from vae_jax.models.posteriors.von_mises_fisher import quantile_slope, sample_distance
from vae_jax.models.priors import UniformSphere
from vae_jax.models.priors.uniform_sphere import UniformOnSphere
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError

DIMENSIONS = (2, 3, 10)
CONCENTRATIONS = (1e-3, 1.0, 30.0, 3000.0)
WIDTH = 48


def _q(dimension: int, concentration, width: int = WIDTH) -> VonMisesFisher:
    pole = jnp.zeros(width).at[0].set(0.6).at[1].set(0.8)
    mask = jnp.arange(width) < dimension
    kappa = jnp.asarray(concentration, pole.dtype)
    return VonMisesFisher(jnp.broadcast_to(pole, (*kappa.shape, width)), kappa, mask)


def _log_constant(dimension: int, kappa: float) -> float:
    """Return the log-density at the mean direction (Davidson et al. 2018, eq. 4)."""
    order = dimension / 2 - 1
    log_bessel = np.log(special.ive(order, kappa))  # of I(kappa) exp(-kappa)
    return order * np.log(kappa) - dimension / 2 * np.log(2 * np.pi) - log_bessel


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_density_and_kl_are_those_of_bessel_functions(dimension, float64):
    log_uniform = -float(log_area(jnp.asarray(float(dimension))))
    for kappa in CONCENTRATIONS:
        q, peak = _q(dimension, kappa), _log_constant(dimension, kappa)
        assert float(q.log_prob(q.center)) == pytest.approx(peak, abs=1e-8)
        assert float(q.log_prob(-q.center)) == pytest.approx(peak - 2 * kappa, abs=1e-8)
        ratio = special.ive(dimension / 2, kappa) / special.ive(dimension / 2 - 1, kappa)
        kl = peak - kappa * (1 - ratio) - log_uniform
        assert float(UniformOnSphere(q.latent_mask).kl(q).total) == pytest.approx(kl, abs=1e-8)


def test_kl_is_that_of_quadrature_on_the_circle(float64):
    q, p = _q(2, 4.0), UniformOnSphere(jnp.arange(WIDTH) < 2)

    def integrand(angle: float) -> float:
        z = jnp.zeros(WIDTH).at[0].set(jnp.cos(angle)).at[1].set(jnp.sin(angle))
        log_q, log_p = float(q.log_prob(z)), float(p.log_prob(z))
        return np.exp(log_q) * np.array([1.0, log_q - log_p])

    angles = np.linspace(0, 2 * np.pi, 65)[:-1]  # the trapezoidal rule, exact for periodic ones
    mass, kl = 2 * np.pi * np.mean([integrand(angle) for angle in angles], axis=0)
    assert mass == pytest.approx(1, abs=1e-10)
    assert kl == pytest.approx(float(q.kl_to_uniform()), abs=1e-10)


def test_kl_stays_accurate_in_float32():
    for dimension in DIMENSIONS:
        for kappa in CONCENTRATIONS:
            ratio = special.ive(dimension / 2, kappa) / special.ive(dimension / 2 - 1, kappa)
            log_uniform = -float(log_area(jnp.float32(dimension)))
            kl = _log_constant(dimension, kappa) - kappa * (1 - ratio) - log_uniform
            assert float(_q(dimension, kappa).kl_to_uniform()) == pytest.approx(kl, abs=2e-5)


@functools.cache
def _samples(dimension: int, kappa: float, num: int = 4000):
    family, q = VonMisesFisherFamily(), _q(dimension, kappa)
    noise = family.noise(jax.random.key(dimension), (num,), dimension)
    z, log_q = jax.jit(lambda noise: q.draw(noise))(noise)
    return q, np.asarray(z, np.float64), np.asarray(log_q, np.float64)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("kappa", [1e-3, 2.0, 100.0])
def test_samples_follow_the_density(dimension, kappa):
    """Means of mu.z, its square and of the other directions agree, in standard errors."""
    q, z, log_q = _samples(dimension, kappa)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    assert not z[:, dimension:].any()
    along = z @ np.asarray(q.direction, np.float64)

    def expectation(power: int) -> float:
        weight = lambda t: np.exp(kappa * (np.cos(t) - 1)) * np.sin(t) ** (dimension - 2)  # noqa: E731
        points = [0.3, 1.0]
        top = integrate.quad(lambda t: weight(t) * np.cos(t) ** power, 0, np.pi, points=points)[0]
        return top / integrate.quad(weight, 0, np.pi, points=points)[0]

    for power in (1, 2):
        values = along**power
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - expectation(power)) < 5 * error
    across = z - along[:, None] * np.asarray(q.direction, np.float64)
    errors = across[:, :dimension].std(axis=0) / np.sqrt(len(z))
    assert (np.abs(across[:, :dimension].mean(axis=0)) < 5 * errors + 1e-7).all()
    peak = _log_constant(dimension, kappa)
    np.testing.assert_allclose(log_q, peak - kappa * (1 - along), atol=2e-4 + 1e-6 * kappa)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_samples_move_with_their_quantile(dimension, float64):
    """The derivative by the concentration is that of the quantile at which the sample lies."""

    def weight(t: float, kappa: float) -> float:
        return np.exp(kappa * (np.cos(t) - 1)) * np.sin(t) ** (dimension - 2)

    def share(angle: float, kappa: float) -> float:
        total = integrate.quad(weight, 0, np.pi, (kappa,), epsabs=1e-13)[0]
        return integrate.quad(weight, 0, angle, (kappa,), epsabs=1e-13)[0] / total

    kappa, step = 3.0, 1e-4
    for angle in (0.2, 1.0, 2.6):
        level = share(angle, kappa)
        ends = [
            optimize.brentq(
                lambda t, k, level: share(t, k) - level,
                *(1e-3, np.pi - 1e-3),
                args=(k, level),
                xtol=1e-13,
            )
            for k in (kappa - step, kappa + step)
        ]
        slope = (np.cos(ends[0]) - np.cos(ends[1])) / (2 * step)
        ours = quantile_slope(
            jnp.asarray(kappa), jnp.asarray(float(dimension)), jnp.asarray(1 - np.cos(angle))
        )
        assert float(ours) == pytest.approx(slope, rel=1e-5)


def test_gradient_of_a_samples_distance_is_the_slope_of_its_quantile(float64):
    noise = jax.random.uniform(jax.random.key(0), (2, 16))
    arguments = jnp.asarray(3.0), 2 * noise[0] - 1, noise[1]
    gradient = jax.grad(lambda k: sample_distance(k, *arguments))(jnp.asarray(2.0))
    distance = sample_distance(jnp.asarray(2.0), *arguments)
    expected = quantile_slope(jnp.asarray(2.0), arguments[0], distance)
    assert float(gradient) == pytest.approx(float(expected))


def test_a_wider_model_gives_the_same_samples(float64):
    family = VonMisesFisherFamily()
    narrow, wide = (
        _q(3, 2.0, width).sample(family.noise(jax.random.key(1), (5,), size))
        for width, size in ((48, 3), (64, 50))
    )
    np.testing.assert_allclose(narrow[:, :3], wide[:, :3], rtol=1e-12)


def test_uniform_samples_lie_on_the_sphere_in_all_directions():
    p = UniformOnSphere(jnp.arange(WIDTH) < 3)
    z = p.sample(jax.random.key(0), jax.random.normal(jax.random.key(1), (4000, WIDTH)))
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    second = np.asarray(z[:, :3].T @ z[:, :3]) / len(z)
    np.testing.assert_allclose(second, np.eye(3) / 3, atol=0.03)


def test_a_sphere_needs_two_dimensions():
    with pytest.raises(InputError, match=r"max_latents=1.*at least 2"):
        VAE((4, 4, 1), 1, posterior=VonMisesFisherFamily(), prior=UniformSphere())


@pytest.mark.parametrize("coordinate", [-1.0, 1.0])
def test_gradients_are_finite_at_the_poles(coordinate):
    """On a circle a proposal may be a pole itself, where 1 - mu . z is 0 or 2."""
    normals = jnp.zeros((2, 17)).at[0].set(coordinate).at[1, -1].set(1.0)
    noise = jnp.concatenate([normals.reshape(-1), jnp.full(16, 1e-30)])

    def total(kappa, direction):
        z, log_q = _q(2, kappa)._replace(direction=direction).draw(noise)
        return z.sum() + log_q

    value, slopes = jax.value_and_grad(total, (0, 1))(jnp.float32(2.0), _q(2, 2.0).direction)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)
