"""What every prior can do: the family, and the distribution that it makes."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.posteriors import Posterior
from vae_jax.types import Images, Labels, LatentMask, Latents, Params, PRNGKey

Encode = Callable[[Images], Posterior]
"""The model's own encoder with its present parameters."""


class PriorInit(NamedTuple):
    """What a prior may start from.

    Attributes:
        latent_mask: which columns of z the run uses.
        images: a few training images, as the model sees them.
        num_classes: of the labels that the model is given; 0 for none.
    """

    latent_mask: LatentMask
    images: Images
    num_classes: int = 0


@runtime_checkable
class Prior(Protocol):
    """p(z), or p(z|y) for given labels: a ``NamedTuple`` of arrays."""

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z) in nats, summed over the active coordinates."""
        ...

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Z ~ p(z) from standard normal noise of z's shape and, for what else is drawn, a key.

        Inactive coordinates are zero.
        """
        ...

    def kl(self, q: Posterior) -> Latents | None:
        """Terms, one per latent, whose sum is KL(q || p) in nats; None where none is known."""
        ...


@runtime_checkable
class PriorFamily(Protocol):
    """The family of p(z): a frozen dataclass that hashes by value and holds no arrays.

    The bodies given here are those of a family without parameters, labels or examples.
    """

    needs_labels: ClassVar[bool] = False
    """Whether it is p(z|y)."""
    has_gaussian_kl: ClassVar[bool] = False
    """Whether the KL from a Gaussian posterior to it is known in closed form."""

    @property
    def num_examples(self) -> int:
        """Training images that it starts from."""
        return 0

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """What is learned, before the first update; {} for nothing."""
        del key, hparams, start
        return {}

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> Prior:
        """The prior with the given parameters.

        Args:
            hparams: of one run.
            params: from :meth:`init`.
            latent_mask: which columns of z the run uses.
            encode: the model's encoder, for priors that are made of posteriors.
            y: labels, for priors that know them.
        """
        ...
