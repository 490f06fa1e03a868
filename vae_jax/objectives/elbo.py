"""ELBO with a KL term that is weighted (beta), has free bits, or is drawn to a capacity."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.vae import VAE
from vae_jax.objectives.base import (
    KL_WEIGHT,
    ElboTerms,
    Noise,
    Objective,
    ObjectiveOutput,
    PosteriorSamples,
    estimator_setting,
    kl_weight,
    num_particles_setting,
    ramp,
    sample_posterior,
    terms_from_samples,
)
from vae_jax.objectives.gradient_estimators import Estimator
from vae_jax.settings import one_of, real, setting, whole
from vae_jax.types import Images, Labels, LatentMask, Params, Scalar

KL_MODES = ("auto", "analytic", "monte_carlo")
"""Names of the ways to compute the KL, for ``Elbo.kl``."""
KL_PENALTIES = ("beta", "free_bits", "capacity")
"""Names of the penalties on the KL, for ``Elbo.kl_penalty``."""


@dataclass(frozen=True)
class Elbo(Objective):
    """Objective E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    The ELBO for beta = 1, the beta-VAE's objective otherwise (Higgins et al. 2017, eq. 4). With a
    deterministic code only the first term is left: a plain autoencoder.

    Attributes:
        num_particles: number of samples of z over which the expectation is averaged.
        kl: computation of the KL: ``analytic``, where there is a closed form; ``monte_carlo``; or
            ``auto``: analytic if possible. Estimators other than the standard one need Monte Carlo.
            Free bits of latents need the closed form.
        estimator: gradient estimator, one of ``ESTIMATORS``.
        kl_penalty: penalty on the KL. ``beta`` multiplies it; ``free_bits`` leaves the first nats
            of each used latent free, as a mean over the batch (Kingma et al. 2016, eq. 15), and
            those of the total KL where it has no closed form per latent;
            ``capacity`` penalizes the distance of the mean KL from a target (Burgess et al. 2018,
            eq. 8).

    Example:
        >>> import jax, jax.numpy as jnp, vae_jax
        >>> model, hparams = vae_jax.VAE((2, 2, 1), 1), vae_jax.HParams.of(latent_size=1)
        >>> params = jax.jit(model.init)(hparams, jnp.full((2, 2, 1), 0.5))
        >>> x = jnp.ones((3, 2, 2, 1))
        >>> noise = model.noise(jax.random.key(0), 1, 3)
        >>> output = Elbo()(model, hparams, params, x, noise, jnp.int32(0))
        >>> bool(jnp.allclose(output.objective, output.terms.elbo))
        True
    """

    is_elbo: ClassVar[bool] = True

    num_particles: int = num_particles_setting()
    kl: str = setting("auto", one_of(*KL_MODES), "computation of the KL term (elbo)")
    estimator: Estimator = estimator_setting()
    kl_penalty: str = setting(
        "beta", one_of(*KL_PENALTIES), "form of the KL term in the objective (elbo)"
    )

    hparams: ClassVar[tuple[HParam, ...]] = (
        *KL_WEIGHT,
        HParam(
            "free_bits",
            0.0,
            real(0.0),
            "nats of each latent's KL that cost nothing",
            unit="nats",
            only_with="kl_penalty=free_bits",
            source="Kingma et al. 2016, eq. 15",
        ),
        HParam(
            "capacity",
            0.0,
            real(0.0),
            "nats that the KL is to reach at the end",
            unit="nats",
            only_with="kl_penalty=capacity",
            source="Burgess et al. 2018, eq. 8",
        ),
        HParam(
            "capacity_steps",
            0,
            whole(0),
            "updates over which the capacity rises from 0",
            unit="updates",
            only_with="kl_penalty=capacity",
        ),
    )

    @property
    def num_draws(self) -> int:
        """Number of samples of z per example, one per particle."""
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
        """Return the value to be maximised and the terms to be reported, per example."""
        samples = sample_posterior(model, hparams, params, x, noise, y, estimator=self.estimator)
        if not model.posterior.has_density:
            mean = jnp.mean(samples.log_likelihood, axis=0)
            return ObjectiveOutput(mean, ElboTerms(mean, jnp.zeros_like(mean)), samples)
        is_analytic = self.kl != "monte_carlo" and self.estimator == "standard"
        terms = terms_from_samples(samples, is_analytic=is_analytic)
        mask = model.latent_mask(hparams)
        penalized = self._penalized_kl(hparams, step, samples, terms.kl, mask)
        penalty = kl_weight(hparams, step) * penalized
        return ObjectiveOutput(terms.log_likelihood - penalty, terms, samples)

    def _penalized_kl(
        self,
        hparams: HParams,
        step: Int[Array, ""],
        samples: PosteriorSamples,
        kl: Float[Array, " batch"],
        latent_mask: LatentMask,
    ) -> Float[Array, " batch"]:
        """Return the factor of beta: the KL, or its penalty by free bits or by a capacity."""
        if self.kl_penalty == "free_bits":
            return jnp.broadcast_to(self._free_bits(hparams, samples, kl, latent_mask), kl.shape)
        if self.kl_penalty == "capacity":
            target = hparams.capacity * ramp(step, hparams.capacity_steps)
            return jnp.broadcast_to(jnp.abs(jnp.mean(kl) - target), kl.shape)
        return kl

    def _free_bits(
        self,
        hparams: HParams,
        samples: PosteriorSamples,
        kl: Float[Array, " batch"],
        latent_mask: LatentMask,
    ) -> Scalar:
        """Return sum_j max(mean KL_j, free_bits) over the used latents, or of the total KL."""
        closed = samples.p.kl(samples.q)
        if closed is None or closed.per_latent is None:
            return jnp.maximum(jnp.mean(kl), hparams.free_bits)
        floored = jnp.maximum(jnp.mean(closed.per_latent, axis=0), hparams.free_bits)
        return jnp.sum(apply_mask(latent_mask, floored))
