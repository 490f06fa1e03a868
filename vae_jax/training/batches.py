"""Batches: the examples of each update and their pixels, as functions of (seed, step).

Epoch orders, indices and binary pixels are computed on the device from the stored examples (uint8
for pixels), which stay there, so a resumed run reads the batches of the uninterrupted one.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

from vae_jax import rng
from vae_jax.data.split_names import SPLITS, Split
from vae_jax.hparams import HParams
from vae_jax.runtime import jax_versions
from vae_jax.types import Labels, Observations, Pixels, PRNGKey, Stored, default_float

EVAL_BATCH_SIZE = 1000
"""Number of examples that an evaluation encodes at once; no result depends on it."""

BINARIZATIONS = ("none", "threshold", "static", "dynamic")


class Examples(NamedTuple):
    """Split of a data set on the device.

    Attributes:
        pixels: stored examples: pixels as 0 to 255, or real numbers, or counts.
        labels: classes, for conditional models only.
    """

    pixels: Stored
    labels: Labels | None = None


class PrefetchedBatches(NamedTuple):
    """Batches of consecutive updates, gathered on the host from a training set that stays there.

    Runs with equal seeds use the same examples, so they share a stream.

    Attributes:
        pixels: stored examples ``[streams, steps, batch, *event]``.
        seeds: seed of each stream.
        labels: classes, for conditional models only.
    """

    pixels: Stored
    seeds: UInt32[Array, " streams"]
    labels: Int[Array, "streams steps batch"] | None = None

    def at(self, seed: UInt32[Array, ""], index: Int[Array, ""]) -> Examples:
        """Return the batch of a run's seed at an index of the axis ``steps``."""
        stream = jnp.argmax(self.seeds == seed)
        labels = None if self.labels is None else self.labels[stream, index]
        return Examples(self.pixels[stream, index], labels)


def epochs_touched(max_steps: int, batch_size: int, num_examples: int) -> int:
    """Return the largest number of epochs that ``max_steps`` consecutive batches can touch.

    Example:
        >>> epochs_touched(max_steps=7, batch_size=3, num_examples=10)
        3
    """
    return (max_steps * batch_size + num_examples - 2) // num_examples + 1


def epoch_orders(
    hparams: HParams,
    first_epoch: Int[Array, ""],
    num_epochs: Int[Array, ""] | int,
    num_examples: int,
    max_epochs: int,
) -> Int[Array, "max_epochs examples"]:
    """Return a random order of all examples for each of ``num_epochs`` epochs.

    An epoch's order is the one that sorts random 32-bit words. Words that are equal (in 60,000 one
    pair every other epoch) keep their order.

    Args:
        hparams: hyperparameters of one run, whose seed is used.
        first_epoch: number of the epoch in the first row.
        num_epochs: rows to fill; the other ones are zeros.
        num_examples: examples of the training set.
        max_epochs: rows of the result.

    Example:
        >>> orders = epoch_orders(HParams.of(seed=1), jnp.int32(0), 2, 5, 3)
        >>> jnp.sort(orders).tolist()
        [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]]
    """

    def add(row: Int[Array, ""], orders: Array) -> Array:
        key = rng.stream(hparams.seed, "shuffle", first_epoch + row)
        return orders.at[row].set(_argsort(jax.random.bits(key, (num_examples,), jnp.uint32)))

    none = jnp.zeros((max_epochs, num_examples), jnp.int32)
    return jax.lax.fori_loop(0, num_epochs, add, none)


