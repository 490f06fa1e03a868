r"""Importance weights: the bound on log p(x) that they give, and how reliable it is.

With weights w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), the bound

.. math::
    L_K = \log \frac1K \sum_{k=1}^K w_k, \qquad E[L_K] \le \log p(x),

has a bias of about -var(w) / (2 K p(x)^2) (Nowozin 2018), which the effective sample size gives as
-(1/ESS - 1/K) / 2. The weights are kept as sums over a few blocks of particles, so that K may grow
without memory and every quantity here is a function of those sums. They are relative to the largest
weight so far: of log-weights of -5,000 nats float32 keeps 5e-4, of their differences from the
largest it keeps seven digits.
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
"""K of the bounds that evaluators take for log p(x) or compare other bounds with."""
LARGEST_BIAS = 0.05
"""Nats of bias, by the effective sample size, from which an example's bound is doubted: where K is
large, fewer than 10 effective samples, and so few tell little about the weights not drawn."""
LARGEST_SHARE = 0.1
"""Share of examples whose bound may be doubted without a warning."""


class WeightSums(NamedTuple):
    """Sums of the weights of each example, in logarithms; particle k is in block k mod blocks.

    Attributes:
        log_max: log of the largest weight, which the others are relative to.
        log_sums: log of the sum of each block's weights over the largest weight.
        log_sum_squares: log of the sum of the squares of all weights over the largest weight.
    """

    log_max: Float[Array, "*batch"]
    log_sums: Float[Array, "blocks *batch"]
    log_sum_squares: Float[Array, "*batch"]


def no_weights(num_particles: int, batch_shape: tuple[int, ...]) -> WeightSums:
    """Return the sums before the first of `num_particles` weights.

    Example:
        >>> no_weights(num_particles=3, batch_shape=(2,)).log_sums.shape
        (3, 2)
    """
    num_blocks = min(NUM_BLOCKS, num_particles)
    zero = jnp.full(batch_shape, -jnp.inf, default_float())
    return WeightSums(zero, jnp.full((num_blocks, *batch_shape), -jnp.inf, zero.dtype), zero)


def add_weights(
    sums: WeightSums,
    log_w: Float[Array, "particles *batch"],
    first_particle: Int[Array, ""] | int = 0,
) -> WeightSums:
    """Return the sums with more weights; a log-weight of -inf adds nothing, as for padding.

    Args:
        sums: sums over the particles before `first_particle`.
        log_w: log-weights of the particles from there on, in nats.
        first_particle: index of the first of them; may be traced.

    Example:
        >>> sums = add_weights(no_weights(2, ()), jnp.log(jnp.array([1.0, 3.0])))
        >>> round(float(jnp.exp(bound(sums, 2))), 4)  # the mean weight
        2.0
    """
    num_blocks = len(sums.log_sums)
    block = (first_particle + jnp.arange(len(log_w))) % num_blocks
    block = jnp.broadcast_to(block.reshape(-1, *(1,) * (log_w.ndim - 1)), log_w.shape)
    log_max = jnp.maximum(sums.log_max, jnp.max(log_w, axis=0))
    base = _finite_or_zero(log_max)
    relative = log_w - base[None]
    shift = _finite_or_zero(sums.log_max) - base  # not above 0, and 0 before the first weight

    def log_sum(number: Int[Array, ""]) -> Float[Array, "*batch"]:
        return jax.nn.logsumexp(jnp.where(block == number, relative, -jnp.inf), axis=0)

    new = jax.vmap(log_sum)(jnp.arange(num_blocks))
    new_squares = jax.nn.logsumexp(2 * relative, axis=0)
    return WeightSums(
        log_max,
        jnp.logaddexp(sums.log_sums + shift[None], new),
        jnp.logaddexp(sums.log_sum_squares + 2 * shift, new_squares),
    )


def _finite_or_zero(log_max: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return what weights are relative to: 0 where the largest one is 0, infinite or NaN."""
    return jnp.where(jnp.isfinite(log_max), log_max, 0.0)


