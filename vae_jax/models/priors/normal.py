"""Standard normal prior."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import CholeskyGaussian, Gaussian, Posterior, normal_log_density
from vae_jax.models.priors.base import KL, Encode, PriorFamily
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey


class UnitNormal(NamedTuple):
    """Distribution p(z) = N(0, I).

    Attributes:
        latent_mask: mask of the used coordinates; None for all.

    Example:
        >>> import jax.numpy as jnp
        >>> q = Gaussian(mean=jnp.array([1.0, 0.0]), log_var=jnp.zeros(2))
        >>> UnitNormal().kl(q).per_latent.tolist()  # nats per latent
        [0.5, 0.0]
    """

    latent_mask: LatentMask | None = None

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats, summed over the used coordinates."""
        zero = jnp.zeros((), z.dtype)
        return jnp.sum(apply_mask(self.latent_mask, normal_log_density(z, zero, zero)), axis=-1)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return the noise itself, with zeros on the coordinates that are masked out."""
        del key
        return apply_mask(self.latent_mask, noise)

    def kl(self, q: Posterior) -> KL | None:
        """Return KL(q || p) in nats, with its terms, for a Gaussian q, else None.

        KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - ln s^2 - 1) / 2
        (Kingma & Welling 2014, appendix B). With correlations the j-th term is the mean KL of
        q(z_j|z_1..j-1): s^2 is the marginal variance, and in ln s^2 the conditional variance.
        """
        if isinstance(q, Gaussian):
            variance = jnp.exp(q.log_var)
        elif isinstance(q, CholeskyGaussian):
            variance = jnp.sum(q.factor**2, axis=-1)
        else:
            return None
        return KL.of_latents(0.5 * (q.mean**2 + variance - q.log_var - 1.0))


@dataclass(frozen=True)
class StandardNormal(PriorFamily):
    """Family of the standard normal prior p(z) = N(0, I); nothing is learned.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> p = StandardNormal()(HParams.of(), {}, jnp.array([True, False]), lambda x: x)
        >>> round(float(p.log_prob(jnp.zeros(2))), 3)  # -ln(2 pi) / 2 nats: one used latent
        -0.919
    """

    closed_form_kl: ClassVar[tuple[type, ...]] = (Gaussian, CholeskyGaussian)

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> UnitNormal:
        """Return the standard normal over the used coordinates."""
        del hparams, params, encode, y
        return UnitNormal(latent_mask)
