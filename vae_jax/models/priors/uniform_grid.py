"""Uniform prior on a grid of codes."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import GridCode, Posterior, nearest_level
from vae_jax.models.posteriors.fsq import LEVELS
from vae_jax.models.priors.base import KL, Encode, PriorFamily
from vae_jax.settings import setting
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float

TOLERANCE = 1e-5
"""Distance within which a coordinate counts as one of the grid's values."""


class UniformOnGrid(NamedTuple):
    """Distribution p(z) = num_levels^-n on the grid of n used latents, 0 elsewhere.

    Attributes:
        num_levels: number of values of each latent.
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> p = UniformOnGrid(jnp.float32(2.0), jnp.array([True, True, False]))
        >>> round(float(p.log_prob(jnp.array([1.0, -1.0, 0.0]))), 3)  # -2 ln 2 nats
        -1.386
    """

    num_levels: Float[Array, ""]
    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats: -n ln(num_levels) on the grid, -inf elsewhere."""
        is_level = jnp.abs(z - nearest_level(z, self.num_levels)) <= TOLERANCE
        used = jnp.broadcast_to(self.latent_mask, z.shape)
        is_on_grid = jnp.all(is_level | ~used, axis=-1)
        total = jnp.sum(apply_mask(self.latent_mask, self._per_latent(z)), axis=-1)
        return jnp.where(is_on_grid, -total, -jnp.inf)

    def _per_latent(self, z: Latents) -> Latents:
        return jnp.broadcast_to(jnp.log(self.num_levels), z.shape)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return the level at the quantile of the noise, so that neighbours stay neighbours."""
        del key
        share = jax.scipy.stats.norm.cdf(noise) * self.num_levels
        index = jnp.clip(jnp.floor(share), 0, self.num_levels - 1)
        return apply_mask(self.latent_mask, 2.0 * index / (self.num_levels - 1) - 1.0)

    def kl(self, q: Posterior) -> KL | None:
        """Return KL(q || p) of a point mass on the grid: ln(num_levels) nats for each latent."""
        if not isinstance(q, GridCode):
            return None
        return KL.of_latents(apply_mask(self.latent_mask, self._per_latent(q.code)))


@dataclass(frozen=True)
class UniformGrid(PriorFamily):
    """Family of the uniform prior on a grid; nothing is learned.

    Attributes:
        num_levels: values of each latent, as many as the posterior's.
    """

    num_levels: int = setting(*LEVELS)

    support: ClassVar[str] = "grid"
    closed_form_kl: ClassVar[tuple[type, ...]] = (GridCode,)

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> UniformOnGrid:
        """Return the uniform distribution over the grid of the used coordinates."""
        del hparams, params, encode, y
        return UniformOnGrid(jnp.asarray(self.num_levels, default_float()), latent_mask)
