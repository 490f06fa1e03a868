"""Figure of the distortion against the rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vae_jax.evaluation import columns
from vae_jax.reporting import format, table
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure
from vae_jax.reporting.table import Cells
from vae_jax.reporting.terms import DISTORTION, RATE
from vae_jax.types import Row

_LABEL_SHARE = 0.13  # share of an axis that a label takes
_NEAR = 11.0  # points within which a second label would cover the first


class _Curve(NamedTuple):
    rate: Cells
    distortion: Cells
    color: tuple[float, ...]


@matplotlib.rc_context(style.STYLE)
def rate_distortion(path: Path | None, rows: Sequence[Row], by: str = "") -> Figure:
    """Draw distortion against rate, a curve along beta for each value of another axis.

    Grey lines join points of equal ELBO: rate + distortion = -ELBO, as beta = 1 weighs them
    (Alemi et al. 2018, "Fixing a Broken ELBO", figure 1).

    Args:
      path: the PNG file to write; None for no file.
      rows: rows that differ in nothing but beta, `by` and the seed.
      by: name of the other axis, "" for none.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    values = table.values(rows, by) if by else [None]
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.78, len(values)))
    curves = []
    for value, shade in zip(values, shades, strict=True):
        here = [row for row in rows if not by or row[by] == value]
        curve = _Curve(
            RATE.cells(here, ("beta",)), DISTORTION.cells(here, ("beta",)), tuple(shade.tolist())
        )
        curves.append(curve)
        _draw_curve(axes, curve, format.setting(value) if by else "")
    _equal_elbo(axes)
    _write_betas(axes, curves)
    axes.set(xlabel=f"rate: KL to the prior ({columns.NATS})")
    axes.set(ylabel=f"distortion: minus log-likelihood ({columns.NATS})")
    axes.set_title("Rate and distortion, beta beside the points")
    if by:
        look = {"frameon": True, "framealpha": 1.0, "edgecolor": "white"}
        axes.legend(title=format.axis(by), alignment="left", loc="upper right", **look)
    style.save(figure, path)
    return figure


def _draw_curve(axes: Axes, curve: _Curve, label: str) -> None:
    rate, distortion, color = curve
    bars = axes.errorbar(
        *(rate.mean, distortion.mean, distortion.error, rate.error),
        **{"color": color, "marker": "o", "elinewidth": 1.0, "label": label},
    )
    bars[0].set_markersize(4.5)


def _equal_elbo(axes: Axes) -> None:
    """Draw lines of constant ELBO, each with its value on it."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left = max(0.0, left)
    levels = MaxNLocator(9).tick_values(left + bottom, right + top)
    for level in levels:
        start, end = max(left, level - top), min(right, level - bottom)
        if start < end:
            axes.plot([start, end], [level - start, level - end], color=style.RULE, zorder=0, lw=1)
        if end - start > _LABEL_SHARE * (right - left):
            axes.annotate(
                *(f"ELBO {format.rounded(float(-level))}", (end, level - end)),
                **{"xytext": (-3, 3), "textcoords": "offset points", "ha": "right"},
                **{"fontsize": 6.5, "color": style.MUTED, "zorder": 0},
            )
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _write_betas(axes: Axes, curves: Sequence[_Curve]) -> None:
    """Write beta beside the points, once where several would cover each other."""
    taken: list[Float[np.ndarray, 2]] = []
    per_point = style.DPIS[0] / 72
    for rate, distortion, color in curves:
        for beta, x, y in zip(rate.values[0], rate.mean, distortion.mean, strict=True):
            position = axes.transData.transform((x, y)) / per_point
            is_free = all(np.hypot(*(position - other)) > _NEAR for other in taken)
            if np.isfinite(position).all() and is_free:
                offset = {"xytext": (5, 4), "textcoords": "offset points"}
                axes.annotate(format.setting(beta), (x, y), fontsize=7, color=color, **offset)
                taken.append(position)
