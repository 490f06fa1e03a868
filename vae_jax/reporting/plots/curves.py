"""Curves of a study: terms along one axis, and rate against distortion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from vae_jax.reporting import table
from vae_jax.reporting.plots import style, terms
from vae_jax.reporting.plots.terms import DISTORTION, RATE, TERMS, Term
from vae_jax.reporting.table import Cells
from vae_jax.types import Row

_WIDE = 8  # ratio of largest to smallest value from which an axis is logarithmic
_ROOM = 0.13  # of an axis, which a label takes
_NEAR = 11.0  # points within which a second label would cover the first


class _Curve(NamedTuple):
    rate: Cells
    distortion: Cells
    color: tuple[float, ...]


@matplotlib.rc_context(style.STYLE)
def curves_over_axis(
    path: Path, rows: Sequence[Row], axis: str, shown: Sequence[Term] = TERMS
) -> None:
    """Draws terms along one axis: means over seeds with errors, and every run as a dot.

    Args:
      path: the PNG file to write.
      rows: that differ in nothing but the axis and the seed.
      axis: its numbers are drawn to scale, a logarithmic one where they span a wide range.
      shown: the terms, a panel each.
    """
    lines = len(shown) // 3 + 1
    figure = Figure(figsize=(10, 2.6 * lines), layout="constrained")
    panels = list(np.ravel(figure.subplots(lines, 3)))
    cells = [term.cells(rows, (axis,)) for term in shown]
    for panel, term, means in zip(panels, shown, cells, strict=False):
        places = _scale(panel, means.values[0])
        _dots(panel, rows, axis, term, dict(zip(means.values[0], places, strict=True)))
        bars = panel.errorbar(places, means.mean, means.error, color=style.STRONG, marker="o")
        bars[0].set_linestyle("-" if _is_scale(means.values[0]) else "none")
        bars[0].set_markersize(4)
        _cross_diverged(panel, places, means)
        panel.set(title=term.title_with_unit, xlabel=terms.name(axis))
        panel.grid(axis="y")
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    _key(panels[len(shown)], cells[0])
    style.save(figure, path)


def _scale(panel: Axes, values: Sequence[Any]) -> Float[np.ndarray, " values"]:
    """Sets the horizontal scale for an axis and returns the places of its values."""
    if _is_scale(values):
        places = np.array(values, dtype=np.float64)
        if places[0] > 0 and places[-1] >= _WIDE * places[0]:
            panel.set_xscale("log")
    else:
        places = np.arange(len(values), dtype=np.float64)
        panel.set_xlim(-0.4, len(values) - 0.6)
    panel.xaxis.set_minor_locator(NullLocator())
    shown = _apart(np.log(places) if panel.get_xscale() == "log" else places)
    labels = [terms.tick(value) if i in shown else "" for i, value in enumerate(values)]
    panel.set_xticks(places, labels)
    return places


def _is_scale(values: Sequence[Any]) -> bool:
    return all(table.is_number(value) for value in values)


def _apart(places: Float[np.ndarray, " values"]) -> list[int]:
    """Returns which of some ascending places have room for a label."""
    shown, room = [0], _ROOM * (places[-1] - places[0])
    for i, place in enumerate(places):
        if place - places[shown[-1]] > room:
            shown.append(i)
    return shown


def _dots(
    panel: Axes, rows: Sequence[Row], axis: str, term: Term, places: dict[Any, np.float64]
) -> None:
    known = [r for r in rows if not table.has_diverged(r) and table.is_number(r.get(term.key))]
    x = [places[row[axis]] for row in known]
    y = [term.sign * row[term.key] for row in known]
    panel.plot(x, y, "o", color=style.PALE, markersize=3.5)


def _cross_diverged(panel: Axes, places: Float[np.ndarray, " values"], cells: Cells) -> None:
    lost = places[cells.num_diverged > 0]
    if len(lost) == 0:  # constrained layout fails on a line without points
        return
    bottom = panel.get_xaxis_transform()
    (crosses,) = panel.plot(lost, np.zeros(len(lost)), "x", color=style.ALARM, transform=bottom)
    crosses.set(clip_on=False, markersize=7, markeredgewidth=1.8, zorder=3)


def _key(panel: Axes, cells: Cells) -> None:
    """Says in a panel of its own what the marks are."""
    panel.set_axis_off()
    panel.plot([], [], "o-", color=style.STRONG, markersize=4, label=_mean_label(cells))
    panel.plot([], [], "o", color=style.PALE, markersize=3.5, label="a run")
    if cells.num_diverged.any():
        panel.plot([], [], "x", color=style.ALARM, markeredgewidth=1.8, label="a run diverged here")
    panel.legend(loc="upper left", borderaxespad=0)


def _mean_label(cells: Cells) -> str:
    mean, errors = terms.mean_words(cells), terms.error_words([cells]).replace(", ", ",\n")
    return f"{mean},\n{errors}" if mean else errors


@matplotlib.rc_context(style.STYLE)
def rate_distortion(path: Path, rows: Sequence[Row], by: str = "") -> None:
    """Draws distortion against rate, a curve along beta for each value of another axis.

    Grey lines join points of equal ELBO: rate + distortion = -ELBO, as beta = 1 weighs them
    (Alemi et al. 2018, "Fixing a Broken ELBO", figure 1).

    Args:
      path: the PNG file to write.
      rows: that differ in nothing but beta, `by` and the seed.
      by: the other axis, "" for none.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    values = table.values(rows, by) if by else [None]
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.78, len(values)))
    curves = []
    for at, shade in zip(values, shades, strict=True):
        here = [row for row in rows if not by or row[by] == at]
        curve = _Curve(
            RATE.cells(here, ("beta",)), DISTORTION.cells(here, ("beta",)), tuple(shade.tolist())
        )
        curves.append(curve)
        _draw_curve(axes, curve, terms.value(at) if by else "")
    _equal_elbo(axes)
    _write_betas(axes, curves)
    axes.set(xlabel="rate: KL to the prior (nats per example)")
    axes.set(ylabel="distortion: minus log-likelihood (nats per example)")
    axes.set_title("Rate and distortion, beta beside the points")
    if by:
        look = {"frameon": True, "framealpha": 1.0, "edgecolor": "white"}
        axes.legend(title=terms.name(by), alignment="left", loc="upper right", **look)
    style.save(figure, path)


