"""Variational autoencoders as the textbooks derive them, in functional JAX.

The usual way in::

    data = vae_jax.load("mnist_5k")
    model = vae_jax.VAE(data.image_shape, max_latents=10)
    spec = vae_jax.TrainSpec(model, binarize="dynamic")
    hparams = vae_jax.HParams.of(latent_size=10)
    state = vae_jax.fit(spec, hparams, data, num_steps=1000)
    table = vae_jax.score(spec, hparams, state, data, num_particles=100)
"""

from vae_jax.ablation import Ablation, ablate, fit
from vae_jax.data import Dataset, load
from vae_jax.errors import InputError
from vae_jax.hparams import HParams
from vae_jax.model import VAE, Trained
from vae_jax.networks import MLP, Conv, ResNet
from vae_jax.objectives import Elbo, ImportanceWeighted
from vae_jax.optimizers import Adam
from vae_jax.scoring import score
from vae_jax.sweep import grid, take
from vae_jax.train import TrainSpec, TrainState
from vae_jax.visits import Visits

__all__ = [
    "MLP",
    "VAE",
    "Ablation",
    "Adam",
    "Conv",
    "Dataset",
    "Elbo",
    "HParams",
    "ImportanceWeighted",
    "InputError",
    "ResNet",
    "TrainSpec",
    "TrainState",
    "Trained",
    "Visits",
    "ablate",
    "fit",
    "grid",
    "load",
    "score",
    "take",
]
