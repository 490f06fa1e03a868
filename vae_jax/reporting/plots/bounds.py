"""How far bounds on log p(x) lie apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from vae_jax.reporting.plots import style


class Bound(NamedTuple):
    """One bound beside another one of the same examples.

    Attributes:
      name: for people.
      nats: mean difference from the other one.
      error: standard error of that mean; 0 for the other one itself.
    """

    name: str
    nats: float
    error: float = 0.0


@matplotlib.rc_context(style.STYLE)
def bounds(path: Path, panels: Mapping[str, Sequence[Bound]]) -> None:
    """Draws each panel's bounds as points with bars of two standard errors, the first on top.

    Args:
      path: the PNG file to write.
      panels: bounds by the panel's title, all on the same examples.
    """
    tallest = max(map(len, panels.values()))
    figure = Figure(figsize=(4.8 * len(panels), 1.1 + 0.35 * tallest), layout="constrained")
    for place, (title, shown) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        places = range(len(shown) - 1, -1, -1)
        look = {"fmt": "o", "color": style.STRONG, "capsize": 3, "markersize": 5}
        errors = [2.0 * bound.error for bound in shown]
        axes.errorbar([bound.nats for bound in shown], places, xerr=errors, **look)
        axes.axvline(0.0, color=style.MUTED, linewidth=0.8)
        axes.set_yticks(places, [bound.name for bound in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.grid(axis="x")
        axes.set_xlabel("nats per example")
        axes.set_title(title)
    style.save(figure, path)
