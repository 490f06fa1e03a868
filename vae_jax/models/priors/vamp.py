"""The VampPrior: a mixture of the model's own posteriors (Tomczak & Welling 2018)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Gaussian, Posterior
from vae_jax.models.priors.base import Encode, PriorFamily, PriorInit
from vae_jax.models.priors.mixture import GaussianMixture
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float

_DARKEST = 0.01


class PosteriorMixture(NamedTuple):
    """p(z) = 1/K sum_k q_k(z) for posteriors of any kind.

    Attributes:
        parts: all q_k, on a leading axis.
        latent_mask: the coordinates that count.
    """

    parts: Posterior
    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z) in nats; each component's is summed over the active coordinates first."""
        log_parts = self.parts.log_prob(self._for_each_part(z))
        return jax.nn.logsumexp(log_parts, axis=-1) - math.log(log_parts.shape[-1])

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """One of the components' samples with this noise."""
        drawn = self.parts.sample(self._for_each_part(noise))
        chosen = jax.random.randint(key, noise.shape[:-1], 0, drawn.shape[-2])
        z = jnp.take_along_axis(drawn, chosen[..., None, None], axis=-2)
        return apply_mask(self.latent_mask, jnp.squeeze(z, axis=-2))

    def kl(self, q: Posterior) -> Latents | None:
        """No closed form is known."""
        del q

    def _for_each_part(self, values: Latents) -> Float[Array, "*batch components latents"]:
        shape = *values.shape[:-1], *self.parts.center.shape
        return jnp.broadcast_to(values[..., None, :], shape)


@dataclass(frozen=True)
class VampPrior(PriorFamily):
    r"""p(z) = 1/K sum_k q(z|u_k) with learned pseudo-inputs u_k (eq. 9).

    :math:`u = \mathrm{sigmoid}(w)` with w learned stays in [0, 1] and has a slope everywhere, which
    a Hardtanh has not. Of a posterior that is a flow its base is mixed, whose density is known at
    any z. In a conditional model u_k has the fixed label k modulo the number of classes, and p(z)
    does not depend on the label of x.

    Attributes:
        num_components: K.
        pseudo_inputs: what they start from: ``data``, training images, between 0.01 and 0.99 for
            the sake of the slope; ``noise``, w ~ N(0, 1), as are those for which there is no image.
    """

    num_components: int = 10
    pseudo_inputs: str = "data"

    @property
    def num_examples(self) -> int:
        """One training image per component, or none."""
        return self.num_components if self.pseudo_inputs == "data" else 0

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Logits w of the pseudo-inputs."""
        del hparams
        images = jnp.clip(start.images[: self.num_examples], _DARKEST, 1.0 - _DARKEST)
        shape = self.num_components - len(images), *images.shape[1:]
        noise = jax.random.normal(key, shape, default_float())
        return {"pseudo_inputs": jnp.concatenate([jax.scipy.special.logit(images), noise])}

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> GaussianMixture | PosteriorMixture:
        """The mixture of the present encoder's posteriors."""
        del hparams, y
        parts = encode(jax.nn.sigmoid(params["pseudo_inputs"])).component()
        if not isinstance(parts, Gaussian):
            return PosteriorMixture(parts, latent_mask)
        return GaussianMixture(jnp.zeros(len(parts.mean), parts.mean.dtype), parts, latent_mask)
