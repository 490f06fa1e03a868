"""Named streams of randomness.

A key is a function of (seed, name, index) and of nothing else. No key is carried in a state, so a
resumed run draws what the uninterrupted one would have drawn, and adding a stream moves no other.

=============  ============  ==============================================
stream         index         draws
=============  ============  ==============================================
``params``     0 to 4        initial weights: encoder, decoder, posterior, prior, regulariser
``shuffle``    epoch         the order of the examples
``binarize``   step          pixels of a training batch (seed 0: of the fixed splits, 0 to 2)
``posterior``  step          noise of the reparameterization
``regularizer``  step        what a penalty draws
``evaluate``   0             noise of the evaluation, by example and particle
``generate``   0, 1          samples from the model; of each class
``decompose``  0             a sample of each example's posterior, for the decomposition of the KL
``compare``    0, 1          samples for two-sample measures: from the prior, from the aggregate
``ais``        0, 1          chains of annealed importance sampling: on test, on simulated examples
``gaps``       0             noise by which each example's own posterior is fitted
=============  ============  ==============================================
"""

import zlib
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
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


def stream(
    seed: Integer[Array, ""] | int, name: StreamName, index: Integer[Array, ""] | int = 0
) -> PRNGKey:
    """Key of one stream at one index: ``fold_in(fold_in(key(seed), crc32(name)), index)``.

    Args:
        seed: a run's seed; may be traced.
        name: which stream.
        index: step, epoch or 0; may be traced.
    """
    root = jax.random.key(jnp.asarray(seed, jnp.uint32))
    return jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode())), index)