def _draw_curve(axes: Axes, curve: _Curve, label: str) -> None:
    rate, distortion, color = curve
    bars = axes.errorbar(
        *(rate.mean, distortion.mean, distortion.error, rate.error),
        **{"color": color, "marker": "o", "elinewidth": 1.0, "label": label},
    )
    bars[0].set_markersize(4.5)


def _equal_elbo(axes: Axes) -> None:
    """Draws lines of constant ELBO across what is shown, each with its value on it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left = max(0.0, left)
    levels = MaxNLocator(9).tick_values(left + bottom, right + top)
    for level in levels:
        start, end = max(left, level - top), min(right, level - bottom)
        if start < end:
            axes.plot([start, end], [level - start, level - end], color=style.RULE, zorder=0, lw=1)
        if end - start > _ROOM * (right - left):
            axes.annotate(
                *(style.minus(f"ELBO {-level:g}"), (end, level - end)),
                **{"xytext": (-3, 3), "textcoords": "offset points", "ha": "right"},
                **{"fontsize": 6.5, "color": style.MUTED, "zorder": 0},
            )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _write_betas(axes: Axes, curves: Sequence[_Curve]) -> None:
    """Writes beta beside the points, once where several would cover each other."""
    taken: list[Float[np.ndarray, 2]] = []
    per_point = style.DPIS[0] / 72
    for rate, distortion, color in curves:
        for beta, x, y in zip(rate.values[0], rate.mean, distortion.mean, strict=True):
            place = axes.transData.transform((x, y)) / per_point
            is_free = all(np.hypot(*(place - other)) > _NEAR for other in taken)
            if np.isfinite(place).all() and is_free:
                offset = {"xytext": (5, 4), "textcoords": "offset points"}
                axes.annotate(terms.value(beta), (x, y), fontsize=7, color=color, **offset)
                taken.append(place)
