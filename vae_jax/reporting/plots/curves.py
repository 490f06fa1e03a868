"""Figure of terms along one axis of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from vae_jax.reporting import format, table
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure
from vae_jax.reporting.table import Cells
from vae_jax.reporting.terms import TERMS, Term
from vae_jax.types import Row

_WIDE = 8  # ratio of largest to smallest value from which an axis is logarithmic
_ROOM = 0.13  # share of an axis that a label takes
_MOST_TICKS = 50  # values that have a tick each


@matplotlib.rc_context(style.STYLE)
def curves_over_axis(
    path: Path | None, rows: Sequence[Row], axis: str, shown: Sequence[Term] = TERMS
) -> Figure:
    """Draw terms along one axis: means over seeds with errors, and every run as a dot.

    Args:
      path: the PNG file to write; None for no file.
      rows: rows that differ in nothing but the axis and the seed.
      axis: name of the axis; numbers are drawn to scale, a logarithmic one where they span a wide
        range.
      shown: terms, a panel each.
    """
    lines = len(shown) // 3 + 1
    figure = Figure(figsize=(10, 2.6 * lines), layout="constrained")
    panels = list(np.ravel(figure.subplots(lines, 3)))
    cells = [term.cells(rows, (axis,)) for term in shown]
    for panel, term, means in zip(panels, shown, cells, strict=False):
        positions = _scale(panel, means.values[0])
        _dots(panel, rows, axis, term, dict(zip(means.values[0], positions, strict=True)))
        bars = panel.errorbar(positions, means.mean, means.error, color=style.STRONG, marker="o")
        bars[0].set_linestyle("-" if _is_scale(means.values[0]) else "none")
        bars[0].set_markersize(4)
        _cross_diverged(panel, positions, means)
        panel.set(title=term.title_with_unit, xlabel=format.axis(axis))
        panel.grid(axis="y")
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    _key(panels[len(shown)], cells[0])
    style.save(figure, path)
    return figure


def _scale(panel: Axes, values: Sequence[Any]) -> Float[np.ndarray, " values"]:
    """Set the horizontal scale for an axis and return the positions of its values."""
    if _is_scale(values):
        positions = np.array(values, dtype=np.float64)
        if positions[0] > 0 and positions[-1] >= _WIDE * positions[0]:
            panel.set_xscale("log")
    else:
        positions = np.arange(len(values), dtype=np.float64)
        panel.set_xlim(-0.4, len(values) - 0.6)
    panel.xaxis.set_minor_locator(NullLocator())
    shown = _apart(np.log(positions) if panel.get_xscale() == "log" else positions)
    marked = range(len(values)) if len(values) <= _MOST_TICKS else shown
    labels = [format.tick(values[i]) if i in shown else "" for i in marked]
    panel.set_xticks(positions[list(marked)], labels)
    return positions


def _is_scale(values: Sequence[Any]) -> bool:
    return all(table.is_number(value) for value in values)


def _apart(positions: Float[np.ndarray, " values"]) -> list[int]:
    """Return the indices of those ascending positions that have room for a label."""
    shown, room = [0], _ROOM * (positions[-1] - positions[0])
    for i, position in enumerate(positions):
        if position - positions[shown[-1]] > room:
            shown.append(i)
    return shown


def _dots(
    panel: Axes, rows: Sequence[Row], axis: str, term: Term, positions: dict[Any, np.float64]
) -> None:
    known = [r for r in rows if not table.has_diverged(r) and table.is_number(r.get(term.key))]
    x = [positions[row[axis]] for row in known]
    y = [term.sign * row[term.key] for row in known]
    panel.plot(x, y, "o", color=style.PALE, markersize=3.5)


def _cross_diverged(panel: Axes, positions: Float[np.ndarray, " values"], cells: Cells) -> None:
    diverged = positions[cells.num_diverged > 0]
    if len(diverged) == 0:  # constrained layout fails on a line without points
        return
    bottom = panel.get_xaxis_transform()
    (crosses,) = panel.plot(
        diverged, np.zeros(len(diverged)), "x", color=style.ALARM, transform=bottom
    )
    crosses.set(clip_on=False, markersize=7, markeredgewidth=1.8, zorder=3)


def _key(panel: Axes, cells: Cells) -> None:
    """Explain the marks in a panel of its own."""
    panel.set_axis_off()
    panel.plot([], [], "o-", color=style.STRONG, markersize=4, label=_mean_label(cells))
    panel.plot([], [], "o", color=style.PALE, markersize=3.5, label="a run")
    if cells.num_diverged.any():
        panel.plot([], [], "x", color=style.ALARM, markeredgewidth=1.8, label="a run diverged here")
    panel.legend(loc="upper left", borderaxespad=0)


def _mean_label(cells: Cells) -> str:
    errors = format.error_source(cells.num_seeds).replace(", ", ",\n")
    return ",\n".join(filter(None, [format.mean_source(cells.num_seeds), errors]))
