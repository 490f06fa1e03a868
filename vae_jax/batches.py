"""Which examples an update sees, and which pixels of them.

Everything is a function of (seed, step), computed on the device from resident uint8 images.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from vae_jax import jax_versions, keys
from vae_jax.hparams import HParams
from vae_jax.types import Images, Labels, Pixels, PRNGKey, default_float

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


class Gathered(NamedTuple):
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
        key = keys.stream(hparams.seed, "shuffle", first_epoch + place)
        return orders.at[place].set(_argsort(jax.random.bits(key, (num_examples,), jnp.uint32)))

    none = jnp.zeros((max_epochs, num_examples), jnp.int32)
    return jax.lax.fori_loop(0, num_epochs, add, none)


def _argsort(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
    """:func:`jax.numpy.argsort`, on a CPU in a quarter of its time.

    There XLA sorts one array of whole numbers fast, and pairs slowly: each word is sorted together
    with its place as one number of 64 bits.
    """

    def packed(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        with jax_versions.enable_x64(True):
            places = jnp.arange(len(words), dtype=jnp.uint64)
            pairs = (words.astype(jnp.uint64) << jnp.uint64(32)) | places
            return jax.lax.sort(pairs, is_stable=False).astype(jnp.int32)

    def plain(words: UInt32[Array, " n"]) -> Int[Array, " n"]:
        return jnp.argsort(words).astype(jnp.int32)

    return jax.lax.platform_dependent(words, cpu=packed, default=plain)


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
    key = keys.stream(0, "binarize", SPLITS.index(split))
    return np.asarray(jax.jit(binarize)(key, pixels)).astype(np.uint8) * np.uint8(255)


def as_images(pixels: Pixels) -> Images:
    """Gray levels 0..255 as numbers in [0, 1]."""
    return pixels.astype(default_float()) / 255
