"""A posterior from outside with densities of single latents that are not Gaussian."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Head, PosteriorFamily, SampleAndLogProb


class Laplace(NamedTuple):
    """q(z|x) = prod_j exp(-|z_j - location_j| / s_j) / (2 s_j), s_j = exp(log_scale_j)."""

    location: Array
    log_scale: Array
    latent_mask: Array | None = None

    @property
    def mean(self):
        return self.location

    @property
    def log_var(self):
        return jnp.log(2.0) + 2 * self.log_scale

    @property
    def center(self):
        return self.location

    def restrict(self, latent_mask):
        fields = (apply_mask(latent_mask, field) for field in self[:2])
        return Laplace(*fields, latent_mask)

    def first(self, num_latents):
        return Laplace(*(field[..., :num_latents] for field in self[:2]))

    def deviation(self, noise):
        """Noise is standard normal; its tail probabilities are those of the Laplace density."""
        tail = jnp.log(2.0) + jnp.log(jnp.clip(0.5 * jnp.exp(-jnp.abs(noise)), 1e-30))
        return -jnp.sign(noise) * jnp.exp(self.log_scale) * tail

    def sample(self, noise):
        return self.location + self.deviation(noise)

    def each(self, deviation):
        return -jnp.abs(deviation) * jnp.exp(-self.log_scale) - jnp.log(2.0) - self.log_scale

    def log_prob(self, z):
        return jnp.sum(apply_mask(self.latent_mask, self.each(z - self.location)), axis=-1)

    def draw(self, noise):
        z = self.sample(noise)
        return SampleAndLogProb(z, self.log_prob(z))

    def path_log_prob(self, z, noise):
        del noise
        return self.log_prob(z)

    def component(self):
        return self

    def pairwise_log_density(self, mean, deviation):
        moved = (mean[:, None] - self.location[None]) + deviation[:, None]
        return self._replace(log_scale=jnp.broadcast_to(self.log_scale, moved.shape)).each(moved)


@dataclass(frozen=True)
class LaplaceFamily(PosteriorFamily):
    """Family of :class:`Laplace`."""

    distribution: ClassVar[type] = Laplace
    has_latent_densities: ClassVar[bool] = True

    def heads(self, width):
        return Head("location", (width,)), Head("log_scale", (width,))

    def __call__(self, hparams, params, heads, latent_mask):
        del hparams, params
        return Laplace(heads["location"], heads["log_scale"]).restrict(latent_mask)
