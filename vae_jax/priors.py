"""Priors p(z) over the latent space.

A prior is a frozen dataclass with ``log_prob``, ``sample`` and, where one exists, the closed-form
``kl`` from a posterior. The model generates from its own prior.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.latents import keep
from vae_jax.posteriors import Gaussian, normal_log_density
from vae_jax.types import Active, Latents


@dataclass(frozen=True)
class StandardNormal:
    """p(z) = N(0, I)."""

    def log_prob(self, z: Latents, active: Active) -> Float[Array, "*batch"]:
        """Log p(z) in nats, summed over the active coordinates."""
        zero = jnp.zeros((), z.dtype)
        return jnp.sum(keep(active, normal_log_density(z, zero, zero)), axis=-1)

    def sample(self, noise: Latents) -> Latents:
        """Draw z from standard normal noise of z's shape: here the noise itself."""
        return noise

    def kl(self, q: Gaussian) -> Latents:
        """KL(q || p) of each latent, in nats; the KL of z is their sum.

        KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - ln s^2 - 1) / 2
        (Kingma & Welling 2014, appendix B).
        """
        return 0.5 * (q.mean**2 + jnp.exp(q.log_var) - q.log_var - 1.0)
