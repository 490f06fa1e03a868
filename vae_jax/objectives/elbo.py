"""The ELBO and what is made of its KL term: beta, free bits, capacity."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE
from vae_jax.objectives.base import (
    ElboTerms,
    Noise,
    ObjectiveOutput,
    PosteriorSamples,
    kl_weight,
    ramp,
    sample_posterior,
    terms_from_samples,
)
from vae_jax.objectives.gradient_estimators import Estimator
from vae_jax.types import Images, Labels, Params

KL_MODES = ("auto", "analytic", "monte_carlo")
KL_PENALTIES = ("beta", "free_bits", "capacity")


@dataclass(frozen=True)
class Elbo:
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    The ELBO for beta = 1, the beta-VAE's objective otherwise (Higgins et al. 2017, eq. 4). With a
    deterministic code only the first half is left: a plain autoencoder.

    Attributes:
        num_particles: samples of z over which the expectation is averaged.
        kl: ``analytic`` where there is a closed form, ``monte_carlo``, or ``auto``: analytic if
            possible. Estimators other than the standard one need Monte Carlo.
        estimator: of the gradient.
        kl_penalty: ``beta`` weighs the KL; ``free_bits`` forgives each latent its first nats, as a
            mean over the batch; ``capacity`` draws the mean KL to a target.
    """

    num_particles: int = 1
    kl: str = "auto"
    estimator: Estimator = "standard"
    kl_penalty: str = "beta"

    @property
    def num_draws(self) -> int:
        """One draw per particle."""
        return self.num_particles

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
        """Value to be maximised and the terms to be reported, per example."""
        samples = sample_posterior(model, hparams, params, x, noise, y, estimator=self.estimator)
        if not model.posterior.has_density:
            mean = jnp.mean(samples.log_likelihood, axis=0)
            return ObjectiveOutput(mean, ElboTerms(mean, jnp.zeros_like(mean)), samples)
        is_analytic = self.kl != "monte_carlo" and self.estimator == "standard"
        terms = terms_from_samples(samples, is_analytic=is_analytic)
        penalty = kl_weight(hparams, step) * self._penalised(hparams, step, samples, terms.kl)
        return ObjectiveOutput(terms.log_likelihood - penalty, terms, samples)

    def _penalised(
        self,
        hparams: HParams,
        step: Int[Array, ""],
        samples: PosteriorSamples,
        kl: Float[Array, " batch"],
    ) -> Float[Array, " batch"]:
        """What beta multiplies: the KL, or what free bits or a capacity make of it."""
        if self.kl_penalty == "free_bits":
            per_latent = samples.p.kl(samples.q)
            groups = kl[:, None] if per_latent is None else per_latent
            free = jnp.sum(jnp.maximum(jnp.mean(groups, axis=0), hparams.free_bits))
            return jnp.broadcast_to(free, kl.shape)
        if self.kl_penalty == "capacity":
            target = hparams.capacity * ramp(step, hparams.capacity_steps)
            return jnp.broadcast_to(jnp.abs(jnp.mean(kl) - target), kl.shape)
        return kl
