"""Two stochastic layers: q(z1|x) q(z2|z1), z = (z1, z2), of which the decoder sees z1 alone.

Burda et al. 2016, section 5; the prior that belongs to it is in ``priors.stacked``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import split
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.models.posteriors.conditional import ConditionalGaussian, init_conditional
from vae_jax.models.posteriors.gaussian import DiagonalGaussian, Gaussian
from vae_jax.types import LatentMask, Latents, Params, PRNGKey


class TwoLayers(NamedTuple):
    """q(z1, z2|x) = q(z1|x) q(z2|z1).

    Attributes:
        lower: q(z1|x).
        upper: q(z2|z1).
    """

    lower: Posterior
    upper: ConditionalGaussian

    @property
    def center(self) -> Latents:
        """The center of z1, and the mean of z2 given it."""
        return jnp.concatenate([self.lower.center, self.upper_at_center.mean], axis=-1)

    @property
    def upper_at_center(self) -> Gaussian:
        """q(z2|z1) at the center of z1: what stands for x among posteriors of z2."""
        return self.upper(self.lower.center)

    def sample(self, noise: Latents) -> Latents:
        """First z1, then z2 given it."""
        return self.draw(noise).z

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """The sample and its log-density."""
        noise_1, noise_2 = split(noise, self._width)
        z_1, log_prob_1 = self.lower.draw(noise_1)
        z_2, log_prob_2 = self.upper(z_1).draw(noise_2)
        return SampleAndLogProb(jnp.concatenate([z_1, z_2], axis=-1), log_prob_1 + log_prob_2)

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log q(z1|x) + log q(z2|z1) in nats."""
        z_1, z_2 = split(z, self._width)
        return self.lower.log_prob(z_1) + self.upper(z_1).log_prob(z_2)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x), differentiable through z1 and z2 alone."""
        (z_1, z_2), (noise_1, noise_2) = split(z, self._width), split(noise, self._width)
        upper = jax.lax.stop_gradient(self.upper)
        return self.lower.path_log_prob(z_1, noise_1) + upper(z_1).own_log_prob(z_2, noise_2)

    @property
    def _width(self) -> int:
        """Columns of z1."""
        return len(self.upper.given)

    def component(self) -> Posterior:
        """The component of z1 with q(z2|z1) on it."""
        return TwoLayers(self.lower.component(), self.upper)


@dataclass(frozen=True)
class Stacked(PosteriorFamily):
    """A layer z2 on top of any posterior with noise.

    Attributes:
        base: family of q(z1|x).
        top_width: columns of z2.
        top_hidden_sizes: dense tanh layers of q(z2|z1).
    """

    base: PosteriorFamily = DiagonalGaussian()
    top_width: int = 48
    top_hidden_sizes: tuple[int, ...] = (100, 100)

    @property
    def extra_width(self) -> int:
        """The columns of z2."""
        return self.top_width

    def heads(self, width: int) -> tuple[Head, ...]:
        """Those of q(z1|x)."""
        return self.base.heads(width)

    def init(self, key: PRNGKey, hparams: HParams, latent_mask: LatentMask) -> Params:
        """The network of q(z2|z1), and what q(z1|x) learns."""
        lower_key, upper_key = jax.random.split(key)
        given, above = split(latent_mask, len(latent_mask) - self.top_width)
        upper = init_conditional(upper_key, self.top_hidden_sizes, given, above)
        lower = self.base.init(lower_key, hparams, given)
        return {"upper": upper} | ({"lower": lower} if lower else {})

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> TwoLayers:
        """Distribution with the given heads, which are those of q(z1|x)."""
        given, above = split(latent_mask, len(latent_mask) - self.top_width)
        lower = self.base(hparams, params.get("lower", {}), heads, given)
        return TwoLayers(lower, ConditionalGaussian(params["upper"], given, above))
