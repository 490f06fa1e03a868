"""Architectures of encoder and decoder: frozen dataclasses that build linen modules.

Each file holds one architecture: its specification (:class:`MLP`, :class:`Conv`,
:class:`ResNet`) and the linen modules that it builds. A new one is a file of this package with
a class that satisfies :class:`Network`, and a row in :data:`NETWORKS`.
"""

from vae_jax.models.networks.base import Network
from vae_jax.models.networks.conv import Conv
from vae_jax.models.networks.discriminator import Discriminator
from vae_jax.models.networks.layers import ACTIVATIONS, Decoder, Encoder
from vae_jax.models.networks.mlp import MLP
from vae_jax.models.networks.resnet import ResNet

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "Conv",
    "Decoder",
    "Discriminator",
    "Encoder",
    "Network",
    "ResNet",
]

NETWORKS: dict[str, type[Network]] = {
    "mlp": MLP,
    "conv": Conv,
    "resnet": ResNet,
}
"""Architectures by the names that ``--network`` takes."""
