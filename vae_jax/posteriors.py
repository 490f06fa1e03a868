"""Approximate posteriors q(z|x): what the encoder's outputs mean.

A family is a frozen dataclass that names the encoder's heads and turns their values into a
distribution. A distribution is a ``NamedTuple`` of arrays with methods, so it passes through
``jit``, ``vmap`` and ``grad``. Noise is always an argument: a sample is a deterministic function
of the parameters and the noise, which is what makes it differentiable.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.latents import keep
from vae_jax.types import Active, Latents

LOG_2PI = 1.8378770664093453


def normal_log_density(
    z: Float[Array, "*#shape"], mean: Float[Array, "*#shape"], log_var: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log N(z; mean, exp(log_var)) for each coordinate, in nats, constants included."""
    return -0.5 * (LOG_2PI + log_var + (z - mean) ** 2 * jnp.exp(-log_var))


class Gaussian(NamedTuple):
    """Diagonal Gaussian q(z|x) = prod_j N(z_j; mean_j, exp(log_var_j)).

    Kingma & Welling 2014, eq. 9. Both fields have shape ``[*batch, latents]``.
    """

    mean: Latents
    log_var: Latents

    def restrict(self, active: Active) -> "Gaussian":
        """The same q on active coordinates and N(0, 1) on the others.

        There q equals the standard normal prior, so every KL and log-ratio is zero. The choice is
        made before any ``exp``: a runaway log-variance on an inactive coordinate can then put no
        NaN into the gradient of the active ones.
        """
        return Gaussian(keep(active, self.mean), keep(active, self.log_var))

    def sample(self, noise: Latents) -> Latents:
        """Reparameterization z = mean + exp(log_var / 2) * noise, with noise ~ N(0, I).

        Kingma & Welling 2014, section 2.4.
        """
        return self.mean + jnp.exp(0.5 * self.log_var) * noise

    def log_prob(self, z: Latents, active: Active) -> Float[Array, "*batch"]:
        """Log q(z|x) in nats, summed over the active coordinates."""
        per_latent = normal_log_density(z, self.mean, self.log_var)
        return jnp.sum(keep(active, per_latent), axis=-1)


@dataclass(frozen=True)
class DiagonalGaussian:
    """The mean-field Gaussian family: the encoder gives a mean and a log-variance per latent."""

    heads: ClassVar[tuple[str, ...]] = Gaussian._fields

    def __call__(self, mean: Latents, log_var: Latents) -> Gaussian:
        """Distribution with the given heads."""
        return Gaussian(mean, log_var)
