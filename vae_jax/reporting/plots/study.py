"""The figures of a study: which are drawn, with their captions, and images over its axes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.reporting import table
from vae_jax.reporting.html import Figure
from vae_jax.reporting.plots import mosaic, style, terms
from vae_jax.reporting.plots.curves import curves_over_axis, rate_distortion
from vae_jax.reporting.plots.heat import heat_maps
from vae_jax.reporting.plots.style import Images
from vae_jax.reporting.plots.terms import Term
from vae_jax.types import Row

_PIXELS = 1180  # largest width of a grid of grids
_LINE = 12  # images of a cell in one line where there is a single column

Tiles = Float[np.ndarray, "rows columns tiles height width channels"]


def study_figures(
    folder: Path, rows: Sequence[Row], swept: Sequence[str], evaluated: Iterable[Column] = ()
) -> list[Figure]:
    """Draws what a study's numbers show and returns the files with their words.

    One axis beside the seed gives curves along it, more give heat maps for every pair of them with
    the rest held at the best row's values. Beta gives the rate-distortion curve as well. A study
    over seeds alone has no axis and no figure here.

    Args:
      folder: where the PNG files go.
      rows: all rows of the study.
      swept: the names that were swept, in order.
      evaluated: columns beyond the terms of every run.
    """
    names = table.axes(swept)
    figures = [_heat(folder, rows, swept, pair) for pair in itertools.combinations(names, 2)]
    if len(names) == 1:
        figures.append(_curves(folder, rows, names[0]))
    drawn = [each for each in evaluated if each.is_drawn]
    if columns.known_to(rows, drawn):
        figures += [_evaluated(folder, rows, swept, name, drawn) for name in names]
    if "beta" in names:
        figures.append(_rate_distortion(folder, rows, swept))
    return figures


def _heat(folder: Path, rows: Sequence[Row], swept: Sequence[str], pair: tuple[str, str]) -> Figure:
    held = table.fixed(rows, swept, pair)
    across, down = table.across_and_down(rows, pair)
    path = folder / f"heat_{across}_{down}.png"
    heat_maps(path, table.at(rows, held), (across, down))
    title = f"Terms over {terms.name(across)} and {terms.name(down)}"
    reading = "The frame is around the setting of the best run."
    return Figure(path, title, _sentences(reading, held_words(held)))


def _curves(folder: Path, rows: Sequence[Row], axis: str) -> Figure:
    path = folder / f"terms_over_{axis}.png"
    curves_over_axis(path, rows, axis)
    return Figure(path, f"Terms over {terms.name(axis)}", "Numbers of the test set.")


def _evaluated(
    folder: Path, rows: Sequence[Row], swept: Sequence[str], axis: str, drawn: Sequence[Column]
) -> Figure:
    """Draws the evaluations along an axis, the others held at the best row's values."""
    path, held = folder / f"evaluations_over_{axis}.png", table.fixed(rows, swept, (axis,))
    here = table.at(rows, held)
    curves_over_axis(path, here, axis, [Term(each) for each in columns.known_to(here, drawn)])
    title = f"Evaluations over {terms.name(axis)}"
    return Figure(path, title, _sentences("What --evaluate measured.", held_words(held)))


def _rate_distortion(folder: Path, rows: Sequence[Row], swept: Sequence[str]) -> Figure:
    path = folder / "rate_distortion.png"
    by = next((name for name in table.axes(swept) if name != "beta"), "")
    held = table.fixed(rows, swept, ("beta", by))
    here = table.at(rows, held)
    rate_distortion(path, here, by)
    names = ("beta", by) if by else ("beta",)
    errors = terms.error_words([terms.RATE.cells(here, names)])
    reading = (
        "Each point is one setting on the test set, named by its beta unless that would cover "
        "another. The nearer to the lower left, the better: grey "
        f"lines have equal ELBO. Bars are {errors}."
    )
    return Figure(path, "Rate and distortion", _sentences(reading, held_words(held)))


def held_words(held: Mapping[str, Any]) -> str:
    """Returns the sentence that says which axes a figure does not show; "" for none."""
    return f"Shown at {terms.settings(held)}, as in the best run." if held else ""


def _sentences(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


@matplotlib.rc_context(style.STYLE)
def grid_of_images(
    path: Path,
    images: Tiles,
    row_axis: str,
    row_values: Sequence[Any],
    column_axis: str,
    column_values: Sequence[Any],
    title: str,
    reference: Images | None = None,
) -> None:
    """Draws a small mosaic of images for every cell of two axes.

    Args:
      path: the PNG file to write.
      images: `images[i, j]` belong to `row_values[i]` and `column_values[j]`; NaN where there are
        none, which is drawn as a cross.
      row_axis: name of what goes down; "" for nothing.
      row_values: its values.
      column_axis: name of what goes across; "" for nothing, then a cell's images stand in a line.
      column_values: its values.
      title: of the figure.
      reference: the test images that the cells reconstruct, drawn above each column.
    """
    width = int(np.ceil(np.sqrt(images.shape[2]))) if column_axis else min(images.shape[2], _LINE)
    labels = [terms.tick(at) for at in row_values]
    if reference is not None:
        above = np.broadcast_to(reference, (1, images.shape[1], *reference.shape))
        images, labels = np.concatenate([above, images]), ["test\nimages", *labels]
    grid, height = _joined(images, width)
    breaks = range(height, len(grid), height), range(width, grid.shape[1], width)
    figure, axes = mosaic.figure(grid, *breaks, pixels=_PIXELS)
    _label_cells(axes, (height, width), labels, [terms.tick(at) for at in column_values])
    _cross_empty(axes, images)
    axes.set_xlabel(terms.name(column_axis))
    axes.set_ylabel(terms.name(row_axis))
    axes.set_title(title, pad=10)
    style.save(figure, path)


def _joined(
    images: Tiles, width: int
) -> tuple[Float[np.ndarray, "_ _ height width channels"], int]:
    """Returns all cells as one grid, each in lines of `width` images, and their number of lines."""
    blocks = [[mosaic.lines(cell, width) for cell in line] for line in images]
    grid = np.concatenate([np.concatenate(line, axis=1) for line in blocks])
    return grid, len(blocks[0][0])


def _label_cells(
    axes: Axes, cell: tuple[int, int], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Puts a label at the middle of each cell, the columns' above the images."""
    height, width = cell
    axes.set_yticks(np.reshape(axes.get_yticks(), (-1, height)).mean(axis=1), rows)
    axes.set_xticks(np.reshape(axes.get_xticks(), (-1, width)).mean(axis=1), columns)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)


def _cross_empty(axes: Axes, images: Tiles) -> None:
    empty = np.isnan(images).all(axis=(2, 3, 4, 5))
    for i, j in np.argwhere(empty):
        x, y = float(axes.get_xticks()[j]), float(axes.get_yticks()[i])
        axes.text(x, y, style.CROSS, color=style.ALARM, fontsize=12, ha="center", va="center")
