"""Figures of codes and of labels: a map of the test set, and samples of each class."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Integer
from matplotlib.figure import Figure

from vae_jax.reporting.plots import mosaic, style
from vae_jax.reporting.plots.style import Grid

_MOST_NAMED = 20  # labels that a legend can hold


@matplotlib.rc_context(style.STYLE)
def embedding(
    path: Path,
    points: Float[np.ndarray, "n 2"],
    labels: Integer[np.ndarray, " n"],
    title: str,
    names: Sequence[str] = (),
) -> None:
    """Draws codes in the plane, coloured by label, which is written in the middle of its points.

    Args:
      path: the PNG file to write.
      points: one for each example.
      labels: one each, whole numbers.
      title: of the figure.
      names: of the labels from 0 on; numbers are written without.
    """
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.add_subplot()
    values = np.unique(labels)
    shades = matplotlib.colormaps["tab10" if len(values) <= 10 else "turbo"]
    for place, value in enumerate(values):
        share = place / 10 if len(values) <= 10 else place / (len(values) - 1)
        mine = points[labels == value]
        color = shades(min(share, 0.999))
        axes.scatter(mine[:, 0], mine[:, 1], s=7, color=color, linewidths=0, alpha=0.75)
        if len(values) <= _MOST_NAMED:
            frame = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": color, "alpha": 0.9}
            x, y = np.median(mine, axis=0).tolist()
            name = names[int(value)] if names else str(value)
            axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=frame)
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def samples_by_class(path: Path, images: Grid, names: Sequence[str]) -> None:
    """Draws samples of a conditional model, a row for each class under its name."""
    figure, axes = mosaic.figure(images)
    mosaic.label_rows(axes, names)
    axes.set_title("Samples of each class, shown as means of the likelihood")
    style.save(figure, path)
