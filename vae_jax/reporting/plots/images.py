"""Figures that are made of images: reconstructions, samples, walks in the latent space, grids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from vae_jax.reporting import format, table
from vae_jax.reporting.plots import mosaic, style
from vae_jax.reporting.plots.style import Figure, Grid, Images

_PIXELS = 1180  # largest width of a grid of grids
_LINE = 12  # images of a cell in one line where there is a single column
_MOST_ALONE, _MOST_EACH_WAY = 24, 10  # cells in a single column, and along each of two axes
_MOST_BYTES = 2**27  # of the images of all cells

Tiles = Float[np.ndarray, "rows columns tiles height width channels"]


@matplotlib.rc_context(style.STYLE)
def reconstructions(
    path: Path | None, images: Images, reconstructions: Images, noun: str = "image"
) -> Figure:
    """Draw test images, each above its reconstruction, in lines of at most ten."""
    columns = min(len(images), 10)
    pairs = np.stack(
        [mosaic.lines(images, columns), mosaic.lines(reconstructions, columns)], axis=1
    )
    grid = pairs.reshape(-1, *pairs.shape[2:])
    figure, axes = mosaic.figure(grid, row_breaks=range(2, len(grid), 2))
    mosaic.label_rows(axes, [f"test {noun}", "reconstruction"] * (len(grid) // 2))
    axes.set_title(f"Test {noun}s and their reconstructions")
    style.save(figure, path)
    return figure


@matplotlib.rc_context(style.STYLE)
def samples(path: Path | None, images: Images) -> Figure:
    """Draw images in a square grid, row by row."""
    figure, axes = mosaic.figure(mosaic.lines(images, int(np.ceil(np.sqrt(len(images))))))
    axes.set_title("Samples from the prior, shown as means of the likelihood")
    style.save(figure, path)
    return figure


@matplotlib.rc_context(style.STYLE)
def manifold(
    path: Path | None,
    images: Float[np.ndarray, "side side height width channels"],
    values: Float[np.ndarray, " side"],
) -> Figure:
    """Draw the decoder means over a two-dimensional latent space.

    Args:
      path: the PNG file to write; None for no file.
      images: `images[i, j]` is decoded from z1 = `values[j]`, z2 = `values[i]`.
      values: ascending; z1 grows to the right and z2 upwards.
    """
    figure, axes = mosaic.figure(images[::-1])
    shown = np.linspace(0, len(values) - 1, min(len(values), 9)).round()
    labels = [format.rounded(float(value)) if i in shown else "" for i, value in enumerate(values)]
    mosaic.label_columns(axes, labels)
    mosaic.label_rows(axes, labels[::-1])
    axes.set_xlabel("z1")
    axes.set_ylabel("z2", rotation=0, labelpad=10)
    axes.set_title("Decoder means over the two latents")
    style.save(figure, path)
    return figure


@matplotlib.rc_context(style.STYLE)
def traversals(
    path: Path | None,
    images: Grid,
    latents: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " columns"],
    kl: Float[np.ndarray, " latents"] | None = None,
    moved: str = "value of the latent",
) -> Figure:
    """Draw one latent per row moved through `values`, the others held.

    Args:
      path: the PNG file to write; None for no file.
      images: `images[i, j]` is decoded with latent `latents[i]` at `values[j]`.
      latents: indices of the latents, counted from 0 (and drawn as z1, z2, ...).
      values: values of the latent that is moved.
      kl: KL of every latent of the model in nats per example, where it is known.
      moved: meaning of the values, the label of the axis.
    """
    figure, axes = mosaic.figure(images)
    mosaic.label_rows(axes, [format.latent_with_kl(i, kl) for i in latents.tolist()])
    mosaic.label_columns(axes, [format.rounded(float(value)) for value in values])
    axes.set_xlabel(moved)
    axes.set_title("One latent moved at a time")
    style.save(figure, path)
    return figure


@matplotlib.rc_context(style.STYLE)
def interpolations(
    path: Path | None,
    images: Grid,
    ends: Float[np.ndarray, "rows 2 height width channels"] | None = None,
    noun: str = "image",
) -> Figure:
    """Draw decoded paths between the codes of two test images, one pair per row.

    Args:
      path: the PNG file to write; None for no file.
      images: a path per row; its first and last image are reconstructions of test images.
      ends: test images of both ends, drawn left and right of their path.
      noun: what one x is called.
    """
    steps = images.shape[1]
    labels = ["recon-\nstruction", *[""] * (steps - 2), "recon-\nstruction"]
    breaks: Sequence[int] = ()
    if ends is not None:
        images = np.concatenate([ends[:, :1], images, ends[:, 1:]], axis=1)
        labels = [f"test\n{noun}", *labels, f"test\n{noun}"]
        breaks = (1, steps + 1)
    figure, axes = mosaic.figure(images, column_breaks=breaks)
    mosaic.label_columns(axes, labels)
    axes.set_title(f"Straight paths in latent space between two test {noun}s")
    style.save(figure, path)
    return figure


@matplotlib.rc_context(style.STYLE)
def image_rows(path: Path | None, images: Grid, names: Sequence[str], title: str) -> Figure:
    """Draw rows of images, each beside its name."""
    figure, axes = mosaic.figure(images)
    mosaic.label_rows(axes, names)
    axes.set_title(title)
    style.save(figure, path)
    return figure


def samples_by_class(path: Path | None, images: Grid, names: Sequence[str]) -> Figure:
    """Draw samples of a conditional model, a row for each class beside its name."""
    title = "Samples of each class, shown as means of the likelihood"
    return image_rows(path, images, names, title)


def shown_cells(shape: tuple[int, ...], cell_bytes: int) -> tuple[list[int], list[int]]:
    """Return the rows and columns of cells that :func:`grid_of_images` draws, evenly spaced.

    Args:
      shape: number of cells down and across.
      cell_bytes: memory of the images of one cell.

    Example:
        >>> shown_cells((3, 1), 100), [len(side) for side in shown_cells((300, 1), 100)]
        (([0, 1, 2], [0]), [24, 1])
    """
    most = max(4, _MOST_BYTES // max(cell_bytes, 1))
    if shape[1] == 1:
        return table.evenly(shape[0], min(_MOST_ALONE, most)), [0]
    each = min(_MOST_EACH_WAY, int(most**0.5))
    return table.evenly(shape[0], each), table.evenly(shape[1], each)


@matplotlib.rc_context(style.STYLE)
def grid_of_images(
    path: Path | None,
    images: Tiles,
    down: str,
    down_values: Sequence[Any],
    across: str,
    across_values: Sequence[Any],
    title: str,
    reference: Images | None = None,
    noun: str = "image",
) -> Figure:
    """Draw a small mosaic of images for every cell of two axes, or for those that there is room.

    Args:
      path: the PNG file to write; None for no file.
      images: `images[i, j]` belong to `down_values[i]` and `across_values[j]`; NaN where there are
        none, which is drawn as a cross.
      down: name of the axis that goes down; "" for none.
      down_values: values of that axis.
      across: name of the axis that goes across; "" for none, then a cell's images stand in a line.
      across_values: values of that axis.
      title: title of the figure.
      reference: test images that the cells reconstruct, drawn above each column.
      noun: what one x is called.
    """
    rows, columns = shown_cells(images.shape[:2], images[0, 0].nbytes)
    images = images[np.ix_(rows, columns)]
    down_values = [down_values[i] for i in rows]
    across_values = [across_values[i] for i in columns]
    width = int(np.ceil(np.sqrt(images.shape[2]))) if across else min(images.shape[2], _LINE)
    labels = [format.tick(value) for value in down_values]
    if reference is not None:
        above = np.broadcast_to(reference, (1, images.shape[1], *reference.shape))
        images, labels = np.concatenate([above, images]), [f"test\n{noun}s", *labels]
    grid, height = _joined(images, width)
    breaks = range(height, len(grid), height), range(width, grid.shape[1], width)
    figure, axes = mosaic.figure(grid, *breaks, pixels=_PIXELS)
    _label_cells(axes, (height, width), labels, [format.tick(value) for value in across_values])
    _cross_empty(axes, images)
    axes.set_xlabel(format.axis(across))
    axes.set_ylabel(format.axis(down))
    axes.set_title(title, pad=10)
    style.save(figure, path)
    return figure


def _joined(
    images: Tiles, width: int
) -> tuple[Float[np.ndarray, "_ _ height width channels"], int]:
    """Return all cells as one grid, each in lines of `width` images, and their number of lines."""
    blocks = [[mosaic.lines(cell, width) for cell in line] for line in images]
    grid = np.concatenate([np.concatenate(line, axis=1) for line in blocks])
    return grid, len(blocks[0][0])


def _label_cells(
    axes: Axes, cell: tuple[int, int], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Put a label at the middle of each cell, the columns' above the images."""
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
