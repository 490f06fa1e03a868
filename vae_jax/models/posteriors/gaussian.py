"""The mean-field Gaussian, on which every other posterior is built."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, grow
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import LatentMask, Latents, Params

LOG_2PI = 1.8378770664093453


def normal_log_density(
    z: Float[Array, "*#shape"], mean: Float[Array, "*#shape"], log_var: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log N(z; mean, exp(log_var)) for each coordinate, in nats, constants included.

    The square is taken last: ``exp(-log_var)`` alone leaves float32 at a log-variance of -88.
    """
    return log_density_of_noise(log_var, (z - mean) * finite_exp(-0.5 * log_var))


def log_density_of_noise(
    log_var: Float[Array, "*#shape"], noise: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log N(z; mean, exp(log_var)) at z = mean + exp(log_var / 2) noise, for each coordinate."""
    return -0.5 * (LOG_2PI + log_var + noise**2)


@jax.custom_jvp
def _own_log_density(
    z: Float[Array, "*shape"],
    mean: Float[Array, "*#shape"],
    log_var: Float[Array, "*#shape"],
    noise: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Return :func:`normal_log_density` of z = mean + exp(log_var / 2) noise, by its noise.

    Its slopes are those by z, mean and log_var, each while the others are held.
    """
    del z, mean
    return log_density_of_noise(log_var, noise)


@_own_log_density.defjvp
def _own_log_density_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    (z, mean, log_var, noise), (z_dot, mean_dot, log_var_dot, _) = primals, tangents
    score = -noise * finite_exp(-0.5 * log_var)
    slope = score * (z_dot - mean_dot) + 0.5 * (noise**2 - 1.0) * log_var_dot
    return _own_log_density(z, mean, log_var, noise), slope


class Gaussian(NamedTuple):
    """Diagonal Gaussian q(z|x) = prod_j N(z_j; mean_j, exp(log_var_j)).

    Kingma & Welling 2014, eq. 9.

    Attributes:
        mean: ``[*batch, latents]``.
        log_var: ``[*batch, latents]``.
        latent_mask: the coordinates that count; None for all.
    """

    mean: Latents
    log_var: Latents
    latent_mask: LatentMask | None = None

    def restrict(self, latent_mask: LatentMask) -> "Gaussian":
        """The same q on active coordinates and N(0, 1) on the others.

        There q equals the standard normal prior, so every KL and log-ratio is zero. The choice is
        made before any ``exp``: a runaway log-variance on an inactive coordinate can then put no
        NaN into the gradient of the active ones.
        """
        return Gaussian(
            apply_mask(latent_mask, self.mean), apply_mask(latent_mask, self.log_var), latent_mask
        )

    @property
    def center(self) -> Latents:
        """The mean."""
        return self.mean

    def sample(self, noise: Latents) -> Latents:
        """Reparameterization z = mean + exp(log_var / 2) * noise, with noise ~ N(0, I).

        Kingma & Welling 2014, section 2.4. Noise may have more leading axes (particles).
        """
        return grow(self.mean, noise.ndim) + self.deviation(noise)

    def deviation(self, noise: Latents) -> Latents:
        """Z - mean of the sample, which z itself may be too coarse to tell."""
        return grow(jnp.exp(0.5 * self.log_var), noise.ndim) * noise

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """The sample and its log-density, -1/2 sum_j (ln 2 pi + log_var_j + noise_j^2)."""
        terms = log_density_of_noise(grow(self.log_var, noise.ndim), noise)
        return SampleAndLogProb(
            self.sample(noise), jnp.sum(apply_mask(self.latent_mask, terms), axis=-1)
        )

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) in nats, summed over the active coordinates."""
        mean, log_var = grow(self.mean, z.ndim), grow(self.log_var, z.ndim)
        return jnp.sum(apply_mask(self.latent_mask, normal_log_density(z, mean, log_var)), axis=-1)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x), differentiable through z alone."""
        return jax.lax.stop_gradient(self).own_log_prob(z, noise)

    def own_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) of ``z = sample(noise)``, differentiable through z and the parameters.

        The value comes from the noise; slopes are those of :meth:`log_prob`, where z is held while
        the parameters move.
        """
        mean, log_var = grow(self.mean, z.ndim), grow(self.log_var, z.ndim)
        return jnp.sum(
            apply_mask(self.latent_mask, _own_log_density(z, mean, log_var, noise)), axis=-1
        )

    def component(self) -> Posterior:
        """Itself."""
        return self


def pairwise_log_density(
    mean: Float[Array, "samples latents"], deviation: Float[Array, "samples latents"], q: Gaussian
) -> Float[Array, "samples examples latents"]:
    """Log-density of each sample z = mean + deviation under each of ``q``, for each coordinate.

    The means are subtracted first: of an example whose posterior z was drawn from, and of all with
    the same mean, exactly the deviation is left, however small it is beside the mean.

    Args:
        mean: of the posteriors that were drawn from.
        deviation: of the samples from it, see :meth:`Gaussian.deviation`.
        q: ``[examples, latents]``.
    """
    shape = (len(mean), *q.mean.shape)
    own, away, means, log_vars = (
        jnp.broadcast_to(a, shape)
        for a in (mean[:, None], deviation[:, None], q.mean[None], q.log_var[None])
    )
    return normal_log_density((own - means) + away, jnp.zeros_like(means), log_vars)


@dataclass(frozen=True)
class DiagonalGaussian(PosteriorFamily):
    """The mean-field Gaussian family: the encoder gives a mean and a log-variance per latent."""

    is_gaussian: ClassVar[bool] = True

    def heads(self, width: int) -> tuple[Head, ...]:
        """Mean and log-variance."""
        return Head("mean", (width,)), Head("log_var", (width,))

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Gaussian:
        """Distribution with the given heads."""
        del hparams, params
        return Gaussian(heads["mean"], heads["log_var"]).restrict(latent_mask)
