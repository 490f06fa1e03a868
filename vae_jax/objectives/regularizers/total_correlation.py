r"""Total correlation of the aggregate posterior: how far its coordinates depend on each other.

.. math::
    TC = E_{q(z)}\Big[\log q(z) - \sum_j \log q(z_j)\Big], \qquad
    q(z) = \frac1N \sum_n q(z|x_n)

One of the three terms of the mean KL (Chen et al. 2018, eq. 2; ``metrics/decomposition.py`` reports
all of them). A penalty of weight w beside it makes the beta-TCVAE of beta = 1 + w.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Gaussian, pairwise_log_density
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, gaussian
from vae_jax.types import LatentMask, Params, Scalar

LogWeights = Float[Array, "batch batch"]
"""Of the component of each example (columns) in log q(z) at the sample of each (rows)."""


def weighted(batch_size: int, num_examples: int) -> LogWeights:
    """Minibatch weighted sampling: all weights are 1/(NM) (Chen et al. 2018, appendix C.1).

    A lower bound of log q(z) in expectation, ln N too low where posteriors overlap. As each
    marginal has the same offset, the penalty comes out up to (latents - 1) ln N too high; that
    is a constant, which no gradient knows of.
    """
    return jnp.full((batch_size, batch_size), -math.log(num_examples * batch_size))


def stratified(batch_size: int, num_examples: int) -> LogWeights:
    """Minibatch stratified sampling: q(z) without bias (Chen et al. 2018, appendix C.2).

    1/N for the example whose sample it is; the others, drawn from the N - 1 that are left, share
    the rest. The paper gives one of them less than the others. Here all have the same, the mean
    over which one that is: less variance, and exact where the batch is the data set.
    """
    share = (num_examples - 1) / (num_examples * (batch_size - 1))
    is_own = jnp.eye(batch_size, dtype=bool)
    return jnp.log(jnp.where(is_own, 1.0 / num_examples, share))


TC_ESTIMATORS: dict[str, Callable[[int, int], LogWeights]] = {
    "weighted": weighted,
    "stratified": stratified,
}
"""Weights by the name that ``--tc_estimator`` knows them by."""


@dataclass(frozen=True)
class TotalCorrelation(Regularizer):
    """beta-TCVAE (Chen et al. 2018, eq. 4).

    With a KL of weight 1, its alpha and gamma are 1 and its beta is 1 + ``tc_weight``.

    Attributes:
        tc_estimator: of log q(z) and log q(z_j) from a batch, one of ``TC_ESTIMATORS``.
    """

    strengths: ClassVar[tuple[str, ...]] = ("tc_weight",)
    needs_gaussian: ClassVar[bool] = True

    tc_estimator: str = "weighted"

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """``tc_weight`` times the estimate, a mean over examples and particles."""
        del params
        q = gaussian(samples, context.latent_mask)
        log_weights = TC_ESTIMATORS[self.tc_estimator](samples.z.shape[1], context.num_examples)
        estimates = jax.vmap(
            lambda own: total_correlation(q, own, context.latent_mask, log_weights)
        )
        return hparams.tc_weight * jnp.mean(estimates(q.deviation(samples.noise)))


def total_correlation(
    q: Gaussian,
    deviation: Float[Array, "batch latents"],
    latent_mask: LatentMask,
    log_weights: LogWeights,
) -> Float[Array, " batch"]:
    """Estimate of log q(z) - sum_j log q(z_j) for each sample, in nats.

    Args:
        q: q(z|x) of each example of the batch, ``[batch, latents]``.
        deviation: z - mean of a sample of each, from its own posterior's mean.
        latent_mask: the coordinates that count.
        log_weights: of the examples' components in q(z).
    """
    each = apply_mask(latent_mask, pairwise_log_density(q.mean, deviation, q))
    joint = jax.nn.logsumexp(log_weights + jnp.sum(each, axis=-1), axis=1)
    marginals = jax.nn.logsumexp(log_weights[..., None] + each, axis=1)
    return joint - jnp.sum(apply_mask(latent_mask, marginals), axis=-1)
