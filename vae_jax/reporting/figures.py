"""Figures of a run and of a study: which are made, what a model is asked for, and their captions.

The arrays that a trained model gives are drawn to files by `vae_jax.reporting.plots`.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vae_jax import rng
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.elbo import ACTIVE_THRESHOLD
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.models import paths
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.reporting import format, heat_maps, pictures, plots, table
from vae_jax.reporting.html import Figure
from vae_jax.reporting.pictures import Picture, Tiles
from vae_jax.reporting.terms import RATE, Term
from vae_jax.runtime.failures import Failures
from vae_jax.runtime.progress import phase
from vae_jax.types import Labels, Latents, Row

NUM_SAMPLES = 100
NUM_RECONSTRUCTIONS = 20
CELL_IMAGES = 9
MOST_CLASSES, SAMPLES_OF_CLASS = 20, 10
NUM_PAIRS = 6
PATH_STEPS = 9
MANIFOLD_SIDE = 20
TRAVERSED_LATENTS = 8
TRAVERSAL = np.linspace(-2.5, 2.5, 11)
SMALL_RECONSTRUCTIONS, SMALL_SAMPLES, SMALL_LINES = 8, 25, 5
SMALL_TRAVERSAL = np.linspace(-2.5, 2.5, 7)


class ShownImages(NamedTuple):
    """Test examples that figures show.

    Attributes:
        images: x as the model takes it, at least one.
        labels: labels of the examples, where the source has them.
        class_names: names of the classes; numbers are written without.
        view: way in which x is drawn; by default as an image in [0, 1].
        classes: classes of the data in order; by default all numbers below that of the classes.

    Example:
        >>> shown = ShownImages(np.zeros((3, 4, 4, 1)), np.array([0, 2, 1]), ("cat", "dog"))
        >>> shown.take(slice(2)).labels.tolist(), shown.name_of(1)
        ([0, 2], 'dog')
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    view: plots.View = plots.View()
    classes: tuple[int, ...] = ()

    def take(self, index: np.ndarray | slice) -> "ShownImages":
        """Return the examples at an index, with their labels."""
        labels = None if self.labels is None else self.labels[index]
        return self._replace(images=self.images[index], labels=labels)

    def name_of(self, label: int) -> str:
        """Return the name of a class."""
        return self.class_names[label] if self.class_names else f"class {label}"


Maker = Callable[[], Figure]
"""Function that draws a figure."""


def draw(
    folder: Path,
    trained: TrainedVAE,
    shown: ShownImages,
    metrics: Sequence[Row],
    row: Row,
    failures: Failures | None = None,
) -> list[Figure]:
    """Draw the figures of one run and return them with their captions.

    Args:
        folder: folder of the PNG files.
        trained: model of the run.
        shown: test examples that are reconstructed, traversed and interpolated.
        metrics: rows of ``metrics.jsonl``.
        row: the run's row of test results, with ``kl_per_latent`` and ``variance_per_latent``.
        failures: takes the figures that fail; None where an error shall be raised.
    """
    folder.mkdir(exist_ok=True)
    variance = np.asarray(row["variance_per_latent"], float)
    kl = np.asarray(row["kl_per_latent"], float)
    has_kl = bool(np.isfinite(kl).all())
    conditional = trained.model.num_classes > 0
    first = shown.take(slice(NUM_RECONSTRUCTIONS))
    makers: dict[str, Maker] = {
        "training_curves": lambda: _training_curves(folder, metrics, row["run"]),
        "reconstructions": lambda: _reconstructions(folder, trained, first),
    }
    if trained.model.posterior.has_density:
        makers["samples"] = lambda: _samples(folder, trained, shown)
    if conditional:
        makers["samples_by_class"] = lambda: _samples_by_class(folder, trained, shown)
    makers |= _walks(folder, trained, shown, variance, kl if has_kl else None)
    if bounds := _bounds_of(row):
        makers["bounds"] = lambda: _bounds(folder, bounds)
    if has_kl:
        makers["kl_per_latent"] = lambda: _kl_per_latent(folder, kl, variance)
    return _all_drawn("drawing one run", makers, failures)


