r"""The KL of a VAE as information, dependence between latents, and distance to the prior.

On a finite set with the aggregate posterior q(z) = 1/N sum_n q(z|x_n),

.. math::
    \frac1N \sum_n KL(q(z|x_n) \| p(z)) = \underbrace{I(x; z)}_{E \log q(z|x)/q(z)}
    + \underbrace{TC}_{E \log q(z)/\prod_j q(z_j)}
    + \underbrace{\text{dimension-wise KL}}_{E \log \prod_j q(z_j)/p(z)}

(Hoffman & Johnson 2016; Chen et al. 2018, eq. 2). The expectation is over n and
z ~ q(z|x_n); nothing but it is estimated, since q(z) is the exact mixture of N components. All in
nats.

I(x; z) is the information about *which of the N examples* it was, so it is at most ln N. Near that
limit the examples' posteriors do not overlap, and TC measures the set's size as much as the model:
compare only decompositions of equal N.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vae_jax.evaluation.elbo import mean_columns
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import LatentDensities
from vae_jax.types import LatentMask

BLOCK_SIZE = 256
_NOWHERE = -1e30  # the log-density of a component that is padding; -inf would make NaN

Samples = Float[Array, "samples latents"]


class KLTerms(NamedTuple):
    """Terms of the KL for each sample, in nats; they add up to log q(z|x) - log p(z).

    Attributes:
        mutual_information: log q(z|x) - log q(z); its mean is at most ln N.
        total_correlation: log q(z) - sum_j log q(z_j).
        dimensionwise_kl: sum_j log q(z_j) - log p(z); a sum of KLs for a factorised prior.
    """

    mutual_information: Float[Array, " samples"]
    total_correlation: Float[Array, " samples"]
    dimensionwise_kl: Float[Array, " samples"]


def decompose(
    q: LatentDensities,
    latent_mask: LatentMask,
    deviation: Samples,
    log_prior: Float[Array, " samples"],
    block_size: int = BLOCK_SIZE,
) -> KLTerms:
    """Return the terms of the KL with the exact aggregate posterior of the examples of `q`.

    Time grows with samples x examples x latents, memory with block_size^2 x latents.

    Args:
        q: posteriors of the N examples, `[examples, latents]`, without a mask of their own.
        latent_mask: the latents that the run uses; the others add exactly zero.
        deviation: z - mean of one sample from the posterior of each of the first `samples`
            examples: z itself may be too coarse to tell how likely it is under its own posterior.
        log_prior: log p(z) of those samples over the active latents, whatever the prior.
        block_size: samples, and examples, that are compared at once; no result depends on it but
            by rounding.

    Example:
        One example alone has no mutual information:

        >>> from vae_jax.models.posteriors import Gaussian
        >>> q, z = Gaussian(jnp.zeros((1, 1)), jnp.zeros((1, 1))), jnp.ones((1, 1))
        >>> log_prior = jnp.full(1, -0.5 * np.log(2 * np.pi) - 0.5)
        >>> terms = decompose(q, jnp.ones(1, bool), z, log_prior)
        >>> [abs(round(float(term[0]), 3)) for term in terms]
        [0.0, 0.0, 0.0]
    """
    num_samples = len(deviation)
    first = jax.tree.map(lambda field: field[:num_samples], q)
    each = jax.vmap(_own_log_density)(first, deviation)
    own = jnp.sum(apply_mask(latent_mask, each), axis=-1)
    joint, marginals = _aggregate_log_densities(q, latent_mask, deviation, block_size)
    return KLTerms(own - joint, joint - marginals, marginals - log_prior)


def _own_log_density(
    q: LatentDensities, deviation: Float[Array, " latents"]
) -> Float[Array, " latents"]:
    """Return the log-density of each latent of one sample under the posterior that it is from."""
    alone = jax.tree.map(lambda field: field[None], q)
    return alone.pairwise_log_density(alone.mean, deviation[None])[0, 0]


def _aggregate_log_densities(
    q: LatentDensities, latent_mask: LatentMask, deviation: Samples, block_size: int
) -> tuple[Float[Array, " samples"], Float[Array, " samples"]]:
    """Return log q(z) and sum_j log q(z_j) of each sample."""
    num_samples, num_examples = len(deviation), len(q.mean)
    posteriors = jax.tree.map(lambda field: _in_blocks(field, block_size), q)
    is_real = _in_blocks(jnp.ones((num_examples, 1), bool), block_size)

    def of_block(_: None, block: tuple[Samples, Samples]) -> tuple[None, tuple[Array, Array]]:
        def add(sums: tuple[Array, Array], part: tuple[LatentDensities, Array]) -> tuple[Any, None]:
            new = _log_sums(*block, *part, latent_mask)
            return jax.tree.map(jnp.logaddexp, sums, new), None

        each = jnp.full_like(block[1], -jnp.inf)
        empty = each[:, 0], each
        (joint, each), _ = jax.lax.scan(add, empty, (posteriors, is_real))
        log_n = np.log(num_examples)
        return None, (joint - log_n, jnp.sum(apply_mask(latent_mask, each - log_n), axis=-1))

    drawn = _in_blocks(q.mean[:num_samples], block_size), _in_blocks(deviation, block_size)
    _, densities = jax.lax.scan(of_block, None, drawn)
    joint, marginals = (density.reshape(-1)[:num_samples] for density in densities)
    return joint, marginals


def _log_sums(
    mean: Samples, deviation: Samples, q: LatentDensities, is_real: Array, latent_mask: LatentMask
) -> tuple[Float[Array, " samples"], Samples]:
    """Return the log-sum over components of their density at z, jointly and for each latent."""
    each = apply_mask(latent_mask, q.pairwise_log_density(mean, deviation))
    each = jnp.where(jnp.broadcast_to(is_real, each.shape), each, _NOWHERE)
    return jax.nn.logsumexp(jnp.sum(each, axis=-1), axis=1), jax.nn.logsumexp(each, axis=1)


def _in_blocks(rows: Array, block_size: int) -> Array:
    """Return rows as `[blocks, block, ...]`, padded with zeros."""
    num_blocks = -(-len(rows) // block_size)
    padding = num_blocks * block_size - len(rows)
    padded = jnp.pad(rows, ((0, padding), (0, 0)))
    return padded.reshape(num_blocks, block_size, *rows.shape[1:])


def summarize(terms: KLTerms) -> dict[str, float]:
    """Return the mean of each term and its standard error `_se`, in nats, in float64.

    The error is that of independent samples. Where every example gives one sample it is an upper
    limit, because the examples themselves were then not drawn.

    Example:
        >>> summarize(KLTerms(*jnp.array([[1.0, 3.0]] * 3)))["total_correlation_se"]
        1.0
    """
    row: dict[str, float] = {}
    for name, values in terms._asdict().items():
        row |= mean_columns(name, values)
    return row


def gaussian_total_correlation(
    covariance: Float[np.ndarray, "latents latents"],
) -> float:
    """Return the total correlation of N(m, S): 1/2 (sum_j ln S_jj - ln det S), in nats.

    A lower estimate of dependence from second moments alone (Locatello et al. 2019);
    zero for a diagonal covariance.

    Example:
        >>> round(gaussian_total_correlation(np.array([[1.0, 0.6], [0.6, 1.0]])), 4)
        0.2231
    """
    _, log_determinant = np.linalg.slogdet(covariance.astype(np.float64))
    return float(0.5 * (np.log(np.diag(covariance).astype(np.float64)).sum() - log_determinant))
