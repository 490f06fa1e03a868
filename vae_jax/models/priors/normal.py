"""The standard normal prior."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import CholeskyGaussian, Gaussian, Posterior, normal_log_density
from vae_jax.models.priors.base import Encode, PriorFamily
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey


class UnitNormal(NamedTuple):
    """p(z) = N(0, I) over the active coordinates; None for all."""

    latent_mask: LatentMask | None = None

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z) in nats, summed over the active coordinates."""
        zero = jnp.zeros((), z.dtype)
        return jnp.sum(apply_mask(self.latent_mask, normal_log_density(z, zero, zero)), axis=-1)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """The noise itself."""
        del key
        return apply_mask(self.latent_mask, noise)

    def kl(self, q: Posterior) -> Latents | None:
        """KL(q || p) of each latent, in nats, for a Gaussian q.

        KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - ln s^2 - 1) / 2
        (Kingma & Welling 2014, appendix B). With correlations the j-th term is the mean KL of
        q(z_j|z_1..j-1): there s^2 is the marginal variance in the second place, the conditional
        one in the third.
        """
        if isinstance(q, Gaussian):
            variance = jnp.exp(q.log_var)
        elif isinstance(q, CholeskyGaussian):
            variance = jnp.sum(q.factor**2, axis=-1)
        else:
            return None
        return 0.5 * (q.mean**2 + variance - q.log_var - 1.0)


@dataclass(frozen=True)
class StandardNormal(PriorFamily):
    """p(z) = N(0, I)."""

    has_gaussian_kl: ClassVar[bool] = True

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> UnitNormal:
        """The standard normal over the active coordinates."""
        del hparams, params, encode, y
        return UnitNormal(latent_mask)
