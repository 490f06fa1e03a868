"""Interfaces of priors: the family, and the distribution p(z) that it makes.

A family inherits from :class:`PriorFamily` and gets the default bodies given there. It must define
``__call__``. A distribution is matched by structure: a ``NamedTuple`` with the methods of
:class:`Prior`, which it does not inherit from.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.posteriors import Posterior
from vae_jax.types import Images, Labels, LatentMask, Latents, Observations, Params, PRNGKey

Encode = Callable[[Images], Posterior]
"""Encoder of the model with its current parameters, from images to q(z|x)."""


class PriorInit(NamedTuple):
    """Inputs from which a prior may initialise its parameters.

    Attributes:
        latent_mask: mask of the columns of z that the run uses.
        images: a few training examples, as the model reads them.
        num_classes: number of classes of the labels that the model reads; 0 for none.
        encoding: encoding of the data, a key of ``vae_jax.data.encodings.ENCODINGS``.
        mean: mean of x over the training examples; None for that of ``images``.

    Example:
        >>> import jax.numpy as jnp
        >>> PriorInit(jnp.ones(2, bool), jnp.zeros((3, 28, 28, 1))).num_classes
        0
    """

    latent_mask: LatentMask
    images: Observations
    num_classes: int = 0
    encoding: str = "pixels"
    mean: Observations | None = None


class KL(NamedTuple):
    """Closed form of KL(q(z|x) || p(z)), in nats.

    Attributes:
        total: KL of all latents together.
        per_latent: terms of the single latents, whose sum it is; None where it is no such sum.

    Example:
        >>> import jax.numpy as jnp
        >>> KL.of_latents(jnp.array([[0.5, 0.25]])).total.tolist()
        [0.75]
    """

    total: Float[Array, "*batch"]
    per_latent: Latents | None = None

    @classmethod
    def of_latents(cls, per_latent: Latents) -> "KL":
        """Return the KL that is the sum of these terms."""
        return cls(jnp.sum(per_latent, axis=-1), per_latent)


@runtime_checkable
class Prior(Protocol):
    """Distribution p(z), or p(z|y) for given labels: a ``NamedTuple`` of arrays."""

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats over the used coordinates."""
        ...

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Draw z ~ p(z); coordinates that are masked out are zero.

        Args:
            key: random key for draws beside the noise, as of a mixture's component.
            noise: standard normal noise of the shape of z, whatever the support: a point of the
                sphere is such noise divided by its norm.
        """
        ...

    def kl(self, q: Posterior) -> KL | None:
        """Return KL(q || p) in nats, or None if no closed form is known from such a q."""
        ...


class PriorFamily(ABC):
    """Family of p(z): a frozen dataclass that hashes by value and holds no arrays.

    The default bodies are those of a family without parameters, labels or examples.
    """

    hparams: ClassVar[tuple[HParam, ...]] = ()
    """Hyperparameters that the family reads."""
    support: ClassVar[str] = "reals"
    """Set in which z lies, by its name; that of the posterior must be the same."""
    closed_form_kl: ClassVar[tuple[type, ...]] = ()
    """Classes of q from which the KL is known in closed form: ``kl`` of them is not None."""
    needs_labels: ClassVar[bool] = False
    """Flag: the prior is p(z|y), so the model must be class-conditional."""
    encodings: ClassVar[tuple[str, ...] | None] = None
    """Encodings of data that the prior can be learned from; None for any."""
    is_of_posteriors: ClassVar[bool] = False
    """Flag: the prior is made of the model's posteriors, which must have a density and be sampled
    from standard normal noise."""

    @property
    def num_examples(self) -> int:
        """Number of training images that the initial parameters are made of."""
        return 0

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Return the initial parameters; ``{}`` if there are none."""
        del key, hparams, start
        return {}

    @abstractmethod
    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None,
    ) -> Prior:
        """Return the prior with the given parameters.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`.
            latent_mask: mask of the columns of z that the run uses.
            encode: encoder of the model, for priors that are made of posteriors.
            y: labels, for priors p(z|y).
        """
        ...
