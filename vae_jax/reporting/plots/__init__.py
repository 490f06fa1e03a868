"""Figures drawn from arrays and rows, and their PNG files; the only modules with matplotlib.

Each function returns its figure and writes it where it is given a path.

Images are arrays in [0, 1], `[..., height, width, channels]` with one channel (drawn white on
black) or three; `View` makes them of x of any kind. Of other numbers of channels the first or the
first three are drawn; the second of two and the fourth of four are an alpha channel, which is left
out. Latents are named z1, z2, ... in the order of the model, so z1 has index 0.
"""

from vae_jax.reporting.plots.bounds import Bound, bounds
from vae_jax.reporting.plots.curves import curves_over_axis
from vae_jax.reporting.plots.embedding import embedding
from vae_jax.reporting.plots.heat import heat_maps
from vae_jax.reporting.plots.images import (
    grid_of_images,
    image_rows,
    interpolations,
    manifold,
    reconstructions,
    samples,
    samples_by_class,
    shown_cells,
    traversals,
)
from vae_jax.reporting.plots.latents import kl_per_latent
from vae_jax.reporting.plots.rate_distortion import rate_distortion
from vae_jax.reporting.plots.training import training_curves
from vae_jax.reporting.plots.vectors import vector_reconstructions
from vae_jax.reporting.plots.views import View
from vae_jax.reporting.terms import Term

__all__ = [
    "Bound",
    "Term",
    "View",
    "bounds",
    "curves_over_axis",
    "embedding",
    "grid_of_images",
    "heat_maps",
    "image_rows",
    "interpolations",
    "kl_per_latent",
    "manifold",
    "rate_distortion",
    "reconstructions",
    "samples",
    "samples_by_class",
    "shown_cells",
    "training_curves",
    "traversals",
    "vector_reconstructions",
]
