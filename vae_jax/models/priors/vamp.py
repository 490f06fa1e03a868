"""VampPrior: a mixture of the model's own posteriors (Tomczak & Welling 2018)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.posteriors import Gaussian, Posterior
from vae_jax.models.priors.base import KL, Encode, PriorFamily, PriorInit
from vae_jax.models.priors.mixture import GaussianMixture, num_components_setting
from vae_jax.settings import one_of, setting
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float

_MIN_GRAY = 0.01
"""Smallest gray of an image as pseudo-input; at 0 and 1 the sigmoid has no gradient."""
_MIN_COUNT = 0.01
"""Smallest mean of a count as pseudo-input, for the same reason."""


class _InputSpace(NamedTuple):
    """Space of pseudo-inputs u = to_x(w) for data of one encoding.

    Attributes:
        name: name of the parameters w.
        to_x: map from any real w to what the encoder reads.
        from_x: map from examples to the w that gives them.
    """

    name: str
    to_x: Callable[[Array], Array]
    from_x: Callable[[Array], Array]


def _logits(x: Array) -> Array:
    return jax.scipy.special.logit(jnp.clip(x, _MIN_GRAY, 1.0 - _MIN_GRAY))


def _inverse_softplus(x: Array) -> Array:
    mean = jnp.maximum(x, _MIN_COUNT)
    return mean + jnp.log(-jnp.expm1(-mean))


_PIXELS = _InputSpace("pseudo_inputs", jax.nn.sigmoid, _logits)
_REALS = _InputSpace("pseudo_reals", lambda w: w, lambda x: x)
_COUNTS = _InputSpace("pseudo_counts", jax.nn.softplus, _inverse_softplus)
_SPACES = {"pixels": _PIXELS, "reals": _REALS, "standardized": _REALS, "counts": _COUNTS}
_BY_NAME = {space.name: space for space in _SPACES.values()}


class PosteriorMixture(NamedTuple):
    """Distribution p(z) = 1/K sum_k q_k(z) for posteriors of any family with a density.

    Attributes:
        components: posteriors q_k, on a leading axis.
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax.models.posteriors import CholeskyGaussian
        >>> mask = jnp.ones(2, bool)
        >>> zeros = jnp.zeros((3, 2))
        >>> same = CholeskyGaussian(zeros, zeros, jnp.zeros((3, 2, 2)), mask)
        >>> round(float(PosteriorMixture(same, mask).log_prob(jnp.zeros(2))), 3)  # N(0, I)
        -1.838
    """

    components: Posterior
    latent_mask: LatentMask

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats; each component is summed over the used coordinates first."""
        log_probs = self.components.log_prob(self._for_each_component(z))
        return jax.nn.logsumexp(log_probs, axis=-1) - math.log(log_probs.shape[-1])

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Draw a component, and return its sample with this noise."""
        drawn = self.components.sample(self._for_each_component(noise))
        chosen = jax.random.randint(key, noise.shape[:-1], 0, drawn.shape[-2])
        z = jnp.take_along_axis(drawn, chosen[..., None, None], axis=-2)
        return apply_mask(self.latent_mask, jnp.squeeze(z, axis=-2))

    def kl(self, q: Posterior) -> KL | None:
        """Return None: no closed form is known."""
        del q

    def _for_each_component(self, values: Latents) -> Float[Array, "*batch components latents"]:
        shape = *values.shape[:-1], *self.components.center.shape
        return jnp.broadcast_to(values[..., None, :], shape)


@dataclass(frozen=True)
class VampPrior(PriorFamily):
    r"""Family p(z) = 1/K sum_k q(z|u_k) with learned pseudo-inputs u_k (eq. 9).

    For pixels, :math:`u = \mathrm{sigmoid}(w)` with w learned stays in [0, 1] and has a gradient
    everywhere, unlike the paper's Hardtanh. Real numbers are learned as they are; for counts
    u = softplus(w) is a mean, which need not be whole. If the posterior is a flow, its base is
    mixed, whose density is known at any z. In a conditional model u_k has the fixed label k modulo
    the number of classes, and p(z) does not depend on the label of x.

    Attributes:
        num_components: number K of components.
        pseudo_inputs: initial pseudo-inputs. ``data``: training examples; pixels are clipped to
            [0.01, 0.99] and counts to at least 0.01 to have a gradient. ``noise``, also used where
            there are fewer examples than K: w ~ N(0, 1) for pixels; for all else about the mean of
            the data, with the spread of the examples, or 1 without them.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams
        >>> model = VAE((4, 4, 1), 2, MLP((8,)), prior=VampPrior(num_components=3))
        >>> hparams = HParams.of(latent_size=2)
        >>> params = model.init(hparams, jnp.full((4, 4, 1), 0.5), jnp.zeros((3, 4, 4, 1)))
        >>> model.prior_at(hparams, params).components.mean.shape  # 48 columns, 2 of them used
        (3, 48)
    """

    encodings: ClassVar[tuple[str, ...] | None] = tuple(_SPACES)
    is_of_posteriors: ClassVar[bool] = True

    num_components: int = num_components_setting()
    pseudo_inputs: str = setting(
        "data", one_of("data", "noise"), "initial values of the pseudo-inputs (vamp)"
    )

    @property
    def num_examples(self) -> int:
        """Number of training examples for the pseudo-inputs: one per component, or none."""
        return self.num_components if self.pseudo_inputs == "data" else 0

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Return the w of the pseudo-inputs, under a name that tells the encoding."""
        del hparams
        space = _SPACES[start.encoding]
        given = space.from_x(start.images[: self.num_examples])
        shape = self.num_components - len(given), *given.shape[1:]
        noise = jax.random.normal(key, shape, default_float())
        if space is not _PIXELS:
            mean = jnp.mean(start.images, axis=0) if start.mean is None else start.mean
            ones = jnp.ones_like(mean)[None]
            spread = jnp.std(given, axis=0, keepdims=True) if len(given) > 1 else ones
            noise = space.from_x(mean)[None] + spread * noise
        return {space.name: jnp.concatenate([given, noise])}

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> GaussianMixture | PosteriorMixture:
        """Return the mixture of the current encoder's posteriors of the pseudo-inputs."""
        del hparams, y
        ((name, weights),) = params.items()
        components = encode(_BY_NAME[name].to_x(weights)).component()
        if not isinstance(components, Gaussian):
            return PosteriorMixture(components, latent_mask)
        logits = jnp.zeros(len(components.mean), components.mean.dtype)
        return GaussianMixture(logits, components, latent_mask)
