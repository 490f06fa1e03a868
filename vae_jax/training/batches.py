"""Which examples an update sees, and which pixels of them.

Everything is a function of (seed, step), computed on the device from resident uint8 images.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from vae_jax import rng
from vae_jax.hparams import HParams
from vae_jax.runtime import jax_versions
from vae_jax.types import Images, Labels, Pixels, PRNGKey, default_float

EVAL_BATCH_SIZE = 1000
"""Examples that an evaluation encodes at once; no result depends on it."""

BINARIZATIONS = ("none", "threshold", "static", "dynamic")
Split: TypeAlias = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Examples(NamedTuple):
    """A split as it lies on the device.

    Attributes:
        pixels: 0 to 255.
        labels: classes, for conditional models only.
    """

    pixels: Pixels
    labels: Labels | None = None


class PrefetchedBatches(NamedTuple):
    """Batches of consecutive updates, gathered on the host from a training set that stays there.

    Runs with equal seeds see the same examples and share a stream.

    Attributes:
        pixels: 0 to 255.
        seeds: of the streams.
        labels: classes, for conditional models only.
    """

    pixels: UInt8[Array, "streams steps batch height width channels"]
    seeds: UInt32[Array, " streams"]
    labels: Int[Array, "streams steps batch"] | None = None

    def at(self, seed: UInt32[Array, ""], place: Int[Array, ""]) -> Examples:
        """Those of the update with this place in the sequence."""
        stream = jnp.argmax(self.seeds == seed)
        labels = None if self.labels is None else self.labels[stream, place]
        return Examples(self.pixels[stream, place], labels)


def epochs_touched(max_steps: int, batch_size: int, num_examples: int) -> int:
    """Most epochs that ``max_steps`` consecutive batches can reach into."""
    return (max_steps * batch_size + num_examples - 2) // num_examples + 1


def epoch_orders(
    hparams: HParams,
    first_epoch: Int[Array, ""],
    num_epochs: Int[Array, ""] | int,
    num_examples: int,
    max_epochs: int,
) -> Int[Array, "max_epochs examples"]:
    """A random order of all examples for each of ``num_epochs`` epochs; the rest are zeros.

    The order that sorts random words. Words that are equal (in 60,000 one pair every other epoch)
    keep their order.
    """

    def add(place: Int[Array, ""], orders: Array) -> Array:
        key = rng.stream(hparams.seed, "shuffle", first_epoch + place)
        return orders.at[place].set(_argsort(jax.random.bits(key, (num_examples,), jnp.uint32)))

    none = jnp.zeros((max_epochs, num_examples), jnp.int32)
    return jax.lax.fori_loop(0, num_epochs, add, none)


def _argsort(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
    """Return the order that sorts the words, equal ones in their old order.

    The same order everywhere, in the way that is best on each kind of device. On a CPU XLA sorts
    one array of whole numbers fast, and pairs slowly: each word is sorted together with its place
    as one number of 64 bits, in a quarter of the time of :func:`jax.numpy.argsort`. For a TPU XLA
    unrolls every round of a sort, which takes most of the time of compiling a whole training
    (``benchmarks/README.md``): there the rounds are a loop.
    """

    def packed(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        with jax_versions.enable_x64(True):
            places = jnp.arange(len(words), dtype=jnp.uint64)
            pairs = (words.astype(jnp.uint64) << jnp.uint64(32)) | places
            return jax.lax.sort(pairs, is_stable=False).astype(jnp.int32)

    def plain(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        return jnp.argsort(words).astype(jnp.int32)

    return jax.lax.platform_dependent(words, cpu=packed, tpu=_sorting_network, default=plain)


def _sorting_network(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
    """Return the order that sorts the words, by Batcher's bitonic network (1968) in one loop.

    In each round every position i is compared with position i ^ stride. Blocks of 2, 4, 8, ...
    positions become sorted, in turns up and down, each in rounds whose stride halves. The array is
    filled up to a power of two n, which takes log2(n) (log2(n) + 1) / 2 rounds. Pairs (word, place)
    are all different, so the order is that of a stable sort.
    """
    num_words = len(words)
    levels = (num_words - 1).bit_length()
    position = jnp.arange(2**levels, dtype=jnp.int32)
    # Signed, because a TPU compares no unsigned numbers in one instruction; the order is the same.
    key = jax.lax.bitcast_convert_type(words ^ jnp.uint32(2**31), jnp.int32)
    key = jnp.pad(key, (0, 2**levels - num_words), constant_values=2**31 - 1)

    def body(_: Array, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, ...]:
        block, stride, key, place = carry
        is_lower = (position & stride) == 0
        other_key, other_place = (
            jnp.where(is_lower, jnp.roll(array, -stride), jnp.roll(array, stride))
            for array in (key, place)
        )
        is_less = (key < other_key) | ((key == other_key) & (place < other_place))
        is_rising = (position & block) == 0
        is_kept = is_less == (is_lower == is_rising)
        key, place = jnp.where(is_kept, key, other_key), jnp.where(is_kept, place, other_place)
        is_sorted = stride == 1
        block = jnp.where(is_sorted, 2 * block, block)
        return block, jnp.where(is_sorted, block, stride) // 2, key, place

    carry = (jnp.int32(2), jnp.int32(1), key, position)
    return jax.lax.fori_loop(0, levels * (levels + 1) // 2, body, carry)[3][:num_words]


def batch_indices(
    orders: Int[Array, "epochs examples"],
    first_epoch: Int[Array, ""],
    step: Int[Array, ""],
    batch_size: int,
) -> Int[Array, " batch"]:
    """Examples of one update.

    Batches are cut from the endless sequence of epoch orders, so within an epoch every example is
    seen exactly once, nothing is dropped, and only a batch that spans two epochs may hold an
    example twice.
    """
    num_examples = orders.shape[1]
    position = step * batch_size + jnp.arange(batch_size)
    return orders[position // num_examples - first_epoch, position % num_examples]


def binarize(key: PRNGKey, pixels: Pixels) -> Bool[Array, "*batch height width channels"]:
    """Draw each pixel from Bernoulli(pixel / 255), exactly 0 at 0 and 1 at 255.

    Sixteen random bits a pixel are compared with 257 times the pixel, so the probability is right
    to 2^-16 at half the random words of a uniform draw.
    """
    threshold = pixels.astype(jnp.uint32) * 257 + (pixels > 0)
    return _random_uint16(key, pixels.shape) < threshold


def _random_uint16(key: PRNGKey, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Whole numbers below 2^16: of each image's random words the upper halves, then the lower.

    A row of words for each image: halves of one flat array take three times as long to lay out.
    """
    *batch, height, width, channels = shape
    size = height * width * channels
    words = jax.random.bits(key, (*batch, -(-size // 2)), jnp.uint32)
    halves = jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)
    return halves[..., :size].reshape(shape)


def stored_pixels(mode: str, split: Split, pixels: np.ndarray) -> np.ndarray:
    """Pixels of a split as they lie on the device.

    ``none`` keeps gray levels, ``threshold`` cuts at one half, ``static`` draws each pixel once
    with a fixed key. ``dynamic`` keeps the gray levels of ``train``, which are drawn anew at each
    update, and draws ``valid`` and ``test`` once, as ``static`` does.
    """
    if mode == "none" or (mode == "dynamic" and split == "train"):
        return pixels
    if mode == "threshold":
        return np.where(pixels > 127, np.uint8(255), np.uint8(0))
    key = rng.stream(0, "binarize", SPLITS.index(split))
    return np.asarray(jax.jit(binarize)(key, pixels)).astype(np.uint8) * np.uint8(255)


def as_images(pixels: Pixels) -> Images:
    """Gray levels 0..255 as numbers in [0, 1]."""
    return pixels.astype(default_float()) / 255
