"""Interfaces of likelihoods: the family, and the distribution p(x|z) that it makes.

The dimensions of x, pixels and channels of an image, are independent given z. ``log_prob`` is
normalised and is a sum over them, never a mean, so it is in nats per example and can be added to a
KL in nats. An x is one *event* of any number of axes: ``[height, width, channels]``, or ``[d]``.

A family inherits from :class:`Likelihood` and gets the default bodies given there. It must define
``initial_bias`` and ``__call__``. A distribution is matched by structure: a ``NamedTuple`` with the
methods of :class:`Distribution`, which it does not inherit from.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.types import EventAxes, Observations, Params, PRNGKey, event_axes

Outputs = Float[Array, "... outputs"]
"""Outputs of the decoder for each dimension of x, ``[*batch, *event, outputs]``."""
DataMean = Float[Array, "*event"]
"""Mean of each dimension over the training examples, in the scale of x."""
Bias = Float[Array, "*event outputs"]
"""Bias added to the decoder's outputs, one for each dimension and output."""
IMAGE_AXES: EventAxes = event_axes(3)
"""Axes of an image: height, width, channels."""


@runtime_checkable
class Distribution(Protocol):
    """Distribution p(x|z) for given z: a ``NamedTuple`` of arrays with the leading axes of z.

    As a pytree it passes through ``jit``, ``vmap`` and ``grad``. The caller broadcasts an x that
    several particles share.
    """

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) in nats, summed over the dimensions of x, constants included."""
        ...

    def mean(self) -> Observations:
        """Return E[x|z], in the scale of x."""
        ...

    def sample(self, key: PRNGKey) -> Observations:
        """Draw x from p(x|z), one for each z."""
        ...


class BestScale(NamedTuple):
    """Scale under which p(x|z) is most likely, the locations held, and what it would give.

    Attributes:
        scale: scale.
        log_likelihood: log p(x|z) with it, in nats.
        power: power of the deviation, over the scale, in -log p(x|z).
    """

    scale: float
    log_likelihood: float
    power: float


D = TypeVar("D", bound=Distribution)


class Likelihood(ABC, Generic[D]):
    """Family of p(x|z): a frozen dataclass that hashes by value and holds no arrays.

    The default bodies are those of a family that reads one output per dimension of x and learns
    nothing beside the decoder, and the default traits those of a family of images.
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
    """Encodings of data (``vae_jax.data.ENCODINGS``) on which ``log_prob`` is what it claims."""
    event_ranks: ClassVar[tuple[int, ...] | None] = (3,)
    """Numbers of axes that an x may have; None for any. A family that takes another number than
    the three of an image takes the argument ``event`` of :meth:`__call__`."""

    @property
    def num_outputs(self) -> int:
        """Number of decoder outputs for each dimension of x."""
        return 1

    def init(self, hparams: HParams, event_shape: tuple[int, ...]) -> Params:
        """Return the initial parameters learned beside the decoder; ``{}`` if there are none."""
        del hparams, event_shape
        return {}

    @abstractmethod
    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the output bias with which an untrained decoder gives x its data mean."""
        ...

    @abstractmethod
    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> D:
        """Return p(x|z) with the given outputs of the decoder.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`.
            outputs: outputs of the decoder, bias included, ``[*batch, *event, outputs]``.
            event: axes of x; given only where x is no image.
        """
        ...

    @classmethod
    def best_scale(
        cls, log_likelihood: float, scale: float, num_values: int, **settings: float
    ) -> BestScale | None:
        """Return the best scale, given a mean log-likelihood under a fixed one; None without scale.

        Args:
            log_likelihood: mean of log p(x|z) with ``scale``, in nats.
            scale: scale of all pixels.
            num_values: pixels times channels.
            **settings: the other hyperparameters of the family.
        """
        del log_likelihood, scale, num_values, settings
        return None

    def with_optimal_scale(self, distribution: D, x: Observations) -> D:
        """Return the distribution whose ``log_prob`` is trained; by default ``distribution``.

        It differs from ``distribution`` only where a parameter has a closed-form optimum over the
        batch. Evaluation uses ``distribution``: a parameter that was chosen with knowledge of x
        gives no density of x to report. The optimum is over all particles and examples, so this
        method must be called outside any vmap over them.

        Args:
            distribution: distribution p(x|z) of the batch.
            x: batch of examples.
        """
        del x
        return distribution

    def update(
        self, params: Params, distribution: D, x: Observations, step: Int[Array, ""]
    ) -> Params:
        """Return the parameters with those that have no gradient moved to the batch's optimum.

        Args:
            params: parameters from :meth:`init`, after the optimizer's update, which leaves alone
                what this method moves; return what is not moved as it is given.
            distribution: distribution p(x|z) of the batch, with or without the optimal scale.
            x: batch of examples.
            step: number of updates before this one.
        """
        del distribution, x, step
        return params


def flat(values: Observations, event: EventAxes = IMAGE_AXES) -> Float[Array, "*batch dims"]:
    """Return values ``[*batch, *event]`` with all dimensions of an event on one axis.

    A loop over one long axis is vectorised, one over three short axes is not.

    Example:
        >>> import jax.numpy as jnp
        >>> flat(jnp.zeros((5, 28, 28, 1))).shape, flat(jnp.zeros((5, 7)), event_axes(1)).shape
        ((5, 784), (5, 7))
    """
    return values.reshape(*values.shape[: values.ndim - len(event)], -1)
