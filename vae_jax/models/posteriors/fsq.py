"""Codes on a grid: finite scalar quantization of the encoder's output.

Mentzer et al. 2024, *Finite Scalar Quantization: VQ-VAE Made Simple*. Every latent is rounded to
one of ``num_levels`` equally spaced values, and q(z|x) is the point mass on that code. With the
uniform prior on the grid the ELBO is a true bound, E[log p(x|z)] - n ln(num_levels) nats for n
latents, and the sum over all codes gives the evidence itself where there are few.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.settings import setting, whole
from vae_jax.types import LatentMask, Latents, Params

LEVELS = (8, whole(2, 2**16), "values of each latent on its grid")
"""Default, type and meaning of the setting ``num_levels``, of posterior and prior alike."""


def nearest_level(z: Latents, num_levels: int | Float[Array, ""]) -> Latents:
    """Return the nearest of ``num_levels`` values from -1 to 1, for each coordinate.

    Example:
        >>> import jax.numpy as jnp
        >>> nearest_level(jnp.array([-0.9, 0.1, 2.0]), 3).tolist()
        [-1.0, 0.0, 1.0]
    """
    index = jnp.clip(jnp.round(0.5 * (z + 1.0) * (num_levels - 1)), 0, num_levels - 1)
    return 2.0 * index / (num_levels - 1) - 1.0


class GridCode(NamedTuple):
    """Point mass q(z|x) on the grid point that is nearest to the encoder's output.

    Attributes:
        code: point of the grid, ``[*batch, latents]``, with the gradient of the encoder's output.
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> q = GridCode(jnp.array([1.0, -1.0]), jnp.ones(2, bool))
        >>> float(q.log_prob(jnp.array([1.0, -1.0]))), float(q.log_prob(jnp.zeros(2)))
        (0.0, -inf)
    """

    code: Latents
    latent_mask: LatentMask

    @property
    def center(self) -> Latents:
        """The code."""
        return self.code

    def sample(self, noise: Latents) -> Latents:
        """Return the code, whatever the noise."""
        return jnp.broadcast_to(prepend_axes(self.code, noise.ndim), noise.shape)

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the code and its log-probability, zero."""
        z = self.sample(noise)
        return SampleAndLogProb(z, jnp.zeros(z.shape[:-1], z.dtype))

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return 0 at the code and -inf at any other point."""
        is_code = jnp.all(z == prepend_axes(self.code, z.ndim), axis=-1)
        return jnp.where(is_code, 0.0, -jnp.inf)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return zero: the probability of a code does not depend on where it is."""
        del noise
        return jnp.zeros(z.shape[:-1], z.dtype)

    def component(self) -> Posterior:
        """Return the distribution itself."""
        return self


@dataclass(frozen=True)
class FSQ(PosteriorFamily):
    """Family of codes on a grid: tanh of a head, rounded to equally spaced values of [-1, 1].

    The gradient passes through the rounding as if there was none (straight-through, Bengio et al.
    2013), and is thus no gradient of the expectation.

    Attributes:
        num_levels: values of each latent.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> heads = {"code": jnp.array([[-9.0, 0.2, 9.0]])}
        >>> FSQ(num_levels=3)(HParams.of(), {}, heads, jnp.ones(3, bool)).code.tolist()
        [[-1.0, 0.0, 1.0]]
    """

    num_levels: int = setting(*LEVELS)

    support: ClassVar[str] = "grid"
    distribution: ClassVar[type] = GridCode
    is_reparameterized: ClassVar[bool] = False

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the head of the code."""
        return (Head("code", (width,)),)

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> GridCode:
        """Return the point mass on the code that is nearest to tanh of the head."""
        del hparams, params
        smooth = jnp.tanh(heads["code"])
        level = nearest_level(jax.lax.stop_gradient(smooth), self.num_levels)
        # The value is exactly the level, the gradient that of the smooth code.
        code = level + (smooth - jax.lax.stop_gradient(smooth))
        return GridCode(apply_mask(latent_mask, code), latent_mask)
