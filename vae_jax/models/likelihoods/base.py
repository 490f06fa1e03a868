"""Interfaces of likelihoods: the family, and the distribution p(x|z) that it makes.

Pixels and channels are independent given z. ``log_prob`` is normalised and is a sum over them,
never a mean, so it is in nats per image and can be added to a KL in nats.

A family inherits from :class:`Likelihood` and gets the default bodies given there. It must define
``initial_bias`` and ``__call__``. A distribution is matched by structure: a ``NamedTuple`` with the
methods of :class:`Distribution`, which it does not inherit from.
"""

from abc import abstractmethod
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.types import Images, Params, PRNGKey

Outputs = Float[Array, "*batch height width channels outputs"]
"""Outputs of the decoder for each pixel and channel."""
DataMean = Float[Array, "height width channels"]
"""Mean of each pixel over the training images, in [0, 1]."""
Bias = Float[Array, "height width channels outputs"]
"""Bias added to the decoder's outputs, one for each pixel, channel and output."""


@runtime_checkable
class Distribution(Protocol):
    """Distribution p(x|z) for given z: a ``NamedTuple`` of arrays with the leading axes of z.

    As a pytree it passes through ``jit``, ``vmap`` and ``grad``. The caller broadcasts an x that
    several particles share.
    """

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Return log p(x|z) in nats, summed over pixels and channels, constants included."""
        ...

    def mean(self) -> Images:
        """Return E[x|z], in the scale of x."""
        ...

    def sample(self, key: PRNGKey) -> Images:
        """Draw images from p(x|z), one for each z."""
        ...


D = TypeVar("D", bound=Distribution)


@runtime_checkable
class Likelihood(Protocol[D]):
    """Family of p(x|z): a frozen dataclass that hashes by value and holds no arrays.

    The default bodies are those of a family that reads one output per pixel and learns nothing
    beside the decoder.
    """

    hparams: ClassVar[tuple[HParam, ...]] = ()
    """Hyperparameters that the family reads."""
    is_discrete: ClassVar[bool] = False
    """Flag: ``exp(log_prob)`` is a probability, at most 1, and not a density."""
    is_eight_bit: ClassVar[bool] = False
    """Flag: ``exp(log_prob)`` is the probability of an 8-bit image, so ``bits_per_dim`` applies."""
    is_binary: ClassVar[bool] = False
    """Flag: x is 0 or 1; of a gray x ``log_prob`` is a cross-entropy and no log-probability, and
    no sample is gray."""
    encodings: ClassVar[tuple[str, ...]] = ("pixels",)
    """Encodings of the data that it takes."""
    event_ranks: ClassVar[tuple[int, ...] | None] = None
    """Numbers of axes of the x that it takes; None for any."""

    @property
    def num_outputs(self) -> int:
        """Number of decoder outputs for each pixel and channel."""
        return 1

    def init(self, hparams: HParams, image_shape: tuple[int, int, int]) -> Params:
        """Return the initial parameters learned beside the decoder; ``{}`` if there are none."""
        del hparams, image_shape
        return {}

    @abstractmethod
    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the output bias with which an untrained decoder gives each pixel its data mean."""
        ...

    @abstractmethod
    def __call__(self, hparams: HParams, params: Params, outputs: Outputs) -> D:
        """Return p(x|z) with the given outputs of the decoder.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`.
            outputs: outputs of the decoder, bias included.
        """
        ...

    def with_optimal_scale(self, distribution: D, x: Images) -> D:
        """Return the distribution whose ``log_prob`` is trained; by default ``distribution``.

        It differs from ``distribution`` only where a parameter has a closed-form optimum over the
        batch. Evaluation uses ``distribution``: a parameter that was chosen with knowledge of x
        gives no density of x to report. The optimum is over all particles and examples, so this
        method must be called outside any vmap over them.

        Args:
            distribution: distribution p(x|z) of the batch.
            x: batch of images.
        """
        del x
        return distribution

    def update(self, params: Params, distribution: D, x: Images) -> Params:
        """Return the parameters with those that have no gradient moved to the batch's optimum.

        Args:
            params: parameters from :meth:`init`, after the optimizer's update.
            distribution: distribution p(x|z) of the batch, with or without the optimal scale.
            x: batch of images.
        """
        del distribution, x
        return params


def flat(images: Float[Array, "*batch a b c"]) -> Float[Array, "*batch pixels"]:
    """Return the images with all pixels and channels on one axis.

    A loop over one long axis is vectorised, one over three short axes is not.

    Example:
        >>> import jax.numpy as jnp
        >>> flat(jnp.zeros((5, 28, 28, 1))).shape
        (5, 784)
    """
    return images.reshape(*images.shape[:-3], -1)