def _all_drawn(label: str, makers: Mapping[str, Maker], failures: Failures | None) -> list[Figure]:
    """Return the figures in order, without those that fail; the label is that of the phase."""
    drawn = []
    with phase(label, len(makers), "figures") as advance:
        for done, (name, maker) in enumerate(makers.items()):
            with _caught(failures, f"figure {name}"):
                drawn.append(maker())
            advance(done + 1)
    return drawn


def _caught(failures: Failures | None, part: str) -> contextlib.AbstractContextManager[None]:
    return failures.caught(part) if failures else contextlib.nullcontext()


def left_out(model: VAE) -> dict[str, str]:
    """Return the figures that a model's latents do not allow, each with the reason.

    Example:
        >>> left_out(VAE((4, 4, 1), max_latents=2))
        {}
    """
    family, reasons = model.posterior, {}
    if family.support not in paths.PATHS:
        reasons["interpolations"] = f"no path between two points of {family.support} is known"
    if family.support not in paths.TRAVERSALS:
        reasons["traversals"] = f"it is not known how latents move in {family.support}"
    elif family.support == "reals" and not family.has_coordinates:
        reasons["traversals"] = "they move latents one by one"
    return {name: f"{reason} ({model.spelling('posterior')})" for name, reason in reasons.items()}


def draw_study(
    folder: Path,
    trained: Mapping[int, TrainedVAE],
    shown: ShownImages,
    rows: Sequence[Row],
    swept: Sequence[str],
    evaluated: Iterable[Column] = (),
    failures: Failures | None = None,
) -> list[Figure]:
    """Draw the figures that compare runs: terms over the axes, then images over the axes.

    Args:
        folder: folder of the PNG files.
        trained: models by the numbers of their runs.
        shown: test examples that are reconstructed.
        rows: rows of test results, in the order of the runs' numbers.
        swept: names of the swept flags.
        evaluated: columns of the evaluators that were asked.
        failures: takes the figures that fail; None where an error shall be raised.
    """
    drawn = draw_terms(folder, rows, swept, evaluated, failures)
    if not table.axes(swept) or table.best(rows) is None:
        return drawn
    first = shown.take(slice(CELL_IMAGES))
    grid = functools.cache(lambda: _thinned(table.run_grid(rows, swept), first.images))

    def drawn_over_axes(
        title: str, images_of: Callable[[TrainedVAE], np.ndarray], reference: np.ndarray | None
    ) -> Figure:
        of_run = lambda index: images_of(trained[rows[index]["run"]])  # noqa: E731
        return _image_grid(folder, title, of_run, grid(), reference, shown.view)

    makers: dict[str, Maker] = {
        "samples_over_axes": lambda: drawn_over_axes(
            "Samples", lambda model: _sample(model, CELL_IMAGES, shown), None
        ),
        "reconstructions_over_axes": lambda: drawn_over_axes(
            "Reconstructions", lambda model: _reconstruct(model, first), first.images
        ),
    }
    return [*drawn, *_all_drawn("drawing images over the axes", makers, failures)]


def draw_pictures(
    trained: Mapping[int, TrainedVAE],
    shown: ShownImages,
    rows: Sequence[Row],
    swept: Sequence[str],
    failures: Failures | None = None,
) -> dict[int, list[Picture]]:
    """Return small pictures of the runs of a study, by their numbers: of as many as a page holds.

    Args:
        trained: models by the numbers of their runs.
        shown: test examples that are reconstructed and traversed.
        rows: rows of test results.
        swept: names of the swept flags.
        failures: takes the runs whose pictures fail; None where an error shall be raised.
    """
    runs, found = pictures.chosen(rows, swept), {}
    by_number = {row["run"]: row for row in rows}

    def tiles(run: int) -> list[Tiles]:
        with _caught(failures, f"pictures of run {run}"):
            return _tiles(trained[run], shown, by_number[run])
        return []

    with phase("drawing pictures of all runs", len(runs), "runs") as advance:
        for done, (run, own) in enumerate(pictures.encoded(runs, tiles)):
            found |= {run: own} if own else {}
            advance(done + 1)
    return found


