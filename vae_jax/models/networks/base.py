"""Interface of an architecture: the encoder's body and the decoder that the model is built from.

From Python it is given as ``VAE(..., network=...)``; ``NETWORKS`` in the package names those that
``--network`` knows.
"""

from abc import abstractmethod
from typing import ClassVar, Protocol, runtime_checkable

import flax.linen as nn

from vae_jax.models.networks.layers import Decoder, ImageShape


@runtime_checkable
class Network(Protocol):
    """Architecture of encoder and decoder: a frozen dataclass that builds their linen modules.

    It inherits from this class.

    It depends neither on the posterior, which defines the heads of the encoder, nor on the
    likelihood, which defines the number of outputs per pixel.
    """

    event_ranks: ClassVar[tuple[int, ...] | None] = None
    """Numbers of axes of the x that it takes, 3 for images; None for any."""

    dtype: str | None = None
    """Type of the computation inside the network; None follows the parameters."""

    @abstractmethod
    def encoder_body(self) -> nn.Module:
        """Build the module from images to features."""
        ...

    @abstractmethod
    def decoder(self, image_shape: ImageShape) -> Decoder:
        """Build the module from (z, latent_mask) to outputs, up to the per-pixel bias.

        Args:
            image_shape: height, width and outputs per pixel.
        """
        ...
