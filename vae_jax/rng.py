"""Named random streams.

A key is a function of (seed, name, index) alone. No key is carried in a state, so a resumed run has
the random numbers of the uninterrupted one, and a new stream changes no other.

=============  ============  ==============================================
stream         index         use
=============  ============  ==============================================
``params``     0 to 4        initial weights: encoder, decoder, posterior, prior, regularizer
``shuffle``    epoch         the order of the examples
``binarize``   step          pixels of a training batch (seed 0: of the fixed splits, 0 to 2)
``posterior``  step          noise of the reparameterization
``regularizer``  step        random numbers of the penalties
``evaluate``   0             noise of the evaluation, by example and particle
``generate``   0, 1          samples from the model; of each class
``decompose``  0             a sample of each example's posterior, for the decomposition of the KL
``compare``    0, 1          samples for two-sample measures: from the prior, from the aggregate
``ais``        0, 1          chains of annealed importance sampling: on test, on simulated examples
``gaps``       0             noise with which each example's own posterior is fitted
=============  ============  ==============================================
"""

import zlib
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from vae_jax.types import PRNGKey

StreamName: TypeAlias = Literal[
    "params",
    "shuffle",
    "binarize",
    "posterior",
    "regularizer",
    "evaluate",
    "generate",
    "decompose",
    "compare",
    "ais",
    "gaps",
]
"""Name of a random stream."""


def stream(
    seed: Integer[Array, ""] | np.integer | int,
    name: StreamName,
    index: Integer[Array, ""] | int = 0,
) -> PRNGKey:
    """Return the key ``fold_in(fold_in(key(seed), crc32(name)), index)`` of a stream at an index.

    Args:
        seed: seed of a run; may be traced.
        name: name of the stream.
        index: step, epoch or 0, as the table above gives it; may be traced.

    Example:
        >>> import jax
        >>> key = stream(seed=0, name="posterior", index=7)
        >>> bool(key == stream(0, "posterior", 7)), bool(key == stream(0, "posterior", 8))
        (True, False)
        >>> jax.random.normal(key, (3,)).shape
        (3,)
    """
    root = jax.random.key(jnp.asarray(seed, jnp.uint32))
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode())), index)


def fingerprint() -> str:
    """Return a text that two processes share exactly if the same key gives them the same bits.

    Settings of JAX (``JAX_THREEFRY_PARTITIONABLE``, ``JAX_DEFAULT_PRNG_IMPL``, ...) and its version
    decide that. The text holds the settings that are known, and bits that were drawn.

    Example:
        >>> fingerprint() == fingerprint()
        True
    """
    names = ("jax_default_prng_impl", "jax_threefry_partitionable", "jax_random_seed_offset")
    settings = [f"{name}={getattr(jax.config, name, None)}" for name in names]
    bits = jax.device_get(jax.random.bits(stream(0, "params", 1), (2, 3)))
    return f"{zlib.crc32(bits.tobytes()):08x} of {', '.join(settings)}"
