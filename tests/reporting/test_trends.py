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


def is_rise(values, error):
    found = trends.trend(range(len(values)), values, error)
    assert found is not None
    return found.is_rise


def noise(num, correlation, seed):
    drawn = np.random.default_rng(seed).normal(size=num + 50)
    for i in range(1, len(drawn)):
        drawn[i] += correlation * drawn[i - 1]
    return drawn[-num:] * np.sqrt(1 - correlation**2)


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.03), (0.5, 0.05), (0.9, 0.1)])
@pytest.mark.parametrize("num", [3, 4, 6, 10, 20, 40, 200])
def test_jitter_around_a_constant_is_hardly_ever_a_rise(num, correlation, most):
    """The nominal level is 1 %; the jitter is as large as the error over examples, or unknown."""
    for error in (1.0, None):
        rises = []
        for seed in range(400):
            values = trends.last_third(noise(num, correlation, seed).tolist())
            rises.append(is_rise(values, error))
        assert np.mean(rises) < most


@pytest.mark.parametrize(
    ("num", "left"), [(4, 0.02), (5, 0.02), (10, 0.02), (4, 0.1), (5, 0.1), (6, 0.1), (20, 0.1)]
)
def test_a_curve_that_has_converged_is_hardly_ever_a_rise(num, left):
    """Each evaluation leaves 2 % or 10 % of the rise that the one before left, of 50 nats."""
    rises = []
    for seed in range(300):
        values = -50.0 * left ** np.arange(num) + 0.2 * noise(num, 0.0, seed)
        rises.append(is_rise(trends.last_third(values.tolist()), 1.0))
    assert np.mean(rises) < 0.04


@pytest.mark.parametrize("num", [4, 6, 10, 20, 60, 200])
@pytest.mark.parametrize(
    "curve",
    [lambda t: -20 * np.exp(-t / 10), lambda t: -30 / np.sqrt(t), lambda t: -50 * np.exp(-t / 3)],
)
def test_a_curve_that_bends_but_rises_is_a_rise(num, curve):
    """Ten units of time, whatever the number of evaluations; 2 to 20 nats in the last third."""
    values = curve(np.arange(1, num + 1) * 10 / num) + 0.05 * noise(num, 0.0, 1)
    assert is_rise(trends.last_third(values.tolist()), 1.0)


def test_a_rise_that_is_small_beside_the_error_is_none():
    rise = [0.0, 0.01, 0.02, 0.03, 0.04]
    assert is_rise(rise, 0.1)
    assert not is_rise(rise, 1.0)
    assert not is_rise(rise, None)
    assert is_rise([10 * each for each in rise], None)
    assert trends.trend(range(2), rise[:2], 0.1) is None


def test_a_curve_that_has_bent_to_its_end_is_no_rise():
    assert not is_rise([-150.0, -100.0, -99.9, -99.89], 1.0)
    assert is_rise([-150.0, -100.0, -92.0, -91.0], 1.0)