def _tiles(trained: TrainedVAE, shown: ShownImages, row: Row) -> list[Tiles]:
    """Return the images of the pictures of a run."""
    view, first = shown.view, shown.take(slice(SMALL_RECONSTRUCTIONS))
    pairs = np.stack([first.images, _reconstruct(trained, first)])
    caption = f"Test {view.noun}s x, and E[x'|z] at the center of q(z|x)."
    found = [Tiles("Reconstructions", caption, view.pictures(pairs))]
    if trained.model.posterior.has_density:
        samples = _sample(trained, SMALL_SAMPLES, shown)
        samples = samples.reshape(SMALL_LINES, -1, *first.images.shape[1:])
        caption = "E[x|z] for z drawn from the prior."
        found.append(Tiles("Samples", caption, view.pictures(samples)))
    if "traversals" not in left_out(trained.model):
        kl = np.asarray(row.get("kl_per_latent") or [np.nan], float)
        known = kl if np.isfinite(kl).all() else None
        variance = np.asarray(row["variance_per_latent"], float)
        latents = _informative(variance, known)[:SMALL_LINES]
        labels = tuple(format.latent_with_kl(i, known) for i in latents.tolist())
        images = view.pictures(_moved(trained, first.take(slice(1)), latents, SMALL_TRAVERSAL))
        caption = (
            "The most informative latents, moved one at a time from the code of the first test "
            f"{view.noun}, {paths.MOVED[trained.model.posterior.support]} from "
            f"{format.rounded(SMALL_TRAVERSAL[0])} to {format.rounded(SMALL_TRAVERSAL[-1])}."
        )
        found.append(Tiles("Traversals", caption, images, labels))
    return found


def draw_terms(
    folder: Path,
    rows: Sequence[Row],
    swept: Sequence[str],
    evaluated: Iterable[Column] = (),
    failures: Failures | None = None,
) -> list[Figure]:
    """Draw the terms of a study over its axes and return the figures with their captions.

    One axis beside the seed gives curves along it, more give heat maps for every pair of them with
    the rest held at the best row's values. Beta gives the rate-distortion curve as well. A study
    over seeds alone has no axis and no figure here.

    Args:
        folder: folder of the PNG files.
        rows: rows of the study.
        swept: names of the swept flags, in order.
        evaluated: columns beyond the terms of every run.
        failures: takes the figures that fail; None where an error shall be raised.
    """
    folder.mkdir(exist_ok=True)
    names, drawn = table.axes(swept), [each for each in evaluated if each.is_drawn]
    makers: dict[str, Maker] = {
        f"heat_{'_'.join(pair)}": functools.partial(_heat, folder, rows, swept, pair)
        for pair in itertools.combinations(names, 2)
    }
    if len(names) == 1:
        makers[f"terms_over_{names[0]}"] = lambda: _terms_over_axis(folder, rows, names[0])
    if columns.known_to(rows, drawn):
        for name in names:
            makers[f"evaluations_over_{name}"] = functools.partial(
                _evaluations_over_axis, folder, rows, swept, name, drawn
            )
    if "beta" in names:
        makers["rate_distortion"] = lambda: _rate_distortion(folder, rows, swept)
    return _all_drawn("drawing terms over the axes", makers, failures)


def embedding(folder: Path, context: EvalContext) -> Figure:
    """Draw the map of the test codes of a run whose data have labels."""
    from vae_jax.evaluation.metrics.representation import MOST_POINTS, embed

    path, test = folder / "embedding.png", context.subset("test", MOST_POINTS)
    assert test.labels is not None
    codes = context.codes(test)
    with phase("drawing the map of the test codes"):
        points, is_plane = embed(codes), codes.shape[1] <= 2
    kind = "The latent space itself" if is_plane else "t-SNE of the codes"
    title = f"{kind}: {format.count(len(points))} test examples by label"
    plots.embedding(path, points, test.labels, title, context.data.class_names)
    caption = "Posterior means of test examples; the labels took no part in training."
    if context.trained.model.num_classes:
        caption = "Posterior means of test examples, given their labels."
    if not is_plane:
        caption += " Neighbours are meaningful; distances between groups and their sizes are not."
    return Figure(path, "Map of the test set", caption)


def _labels(trained: TrainedVAE, labels: np.ndarray | None) -> Labels | None:
    """Return the labels where the model needs them."""
    return jnp.asarray(labels) if trained.model.num_classes else None


def _reconstruct(trained: TrainedVAE, shown: ShownImages) -> np.ndarray:
    images = jnp.asarray(shown.images)
    return np.asarray(trained.reconstruct(images, _labels(trained, shown.labels)))


