"""A Gaussian for each class of a conditional model."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import CholeskyGaussian, Gaussian, Posterior
from vae_jax.models.priors.base import Encode, PriorFamily, PriorInit
from vae_jax.models.priors.normal import UnitNormal
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float


class ClassNormal(NamedTuple):
    """p(z|y) = N(z; mean_y, exp(log_var_y)) for given labels.

    Attributes:
        own: of each label, restricted to ``latent_mask``.
        latent_mask: the coordinates that count.
    """

    own: Gaussian
    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z|y) in nats, summed over the active coordinates."""
        return self.own.log_prob(z)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """The noise, moved to the class."""
        del key
        return apply_mask(self.latent_mask, self.own.sample(noise))

    def kl(self, q: Posterior) -> Latents | None:
        """KL(q || p) of each latent, in nats, for a Gaussian q.

        No KL changes when both are moved and scaled, so p may be made N(0, I).
        """
        unit, scale = UnitNormal(self.latent_mask), finite_exp(-0.5 * self.own.log_var)
        if not isinstance(q, Gaussian | CholeskyGaussian):
            return None
        mean, log_var = (q.mean - self.own.mean) * scale, q.log_var - self.own.log_var
        if isinstance(q, Gaussian):
            return unit.kl(q._replace(mean=mean, log_var=log_var))
        return unit.kl(q._replace(mean=mean, log_var=log_var, lower=q.lower * scale[..., None]))


@dataclass(frozen=True)
class ClassPrior(PriorFamily):
    """Mean and log-variance of every class are learned; all start as N(0, I)."""

    needs_labels: ClassVar[bool] = True
    has_gaussian_kl: ClassVar[bool] = True

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Zeros."""
        del key, hparams
        zeros = jnp.zeros((start.num_classes, len(start.latent_mask)), default_float())
        return {"means": zeros, "log_vars": zeros}

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> ClassNormal:
        """The Gaussians of the given labels."""
        del hparams, encode
        if y is None:
            raise ValueError("a prior of classes needs labels y")
        table = Gaussian(params["means"], params["log_vars"]).restrict(latent_mask)
        own = Gaussian(_row(table.mean, y), _row(table.log_var, y), latent_mask)
        return ClassNormal(own, latent_mask)


def _row(table: Float[Array, "classes latents"], y: Labels) -> Latents:
    """``table[y]``, as a product whose gradient adds in the same order on every device."""
    one_hot = jax.nn.one_hot(y, len(table), dtype=table.dtype)
    return jnp.matmul(one_hot, table, precision=jax.lax.Precision.HIGHEST)
