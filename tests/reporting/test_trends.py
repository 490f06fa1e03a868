"""Trends against least squares, pure noise and curves whose rise is known."""

import numpy as np
import pytest

from vae_jax.reporting import trends


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x = np.arange(12.0) * 500
    y = 3e-3 * x + rng.normal(size=12)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    found, error, freedom = trends.slope(x, y)
    assert found == pytest.approx(slope, rel=1e-9)
    assert error >= np.sqrt(covariance[0, 0]) * (1 - 1e-9)
    assert 1 <= freedom <= 10


def noise(num, correlation, seed):
    drawn = np.random.default_rng(seed).normal(size=num + 50)
    for i in range(1, len(drawn)):
        drawn[i] += correlation * drawn[i - 1]
    return drawn[-num:] * np.sqrt(1 - correlation**2)


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.03), (0.5, 0.06), (0.8, 0.12)])
@pytest.mark.parametrize("num", [4, 10, 40])
def test_jitter_around_a_constant_is_hardly_ever_a_rise(num, correlation, most):
    """The jitter is as large as the error over examples, which is more than of any run seen."""
    rises = []
    for seed in range(400):
        values = trends.last_third(noise(num, correlation, seed).tolist())
        rises.append(trends.trend(range(len(values)), values, 1.0).is_rise)
    assert np.mean(rises) < most


@pytest.mark.parametrize("num", [4, 6, 10, 20])
@pytest.mark.parametrize(
    "curve",
    [lambda t: -20 * np.exp(-t / 10), lambda t: -30 / np.sqrt(t), lambda t: -50 * np.exp(-t / 3)],
)
def test_a_curve_that_bends_but_rises_is_a_rise(num, curve):
    """Ten units of time, whatever the number of evaluations; 2 to 20 nats in the last third."""
    values = curve(np.arange(1, num + 1) * 10 / num) + 0.05 * noise(num, 0.0, 1)
    values = trends.last_third(values.tolist())
    assert trends.trend(range(len(values)), values, 1.0).is_rise


def test_a_rise_that_is_small_beside_the_error_is_none():
    rise = [0.0, 0.01, 0.02, 0.03, 0.04]
    assert trends.trend(range(5), rise, 0.1).is_rise
    assert not trends.trend(range(5), rise, 1.0).is_rise
    assert trends.trend(range(2), rise[:2], 0.1) is None


def test_a_curve_that_has_bent_to_its_end_is_no_rise():
    assert not trends.trend(range(4), [-150.0, -100.0, -99.9, -99.89], 1.0).is_rise
    assert trends.trend(range(4), [-150.0, -100.0, -92.0, -91.0], 1.0).is_rise