def _codes(trained: TrainedVAE, shown: ShownImages) -> Latents:
    """Return the centers of the posteriors."""
    return trained.encode(jnp.asarray(shown.images), _labels(trained, shown.labels)).center


def _decode(trained: TrainedVAE, z: Latents, labels: np.ndarray | None = None) -> np.ndarray:
    """Return E[x|z], of class 0 where a label is needed and none is given."""
    known = np.zeros(z.shape[:-1], int) if labels is None else labels
    y = _labels(trained, np.broadcast_to(known, z.shape[:-1]))
    return np.asarray(trained.generate(z, y))


def _classes(trained: TrainedVAE, shown: ShownImages) -> tuple[int, ...]:
    """Return the classes that a conditional model was trained on; none without labels."""
    num_classes = trained.model.num_classes
    return (shown.classes or tuple(range(num_classes))) if num_classes else ()


def _sample(trained: TrainedVAE, num_samples: int, shown: ShownImages) -> np.ndarray:
    """Return E[x|z] for z from the prior, by the run's stream ``generate``; classes alternate."""
    key = rng.stream(trained.hparams.seed, "generate")
    y = _labels(trained, np.resize(_classes(trained, shown) or (0,), num_samples))
    return np.asarray(trained.sample(key, num_samples, y))


def _sample_class(trained: TrainedVAE, label: int, num_samples: int) -> np.ndarray:
    """Return E[x|z, y] of one class, with the noise that every class has."""
    key = rng.stream(trained.hparams.seed, "generate", 1)
    y = _labels(trained, np.full(num_samples, label))
    return np.asarray(trained.sample(key, num_samples, y))


def _training_curves(folder: Path, metrics: Sequence[Row], run: int) -> Figure:
    path = folder / "training_curves.png"
    plots.training_curves(path, metrics, run)
    caption = "Means over the updates between two evaluations (train) and over all of valid."
    return Figure(path, "Training", caption)


def _reconstructions(folder: Path, trained: TrainedVAE, shown: ShownImages) -> Figure:
    path, view = folder / "reconstructions.png", shown.view
    pair = shown.images, _reconstruct(trained, shown)
    if view.rank == 1:
        plots.vector_reconstructions(path, *pair)
    else:
        plots.reconstructions(path, *map(view.pictures, pair), noun=view.noun)
    caption = f"E[x'|z] at the center of q(z|x), for test {view.noun}s x."
    return Figure(path, "Reconstructions", caption if view.rank == 1 else _scaled(caption, view))


def _scaled(caption: str, view: plots.View) -> str:
    """Return a caption with the scale in which x is drawn."""
    return f"{caption} {view.caption}".strip()


def _samples(folder: Path, trained: TrainedVAE, shown: ShownImages) -> Figure:
    path, view, classes = folder / "samples.png", shown.view, _classes(trained, shown)
    plots.samples(path, view.pictures(_sample(trained, NUM_SAMPLES, shown)))
    caption = "E[x|z] for z drawn from the prior."
    if classes:
        has_gaps = len(classes) <= classes[-1] - classes[0]
        which = ", without those that no example has" if has_gaps else ""
        caption += (
            f" Classes alternate: {classes[0]} to {classes[-1]}{which}, then from the first again."
        )
    return Figure(path, "Samples", _scaled(caption, view))


def _samples_by_class(folder: Path, trained: TrainedVAE, shown: ShownImages) -> Figure:
    path = folder / "samples_by_class.png"
    classes = _classes(trained, shown)[:MOST_CLASSES]
    rows = [_sample_class(trained, label, SAMPLES_OF_CLASS) for label in classes]
    pictures = shown.view.pictures(np.stack(rows))
    plots.samples_by_class(path, pictures, [shown.name_of(label) for label in classes])
    caption = (
        f"E[x|z, y] for z drawn from the prior; {shown.view.noun}s in one column share their noise."
    )
    return Figure(path, "Samples of each class", _scaled(caption, shown.view))


