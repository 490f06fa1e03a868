"""The mean-field Gaussian, on which every other posterior is built."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.latents import grow, keep
from vae_jax.posteriors.base import Draw, Head, Posterior, PosteriorFamily
from vae_jax.types import Active, Latents, Params

LOG_2PI = 1.8378770664093453


def normal_log_density(
    z: Float[Array, "*#shape"], mean: Float[Array, "*#shape"], log_var: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log N(z; mean, exp(log_var)) for each coordinate, in nats, constants included."""
    return -0.5 * (LOG_2PI + log_var + (z - mean) ** 2 * jnp.exp(-log_var))


class Gaussian(NamedTuple):
    """Diagonal Gaussian q(z|x) = prod_j N(z_j; mean_j, exp(log_var_j)).

    Kingma & Welling 2014, eq. 9.

    Attributes:
        mean: ``[*batch, latents]``.
        log_var: ``[*batch, latents]``.
        active: the coordinates that count; None for all.
    """

    mean: Latents
    log_var: Latents
    active: Active | None = None

    def restrict(self, active: Active) -> "Gaussian":
        """The same q on active coordinates and N(0, 1) on the others.

        There q equals the standard normal prior, so every KL and log-ratio is zero. The choice is
        made before any ``exp``: a runaway log-variance on an inactive coordinate can then put no
        NaN into the gradient of the active ones.
        """
        return Gaussian(keep(active, self.mean), keep(active, self.log_var), active)

    @property
    def center(self) -> Latents:
        """The mean."""
        return self.mean

    def sample(self, noise: Latents) -> Latents:
        """Reparameterization z = mean + exp(log_var / 2) * noise, with noise ~ N(0, I).

        Kingma & Welling 2014, section 2.4. Noise may have more leading axes (particles).
        """
        mean, scale = grow(self.mean, noise.ndim), grow(jnp.exp(0.5 * self.log_var), noise.ndim)
        return mean + scale * noise

    def draw(self, noise: Latents) -> Draw:
        """The sample and its log-density."""
        z = self.sample(noise)
        return Draw(z, self.log_prob(z))

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) in nats, summed over the active coordinates."""
        mean, log_var = grow(self.mean, z.ndim), grow(self.log_var, z.ndim)
        return jnp.sum(keep(self.active, normal_log_density(z, mean, log_var)), axis=-1)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x), differentiable through z alone."""
        del noise
        return jax.lax.stop_gradient(self).log_prob(z)

    def component(self) -> Posterior:
        """Itself."""
        return self


@dataclass(frozen=True)
class DiagonalGaussian(PosteriorFamily):
    """The mean-field Gaussian family: the encoder gives a mean and a log-variance per latent."""

    is_gaussian: ClassVar[bool] = True

    def heads(self, width: int) -> tuple[Head, ...]:
        """Mean and log-variance."""
        return Head("mean", (width,)), Head("log_var", (width,))

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], active: Active
    ) -> Gaussian:
        """Distribution with the given heads."""
        del hparams, params
        return Gaussian(heads["mean"], heads["log_var"]).restrict(active)
