"""Importance-weighted bound (IWAE, Burda et al. 2016) and the mean of several (MIWAE)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.models.vae import VAE
from vae_jax.objectives.base import (
    KL_WEIGHT,
    Noise,
    Objective,
    ObjectiveOutput,
    estimator_setting,
    kl_weight,
    num_particles_setting,
    sample_posterior,
    terms_from_samples,
)
from vae_jax.objectives.gradient_estimators import Estimator, weigh_tokens
from vae_jax.settings import setting, whole
from vae_jax.types import Images, Labels, Params


def importance_weighted_bound(
    log_w: Float[Array, "particles *batch"],
) -> Float[Array, "*batch"]:
    """Return log (1/K sum_k w_k) over the leading axis, in nats; K = 1 is an ELBO.

    In expectation it rises with K to log p(x) (Burda et al. 2016, eq. 8 and theorem 1).

    Args:
        log_w: log-weights of K particles per example.

    Example:
        >>> import jax.numpy as jnp
        >>> log_w = jnp.log(jnp.array([[1.0], [3.0]]))  # two particles of one example
        >>> bound = importance_weighted_bound(log_w)
        >>> bound.shape, bool(jnp.allclose(bound, jnp.log(2.0)))
        ((1,), True)
    """
    return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


@dataclass(frozen=True)
class ImportanceWeighted(Objective):
    """Mean of M bounds log (1/K sum_k w_k), each of K particles.

    IWAE for M = 1 (Burda et al. 2016, eq. 8), MIWAE otherwise (Rainforth et al. 2018, eq. 9). For
    beta other than 1, log p(z) - log q(z|x) is multiplied by it within log w, and the value is no
    bound.

    Attributes:
        num_particles: number K of samples of z per bound.
        num_bounds: number M of bounds per example.
        estimator: gradient estimator: ``standard``; ``stl``, the path derivative alone (Roeder et
            al. 2017), biased for K > 1; ``dreg``, doubly reparameterized (Tucker et al. 2019,
            eq. 8), unbiased.

    Example:
        >>> import jax, jax.numpy as jnp, vae_jax
        >>> model, hparams = vae_jax.VAE((2, 2, 1), 1), vae_jax.HParams.of(latent_size=1)
        >>> params = jax.jit(model.init)(hparams, jnp.full((2, 2, 1), 0.5))
        >>> x = jnp.ones((3, 2, 2, 1))
        >>> iwae = ImportanceWeighted(num_particles=5)
        >>> noise = model.noise(jax.random.key(0), iwae.num_draws, 3)
        >>> iwae(model, hparams, params, x, noise, jnp.int32(0)).objective.shape
        (3,)
    """

    needs_density: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True

    num_particles: int = num_particles_setting()
    num_bounds: int = setting(1, whole(1), "bounds that are averaged (miwae)")
    estimator: Estimator = estimator_setting()

    hparams: ClassVar[tuple[HParam, ...]] = KL_WEIGHT

    @property
    def num_draws(self) -> int:
        """Number K M of samples of z per example."""
        return self.num_particles * self.num_bounds

    def __call__(
        self,
        model: VAE,
        hparams: HParams,
        params: Params,
        x: Images,
        noise: Noise,
        step: Int[Array, ""],
        y: Labels | None = None,
    ) -> ObjectiveOutput:
        """Return the value to be maximised and the terms of the ELBO, per example."""
        samples = sample_posterior(model, hparams, params, x, noise, y, estimator=self.estimator)
        log_ratio = samples.log_prior - samples.log_posterior
        beta = kl_weight(hparams, step)
        log_w = samples.log_likelihood + beta * log_ratio
        groups, token = (
            values.reshape(self.num_particles, self.num_bounds, -1)
            for values in (log_w, samples.token)
        )
        bounds = importance_weighted_bound(weigh_tokens(groups, token, beta))
        bound = jnp.mean(bounds, axis=0)
        return ObjectiveOutput(bound, terms_from_samples(samples), samples)
