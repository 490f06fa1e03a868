"""What every likelihood can do: the family and the distribution that it makes.

Pixels and channels are independent given z. ``log_prob`` is normalised and is a sum over them,
never a mean, so it is in nats per image and can be set against a KL in nats.
"""

from abc import abstractmethod
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.types import Images, Params, PRNGKey

Outputs = Float[Array, "*batch height width channels outputs"]
"""What the decoder says of each pixel and channel."""
DataMean = Float[Array, "height width channels"]
"""Each pixel's mean over the training images, in [0, 1]."""
Bias = Float[Array, "height width channels outputs"]
"""Added to the decoder's outputs, pixel by pixel."""


@runtime_checkable
class Distribution(Protocol):
    """p(x|z) for given z: a ``NamedTuple`` of arrays, each led by the axes ``*batch`` of z.

    So it passes through ``jit``, ``vmap`` and ``grad``. An x that several particles share is
    broadcast by the caller.
    """

    def log_prob(self, x: Images) -> Float[Array, "*batch"]:
        """Log p(x|z) in nats, summed over pixels and channels, constants included."""
        ...

    def mean(self) -> Images:
        """E[x|z], in the scale of x."""
        ...

    def sample(self, key: PRNGKey) -> Images:
        """Images drawn from p(x|z), one for each z."""
        ...


D = TypeVar("D", bound=Distribution)


@runtime_checkable
class Likelihood(Protocol[D]):
    """A family of p(x|z): frozen dataclass, hashes by value, holds no arrays.

    The bodies given here are those of a family that reads one output per pixel and learns nothing
    beside the decoder.
    """

    is_discrete: ClassVar[bool] = False
    """Whether ``exp(log_prob)`` is a probability, at most 1, rather than a density."""
    is_eight_bit: ClassVar[bool] = False
    """Whether it is the probability of an 8-bit image, so that ``bits_per_dim`` is true."""

    @property
    def num_outputs(self) -> int:
        """Decoder outputs for each pixel and channel."""
        return 1

    def init(self, hparams: HParams, image_shape: tuple[int, int, int]) -> Params:
        """What is learned beside the decoder, before the first update."""
        del hparams, image_shape
        return {}

    @abstractmethod
    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Output bias under which an untrained decoder already knows each pixel's mean."""
        ...

    @abstractmethod
    def __call__(self, hparams: HParams, params: Params, outputs: Outputs) -> D:
        """p(x|z) with the given outputs.

        Args:
            hparams: of one run.
            params: from :meth:`init`.
            outputs: of the decoder, its bias included.
        """
        ...

    def with_optimal_scale(self, distribution: D, x: Images) -> D:
        """The distribution whose ``log_prob`` is trained; evaluation takes ``distribution``.

        Another one only where a parameter has a closed-form optimum over the batch. That is no
        density to report, as it has seen the x that it is asked about. A mean over all particles
        and examples: call it outside any vmap over them.
        """
        del x
        return distribution

    def update(self, params: Params, distribution: D, x: Images) -> Params:
        """Params after an update, those that have no gradient moved towards the batch's optimum.

        Args:
            params: from :meth:`init`, or as the optimizer left them.
            distribution: of the batch, before or after :meth:`with_optimal_scale`.
            x: the batch.
        """
        del distribution, x
        return params


def flat(images: Float[Array, "*batch a b c"]) -> Float[Array, "*batch pixels"]:
    """Pixels in one axis: a loop over it is vectorised, one over three short axes is not."""
    return images.reshape(*images.shape[:-3], -1)
