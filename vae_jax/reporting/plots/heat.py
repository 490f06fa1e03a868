"""Figure of terms over two axes of a study, as heat maps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Patch, Rectangle

from vae_jax.evaluation import columns
from vae_jax.reporting import colors, format, table
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure
from vae_jax.reporting.table import Cells
from vae_jax.reporting.terms import TERMS, Term
from vae_jax.types import Row

_CELL = (0.56, 0.44)  # inches of a cell
_FRAME = (0.75, 0.85)  # inches around the cells of a panel
_WIDTH = 11.0  # inches that panels in a line may take
_MOST_WRITTEN = 24  # values of an axis whose cells have numbers; of more the cells are small


@matplotlib.rc_context(style.STYLE)
def heat_maps(
    path: Path | None, rows: Sequence[Row], axes: tuple[str, str], terms: Sequence[Term] = TERMS
) -> Figure:
    """Draw terms over two axes, each cell the mean over seeds with its standard error.

    The figure reads as a table: the first axis goes across, the second down. The cell of the best
    run is framed; a cell in which every run diverged is hatched, one without runs is empty. Where
    an axis has more values than there is room for, cells are small and without numbers.

    Args:
      path: the PNG file to write; None for no file.
      rows: rows that differ in nothing but the two axes and the seed.
      axes: names of the axes that go across and down.
      terms: terms, a panel each.
    """
    across, down = axes
    num_across, num_down = (len(table.values(rows, name)) for name in axes)
    figure, panels = _panels(num_across, num_down, len(terms) + 1)
    drawn = [term.cells(rows, (down, across)) for term in terms]
    for panel, term, cells in zip(panels, terms, drawn, strict=False):
        _draw_cells(panel, term, cells)
        _frame_best(panel, rows, cells, (down, across))
        panel.set(title=term.title, xlabel=format.axis(across), ylabel=format.axis(down))
    _key(panels[len(terms)], drawn[0])
    style.save(figure, path)
    return figure


def _panels(num_across: int, num_down: int, count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels, as many in a line as fit."""
    width = max(2.6, min(num_across, _MOST_WRITTEN) * _CELL[0] + _FRAME[0])
    height = max(1.7, min(num_down, _MOST_WRITTEN) * _CELL[1] + _FRAME[1])
    in_line = next(n for n in (3, 2, 1) if n <= count and (n * width <= _WIDTH or n == 1))
    lines = -(-count // in_line)
    figure = Figure(figsize=(in_line * width, lines * height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(lines, in_line)))


def _draw_cells(panel: Axes, term: Term, cells: Cells) -> None:
    scale = Normalize(*colors.limits(cells.mean))
    color_map = matplotlib.colormaps[term.colors]
    are_written = max(cells.mean.shape) <= _MOST_WRITTEN
    edges: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.5} if are_written else {}
    panel.pcolormesh(np.ma.masked_invalid(cells.mean), cmap=color_map, norm=scale, **edges)
    panel.invert_yaxis()
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    down, across = cells.values
    right, below = (table.evenly(len(values), _MOST_WRITTEN) for values in (across, down))
    panel.set_xticks(np.array(right) + 0.5, [format.tick(across[i]) for i in right])
    panel.set_yticks(np.array(below) + 0.5, [format.tick(down[i]) for i in below])
    if not are_written:
        y, x = np.nonzero((cells.num_diverged > 0) & ~np.isfinite(cells.mean))
        panel.plot(x + 0.5, y + 0.5, "x", color=style.ALARM, markersize=3)
        return
    digits = format.decimals(cells.mean)
    for i, j in np.ndindex(cells.mean.shape):
        if np.isfinite(cells.mean[i, j]):
            ink = colors.ink_on(color_map(float(scale(cells.mean[i, j]))))
            _write(panel, cells, (i, j), digits, ink)
        elif cells.num_diverged[i, j]:
            _cross_out(panel, i, j)


def _write(panel: Axes, cells: Cells, index: tuple[int, int], digits: int, ink: str) -> None:
    """Write a cell's mean, its error, and how many of its seeds diverged."""
    x, y = index[1] + 0.5, index[0] + 0.5
    mean, error = float(cells.mean[index]), float(cells.error[index])
    digits = digits or int(mean != round(mean))
    has_error = math.isfinite(error) and error > 0
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
    panel.text(x, y - 0.14 * has_error, format.real(mean, digits), fontsize=8, **middle)
    if has_error:
        written = format.standard_error(error, 2 if error < 1 else 1)
        panel.text(x, y + 0.25, f"± {written}", fontsize=6, **middle)
    if cells.num_diverged[index]:
        panel.text(x + 0.45, y - 0.33, style.CROSS, fontsize=7, ha="right", va="center", color=ink)


def _cross_out(panel: Axes, row: int, column: int) -> None:
    square = Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, hatch="////")
    square.set(facecolor="white", edgecolor=style.RULE, linewidth=0)
    panel.add_patch(square)
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": style.ALARM}
    panel.text(column + 0.5, row + 0.5, style.CROSS, fontsize=11, **middle)


def _frame_best(panel: Axes, rows: Sequence[Row], cells: Cells, axes: tuple[str, str]) -> None:
    best = table.best(rows)
    if best is not None:
        i, j = (cells.values[k].index(best[name]) for k, name in enumerate(axes))
        frame = Rectangle((j, i), 1, 1, clip_on=False)
        panel.add_patch(frame)
        frame.set(facecolor="none", edgecolor=style.ALARM, linewidth=1.8)


def _key(panel: Axes, cells: Cells) -> None:
    """Explain the cells and colours in a panel of its own."""
    panel.set_axis_off()
    handles = [Patch(facecolor="none", edgecolor=style.ALARM, label="setting of the best run")]
    if np.any((cells.num_diverged > 0) & (cells.num_seeds == 0)):
        crossed = Patch(facecolor="white", edgecolor=style.MUTED, hatch="////")
        crossed.set_label(f"{style.CROSS} every run diverged")
        handles.append(crossed)
    if np.any((cells.num_diverged > 0) & (cells.num_seeds > 0)):
        handles.append(Patch(alpha=0, label=f"{style.CROSS} in a corner: a seed diverged"))
    mean = format.mean_source(cells.num_seeds)
    ranked = [term.title for term in TERMS if term.column.better != "neither"]
    lines = [
        columns.NATS,
        *([mean] if mean else []),
        *(["too many cells for numbers"] if max(cells.mean.shape) > _MOST_WRITTEN else []),
        "±: " + format.error_source(cells.num_seeds).replace(", ", ",\n"),
        f"{', '.join(ranked)}: lighter is better",
        "others: lighter is more",
    ]
    look = {"alignment": "left", "title_fontproperties": {"size": 8}, "borderaxespad": 0}
    panel.legend(handles=handles, title="\n".join([*lines, ""]), loc="upper left", **look)
