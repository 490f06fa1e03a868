"""Maximum mean discrepancy (MMD) between the aggregate posterior q(z) and the prior p(z)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import apply_mask
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.objectives.regularizers.base import Context, Regularizer, column_keys
from vae_jax.settings import real
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar

KERNEL_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths of the kernels, in units of 2d: the mean squared distance of two samples of N(0, I_d)."""

Samples = Float[Array, "batch latents"]
"""Samples of z, one per example."""
Pairs = Float[Array, "batch batch"]
"""Values for each pair of samples."""


@dataclass(frozen=True)
class MMD(Regularizer):
    """Penalty MMD^2(q(z), p(z)); it needs samples alone, so it works with every posterior.

    With ``--posterior=delta`` it makes the Wasserstein autoencoder WAE-MMD (Tolstikhin et al. 2018,
    algorithm 2). Beside a KL of weight beta it makes the InfoVAE of alpha = 1 - beta and lambda =
    ``mmd_weight`` + beta (Zhao et al. 2019). MMD^2 has no unit; the weight gives nats per
    unit of it.

    Example:
        >>> import vae_jax
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=10)
        >>> spec = vae_jax.TrainSpec(model, regularizers=(MMD(),))
        >>> hparams = vae_jax.HParams.of(mmd_weight=[0.0, 10.0])
        >>> spec.regularizers[0].strengths()
        ('mmd_weight',)
    """

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam("mmd_weight", 0.0, real(0.0), "weight of the MMD between q(z) and p(z)"),
    )
    is_of_prior: ClassVar[bool] = True

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """Return ``mmd_weight`` times the estimate, a mean over particles.

        Each particle has its own estimate: those of one example are no independent samples of q(z).
        """
        del params
        latent_mask, (noise_key, prior_key) = context.latent_mask, jax.random.split(context.key)
        prior = samples.p.sample(prior_key, _noise(noise_key, samples.z, latent_mask))
        num_latents = jnp.sum(latent_mask, dtype=samples.z.dtype)
        estimates = jax.vmap(lambda z, other: squared_mmd(z, other, num_latents))
        return hparams.mmd_weight * jnp.mean(
            estimates(apply_mask(latent_mask, samples.z), apply_mask(latent_mask, prior))
        )


def _noise(key: PRNGKey, z: Latents, latent_mask: LatentMask) -> Latents:
    """Draw standard normal noise of z's shape, column by column."""
    columns = jax.vmap(lambda own: jax.random.normal(own, z.shape[:-1], z.dtype))
    return apply_mask(latent_mask, jnp.moveaxis(columns(column_keys(key, latent_mask)), 0, -1))


def squared_mmd(z: Samples, other: Samples, num_latents: Scalar) -> Scalar:
    """Return the unbiased estimate of MMD^2 from equally many samples of two distributions.

    E k(z, z') + E k(w, w') - 2 E k(z, w) as U-statistics (Gretton et al. 2012, eq. 3), which may be
    negative.
    """
    between = jnp.mean(_kernel(z, other, num_latents))
    return (
        _mean_of_pairs(_kernel(z, z, num_latents))
        + _mean_of_pairs(_kernel(other, other, num_latents))
        - 2 * between
    )


def _mean_of_pairs(kernel: Pairs) -> Scalar:
    """Return the mean over all pairs of two different samples."""
    num = len(kernel)
    pairs = jnp.where(jnp.eye(num, dtype=bool), 0.0, kernel)
    return jnp.sum(pairs) / (num * (num - 1))


def _kernel(left: Samples, right: Samples, num_latents: Scalar) -> Pairs:
    """Return the sum of kernels c / (c + |z - w|^2), c = 2d times each scale (IMQ kernels)."""
    squares = _squared_distances(left, right)
    widths = [2 * num_latents * scale for scale in KERNEL_SCALES]
    first, *others = (width / (width + squares) for width in widths)
    return sum(others, start=first)


def _squared_distances(left: Samples, right: Samples) -> Pairs:
    """Return |z|^2 + |w|^2 - 2 z'w, at least zero in spite of rounding."""
    squares = jnp.sum(left**2, axis=-1)[:, None] + jnp.sum(right**2, axis=-1)[None]
    return jnp.maximum(squares - 2 * left @ right.T, 0.0)
