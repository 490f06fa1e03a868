"""Deterministic code z = f(x) of a plain autoencoder."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.types import LatentMask, Latents, Params

NO_DENSITY = "a deterministic code has no density; choose a posterior with has_density"


class Point(NamedTuple):
    """Point mass at one z; it has no density, hence no KL, no ELBO and no NLL.

    Attributes:
        z: code, ``[*batch, latents]``.

    Example:
        >>> import jax.numpy as jnp
        >>> Point(jnp.array([1.0, 2.0])).sample(jnp.ones(2)).tolist()  # noise is ignored
        [1.0, 2.0]
    """

    z: Latents

    @property
    def center(self) -> Latents:
        """Code z."""
        return self.z

    def sample(self, noise: Latents) -> Latents:
        """Return the code in the shape of the noise, which is otherwise ignored."""
        return jnp.broadcast_to(prepend_axes(self.z, noise.ndim), noise.shape)

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the code; the log-density is a placeholder of zeros, which is never reported."""
        z = self.sample(noise)
        return SampleAndLogProb(z, jnp.zeros(z.shape[:-1], z.dtype))

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Raise: a deterministic code has no density.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(NO_DENSITY)

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Raise: a deterministic code has no density.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(NO_DENSITY)

    def component(self) -> Posterior:
        """Return the distribution itself, which no mixture can use: it has no density."""
        return self


@dataclass(frozen=True)
class Delta(PosteriorFamily):
    """Family of deterministic codes z = f(x): the plain autoencoder.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> mask = jnp.array([True, False])
        >>> Delta()(HParams.of(latent_size=1), {}, {"mean": jnp.ones(2)}, mask).center.tolist()
        [1.0, 0.0]
    """

    distribution: ClassVar[type] = Point
    has_density: ClassVar[bool] = False

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return one head, the code, with the name of the Gaussian's mean."""
        return (Head("mean", (width,)),)

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Point:
        """Return the code, with zeros on the coordinates that are masked out."""
        del hparams, params
        return Point(apply_mask(latent_mask, heads["mean"]))