def _walks(
    folder: Path,
    trained: TrainedVAE,
    shown: ShownImages,
    variance: np.ndarray,
    kl: np.ndarray | None,
) -> dict[str, Maker]:
    """Return what draws the walks through the latents, as far as they allow it."""
    missing, is_plane = left_out(trained.model), trained.hparams.latent_size == 2
    is_plane &= trained.model.posterior.support == "reals" and not trained.model.num_classes
    makers: dict[str, Maker] = {}
    if "traversals" not in missing and is_plane:
        makers["manifold"] = lambda: _manifold(folder, trained, shown.view)
    elif "traversals" not in missing:
        makers["traversals"] = lambda: _traversals(folder, trained, shown, variance, kl)
    if "interpolations" not in missing:
        makers["interpolations"] = lambda: _interpolations(folder, trained, shown)
    return makers


def _manifold(folder: Path, trained: TrainedVAE, view: plots.View) -> Figure:
    path = folder / "manifold.png"
    values = paths.quantiles(MANIFOLD_SIDE)
    plots.manifold(path, view.pictures(_decode(trained, paths.plane(values))), values)
    caption = "Decoder means on a grid whose cells have equal mass under a standard normal."
    return Figure(path, "The latent space", _scaled(caption, view))


def _traversals(
    folder: Path,
    trained: TrainedVAE,
    shown: ShownImages,
    variance: np.ndarray,
    kl: np.ndarray | None,
) -> Figure:
    """Draw the latents of the largest KL or, where that is not known, of the largest variance."""
    path, first = folder / "traversals.png", shown.take(slice(1))
    latents = _informative(variance, kl)[:TRAVERSED_LATENTS]
    images = _moved(trained, first, latents, TRAVERSAL)
    moved = paths.MOVED[trained.model.posterior.support]
    plots.traversals(path, shown.view.pictures(images), latents, TRAVERSAL, kl, moved)
    caption = (
        "The most informative latents, moved one at a time from the code of a test "
        f"{shown.view.noun}."
    )
    return Figure(path, "Traversals", _scaled(caption, shown.view))


def _informative(variance: np.ndarray, kl: np.ndarray | None) -> np.ndarray:
    """Return the latents, those of the largest KL first, or of the largest variance."""
    return np.argsort(-(variance if kl is None else kl), kind="stable")


