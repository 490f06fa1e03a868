"""Interface of an architecture: the encoder's body and the decoder that the model is built from.

From Python it is given as ``VAE(..., network=...)``; ``NETWORKS`` in the package names those that
``--network`` knows.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import flax.linen as nn

from vae_jax.models.networks.layers import Decoder, EventShape

Module = nn.Module
"""Type of the bodies that a network builds."""


class Network(ABC):
    """Architecture of encoder and decoder: a frozen dataclass that builds their linen modules.

    It inherits from this class.

    It depends neither on the posterior, which defines the heads of the encoder, nor on the
    likelihood, which defines the number of outputs for each dimension of x.
    """

    event_ranks: ClassVar[tuple[int, ...] | None] = None
    """Numbers of axes of the x that it takes, 3 for images; None for any."""

    dtype: str | None = None
    """Type of the computation inside the network; None follows the parameters."""

    @abstractmethod
    def encoder_body(self) -> nn.Module:
        """Build the module from x to features."""
        ...

    @abstractmethod
    def decoder(self, event_shape: EventShape) -> Decoder:
        """Build the module from (z, latent_mask) to outputs, up to the bias of each dimension.

        Args:
            event_shape: shape of one x, its last axis times the outputs for each dimension.
        """
        ...
