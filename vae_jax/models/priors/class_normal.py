"""Class-conditional Gaussian prior p(z|y)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import CholeskyGaussian, Gaussian, Posterior
from vae_jax.models.priors.base import KL, Encode, PriorFamily, PriorInit
from vae_jax.models.priors.normal import UnitNormal
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float


class ClassNormal(NamedTuple):
    """Distribution p(z|y) = N(z; mean_y, exp(log_var_y)) for given labels.

    Attributes:
        gaussian: Gaussian of each label's class, restricted to ``latent_mask``.
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> mask = jnp.ones(2, bool)
        >>> p = ClassNormal(Gaussian(jnp.ones((3, 2)), jnp.zeros((3, 2)), mask), mask)
        >>> q = Gaussian(jnp.zeros((3, 2)), jnp.zeros((3, 2)))
        >>> p.kl(q).per_latent[0].tolist()  # (0 - 1)^2 / 2 nats
        [0.5, 0.5]
    """

    gaussian: Gaussian
    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z|y) in nats, summed over the used coordinates."""
        return self.gaussian.log_prob(z)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return the noise scaled and shifted to the Gaussian of the class."""
        del key
        return apply_mask(self.latent_mask, self.gaussian.sample(noise))

    def kl(self, q: Posterior) -> KL | None:
        """Return KL(q || p) in nats, with its terms, for a Gaussian q, else None.

        A KL is invariant when both are shifted and scaled, so p is transformed to N(0, I).
        """
        unit, scale = UnitNormal(self.latent_mask), finite_exp(-0.5 * self.gaussian.log_var)
        if not isinstance(q, Gaussian | CholeskyGaussian):
            return None
        mean, log_var = (q.mean - self.gaussian.mean) * scale, q.log_var - self.gaussian.log_var
        if isinstance(q, Gaussian):
            return unit.kl(q._replace(mean=mean, log_var=log_var))
        return unit.kl(q._replace(mean=mean, log_var=log_var, lower=q.lower * scale[..., None]))


@dataclass(frozen=True)
class ClassPrior(PriorFamily):
    """Family p(z|y) with a learned mean and log-variance per class, initially N(0, I).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams, mask = ClassPrior(), HParams.of(), jnp.ones(2, bool)
        >>> start = PriorInit(mask, jnp.zeros((0, 4, 4, 1)), num_classes=10)
        >>> params = family.init(jax.random.key(0), hparams, start)
        >>> p = family(hparams, params, mask, lambda x: None, jnp.array([3, 7]))
        >>> p.log_prob(jnp.zeros((2, 2))).shape
        (2,)
    """

    needs_labels: ClassVar[bool] = True
    closed_form_kl: ClassVar[tuple[type, ...]] = (Gaussian, CholeskyGaussian)

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Return means and log-variances of zero, ``[num_classes, latents]``."""
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
        """Return the Gaussians of the given labels.

        Raises:
            ValueError: no labels are given.
        """
        del hparams, encode
        if y is None:
            raise ValueError(
                "y=None: the prior class_normal is p(z|y) and needs labels; "
                "pass y, one class for each example"
            )
        table = Gaussian(params["means"], params["log_vars"]).restrict(latent_mask)
        gaussian = Gaussian(_row(table.mean, y), _row(table.log_var, y), latent_mask)
        return ClassNormal(gaussian, latent_mask)


def _row(table: Float[Array, "classes latents"], y: Labels) -> Latents:
    """Return ``table[y]`` as a product, whose gradient sums in the same order on every device."""
    one_hot = jax.nn.one_hot(y, len(table), dtype=table.dtype)
    return jnp.matmul(one_hot, table, precision=jax.lax.Precision.HIGHEST)
