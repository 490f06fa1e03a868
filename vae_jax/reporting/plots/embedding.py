"""Map of the test set in the plane."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Integer

from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure

_MOST_NAMED = 20  # labels that a legend can hold


@matplotlib.rc_context(style.STYLE)
def embedding(
    path: Path | None,
    points: Float[np.ndarray, "n 2"],
    labels: Integer[np.ndarray, " n"],
    title: str,
    names: Sequence[str] = (),
) -> Figure:
    """Draw codes in the plane, coloured by label, which is written in the middle of its points.

    Args:
      path: the PNG file to write; None for no file.
      points: a point for each example.
      labels: labels of the points, whole numbers.
      title: title of the figure.
      names: names of the labels from 0 on; without them numbers are written.
    """
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.add_subplot()
    values = np.unique(labels)
    shades = matplotlib.colormaps["tab10" if len(values) <= 10 else "turbo"]
    for i, value in enumerate(values):
        share = i / 10 if len(values) <= 10 else i / (len(values) - 1)
        own = points[labels == value]
        color = shades(min(share, 0.999))
        axes.scatter(own[:, 0], own[:, 1], s=7, color=color, linewidths=0, alpha=0.75)
        if len(values) <= _MOST_NAMED:
            frame = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": color, "alpha": 0.9}
            x, y = np.median(own, axis=0).tolist()
            name = names[int(value)] if names else str(value)
            axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=frame)
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    style.save(figure, path)
    return figure
