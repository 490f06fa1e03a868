"""Keys of random streams: functions of seed, name and index alone."""

import jax
import numpy as np

from vae_jax import rng
from vae_jax.runtime import jax_versions


def test_a_key_depends_on_seed_name_and_index_only():
    data = jax.random.key_data
    one = data(rng.stream(1, "posterior", 7))
    assert (one == data(rng.stream(1, "posterior", 7))).all()
    for other in (("posterior", 8), ("shuffle", 7)):
        assert (one != data(rng.stream(1, *other))).any()
    assert (one != data(rng.stream(2, "posterior", 7))).any()


def test_traced_seeds_and_steps_give_the_same_keys():
    jitted = jax.jit(lambda seed, step: jax.random.key_data(rng.stream(seed, "binarize", step)))
    assert (jitted(3, 5) == jax.random.key_data(rng.stream(3, "binarize", 5))).all()


def test_float64_mode_does_not_change_a_key():
    single = np.asarray(jax.random.key_data(rng.stream(3, "params")))
    with jax_versions.enable_x64(True):
        double = np.asarray(jax.random.key_data(rng.stream(3, "params")))
    assert (single == double).all()
