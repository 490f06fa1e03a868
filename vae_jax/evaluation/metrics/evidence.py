r"""What importance weights say of log p(x), and how far to trust them.

With weights w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), the bound

.. math::
    L_K = \log \frac1K \sum_{k=1}^K w_k, \qquad E[L_K] \le \log p(x),

has a bias of about -var(w) / (2 K p(x)^2) (Nowozin 2018). The weights are kept as
sums over a few blocks of particles, so that K may grow without memory and every quantity here is a
function of those sums.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax.types import default_float

NUM_BLOCKS = 20
EVIDENCE_PARTICLES = 5000
"""K of the bounds that stand for log p(x), or beside other bounds, in the evaluations."""
FEWEST_EFFECTIVE = 10.0
"""Effective samples below which the bias, about 1 / (2 ESS), exceeds 0.05 nats and the weights seen
so far say little of those not seen."""
LARGEST_SHARE = 0.1
"""Share of examples that may have fewer effective samples without a warning."""


class WeightSums(NamedTuple):
    """Sums of the weights of each example; particle k counts in block k mod blocks.

    Attributes:
        log_sums: log of the sum of each block's weights.
        log_sum_squares: log of the sum of all squared weights.
    """

    log_sums: Float[Array, "blocks *batch"]
    log_sum_squares: Float[Array, "*batch"]


def no_weights(num_particles: int, batch_shape: tuple[int, ...]) -> WeightSums:
    """Sums before the first of `num_particles` weights."""
    num_blocks = min(NUM_BLOCKS, num_particles)
    log_zero = jnp.full(batch_shape, -jnp.inf, default_float())
    return WeightSums(jnp.full((num_blocks, *batch_shape), -jnp.inf, default_float()), log_zero)


def add_weights(
    sums: WeightSums,
    log_w: Float[Array, "particles *batch"],
    first_particle: Int[Array, ""] | int = 0,
) -> WeightSums:
    """Sums with more weights; a log-weight of -inf adds nothing, so padding is harmless.

    Args:
        sums: of the particles before `first_particle`.
        log_w: log-weights of the particles from there on, in nats.
        first_particle: number of the first of them; may be traced.
    """
    num_blocks = len(sums.log_sums)
    block = (first_particle + jnp.arange(len(log_w))) % num_blocks
    block = jnp.broadcast_to(block.reshape(-1, *(1,) * (log_w.ndim - 1)), log_w.shape)

    def log_sum(number: Int[Array, ""]) -> Float[Array, "*batch"]:
        return jax.nn.logsumexp(jnp.where(block == number, log_w, -jnp.inf), axis=0)

    return WeightSums(
        jnp.logaddexp(sums.log_sums, jax.vmap(log_sum)(jnp.arange(num_blocks))),
        jnp.logaddexp(sums.log_sum_squares, jax.nn.logsumexp(2 * log_w, axis=0)),
    )


def bound(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """L_K, a lower bound on log p(x) in expectation, in nats (Burda et al. 2016, eq. 8)."""
    return jax.nn.logsumexp(sums.log_sums, axis=0) - np.log(num_particles)


def effective_sample_size(sums: WeightSums) -> Float[Array, "*batch"]:
    """(sum w)^2 / sum w^2, from 1 (a single weight counts) to K (Kong 1992)."""
    return jnp.exp(2 * jax.nn.logsumexp(sums.log_sums, axis=0) - sums.log_sum_squares)


def jackknife_bias(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """Estimate of E[L_K] - log p(x), in nats; negative where more particles would raise the bound.

    The bounds without one block each have fewer particles; how far they lie below L_K, taken as
    proportional to 1 / particles, gives the rest of the way to infinitely many. With blocks of one
    particle each, L_K minus this is the first-order jackknife estimate (Quenouille 1956; Nowozin
    2018). An underestimate where few weights count. NaN for a single particle.
    """
    num_blocks = len(sums.log_sums)
    sizes = np.bincount(np.arange(num_particles) % num_blocks)
    without = jax.vmap(lambda row: _log_sum_without(sums.log_sums, row))(jnp.arange(num_blocks))
    remaining = num_particles - sizes
    with np.errstate(divide="ignore"):
        logs = np.log(remaining).reshape(-1, *(1,) * (without.ndim - 1))
        lever = np.mean(1 / remaining) - 1 / num_particles
    drop = jnp.mean(without - jnp.broadcast_to(logs, without.shape), axis=0)
    return (drop - bound(sums, num_particles)) / (lever * num_particles)


def _log_sum_without(
    log_sums: Float[Array, "blocks *batch"], left_out: Int[Array, ""]
) -> Float[Array, "*batch"]:
    return jax.nn.logsumexp(log_sums.at[left_out].set(-jnp.inf), axis=0)


def distrust(
    effective: Float[np.ndarray, " examples"],
    bias: Float[np.ndarray, " examples"],
    num_particles: int,
) -> str:
    """A sentence when too many examples have too few effective samples, otherwise nothing.

    Args:
        effective: effective sample size of each example.
        bias: jackknife estimate of the bound's bias for each example, in nats.
        num_particles: K.
    """
    share = float(np.mean(effective < FEWEST_EFFECTIVE))
    if share <= LARGEST_SHARE:
        return ""
    loss, far = -float(np.mean(bias)), "the jackknife says nothing: "
    if math.isfinite(loss):
        far = f"the jackknife puts the bound {loss:.2f} nats below log p(x) on average, and "
    return (
        f"On {share:.0%} of the examples fewer than {FEWEST_EFFECTIVE:.0f} of the "
        f"K = {num_particles:,} importance weights count (median effective sample size "
        f"{np.median(effective):.1f}): {far}with so few it sees too little; raise "
        "--eval_particles or compare with AIS."
    )
