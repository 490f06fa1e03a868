"""Grids of images in one figure, pixel by pixel."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes

from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure, Grid, Images

_TILE_PIXELS = 112  # largest width of an image
_GAP, _BREAK = 2, 14  # pixels of the figure between images, whatever their size


def figure(
    grid: Grid,
    row_breaks: Collection[int] = (),
    column_breaks: Collection[int] = (),
    pixels: int = 960,
) -> tuple[Figure, Axes]:
    """Return a figure filled by a grid of images, with wider gaps before the named lines.

    It has a tick without a label at the middle of each line, and is at most about `pixels` wide
    unless the images alone are wider.
    """
    rows, columns, height, width, _ = grid.shape
    scale = max(1, min(pixels // (columns * width), _TILE_PIXELS // max(height, width)))
    tops = _offsets(rows, height * scale, row_breaks)
    lefts = _offsets(columns, width * scale, column_breaks)
    canvas = _canvas(grid, scale, tops, lefts)
    size = (canvas.shape[1] / style.DPIS[0], canvas.shape[0] / style.DPIS[0])
    drawn = Figure(figsize=size)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.imshow(canvas)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(lefts + (width * scale - 1) / 2, [""] * columns)
    axes.set_yticks(tops + (height * scale - 1) / 2, [""] * rows)
    return drawn, axes


def _offsets(count: int, size: int, breaks: Collection[int]) -> Int[np.ndarray, " count"]:
    """Return the first pixel of each of `count` tiles in a line."""
    gaps = [0 if i == 0 else _BREAK if i in breaks else _GAP for i in range(count)]
    return np.arange(count) * size + np.cumsum(gaps)


def _canvas(
    grid: Grid, scale: int, tops: Int[np.ndarray, " rows"], lefts: Int[np.ndarray, " columns"]
) -> UInt8[np.ndarray, "full_height full_width 3"]:
    """Return the grid as one picture, each pixel `scale` wide; NaN is white.

    Of two channels the first is drawn, of more than three the first three.
    """
    grid = grid[..., : 1 if grid.shape[-1] < 3 else 3]
    tiles = np.nan_to_num(grid, nan=1.0).clip(0, 1).repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = tiles.shape[2:4]
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            canvas[top : top + height, left : left + width] = np.round(255 * tiles[i, j])
    return canvas


def lines(images: Images, columns: int) -> Grid:
    """Return images in lines of `columns`, the last filled up with NaN."""
    missing = -len(images) % columns
    padding = np.full((missing, *images.shape[1:]), np.nan, images.dtype)
    return np.concatenate([images, padding]).reshape(-1, columns, *images.shape[1:])


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the lines of images from top to bottom."""
    axes.set_yticks(axes.get_yticks(), labels)


def label_columns(axes: Axes, labels: Sequence[str]) -> None:
    """Label the columns of images from left to right."""
    axes.set_xticks(axes.get_xticks(), labels)
