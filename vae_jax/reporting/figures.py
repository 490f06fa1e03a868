"""The pictures of a trained run: what the model is asked, and which plot shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from vae_jax import rng
from vae_jax.evaluation import evaluators
from vae_jax.evaluation.elbo import ACTIVE_THRESHOLD
from vae_jax.evaluation.evaluators import EVALUATORS, EvalContext
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.models.vae import TrainedVAE
from vae_jax.reporting import plots, table
from vae_jax.reporting.plots.study import held_words
from vae_jax.reporting.report import Figure
from vae_jax.types import Labels, Latents, Row

NUM_SAMPLES = 100
GRID_TILES = 9
MOST_CLASSES, SAMPLES_OF_CLASS = 20, 10
NUM_PAIRS = 6
PATH_STEPS = 9
MANIFOLD_SIDE = 20
TRAVERSED_LATENTS = 8
TRAVERSAL = np.linspace(-2.5, 2.5, 11)


class Pictured(NamedTuple):
    """Test images that figures show.

    Attributes:
        images: in [0, 1], at least one.
        labels: one each, where the source has them.
    """

    images: np.ndarray
    labels: np.ndarray | None = None

    def take(self, places: np.ndarray | slice) -> "Pictured":
        """Some of them."""
        return Pictured(self.images[places], None if self.labels is None else self.labels[places])


class Model(NamedTuple):
    """One trained run as the figures ask it: images in NumPy, labels where the model needs them."""

    trained: TrainedVAE
    class_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Of the labels that it must be given; 0 for none."""
        return self.trained.model.num_classes

    @property
    def latent_size(self) -> int:
        """Coordinates of z that the run uses."""
        return int(self.trained.hparams.latent_size)

    @property
    def has_density(self) -> bool:
        """Whether its prior means anything."""
        return self.trained.model.posterior.has_density

    def name_of(self, label: int) -> str:
        """Of a class; its number where it has no name."""
        return self.class_names[label] if self.class_names else f"class {label}"

    def reconstruct(self, test: Pictured) -> np.ndarray:
        """E[x'|z] at the codes of images in [0, 1]."""
        images, y = jnp.asarray(test.images), self._given(test.labels)
        return np.asarray(self.trained.reconstruct(images, y))

    def codes(self, test: Pictured) -> Latents:
        """Centers of the posteriors of images in [0, 1]."""
        return self.trained.encode(jnp.asarray(test.images), self._given(test.labels)).center

    def decode(self, z: Latents, labels: np.ndarray | None = None) -> np.ndarray:
        """E[x|z]; class 0 where a label is needed and none is given."""
        missing = np.zeros(z.shape[:-1], int) if labels is None else labels
        y = self._given(np.broadcast_to(missing, z.shape[:-1]))
        return np.asarray(self.trained.generate(z, y))

    def samples(self, num_samples: int) -> np.ndarray:
        """E[x|z] for z from the prior, by the run's stream ``generate``; classes take turns."""
        key = rng.stream(self.trained.hparams.seed, "generate")
        y = self._given(np.arange(num_samples) % max(self.num_classes, 1))
        return np.asarray(self.trained.sample(key, num_samples, y))

    def samples_of(self, label: int, num_samples: int) -> np.ndarray:
        """E[x|z, y] of one class, with the noise that every class has."""
        key = rng.stream(self.trained.hparams.seed, "generate", 1)
        y = self._given(np.full(num_samples, label))
        return np.asarray(self.trained.sample(key, num_samples, y))

    def _given(self, labels: np.ndarray | None) -> Labels | None:
        return jnp.asarray(labels) if self.num_classes else None


