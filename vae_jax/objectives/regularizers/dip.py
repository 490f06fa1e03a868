"""DIP-VAE: a penalty on the distance of the codes' covariance from the identity."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import apply_mask
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, latent_densities
from vae_jax.settings import one_of, real, setting
from vae_jax.types import Latents, Params, Scalar


@dataclass(frozen=True)
class DIP(Regularizer):
    """Disentangled inferred prior, DIP-VAE (Kumar et al. 2018, eqs. 6 and 7).

    With C the covariance of the codes, the penalty is ``dip_offdiagonal`` times the sum of
    C_ij^2 over i other than j, plus ``dip_diagonal`` times the sum of (C_ii - 1)^2.

    Attributes:
        dip_of: codes whose covariance is penalized: ``means``, E[z|x], as in DIP-VAE I, or
            ``samples``, z, whose covariance is larger by the mean of Var[z|x], as in DIP-VAE II.

    Example:
        >>> import vae_jax
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=10)
        >>> spec = vae_jax.TrainSpec(model, regularizers=(DIP(dip_of="samples"),))
        >>> hparams = vae_jax.HParams.of(dip_offdiagonal=[0.0, 10.0], dip_diagonal=5.0)
        >>> spec.regularizers[0].strengths()
        ('dip_offdiagonal', 'dip_diagonal')
    """

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "dip_offdiagonal",
            0.0,
            real(0.0),
            "weight of the codes' covariances (DIP-VAE)",
            source="Kumar et al. 2018, eqs. 6 and 7",
        ),
        HParam(
            "dip_diagonal",
            0.0,
            real(0.0),
            "weight of the distance of the codes' variances from 1",
            source="Kumar et al. 2018, eqs. 6 and 7",
        ),
    )
    needs_latent_densities: ClassVar[bool] = True

    dip_of: str = setting(
        "means",
        one_of("means", "samples"),
        "codes that DIP-VAE compares: means (I) or samples (II)",
    )

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """Return the sum of both terms, each times its strength."""
        del params
        q = latent_densities(samples, context.latent_mask)
        codes = covariance(q.mean)
        within = jnp.mean(jnp.exp(q.log_var), axis=0) if self.dip_of == "samples" else 0.0
        diagonal = apply_mask(context.latent_mask, jnp.diag(codes) + within - 1.0)
        others = jnp.where(jnp.eye(len(codes), dtype=bool), 0.0, codes)
        penalty = hparams.dip_offdiagonal * jnp.sum(others**2)
        return penalty + hparams.dip_diagonal * jnp.sum(diagonal**2)


def covariance(codes: Latents) -> Float[Array, "latents latents"]:
    """Return the unbiased covariance over the batch; a constant coordinate has zeros."""
    deviations = codes - jnp.mean(codes, axis=0, keepdims=True)
    return deviations.T @ deviations / (len(codes) - 1)
