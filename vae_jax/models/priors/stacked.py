"""The prior of two stochastic layers: p(z2) p(z1|z2) (Burda et al. 2016, section 5)."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, split
from vae_jax.models.posteriors import ConditionalGaussian, Posterior, TwoLayers, init_conditional
from vae_jax.models.priors.base import Encode, Prior, PriorFamily, PriorInit
from vae_jax.models.priors.normal import StandardNormal
from vae_jax.types import Images, Labels, LatentMask, Latents, Params, PRNGKey


class TwoLayerPrior(NamedTuple):
    """p(z1, z2) = p(z2) p(z1|z2), z = (z1, z2).

    Attributes:
        upper: p(z2).
        lower: p(z1|z2).
    """

    upper: Prior
    lower: ConditionalGaussian

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z2) + log p(z1|z2) in nats."""
        z_1, z_2 = split(z, len(self.lower.latent_mask))
        return self.upper.log_prob(z_2) + self.lower(z_2).log_prob(z_1)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """First z2, then z1 given it."""
        noise_1, noise_2 = split(noise, len(self.lower.latent_mask))
        z_2 = self.upper.sample(key, noise_2)
        z_1 = apply_mask(self.lower.latent_mask, self.lower(z_2).sample(noise_1))
        return jnp.concatenate([z_1, z_2], axis=-1)

    def kl(self, q: Posterior) -> Latents | None:
        """None is known: z1 stands on both sides of a network."""
        del q
        return None


@dataclass(frozen=True)
class StackedPrior(PriorFamily):
    """Any prior over z2, and a layer z1 below it.

    Attributes:
        top: family of p(z2).
        top_width: columns of z2.
        top_hidden_sizes: dense tanh layers of p(z1|z2).
    """

    top: PriorFamily = StandardNormal()
    top_width: int = 48
    top_hidden_sizes: tuple[int, ...] = (100, 100)

    @property
    def num_examples(self) -> int:
        """Those of its top."""
        return self.top.num_examples

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """The network of p(z1|z2), and what p(z2) learns."""
        upper_key, lower_key = jax.random.split(key)
        latent_mask, given = split(start.latent_mask, len(start.latent_mask) - self.top_width)
        lower = init_conditional(lower_key, self.top_hidden_sizes, given, latent_mask)
        upper = self.top.init(upper_key, hparams, start._replace(latent_mask=given))
        return {"lower": lower} | ({"upper": upper} if upper else {})

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> TwoLayerPrior:
        """The prior with the given parameters.

        Where p(z2) is made of posteriors, they are q(z2|z1) at the center of q(z1|x).
        """

        def encode_upper(x: Images) -> Posterior:
            q = encode(x)
            assert isinstance(q, TwoLayers)
            return q.upper_at_center

        latent_mask, given = split(latent_mask, len(latent_mask) - self.top_width)
        upper = self.top(hparams, params.get("upper", {}), given, encode_upper, y)
        return TwoLayerPrior(upper, ConditionalGaussian(params["lower"], given, latent_mask))
