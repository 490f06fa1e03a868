"""Prior of two stochastic layers: p(z2) p(z1|z2) (Burda et al. 2016, section 5)."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, split_layers
from vae_jax.models.posteriors import ConditionalGaussian, Posterior, TwoLayers, init_conditional
from vae_jax.models.posteriors.stacked import top_hidden_sizes_setting
from vae_jax.models.priors.base import KL, Encode, Prior, PriorFamily, PriorInit
from vae_jax.models.priors.normal import StandardNormal
from vae_jax.types import Images, Labels, LatentMask, Latents, Params, PRNGKey


class TwoLayerPrior(NamedTuple):
    """Distribution p(z1, z2) = p(z2) p(z1|z2) of z = (z1, z2).

    Attributes:
        upper: distribution p(z2).
        lower: conditional distribution p(z1|z2).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax.models.priors.normal import UnitNormal
        >>> mask_1, mask_2 = jnp.ones(2, bool), jnp.ones(1, bool)
        >>> params = init_conditional(jax.random.key(0), (4,), mask_2, mask_1)
        >>> p = TwoLayerPrior(UnitNormal(mask_2), ConditionalGaussian(params, mask_2, mask_1))
        >>> p.sample(jax.random.key(1), jnp.zeros((5, 3))).shape
        (5, 3)
    """

    upper: Prior
    lower: ConditionalGaussian

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z2) + log p(z1|z2) in nats."""
        z_1, z_2 = split_layers(z, len(self.lower.latent_mask))
        return self.upper.log_prob(z_2) + self.lower(z_2).log_prob(z_1)

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return z = (z1, z2): first z2 is drawn, then z1 given it."""
        noise_1, noise_2 = split_layers(noise, len(self.lower.latent_mask))
        z_2 = self.upper.sample(key, noise_2)
        z_1 = apply_mask(self.lower.latent_mask, self.lower(z_2).sample(noise_1))
        return jnp.concatenate([z_1, z_2], axis=-1)

    def kl(self, q: Posterior) -> KL | None:
        """Return None: no closed form is known, since the mean of p(z1|z2) is a network of z2."""
        del q
        return None


@dataclass(frozen=True)
class StackedPrior(PriorFamily):
    """Family with any prior over z2 and a layer z1 below it.

    Attributes:
        top: family of p(z2).
        top_width: number of columns of z2.
        top_hidden_sizes: sizes of the dense tanh layers of p(z1|z2).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams, mask = StackedPrior(top_width=1), HParams.of(), jnp.ones(3, bool)
        >>> start = PriorInit(mask, jnp.zeros((0, 4, 4, 1)))
        >>> p = family(hparams, family.init(jax.random.key(0), hparams, start), mask, lambda x: x)
        >>> p.log_prob(jnp.zeros((5, 3))).shape
        (5,)
    """

    top: PriorFamily = StandardNormal()
    top_width: int = 48
    top_hidden_sizes: tuple[int, ...] = top_hidden_sizes_setting()

    @property
    def num_examples(self) -> int:
        """Number of training images that the initial parameters of p(z2) are made of."""
        return self.top.num_examples

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Return the parameters of p(z1|z2) and, if it learns some, those of p(z2)."""
        upper_key, lower_key = jax.random.split(key)
        width = len(start.latent_mask) - self.top_width
        lower_mask, upper_mask = split_layers(start.latent_mask, width)
        lower = init_conditional(lower_key, self.top_hidden_sizes, upper_mask, lower_mask)
        upper = self.top.init(upper_key, hparams, start._replace(latent_mask=upper_mask))
        return {"lower": lower} | ({"upper": upper} if upper else {})

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> TwoLayerPrior:
        """Return the prior with the given parameters.

        Where p(z2) is made of posteriors, they are q(z2|z1) at the center of q(z1|x).
        """

        def encode_upper(x: Images) -> Posterior:
            q = encode(x)
            assert isinstance(q, TwoLayers)
            return q.upper_at_center

        lower_mask, upper_mask = split_layers(latent_mask, len(latent_mask) - self.top_width)
        upper = self.top(hparams, params.get("upper", {}), upper_mask, encode_upper, y)
        return TwoLayerPrior(upper, ConditionalGaussian(params["lower"], upper_mask, lower_mask))