def _moved(
    trained: TrainedVAE, first: ShownImages, latents: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return what is decoded when single latents of the code of one example are moved."""
    walk = paths.TRAVERSALS[trained.model.posterior.support]
    z = walk(_codes(trained, first)[0], latents, values)
    return _decode(trained, z, first.labels)


def _interpolations(folder: Path, trained: TrainedVAE, shown: ShownImages) -> Figure:
    path = folder / "interpolations.png"
    ends = shown.take(np.resize(np.arange(len(shown.images)), 2 * NUM_PAIRS))
    starts = None if ends.labels is None else ends.labels[::2, None]
    codes = _codes(trained, ends).reshape(NUM_PAIRS, 2, -1)
    walk = paths.PATHS[trained.model.posterior.support]
    images = _decode(trained, walk(codes[:, 0], codes[:, 1], PATH_STEPS), starts)
    view = shown.view
    ends_of_paths = ends.images.reshape(NUM_PAIRS, 2, *ends.images.shape[1:])
    pictures = view.pictures(images), view.pictures(ends_of_paths)
    plots.interpolations(path, *pictures, noun=view.noun)
    caption = "E[x|z] on the shortest path between two codes."
    return Figure(path, "Interpolations", _scaled(caption, view))


def _bounds_of(row: Row) -> dict[str, list[plots.Bound]]:
    """Return what is known of log p(x), as differences between bounds on the same examples."""

    def difference(name: str, column: str, sign: int) -> list[plots.Bound]:
        nats = row.get(column)
        if nats is None:
            return []
        return [plots.Bound(name, sign * nats, row.get(f"{column}_se") or 0.0)]

    weights = f"importance weights, K = {format.count(EVIDENCE_PARTICLES)}"
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


def _kl_per_latent(folder: Path, kl: np.ndarray, variance: np.ndarray) -> Figure:
    path = folder / "kl_per_latent.png"
    plots.kl_per_latent(path, kl, variance > ACTIVE_THRESHOLD)
    caption = "A latent whose KL is zero has the prior as its posterior: it carries nothing of x."
    return Figure(path, "KL of each latent", caption)


def _heat(folder: Path, rows: Sequence[Row], swept: Sequence[str], pair: tuple[str, str]) -> Figure:
    held = table.fixed(rows, swept, pair)
    across, down = table.across_and_down(rows, pair)
    path = folder / f"{heat_maps.file_name((across, down))}.png"
    plots.heat_maps(path, table.at(rows, held), (across, down))
    title = f"Terms over {across} and {down}"
    return Figure(path, title, _caption("The frame is around the setting of the best run.", held))


def _terms_over_axis(folder: Path, rows: Sequence[Row], axis: str) -> Figure:
    path = folder / f"terms_over_{axis}.png"
    plots.curves_over_axis(path, rows, axis)
    return Figure(path, f"Terms over {axis}", "Terms of the test set.")


def _evaluations_over_axis(
    folder: Path, rows: Sequence[Row], swept: Sequence[str], axis: str, drawn: Sequence[Column]
) -> Figure:
    """Draw the evaluations along an axis, the others held at the best row's values."""
    path, held = folder / f"evaluations_over_{axis}.png", table.fixed(rows, swept, (axis,))
    here = table.at(rows, held)
    plots.curves_over_axis(path, here, axis, [Term(each) for each in columns.known_to(here, drawn)])
    return Figure(path, f"Evaluations over {axis}", _caption("Results of --evaluate.", held))


def _rate_distortion(folder: Path, rows: Sequence[Row], swept: Sequence[str]) -> Figure:
    path = folder / "rate_distortion.png"
    by = next((name for name in table.axes(swept) if name != "beta"), "")
    names = ("beta", by) if by else ("beta",)
    held = table.fixed(rows, swept, names)
    here = table.at(rows, held)
    plots.rate_distortion(path, here, by)
    errors = format.error_source(RATE.cells(here, names).num_seeds)
    caption = (
        "Each point is one setting on the test set, with its beta unless that would cover another. "
        "The nearer to the lower left, the better: grey lines have equal ELBO. "
        f"Bars are {errors}."
    )
    return Figure(path, "Rate and distortion", _caption(caption, held))


def _image_grid(
    folder: Path,
    title: str,
    images_of: Callable[[int], np.ndarray],
    shown: tuple[table.RunGrid, str],
    reference: np.ndarray | None,
    view: plots.View,
) -> Figure:
    """Draw the examples of each cell over two axes, NaN where every run diverged.

    Args:
        folder: folder of the PNG files.
        title: title of the figure.
        images_of: gives the images of a row by its index.
        shown: cells that are drawn, and a sentence where that are not all.
        reference: test examples that the cells reconstruct.
        view: how examples are drawn.
    """
    path, (grid, note) = folder / f"{title.lower()}_over_axes.png", shown
    images = {row: images_of(row) for row in sorted(set(grid.runs.ravel().tolist()) - {-1})}
    blank = np.full_like(next(iter(images.values())), np.nan)
    cells = np.array([[images.get(int(row), blank) for row in line] for line in grid.runs])
    axes = (grid.down, grid.down_values, grid.across, grid.across_values)
    above = None if reference is None else view.pictures(reference)
    pictures = view.pictures(cells)
    plots.grid_of_images(path, pictures, *axes, title, reference=above, noun=view.noun)
    same = f"The same test {view.noun}s."
    caption = _scaled("The same noise in every cell." if reference is None else same, view)
    return Figure(path, f"{title} over the axes", _caption(caption + note, grid.fixed))


def _thinned(grid: table.RunGrid, images: np.ndarray) -> tuple[table.RunGrid, str]:
    """Return the cells of a grid that a figure can hold, and a sentence where that are not all.

    Args:
        grid: all cells.
        images: images of one cell.
    """
    down, across = plots.shown_cells(grid.runs.shape, images.nbytes)
    kept = [
        f"{len(own)} of {format.count(count)} values of {name}"
        for own, count, name in zip(
            (down, across), grid.runs.shape, (grid.down, grid.across), strict=True
        )
        if len(own) < count
    ]
    thinned = grid._replace(
        runs=grid.runs[np.ix_(down, across)],
        down_values=[grid.down_values[i] for i in down],
        across_values=[grid.across_values[i] for i in across],
    )
    return thinned, f" Shown are {' and '.join(kept)}, evenly spaced." if kept else ""


def _caption(sentence: str, held: Mapping[str, Any]) -> str:
    """Return a caption, with the axes that the figure does not show."""
    return f"{sentence} Shown at {format.settings(held)}, as in the best run." if held else sentence
