"""Sums of many numbers in float32, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.evaluation.metrics import sums


@pytest.mark.parametrize("level", [-0.3, -105.3, -34_163.72, -1e6])
@pytest.mark.parametrize("num", [1, 500, 20_000])
def test_a_mean_of_equal_numbers_is_that_number(level, num):
    """A plain float32 sum of 20,000 numbers at -34,163.72 has a mean 3 off."""
    values = jnp.full((num, 3), level, jnp.float32)
    total = jax.jit(sums.add_all)(sums.zero_like(values[0]), values).total
    np.testing.assert_allclose(total / num, values[0], rtol=2e-7)


def test_a_mean_of_different_numbers_is_that_of_float64():
    rng = np.random.default_rng(0)
    values = jnp.asarray(-5_000 + 20 * rng.normal(size=(20_000, 3)), jnp.float32)
    total = jax.jit(sums.add_all)(sums.zero_like(values[0]), values).total
    expected = np.asarray(values, np.float64).mean(0)
    np.testing.assert_allclose(np.asarray(total, np.float64) / len(values), expected, rtol=1e-7)


def test_a_number_that_is_not_finite_makes_the_sum_so():
    values = jnp.array([[1.0, 1.0, 1.0], [-jnp.inf, jnp.nan, 2.0], [1.0, 1.0, 3.0]], jnp.float32)
    total = sums.add_all(sums.zero_like(values[0]), values).total
    np.testing.assert_array_equal(total, [-np.inf, np.nan, 6.0])