def _argsort(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
    """Return the order that sorts the words, equal ones in their old order.

    The result is the same on every device; the algorithm is the fastest one there. On a CPU XLA
    sorts one array of integers fast, and pairs slowly: each word is sorted together with its index
    as one 64-bit integer, in a quarter of the time of :func:`jax.numpy.argsort`. For a TPU XLA
    unrolls every round of a sort, which takes most of the compilation time of a training
    (``benchmarks/README.md``): there the rounds are a loop.
    """

    def packed(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        with jax_versions.enable_x64(True):
            indices = jnp.arange(len(words), dtype=jnp.uint64)
            pairs = (words.astype(jnp.uint64) << jnp.uint64(32)) | indices
            return jax.lax.sort(pairs, is_stable=False).astype(jnp.int32)

    def plain(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        return jnp.argsort(words).astype(jnp.int32)

    return jax.lax.platform_dependent(words, cpu=packed, tpu=_sorting_network, default=plain)


def _sorting_network(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
    """Return the order that sorts the words, by Batcher's bitonic network (1968) in one loop.

    In each round every position i is compared with position i ^ stride. Blocks of 2, 4, 8, ...
    positions become sorted, alternately ascending and descending, each in rounds whose stride
    halves. The array is padded to a power of two n, which takes log2(n) (log2(n) + 1) / 2 rounds.
    Pairs (word, index) are all different, so the order is that of a stable sort.
    """
    num_words = len(words)
    levels = (num_words - 1).bit_length()
    position = jnp.arange(2**levels, dtype=jnp.int32)
    # Signed, because a TPU has no instruction that compares unsigned integers; same order.
    key = jax.lax.bitcast_convert_type(words ^ jnp.uint32(2**31), jnp.int32)
    key = jnp.pad(key, (0, 2**levels - num_words), constant_values=2**31 - 1)

    def body(_: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        block, stride, key, index = carry
        is_lower = (position & stride) == 0
        other_key, other_index = (
            jnp.where(is_lower, jnp.roll(array, -stride), jnp.roll(array, stride))
            for array in (key, index)
        )
        is_less = (key < other_key) | ((key == other_key) & (index < other_index))
        is_rising = (position & block) == 0
        is_kept = is_less == (is_lower == is_rising)
        key, index = jnp.where(is_kept, key, other_key), jnp.where(is_kept, index, other_index)
        is_sorted = stride == 1
        block = jnp.where(is_sorted, 2 * block, block)
        return block, jnp.where(is_sorted, block, stride) // 2, key, index

    carry = (jnp.int32(2), jnp.int32(1), key, position)
    return jax.lax.fori_loop(0, levels * (levels + 1) // 2, body, carry)[3][:num_words]


def batch_indices(
    orders: Int[Array, "epochs examples"],
    first_epoch: Int[Array, ""],
    step: Int[Array, ""],
    batch_size: int,
) -> Int[Array, " batch"]:
    """Return the indices of the examples of update number ``step``.

    Batches are cut from the endless sequence of epoch orders: position p of the sequence is example
    ``orders[p // num_examples - first_epoch, p % num_examples]``, and the update takes positions
    ``step * batch_size`` to ``(step + 1) * batch_size - 1``. So every example occurs exactly once
    in an epoch, no remainder is dropped, and only a batch that spans two epochs may hold an example
    twice.

    Example:
        >>> orders = jnp.array([[2, 0, 1], [1, 2, 0]])
        >>> batch_indices(orders, jnp.int32(0), jnp.int32(1), batch_size=2).tolist()
        [1, 1]
    """
    num_examples = orders.shape[1]
    position = step * batch_size + jnp.arange(batch_size)
    return orders[position // num_examples - first_epoch, position % num_examples]


def binarize(key: PRNGKey, pixels: Pixels, event_rank: int = 3) -> Bool[Array, "..."]:
    """Draw each pixel from Bernoulli(pixel / 255), exactly 0 at 0 and 1 at 255.

    Sixteen random bits u per pixel are compared: the result is ``u < 257 * pixel + (pixel > 0)``.
    So the probability is exact to 2^-16, with half the random words of a uniform draw.

    Args:
        key: key of the draw.
        pixels: stored pixels ``[*batch, *event]``.
        event_rank: axes of one example, 3 of an image.

    Example:
        >>> binarize(jax.random.key(0), jnp.array([[[0], [255]]], jnp.uint8)).tolist()
        [[[False], [True]]]
    """
    threshold = pixels.astype(jnp.uint32) * 257 + (pixels > 0)
    return _random_uint16(key, pixels.shape, event_rank) < threshold


def _random_uint16(
    key: PRNGKey, shape: tuple[int, ...], event_rank: int = 3
) -> UInt32[Array, "..."]:
    """Return integers below 2^16: the upper halves of each example's random words, then the lower.

    Each example has a row of words of its own: halves of one flat array take three times as long to
    lay out.
    """
    batch, event = shape[: len(shape) - event_rank], shape[len(shape) - event_rank :]
    size = math.prod(event)
    words = jax.random.bits(key, (*batch, -(-size // 2)), jnp.uint32)
    halves = jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)
    return halves[..., :size].reshape(shape)


def stored_pixels(mode: str, split: Split, pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of a split as the device stores them.

    Args:
        mode: one of :data:`BINARIZATIONS`. ``none`` keeps gray levels, ``threshold`` cuts at one
            half, ``static`` draws each pixel once with a fixed key. ``dynamic`` keeps the gray
            levels of ``train``, because each update draws them anew, and draws ``valid`` and
            ``test`` once, as ``static`` does.
        split: name of the split.
        pixels: examples as loaded; with a mode other than ``none`` pixels, 0 to 255.

    Example:
        >>> stored_pixels("threshold", "test", np.array([[[[0], [200]]]], np.uint8)).tolist()
        [[[[0], [255]]]]
    """
    if mode == "none" or (mode == "dynamic" and split == "train"):
        return pixels
    if mode == "threshold":
        return np.where(pixels > 127, np.uint8(255), np.uint8(0))
    key = rng.stream(0, "binarize", SPLITS.index(split))
    drawn = jax.jit(binarize, static_argnums=2)(key, pixels, pixels.ndim - 1)
    return np.asarray(drawn).astype(np.uint8) * np.uint8(255)


def as_observations(stored: Stored) -> Observations:
    """Return x from stored examples: ``pixels / 255``, or real numbers and counts as they are.

    The dtype says which: only pixels are stored as uint8 (``vae_jax.data.encodings``).

    Example:
        >>> as_observations(jnp.array([[[0], [255]]], jnp.uint8)).tolist()
        [[[0.0], [1.0]]]
        >>> as_observations(jnp.array([-3.5, 7.0])).tolist()
        [-3.5, 7.0]
    """
    x = stored.astype(default_float())
    return x / 255 if stored.dtype == jnp.uint8 else x
