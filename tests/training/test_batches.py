import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.hparams import HParams
from vae_jax.training import batches


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 3), (7, 7), (12, 4), (5, 4)])
def test_every_example_is_seen_once_per_epoch(num_examples, batch_size):
    num_steps = 3 * num_examples
    num_epochs = batches.epochs_touched(num_steps, batch_size, num_examples)
    zero = jnp.int32(0)
    orders = batches.epoch_orders(HParams.of(seed=3), zero, num_epochs, num_examples, num_epochs)
    indices = [
        batches.batch_indices(orders, zero, jnp.int32(step), batch_size)
        for step in range(num_steps)
    ]
    epochs = np.concatenate(indices)[: 3 * num_examples].reshape(3, num_examples)
    assert (np.sort(epochs) == np.arange(num_examples)).all()
    assert (epochs[0] != epochs[1]).any()


def test_a_later_start_sees_the_same_batches():
    def batch(first_epoch: int, step: int) -> np.ndarray:
        orders = batches.epoch_orders(HParams.of(seed=1), jnp.int32(first_epoch), 4, 10, 5)
        return np.asarray(batches.batch_indices(orders, jnp.int32(first_epoch), jnp.int32(step), 4))

    for step in range(5, 10):
        assert (batch(0, step) == batch(step * 4 // 10, step)).all()


def test_epochs_touched_is_enough_and_tight():
    for num_examples, batch_size, max_steps in [(10, 3, 7), (10, 10, 1), (100, 8, 1)]:
        needed = max(
            (start + max_steps * batch_size - 1) // num_examples - start // num_examples + 1
            for start in range(num_examples)
        )
        assert batches.epochs_touched(max_steps, batch_size, num_examples) == needed


def test_binarization_is_exact_at_black_and_white_and_fair_between():
    levels = jnp.arange(256, dtype=jnp.uint8)
    pixels = jnp.broadcast_to(levels[:, None, None], (20_000, 256, 1, 1))
    drawn = np.asarray(batches.binarize(jax.random.key(0), pixels))[..., 0, 0]
    assert not drawn[:, 0].any()
    assert drawn[:, 255].all()
    expected = np.arange(256) / 255
    standard_error = np.sqrt(expected * (1 - expected) / len(drawn)) + 1e-12
    assert (abs(drawn.mean(axis=0) - expected) < 4.5 * standard_error + 2**-16).all()


def test_random_halves_are_uniform_and_independent():
    halves = np.asarray(
        batches._random_uint16(jax.random.key(1), (2, 1, 100_001, 1))[:, 0, :, 0], np.float64
    )
    assert halves.max() < 2**16
    expected, spread = (2**16 - 1) / 2, 2**16 / math.sqrt(12)
    assert abs(halves.mean() - expected) < 4 * spread / math.sqrt(halves.size)
    correlation = np.corrcoef(halves[0], halves[1])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(halves.shape[1])


def test_stored_pixels_by_mode():
    pixels = np.arange(240, dtype=np.uint8).reshape(10, 4, 6, 1)
    store = batches.stored_pixels
    assert store("none", "test", pixels) is pixels
    assert store("dynamic", "train", pixels) is pixels
    assert (store("threshold", "train", pixels) == np.where(pixels > 127, 255, 0)).all()
    for mode in ("static", "dynamic"):
        drawn = store(mode, "test", pixels)
        assert set(np.unique(drawn)) <= {0, 255}
        assert (drawn == store(mode, "test", pixels)).all()
    assert (store("static", "test", pixels) != store("static", "valid", pixels)).any()


ARGSORTS = {"cpu": batches._argsort, "tpu": batches._sorting_network}


@pytest.mark.parametrize("device", ARGSORTS)
@pytest.mark.parametrize("num_words", [1, 2, 3, 64, 65, 1000])
def test_words_are_sorted_alike_on_every_device_and_equal_ones_keep_their_order(device, num_words):
    drawn = np.random.default_rng(0).integers(0, 2**32, num_words, np.uint32)
    few = drawn >> 27 << 27
    ends = np.where(drawn % 2, np.uint32(2**32 - 1), np.uint32(0))
    for words in (drawn, few, ends):
        order = jax.jit(ARGSORTS[device])(jnp.asarray(words))
        np.testing.assert_array_equal(order, np.argsort(words, kind="stable"))


def test_runs_of_a_vmap_sort_their_words_alone():
    words = np.random.default_rng(1).integers(0, 2**32, (3, 100), np.uint32)
    orders = jax.jit(jax.vmap(batches._sorting_network))(words)
    np.testing.assert_array_equal(orders, np.argsort(words, axis=-1, kind="stable"))


@pytest.mark.parametrize(
    ("platform", "expected"), [("cpu", {"sort", "ui64"}), ("tpu", {"while"}), ("cuda", {"sort"})]
)
def test_each_kind_of_device_sorts_in_the_way_that_is_best_there(platform, expected):
    traced = jax.jit(batches._argsort).trace(jnp.zeros(100, jnp.uint32))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert {
        word for word in ("sort", "ui64", "while") if re.search(rf"\b{word}\b", text)
    } == expected
