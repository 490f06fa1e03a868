"""Figures as PNG files, of a run and of a study; the only rooms with matplotlib.

Images are arrays in [0, 1], `[..., height, width, channels]` with one channel (drawn white on
black) or three. Latents are named z1, z2, ... in the order of the model, so z1 has index 0.
"""

from vae_jax.reporting.plots.bounds import Bound, bounds
from vae_jax.reporting.plots.codes import embedding, samples_by_class
from vae_jax.reporting.plots.run import (
    interpolations,
    kl_per_latent,
    manifold,
    reconstructions,
    samples,
    training_curves,
    traversals,
)
from vae_jax.reporting.plots.study import (
    curves_over_axis,
    grid_of_images,
    heat_maps,
    rate_distortion,
    study_figures,
)

__all__ = [
    "Bound",
    "bounds",
    "curves_over_axis",
    "embedding",
    "grid_of_images",
    "heat_maps",
    "interpolations",
    "kl_per_latent",
    "manifold",
    "rate_distortion",
    "reconstructions",
    "samples",
    "samples_by_class",
    "study_figures",
    "training_curves",
    "traversals",
]
