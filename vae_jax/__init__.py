"""Variational autoencoders as the textbooks derive them, in functional JAX.

Public names are imported on their first use, so that ``import vae_jax`` takes no time and the
command line can set the environment variables that JAX reads when it is imported.

Example::

    data = vae_jax.load("mnist_5k")
    model = vae_jax.VAE(data.event_shape, max_latents=10)
    spec = vae_jax.TrainSpec(model, binarize="dynamic")
    hparams = vae_jax.HParams.of(latent_size=10)
    study = vae_jax.fit(spec, hparams, data, num_steps=1000)
    table = study.evaluate(data, num_particles=100).table
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_jax.api import Study, TrainedRun, ablate, fit, load, load_run, score, show_images
    from vae_jax.data import Dataset
    from vae_jax.hparams import HParams
    from vae_jax.models.networks import MLP, Conv, ResNet
    from vae_jax.models.vae import VAE, TrainedVAE
    from vae_jax.objectives import Elbo, ImportanceWeighted
    from vae_jax.runtime.errors import InputError
    from vae_jax.training.intervals import Intervals
    from vae_jax.training.optimizers import Adam
    from vae_jax.training.spec import TrainSpec
    from vae_jax.training.step import TrainState
    from vae_jax.training.vectorized import grid, take

__all__ = [
    "MLP",
    "VAE",
    "Adam",
    "Conv",
    "Dataset",
    "Elbo",
    "HParams",
    "ImportanceWeighted",
    "InputError",
    "Intervals",
    "ResNet",
    "Study",
    "TrainSpec",
    "TrainState",
    "TrainedRun",
    "TrainedVAE",
    "ablate",
    "fit",
    "grid",
    "load",
    "load_run",
    "score",
    "show_images",
    "take",
]

_MODULES = {
    "vae_jax.api": (
        *("Study", "TrainedRun", "ablate", "fit", "load", "load_run", "score", "show_images"),
    ),
    "vae_jax.data": ("Dataset",),
    "vae_jax.runtime.errors": ("InputError",),
    "vae_jax.hparams": ("HParams",),
    "vae_jax.models.vae": ("VAE", "TrainedVAE"),
    "vae_jax.models.networks": ("MLP", "Conv", "ResNet"),
    "vae_jax.objectives": ("Elbo", "ImportanceWeighted"),
    "vae_jax.training.optimizers": ("Adam",),
    "vae_jax.training.vectorized": ("grid", "take"),
    "vae_jax.training.spec": ("TrainSpec",),
    "vae_jax.training.step": ("TrainState",),
    "vae_jax.training.intervals": ("Intervals",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the names of the module, public names before their first use included."""
    return sorted({*globals(), *__all__})
