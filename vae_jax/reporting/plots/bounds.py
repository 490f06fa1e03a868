"""Figure of the differences between bounds on log p(x)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

from vae_jax.evaluation import columns
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure


class Bound(NamedTuple):
    """Bound on log p(x), as a difference from a reference on the same examples.

    Attributes:
      name: name in the figure.
      nats: mean difference from the reference.
      error: standard error of that mean; 0 for the reference itself.

    Example:
        >>> Bound("AIS", 0.5, 0.1).nats
        0.5
    """

    name: str
    nats: float
    error: float = 0.0


@matplotlib.rc_context(style.STYLE)
def bounds(path: Path | None, panels: Mapping[str, Sequence[Bound]]) -> Figure:
    """Draw each panel's bounds as points with bars of two standard errors, the first on top.

    Args:
      path: the PNG file to write; None for no file.
      panels: bounds by the panel's title, all on the same examples.
    """
    tallest = max(map(len, panels.values()))
    figure = Figure(figsize=(4.8 * len(panels), 1.1 + 0.35 * tallest), layout="constrained")
    for number, (title, shown) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        heights = range(len(shown) - 1, -1, -1)
        look = {"fmt": "o", "color": style.STRONG, "capsize": 3, "markersize": 5}
        errors = [2.0 * bound.error for bound in shown]
        axes.errorbar([bound.nats for bound in shown], heights, xerr=errors, **look)
        axes.axvline(0.0, color=style.MUTED, linewidth=0.8)
        axes.set_yticks(heights, [bound.name for bound in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.grid(axis="x")
        axes.set_xlabel(columns.NATS)
        axes.set_title(title)
    style.save(figure, path)
    return figure