def draw(
    folder: Path,
    model: Model,
    test: Pictured,
    metrics: Sequence[Row],
    row: Row,
) -> list[Figure]:
    """Write all figures of one run and name them for the report.

    Args:
        folder: where the PNG files go.
        model: the run's.
        test: what is reconstructed and moved about.
        metrics: rows of ``metrics.jsonl``.
        row: the run's row of test results, with ``kl_per_latent``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    variance = np.asarray(row["variance_per_latent"], float)
    kl = np.asarray(row["kl_per_latent"], float)
    importance = kl if np.isfinite(kl).all() else variance
    drawn = [
        _curves(folder, metrics, row["run"]),
        _reconstructions(folder, model, test.take(slice(20))),
        *([_samples(folder, model)] if model.has_density else []),
        *([_samples_by_class(folder, model)] if model.num_classes else []),
        _space(folder, model, test, importance),
        _interpolations(folder, model, test),
    ]
    panels = _bounds_of(row)
    if panels:
        drawn.append(_bounds(folder, panels))
    if not np.isfinite(kl).all():
        return drawn
    path = folder / "kl_per_latent.png"
    plots.kl_per_latent(path, kl, variance > ACTIVE_THRESHOLD)
    caption = "A latent at zero is a copy of the prior: it tells the decoder nothing about x."
    return [*drawn, Figure(path, "KL of each latent", caption)]


def _bounds_of(row: Row) -> dict[str, list[plots.Bound]]:
    """What was measured of log p(x), as differences on the same examples."""

    def difference(name: str, column: str, sign: int) -> list[plots.Bound]:
        nats = row.get(column)
        if nats is None:
            return []
        return [plots.Bound(name, sign * nats, row.get(f"{column}_se") or 0.0)]

    weights = f"importance weights, K = {EVIDENCE_PARTICLES:,}"
    samples = (
        *difference("upper bound", "bdmc_gap", 1),
        *difference(weights, "bdmc_gain", -1),
    )
    test = (
        *difference(f"AIS ({row.get('ais_examples')} examples)", "ais_gain", 1),
        *difference(f"ELBO ({row.get('gap_examples')} examples)", "inference_gap", -1),
    )
    panels = {
        "Samples of the model: log p(x) lies between": ("lower bound, AIS", samples),
        "Test: log p(x) lies above all": (weights, test),
    }
    return {
        title: [plots.Bound(reference, 0.0), *others]
        for title, (reference, others) in panels.items()
        if others
    }


def _bounds(folder: Path, panels: Mapping[str, Sequence[plots.Bound]]) -> Figure:
    path = folder / "bounds.png"
    plots.bounds(path, panels)
    caption = (
        "Each is a mean difference from the bound at 0, on the same examples, with two standard "
        "errors. The upper bound is that of bidirectional Monte Carlo."
    )
    return Figure(path, "Bounds on log p(x)", caption)


def _curves(folder: Path, metrics: Sequence[Row], run: int) -> Figure:
    path = folder / "training_curves.png"
    plots.training_curves(path, metrics, run)
    caption = "Means over the updates between two visits (train) and over all of valid."
    return Figure(path, "Training", caption)


def _reconstructions(folder: Path, model: Model, test: Pictured) -> Figure:
    path = folder / "reconstructions.png"
    plots.reconstructions(path, test.images, model.reconstruct(test))
    return Figure(path, "Reconstructions", "E[x'|z] at the center of q(z|x), for test images x.")


def _samples(folder: Path, model: Model) -> Figure:
    path = folder / "samples.png"
    plots.samples(path, model.samples(NUM_SAMPLES))
    caption = "E[x|z] for z drawn from the prior."
    if model.num_classes:
        caption += f" Classes take turns: 0 to {model.num_classes - 1}, then again from 0."
    return Figure(path, "Samples", caption)


def _samples_by_class(folder: Path, model: Model) -> Figure:
    path = folder / "samples_by_class.png"
    classes = range(min(model.num_classes, MOST_CLASSES))
    rows = [model.samples_of(label, SAMPLES_OF_CLASS) for label in classes]
    plots.samples_by_class(path, np.stack(rows), [model.name_of(label) for label in classes])
    caption = "E[x|z, y] for z drawn from the prior; images in one column share their noise."
    return Figure(path, "Samples of each class", caption)


def embedding(folder: Path, subject: EvalContext) -> Figure:
    """Write the map of the test codes of a run whose data have labels."""
    from vae_jax.evaluation.metrics.representation import MOST_POINTS, embed

    path, test = folder / "embedding.png", subject.subset("test", MOST_POINTS)
    assert test.labels is not None
    codes = subject.codes(test)
    points, is_plane = embed(codes), codes.shape[1] <= 2
    kind = "The latent space itself" if is_plane else "t-SNE of the codes"
    title = f"{kind}: {len(points):,} test images by label"
    plots.embedding(path, points, test.labels, title, subject.data.class_names)
    caption = "Posterior means of test images, which never saw a label."
    if not is_plane:
        caption += " Neighbours mean something; distances between groups and their sizes do not."
    return Figure(path, "The test set in the plane", caption)


def _space(folder: Path, model: Model, test: Pictured, importance: np.ndarray) -> Figure:
    """The whole space if it has two dimensions, a walk along its axes otherwise."""
    if model.latent_size == 2 and not model.num_classes:
        return _manifold(folder, model)
    path = folder / "traversals.png"
    latents = np.argsort(-importance, kind="stable")[:TRAVERSED_LATENTS]
    first = test.take(slice(1))
    z = along_axes(model.codes(first)[0], latents, TRAVERSAL)
    plots.traversals(path, model.decode(z, first.labels), latents, TRAVERSAL, importance)
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


def _interpolations(folder: Path, model: Model, test: Pictured) -> Figure:
    path = folder / "interpolations.png"
    pairs = np.resize(np.arange(len(test.images)), 2 * NUM_PAIRS).reshape(NUM_PAIRS, 2)
    ends = test.take(pairs)
    starts = None if ends.labels is None else ends.labels[:, :1]
    images = model.decode(straight_paths(model.codes(ends), PATH_STEPS), starts)
    plots.interpolations(path, images, ends.images)
    return Figure(path, "Interpolations", "E[x|z] on the line between the codes of two images.")


def straight_paths(
    ends: Float[Array, "pairs 2 latents"], num_steps: int
) -> Float[Array, "pairs steps latents"]:
    """Points ``[pairs, steps, latents]`` on the lines between the ends ``[pairs, 2, latents]``."""
    shares = jnp.linspace(0.0, 1.0, num_steps, dtype=ends.dtype)[None, :, None]
    return (1 - shares) * ends[:, :1] + shares * ends[:, 1:]


def draw_study(
    folder: Path,
    models: dict[int, Model],
    test: Pictured,
    rows: Sequence[Row],
    swept: Sequence[str],
) -> list[Figure]:
    """Write the figures that compare runs: terms over the axes, then images over the axes.

    Args:
        folder: where the PNG files go.
        models: by number of the run.
        test: what is reconstructed.
        rows: of test results, in the order of the runs' numbers.
        swept: names of the swept flags.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots.study_figures(folder, rows, swept, evaluators.columns(EVALUATORS))
    if not table.axes(swept) or table.best(rows) is None:
        return drawn
    place = table.pictured(rows, swept)
    where = held_words(place.fixed)
    samples, shown = {}, test.take(slice(GRID_TILES))
    reconstructions = {}
    for index in set(place.runs.ravel().tolist()) - {-1}:
        model = models[rows[index]["run"]]
        samples[index] = model.samples(GRID_TILES)
        reconstructions[index] = model.reconstruct(shown)
    return [
        *drawn,
        _image_grid(folder, "Samples", samples, place, where, None),
        _image_grid(folder, "Reconstructions", reconstructions, place, where, shown.images),
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
