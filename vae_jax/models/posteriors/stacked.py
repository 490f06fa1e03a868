"""Two stochastic layers: q(z1|x) q(z2|z1), z = (z1, z2), of which z1 alone enters the decoder.

Burda et al. 2016, section 5; the corresponding prior is in ``priors.stacked``.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.latents import split_layers
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.models.posteriors.conditional import ConditionalGaussian, init_conditional
from vae_jax.models.posteriors.gaussian import DiagonalGaussian, Gaussian
from vae_jax.runtime.errors import InputError
from vae_jax.settings import setting, sizes, whole
from vae_jax.types import LatentMask, Latents, Params, PRNGKey

top_hidden_sizes_setting = functools.partial(
    setting,
    (100, 100),
    sizes(0),
    "units of the dense layers between the stochastic layers",
    only_with="top_latent_size",
)
"""Field of a family with a second layer: sizes of the layers that join both."""


class TwoLayers(NamedTuple):
    """Distribution q(z1, z2|x) = q(z1|x) q(z2|z1).

    Attributes:
        lower: distribution q(z1|x).
        upper: conditional distribution q(z2|z1).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> mask_1, mask_2 = jnp.ones(2, bool), jnp.ones(1, bool)
        >>> params = init_conditional(jax.random.key(0), (4,), mask_1, mask_2)
        >>> lower = Gaussian(jnp.zeros((5, 2)), jnp.zeros((5, 2)))
        >>> q = TwoLayers(lower, ConditionalGaussian(params, mask_1, mask_2))
        >>> q.draw(jnp.zeros((5, 3))).log_prob.shape
        (5,)
    """

    lower: Posterior
    upper: ConditionalGaussian

    @property
    def center(self) -> Latents:
        """Center of q(z1|x), joined with the mean of z2 given it."""
        return jnp.concatenate([self.lower.center, self.upper_at_center.mean], axis=-1)

    @property
    def upper_at_center(self) -> Gaussian:
        """Gaussian q(z2|z1) at z1 = the center of q(z1|x), as a single posterior of z2 for x."""
        return self.upper(self.lower.center)

    def sample(self, noise: Latents) -> Latents:
        """Return z = (z1, z2): first z1 is drawn, then z2 given it."""
        return self.draw(noise).z

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the sample with its log-density in nats."""
        noise_1, noise_2 = split_layers(noise, self._width)
        z_1, log_prob_1 = self.lower.draw(noise_1)
        z_2, log_prob_2 = self.upper(z_1).draw(noise_2)
        return SampleAndLogProb(jnp.concatenate([z_1, z_2], axis=-1), log_prob_1 + log_prob_2)

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log q(z1|x) + log q(z2|z1) in nats."""
        z_1, z_2 = split_layers(z, self._width)
        return self.lower.log_prob(z_1) + self.upper(z_1).log_prob(z_2)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats of a sample, differentiable through z1 and z2 alone."""
        (z_1, z_2), (noise_1, noise_2) = (
            split_layers(z, self._width),
            split_layers(noise, self._width),
        )
        upper = jax.lax.stop_gradient(self.upper)
        return self.lower.path_log_prob(z_1, noise_1) + upper(z_1).log_prob_at_sample(z_2, noise_2)

    @property
    def _width(self) -> int:
        """Number of columns of z1."""
        return len(self.upper.given_mask)

    def component(self) -> Posterior:
        """Return the distribution with the component of q(z1|x) in place of q(z1|x)."""
        return TwoLayers(self.lower.component(), self.upper)


@dataclass(frozen=True)
class Stacked(PosteriorFamily):
    """Family with an upper layer z2 on top of any posterior that has a density.

    Attributes:
        base: family of q(z1|x).
        top_width: number of columns of z2.
        top_hidden_sizes: sizes of the dense tanh layers of q(z2|z1).

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams
        >>> from vae_jax.models.priors import StackedPrior
        >>> model = VAE((4, 4, 1), 2, MLP((8,)), posterior=Stacked(), prior=StackedPrior())
        >>> hparams = HParams.of(latent_size=2, top_latent_size=1)
        >>> params = model.init(hparams, jnp.full((4, 4, 1), 0.5))
        >>> model.encode(hparams, params, jnp.zeros((3, 4, 4, 1))).center.shape  # 48 + 48 columns
        (3, 96)
    """

    distribution: ClassVar[type] = TwoLayers

    base: PosteriorFamily = DiagonalGaussian()
    top_width: int = 48
    top_hidden_sizes: tuple[int, ...] = top_hidden_sizes_setting()

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "top_latent_size",
            0,
            whole(0),
            "coordinates of a second stochastic layer above z; 0: none",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse a lower layer that no Gaussian layer can stand on.

        Raises:
            InputError: q(z1|x) has no density, is not on R^n, or has noise of its own.
        """
        base = self.base
        if not base.has_density or base.support != "reals" or base.has_own_noise:
            raise InputError(
                f"base={type(base).__name__}: an upper layer needs a density on R^n that is "
                "sampled from standard normal noise; give another base"
            )

    @property
    def extra_width(self) -> int:
        """Number of columns of z2."""
        return self.top_width

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads of q(z1|x)."""
        return self.base.heads(width)

    def init(self, key: PRNGKey, hparams: HParams, latent_mask: LatentMask) -> Params:
        """Return the parameters of q(z2|z1) and, if it learns some, those of q(z1|x)."""
        lower_key, upper_key = jax.random.split(key)
        lower_mask, upper_mask = split_layers(latent_mask, len(latent_mask) - self.top_width)
        upper = init_conditional(upper_key, self.top_hidden_sizes, lower_mask, upper_mask)
        lower = self.base.init(lower_key, hparams, lower_mask)
        return {"upper": upper} | ({"lower": lower} if lower else {})

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> TwoLayers:
        """Return q(z1|x) q(z2|z1) with the given heads of q(z1|x)."""
        lower_mask, upper_mask = split_layers(latent_mask, len(latent_mask) - self.top_width)
        lower = self.base(hparams, params.get("lower", {}), heads, lower_mask)
        return TwoLayers(lower, ConditionalGaussian(params["upper"], lower_mask, upper_mask))
