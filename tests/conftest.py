"""Strictness for every test: warnings and rank promotion raise, float64 is opt-in, no network."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# The tests spend their time compiling tiny programs, not running them.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Forget a module's compiled programs; thousands exhaust the memory maps of a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def float64():
    """Everything in double precision, as under ``--compute_dtype=float64``."""
    with jax.enable_x64(True):
        yield