def bound(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """Return L_K, a lower bound on log p(x) in expectation, in nats (Burda et al. 2016, eq. 8).

    Example:
        >>> sums = add_weights(no_weights(2, ()), jnp.zeros(2))  # two weights of 1
        >>> abs(float(bound(sums, 2))) < 1e-6
        True
    """
    return _finite_or_zero(sums.log_max) + _relative_bound(sums, num_particles)


def _relative_bound(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """Return the bound less the largest log-weight, in nats."""
    return jax.nn.logsumexp(sums.log_sums, axis=0) - np.log(num_particles)


def effective_sample_size(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """Return (sum w)^2 / sum w^2, from 1 (a single weight dominates) to K (Kong 1992).

    Example:
        >>> sums = add_weights(no_weights(2, ()), jnp.log(jnp.array([1.0, 3.0])))
        >>> round(float(effective_sample_size(sums, 2)), 4)
        1.6
    """
    log_size = 2 * jax.nn.logsumexp(sums.log_sums, axis=0) - sums.log_sum_squares
    return jnp.clip(jnp.exp(log_size), 1.0, num_particles)  # beyond both by rounding alone


def jackknife_bias(sums: WeightSums, num_particles: int) -> Float[Array, "*batch"]:
    """Estimate E[L_K] - log p(x), in nats; negative where more particles would raise the bound.

    The bounds without one block each have fewer particles; how far they lie below L_K, taken as
    proportional to 1 / particles, gives the rest of the way to infinitely many. With blocks of one
    particle each, L_K minus this is the first-order jackknife estimate (Quenouille 1956; Nowozin
    2018). An underestimate where few weights count. NaN for a single particle.

    Example:
        >>> sums = add_weights(no_weights(2, ()), jnp.log(jnp.array([1.0, 3.0])))
        >>> round(float(jackknife_bias(sums, 2)), 4)  # (ln 1 + ln 3) / 2 - ln 2
        -0.1438
    """
    num_blocks = len(sums.log_sums)
    sizes = np.bincount(np.arange(num_particles) % num_blocks)
    without = jax.vmap(lambda row: _log_sum_without(sums.log_sums, row))(jnp.arange(num_blocks))
    remaining = num_particles - sizes
    with np.errstate(divide="ignore"):
        logs = np.log(remaining).reshape(-1, *(1,) * (without.ndim - 1))
        lever = np.mean(1 / remaining) - 1 / num_particles
    drop = jnp.mean(without - jnp.broadcast_to(logs, without.shape), axis=0)
    return (drop - _relative_bound(sums, num_particles)) / (lever * num_particles)


def _log_sum_without(
    log_sums: Float[Array, "blocks *batch"], left_out: Int[Array, ""]
) -> Float[Array, "*batch"]:
    return jax.nn.logsumexp(log_sums.at[left_out].set(-jnp.inf), axis=0)


def bias_of_few(
    effective: Float[np.ndarray, " examples"], num_particles: int
) -> Float[np.ndarray, " examples"]:
    """Return (1/ESS - 1/K) / 2: about how far the bound lies below log p(x), in nats.

    The variance of the weights over their squared mean is K/ESS - 1, and 1/K of half of it is
    the bias (Nowozin 2018). Zero for equal weights, however few.

    Example:
        >>> bias_of_few(np.array([10.0, 5.0, 1.0]), num_particles=10).tolist()
        [0.0, 0.05, 0.45]
    """
    return (1 / effective - 1 / num_particles) / 2


def share_of_doubtful(effective: Float[np.ndarray, " examples"], num_particles: int) -> float:
    """Return the share of examples whose bias by :func:`bias_of_few` exceeds `LARGEST_BIAS`.

    Example:
        >>> share_of_doubtful(np.array([9.98, 2.0]), num_particles=10)
        0.5
    """
    return float(np.mean(bias_of_few(effective, num_particles) > LARGEST_BIAS))


def distrust(
    effective: Float[np.ndarray, " examples"],
    bias: Float[np.ndarray, " examples"],
    num_particles: int,
) -> str:
    """Return a message if too many examples have weights that are too unequal, otherwise "".

    Args:
        effective: effective sample size of each example.
        bias: jackknife estimate of the bound's bias for each example, in nats.
        num_particles: K.

    Example:
        >>> distrust(np.full(4, 50.0), np.full(4, -0.01), num_particles=100)
        ''
        >>> distrust(np.full(4, 2.0), np.full(4, -0.3), num_particles=100)[:47]
        'On 100% of the examples the bound with K = 100 '
    """
    share = share_of_doubtful(effective, num_particles)
    if share <= LARGEST_SHARE:
        return ""
    gap, estimate = -float(np.mean(bias)), "the jackknife gives no estimate of the gap"
    if math.isfinite(gap):
        estimate = (
            f"the jackknife puts the bound {gap:.2f} nats below log p(x) on average, and where few "
            "weights count it underestimates the gap"
        )
    return (
        f"On {share:.0%} of the examples the bound with K = {num_particles:,} importance weights "
        f"lies more than {LARGEST_BIAS:g} nats below log p(x), by (1/ESS - 1/K) / 2 (median "
        f"effective sample size {np.median(effective):.1f}): {estimate}; raise "
        "--eval_particles or compare with AIS."
    )
