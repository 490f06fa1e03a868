"""The deterministic code of a plain autoencoder."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, grow
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.types import LatentMask, Latents, Params


class Point(NamedTuple):
    """All mass at one z; no density, hence no KL, no ELBO and no NLL."""

    z: Latents

    @property
    def center(self) -> Latents:
        """The point."""
        return self.z

    def sample(self, noise: Latents) -> Latents:
        """The point, whatever the noise."""
        return jnp.broadcast_to(grow(self.z, noise.ndim), noise.shape)

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """The point; zero stands where a density has its logarithm, and is never reported."""
        z = self.sample(noise)
        return SampleAndLogProb(z, jnp.zeros(z.shape[:-1], z.dtype))

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """There is none."""
        raise NotImplementedError("a deterministic code has no density")

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """There is none."""
        raise NotImplementedError("a deterministic code has no density")

    def component(self) -> Posterior:
        """Itself, which no mixture can use."""
        return self


@dataclass(frozen=True)
class Delta(PosteriorFamily):
    """z = f(x) without noise: the plain autoencoder."""

    has_density: ClassVar[bool] = False

    def heads(self, width: int) -> tuple[Head, ...]:
        """The code, under the name that the Gaussian gives its mean."""
        return (Head("mean", (width,)),)

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Point:
        """The code, zero on inactive coordinates."""
        del hparams, params
        return Point(apply_mask(latent_mask, heads["mean"]))
