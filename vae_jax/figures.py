"""The pictures of a trained run: what the model is asked, and which plot shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from vae_jax import keys, plots, table
from vae_jax.evaluate import ACTIVE_THRESHOLD
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.plots.study import held_words
from vae_jax.report import Figure
from vae_jax.types import Latents, Params

NUM_SAMPLES = 100
GRID_TILES = 9
NUM_PAIRS = 6
PATH_STEPS = 9
MANIFOLD_SIDE = 20
TRAVERSED_LATENTS = 8
TRAVERSAL = np.linspace(-2.5, 2.5, 11)


class Model(NamedTuple):
    """One trained run: what to ask, and with which numbers."""

    vae: VAE
    hparams: HParams
    params: Params

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """E[x'|z] at the posterior means of images in [0, 1]."""
        return np.asarray(self.vae.reconstruct(self.hparams, self.params, jnp.asarray(images)))

    def codes(self, images: np.ndarray) -> Latents:
        """Posterior means of images in [0, 1]."""
        return self.vae.encode(self.hparams, self.params, jnp.asarray(images)).mean

    def decode(self, z: Latents) -> np.ndarray:
        """E[x|z]."""
        return np.asarray(self.vae.generate(self.hparams, self.params, z))

    def samples(self, num_samples: int) -> np.ndarray:
        """E[x|z] for z from the prior, by the run's stream ``generate``."""
        noise = self.vae.noise(keys.stream(self.hparams.seed, "generate"), num_samples)
        return self.decode(self.vae.prior.sample(noise))


def draw(
    folder: Path,
    model: Model,
    test: np.ndarray,
    metrics: Sequence[dict[str, Any]],
    row: Mapping[str, Any],
) -> list[Figure]:
    """Write all figures of one run and name them for the report.

    Args:
        folder: where the PNG files go.
        model: the run's.
        test: images in [0, 1], at least one.
        metrics: rows of ``metrics.jsonl``.
        row: the run's row of test results, with ``kl_per_latent``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kl = np.asarray(row["kl_per_latent"])
    active = np.asarray(row["variance_per_latent"]) > ACTIVE_THRESHOLD
    drawn = [
        _curves(folder, metrics, row["run"]),
        _reconstructions(folder, model, test[:20]),
        _samples(folder, model),
        _space(folder, model, test, kl),
        _interpolations(folder, model, test),
    ]
    path = folder / "kl_per_latent.png"
    plots.kl_per_latent(path, kl, active)
    caption = "A latent at zero is a copy of the prior: it tells the decoder nothing about x."
    return [*drawn, Figure(path, "KL of each latent", caption)]


def _curves(folder: Path, metrics: Sequence[dict[str, Any]], run: int) -> Figure:
    path = folder / "training_curves.png"
    plots.training_curves(path, metrics, run)
    caption = "Means over the updates between two visits (train) and over all of valid."
    return Figure(path, "Training", caption)


def _reconstructions(folder: Path, model: Model, images: np.ndarray) -> Figure:
    path = folder / "reconstructions.png"
    plots.reconstructions(path, images, model.reconstruct(images))
    return Figure(path, "Reconstructions", "E[x'|z] at the mean of q(z|x), for test images x.")


def _samples(folder: Path, model: Model) -> Figure:
    path = folder / "samples.png"
    plots.samples(path, model.samples(NUM_SAMPLES))
    return Figure(path, "Samples", "E[x|z] for z drawn from the prior.")


def _space(folder: Path, model: Model, test: np.ndarray, kl: np.ndarray) -> Figure:
    """The whole space if it has two dimensions, a walk along its axes otherwise."""
    if int(model.hparams.latent_size) == 2:
        return _manifold(folder, model)
    path = folder / "traversals.png"
    latents = np.argsort(-kl, kind="stable")[:TRAVERSED_LATENTS]
    z = along_axes(model.codes(test[:1])[0], latents, TRAVERSAL)
    plots.traversals(path, model.decode(z), latents, TRAVERSAL, kl)
    caption = "The most informative latents, moved one at a time from the code of a test image."
    return Figure(path, "Traversals", caption)


def along_axes(
    start: Float[Array, " latents"], latents: np.ndarray, values: np.ndarray
) -> Float[Array, "rows columns latents"]:
    """Copies of one code ``[rows, columns, latents]``, row i with latent i at each value."""
    z = np.broadcast_to(start, (len(latents), len(values), len(start))).copy()
    for row, latent in enumerate(latents):
        z[row, :, latent] = values
    return jnp.asarray(z)


def _manifold(folder: Path, model: Model) -> Figure:
    path = folder / "manifold.png"
    shares = (np.arange(MANIFOLD_SIDE) + 0.5) / MANIFOLD_SIDE
    values = np.asarray(norm.ppf(shares), np.float64)
    z = np.stack(np.meshgrid(values, values), axis=-1)
    plots.manifold(path, model.decode(jnp.asarray(z)), values)
    caption = "Decoder means on a grid with equal prior mass in every cell."
    return Figure(path, "The latent space", caption)


def _interpolations(folder: Path, model: Model, test: np.ndarray) -> Figure:
    path = folder / "interpolations.png"
    pairs = np.resize(np.arange(len(test)), 2 * NUM_PAIRS).reshape(NUM_PAIRS, 2)
    ends = test[pairs]
    images = model.decode(straight_paths(model.codes(ends), PATH_STEPS))
    plots.interpolations(path, images, ends)
    return Figure(path, "Interpolations", "E[x|z] on the line between two posterior means.")


def straight_paths(
    ends: Float[Array, "pairs 2 latents"], num_steps: int
) -> Float[Array, "pairs steps latents"]:
    """Points ``[pairs, steps, latents]`` on the lines between the ends ``[pairs, 2, latents]``."""
    shares = jnp.linspace(0.0, 1.0, num_steps, dtype=ends.dtype)[None, :, None]
    return (1 - shares) * ends[:, :1] + shares * ends[:, 1:]


def draw_study(
    folder: Path,
    models: dict[int, Model],
    test: np.ndarray,
    rows: Sequence[dict[str, Any]],
    swept: Sequence[str],
) -> list[Figure]:
    """Write the figures that compare runs: terms over the axes, then images over the axes.

    Args:
        folder: where the PNG files go.
        models: by number of the run.
        test: images in [0, 1], at least one.
        rows: of test results, in the order of the runs' numbers.
        swept: names of the swept flags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.study_figures(folder, rows, swept)
    if not table.axes(swept) or table.best(rows) is None:
        return drawn
    place = table.pictured(rows, swept)
    where = held_words(place.fixed)
    samples, images = {}, test[:GRID_TILES]
    reconstructions = {}
    for index in set(place.runs.ravel().tolist()) - {-1}:
        model = models[rows[index]["run"]]
        samples[index] = model.samples(GRID_TILES)
        reconstructions[index] = model.reconstruct(images)
    return [
        *drawn,
        _image_grid(folder, "Samples", samples, place, where, None),
        _image_grid(folder, "Reconstructions", reconstructions, place, where, images),
    ]


def _image_grid(
    folder: Path,
    title: str,
    tiles: dict[int, np.ndarray],
    place: table.Pictured,
    where: str,
    reference: np.ndarray | None,
) -> Figure:
    """Tiles of each cell over two axes, NaN where no run is left."""
    path = folder / f"{title.lower()}_over_axes.png"
    blank = np.full_like(next(iter(tiles.values())), np.nan)
    cells = [[tiles.get(int(run), blank) for run in line] for line in place.runs]
    axes = (place.rows, place.row_values, place.columns, place.column_values)
    plots.grid_of_images(path, np.array(cells), *axes, title, reference=reference)
    caption = "The same noise in every cell." if reference is None else "The same test images."
    return Figure(path, f"{title} over the axes", f"{caption} {where}".strip())
