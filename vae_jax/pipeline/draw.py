"""Figures of a run or study: of all runs together, of the best run, and small ones of each run."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.config.members import columns_of, find
from vae_jax.data import Dataset
from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.pipeline import loggers, workdir
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.reporting import table
from vae_jax.reporting.html import Figure
from vae_jax.reporting.pictures import Picture
from vae_jax.runtime import libraries
from vae_jax.runtime.failures import Failures
from vae_jax.training import batches
from vae_jax.types import Row

if TYPE_CHECKING:
    from vae_jax.reporting.figures import ShownImages

_MISSING_GLYPH = r"Glyph (\d+) "  # beginning of matplotlib's warning, with the character's number
NUM_IMAGES = 100
"""Test images from which the figures choose."""


def draw_figures(
    config: Config,
    trained: list[TrainedGroup],
    dataset: Dataset,
    rows: list[Row],
    swept: list[str],
    failures: Failures,
) -> list[Figure]:
    """Write the figures and return them in the order of the report; none without matplotlib.

    Test images are shown as the model sees them: binary where it was trained on binary ones.

    Args:
        config: flags of the study.
        trained: all groups.
        dataset: data that they were trained on.
        rows: rows of ``results.csv``.
        swept: names of the swept flags.
        failures: takes the figures that fail.
    """
    drawn: list[Figure] = []
    with failures.caught("figures"), _missing_glyphs_noted():
        drawn += _draw(config, trained, dataset, rows, swept, failures)
    return drawn


@contextlib.contextmanager
def _missing_glyphs_noted() -> Iterator[None]:
    """Say in one line which characters of names the font of the figures of the block lacks.

    Matplotlib draws a box for each, and warns of each at every resolution that is tried.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _MISSING_GLYPH)
        yield
    numbers: dict[str, None] = {}
    for warning in caught:
        found = re.match(_MISSING_GLYPH, str(warning.message))
        if found:
            numbers[f"U+{int(found[1]):04X}"] = None
        else:
            place = warning.filename, warning.lineno
            warnings.warn_explicit(warning.message, warning.category, *place)
    if numbers:
        more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
        print(
            "NOTE: the font of the figures lacks characters of names, which are drawn as boxes: "
            f"{', '.join(list(numbers)[:10])}{more}",
            flush=True,
        )


def draw_pictures(
    trained: list[TrainedGroup],
    dataset: Dataset,
    rows: list[Row],
    swept: list[str],
    failures: Failures,
) -> dict[int, list[Picture]]:
    """Return small pictures of the runs of a study by their numbers; none without matplotlib.

    Args:
        trained: all groups.
        dataset: data that they were trained on.
        rows: rows of ``results.csv``.
        swept: names of the swept flags.
        failures: takes the failure of any of them.
    """
    if not swept or not libraries.is_installed("matplotlib"):
        return {}
    from vae_jax.reporting import figures

    with failures.caught("pictures of the runs"):
        models = {run: model for done in trained for run, model in done.models.items()}
        shown = shown_images(trained[0].spec.binarize, dataset)
        return figures.draw_pictures(models, shown, rows, swept, failures)
    return {}


def _draw(
    config: Config,
    trained: list[TrainedGroup],
    dataset: Dataset,
    rows: list[Row],
    swept: list[str],
    failures: Failures,
) -> Iterator[Figure]:
    """Yield the figures as soon as they are drawn."""
    if not libraries.is_installed("matplotlib"):
        return
    from vae_jax.reporting import figures  # brings matplotlib, for which no training need wait

    models = {run: model for done in trained for run, model in done.models.items()}
    shown = shown_images(trained[0].spec.binarize, dataset)

    folder = Path(config.workdir)
    target = folder / workdir.FIGURES
    if swept:
        evaluated = columns_of(build.evaluations(config))
        yield from figures.draw_study(target, models, shown, rows, swept, evaluated, failures)
    best = table.best(rows)
    if best is None:
        return
    model, metrics = models[best["run"]], loggers.read(folder / workdir.METRICS_FILE)
    for name, reason in figures.left_out(model.model).items():
        print(f"NOTE: no figure of {name}: {reason}", flush=True)
    yield from figures.draw(target, model, shown, metrics, best, failures)
    wanted = frozenset().union(*(find("evaluate", name).figures for name in config.evaluate))
    if "embedding" in wanted and not best.get(f"codes{NOT_FINITE}"):
        binarize = next(done.spec.binarize for done in trained if best["run"] in done.group.runs)
        with failures.caught("figure embedding"):
            hparams = jax.tree.map(jnp.asarray, model.hparams)  # its arrays are on the host
            context = EvalContext(model._replace(hparams=hparams), dataset, binarize)
            yield figures.embedding(target, context)


def shown_images(binarize: str, dataset: Dataset) -> "ShownImages":
    """Return the test images from which figures choose, as the model sees them.

    Args:
        binarize: binarization of the pixels.
        dataset: data set that the model was trained on.
    """
    from vae_jax.reporting import figures, plots

    pixels = batches.stored_pixels(binarize, "test", dataset.test[:NUM_IMAGES])
    images = np.asarray(batches.as_observations(jnp.asarray(pixels)))
    labels = None if dataset.test_labels is None else dataset.test_labels[:NUM_IMAGES]
    view = plots.View.of(images, is_unit=dataset.encoding == "pixels")
    return figures.ShownImages(images, labels, dataset.class_names, view, dataset.classes)
