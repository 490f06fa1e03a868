"""Uniform prior on the unit sphere."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Posterior, VonMisesFisher, log_area
from vae_jax.models.priors.base import KL, Encode, PriorFamily
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey


class UniformOnSphere(NamedTuple):
    """Distribution p(z) = 1 / area of the unit sphere of R^d, d being the number of used latents.

    Attributes:
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> p = UniformOnSphere(jnp.array([True, True, True, False]))
        >>> round(float(p.log_prob(jnp.array([1.0, 0.0, 0.0, 0.0]))), 3)  # -ln(4 pi) nats
        -2.531
    """

    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats: the same at every point."""
        dimension = jnp.sum(self.latent_mask).astype(z.dtype)
        return jnp.broadcast_to(-log_area(dimension), z.shape[:-1])

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return the noise divided by its norm."""
        del key
        point = apply_mask(self.latent_mask, noise)
        return point / jnp.sqrt(jnp.sum(point**2, axis=-1, keepdims=True))

    def kl(self, q: Posterior) -> KL | None:
        """Return KL(q || p) in nats of a von Mises-Fisher q, which is no sum over latents."""
        return KL(q.kl_to_uniform()) if isinstance(q, VonMisesFisher) else None


@dataclass(frozen=True)
class UniformSphere(PriorFamily):
    """Family of the uniform prior on the sphere; nothing is learned."""

    support: ClassVar[str] = "sphere"
    closed_form_kl: ClassVar[tuple[type, ...]] = (VonMisesFisher,)

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> UniformOnSphere:
        """Return the uniform distribution over the sphere of the used coordinates."""
        del hparams, params, encode, y
        return UniformOnSphere(latent_mask)
