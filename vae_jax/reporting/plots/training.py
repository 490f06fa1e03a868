"""Figure of the learning curves of a run."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vae_jax.data.split_names import Split
from vae_jax.evaluation import columns
from vae_jax.reporting import format
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure
from vae_jax.types import Row

_TERMS = [columns.TERMS[name] for name in ("elbo", "log_likelihood", "kl")]


@matplotlib.rc_context(style.STYLE)
def training_curves(path: Path | None, metrics: Sequence[Row], run: int = 0) -> Figure:
    """Draw ELBO, log-likelihood and KL of one run against the step, train and valid.

    Args:
      path: the PNG file to write; None for no file.
      metrics: rows of `metrics.jsonl`, of any number of runs.
      run: number of the run to draw.
    """
    rows = [row for row in metrics if row["run"] == run]
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    panels = figure.subplots(1, len(_TERMS))
    for axes, term in zip(panels, _TERMS, strict=True):
        _curves_panel(axes, rows, term.name)
        axes.set_title(f"{term.label} ({term.unit})")
        axes.set_xlabel("training step")
    style.save(figure, path)
    return figure


def _curves_panel(axes: Axes, rows: Sequence[Row], term: str) -> None:
    curves = []
    splits: tuple[tuple[Split, str], ...] = (("train", style.PALE), ("valid", style.STRONG))
    for split, color in splits:
        steps, values = _curve(rows, columns.name_on(split, term))
        if len(steps):
            marker = "o" if len(steps) < 25 else None
            label = f"{split}, last {format.real(float(values[-1]))}"
            axes.plot(steps, values, color=color, marker=marker, markersize=3, label=label)
            curves.append(values)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if curves:
        axes.set_ylim(*robust_limits(curves))
        look = {"title_fontproperties": {"size": 7}, "alignment": "left"}
        axes.legend(loc="best", title=_outside(axes.get_ylim(), curves), **look)


def _curve(
    rows: Sequence[Row], name: str
) -> tuple[Int[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Return steps and finite values of one term."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps = np.array([step for step, _ in points], dtype=np.int64)
    values = np.array([value for _, value in points], dtype=np.float64)
    finite = np.isfinite(values)
    return steps[finite], values[finite]


def robust_limits(curves: Sequence[Float[np.ndarray, " _"]]) -> tuple[float, float]:
    """Return limits of the y axis that the first values and single spikes do not stretch.

    They hold the middle 90 % of the values after each curve's first quarter, a margin of a quarter
    of that range or 5 % of the median, and the last values, but reach no further than the data.

    Example:
        >>> low, high = robust_limits([np.array([-900.0, *[-100.0] * 99])])
        >>> low > -120
        True
    """
    tails = np.concatenate([values[len(values) // 4 :] for values in curves])
    last = [values[-1] for values in curves]
    low, middle, high = np.percentile(tails, (5, 50, 95))
    margin = max(0.25 * (high - low), 0.05 * abs(middle))
    low, high = min(low - margin, *last), max(high + margin, *last)
    everything = np.concatenate(curves)
    low, high = max(low, everything.min()), min(high, everything.max())
    pad = 0.04 * (high - low) or 1.0
    return float(low - pad), float(high + pad)


def _outside(limits: tuple[float, float], curves: Sequence[Float[np.ndarray, " _"]]) -> str | None:
    """Return how many values the limits of an axis hide, None where they hide none."""
    values = np.concatenate(curves)
    count = int(np.sum((values < limits[0]) | (values > limits[1])))
    return f"{format.count(count, 'value')} outside" if count else None
