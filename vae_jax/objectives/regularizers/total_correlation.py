r"""Total correlation of the aggregate posterior: the dependence between its coordinates, in nats.

.. math::
    TC = E_{q(z)}\Big[\log q(z) - \sum_j \log q(z_j)\Big], \qquad
    q(z) = \frac1N \sum_n q(z|x_n)

One of the three terms of the mean KL (Chen et al. 2018, eq. 2; all three are reported by
``evaluation/metrics/decomposition.py``). A penalty of weight w on top makes the beta-TCVAE of beta
= 1 + w.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import LatentDensities
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, latent_densities
from vae_jax.settings import one_of, real, setting
from vae_jax.types import LatentMask, Params, Scalar

LogWeights = Float[Array, "batch batch"]
"""Log-weights of each example's component (columns) in log q(z) at each sample (rows)."""


def weighted(batch_size: int, num_examples: int) -> LogWeights:
    """Return the weights of minibatch weighted sampling, 1/(NM) (Chen et al. 2018, app. C.1).

    They give a lower bound of log q(z) in expectation, ln N too low where posteriors overlap. As
    each marginal has the same offset, the penalty is up to (latents - 1) ln N too high: a constant,
    on which no gradient depends.
    """
    return jnp.full((batch_size, batch_size), -math.log(num_examples * batch_size))


def stratified(batch_size: int, num_examples: int) -> LogWeights:
    """Return the weights of minibatch stratified sampling (Chen et al. 2018, app. C.2).

    They estimate q(z) without bias. The example whose sample it is has weight 1/N; the others,
    drawn from the remaining N - 1, share the rest. The paper gives one of them less than the
    others. Here all have the mean over the choice of that one: less variance, and exact where the
    batch is the data set.
    """
    share = (num_examples - 1) / (num_examples * (batch_size - 1))
    is_own = jnp.eye(batch_size, dtype=bool)
    return jnp.log(jnp.where(is_own, 1.0 / num_examples, share))


TC_ESTIMATORS: dict[str, Callable[[int, int], LogWeights]] = {
    "weighted": weighted,
    "stratified": stratified,
}
"""Functions (batch_size, num_examples) -> weights, by the names that ``--tc_estimator`` takes."""


@dataclass(frozen=True)
class TotalCorrelation(Regularizer):
    """Total correlation as the penalty of the beta-TCVAE (Chen et al. 2018, eq. 4).

    Beside a KL of weight 1, alpha and gamma of the paper are 1 and its beta is 1 + ``tc_weight``.

    Attributes:
        tc_estimator: estimator of log q(z) and log q(z_j) from a batch, in ``TC_ESTIMATORS``.

    Example:
        >>> import vae_jax
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=10)
        >>> penalty = TotalCorrelation(tc_estimator="stratified")
        >>> spec = vae_jax.TrainSpec(model, regularizers=(penalty,))
        >>> hparams = vae_jax.HParams.of(tc_weight=[0.0, 1.0, 5.0])
        >>> spec.regularizers[0].strengths()
        ('tc_weight',)
    """

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "tc_weight",
            0.0,
            real(0.0),
            "weight of the total correlation, beyond its share in the KL",
            source="Chen et al. 2018, eq. 4",
        ),
    )
    needs_latent_densities: ClassVar[bool] = True

    tc_estimator: str = setting(
        "weighted", one_of(*TC_ESTIMATORS), "minibatch estimate of log q(z)"
    )

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """Return ``tc_weight`` times the estimate, a mean over examples and particles."""
        del params
        q = latent_densities(samples, context.latent_mask)
        log_weights = TC_ESTIMATORS[self.tc_estimator](samples.z.shape[1], context.num_examples)
        estimates = jax.vmap(
            lambda own: total_correlation(q, own, context.latent_mask, log_weights)
        )
        return hparams.tc_weight * jnp.mean(estimates(q.deviation(samples.noise)))


def total_correlation(
    q: LatentDensities,
    deviation: Float[Array, "batch latents"],
    latent_mask: LatentMask,
    log_weights: LogWeights,
) -> Float[Array, " batch"]:
    """Return the estimate of log q(z) - sum_j log q(z_j) for each sample, in nats.

    Args:
        q: posterior q(z|x) of each example of the batch, ``[batch, latents]``.
        deviation: z - mean for a sample z of each example's posterior.
        latent_mask: mask of the coordinates that the run uses.
        log_weights: log-weights of the examples' components in q(z).
    """
    each = apply_mask(latent_mask, q.pairwise_log_density(q.mean, deviation))
    joint = jax.nn.logsumexp(log_weights + jnp.sum(each, axis=-1), axis=1)
    marginals = jax.nn.logsumexp(log_weights[..., None] + each, axis=1)
    return joint - jnp.sum(apply_mask(latent_mask, marginals), axis=-1)
