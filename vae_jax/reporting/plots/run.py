"""Figures of a single run."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vae_jax.evaluation import columns
from vae_jax.reporting.plots import mosaic, style
from vae_jax.reporting.plots.style import Grid, Images
from vae_jax.training.batches import Split
from vae_jax.types import Row

_TERMS = [columns.TERMS[name] for name in ("elbo", "log_likelihood", "kl")]
_WORDS = [
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


@matplotlib.rc_context(style.STYLE)
def training_curves(path: Path, metrics: Sequence[Row], run: int = 0) -> None:
    """Draws ELBO, log-likelihood and KL of one run against the step, train and valid.

    Args:
      path: the PNG file to write.
      metrics: rows of `metrics.jsonl`, of any number of runs.
      run: the run to draw.
    """
    rows = [row for row in metrics if row["run"] == run]
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    panels = figure.subplots(1, len(_TERMS))
    for axes, term in zip(panels, _TERMS, strict=True):
        _curves_panel(axes, rows, term.name)
        axes.set_title(f"{term.label} ({term.unit})")
        axes.set_xlabel("training step")
    style.save(figure, path)


def _curves_panel(axes: Axes, rows: Sequence[Row], term: str) -> None:
    curves = []
    splits: tuple[tuple[Split, str], ...] = (("train", style.PALE), ("valid", style.STRONG))
    for split, color in splits:
        steps, values = _curve(rows, columns.name_on(split, term))
        if len(steps):
            marker = "o" if len(steps) < 25 else None
            label = f"{split}, last {style.minus(f'{values[-1]:.2f}')}"
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
    """Returns steps and finite values of one term."""
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps = np.array([step for step, _ in points], dtype=np.int64)
    values = np.array([value for _, value in points], dtype=np.float64)
    finite = np.isfinite(values)
    return steps[finite], values[finite]


def robust_limits(curves: Sequence[Float[np.ndarray, " _"]]) -> tuple[float, float]:
    """Returns limits of the y axis that the first values and single spikes do not stretch.

    They hold the middle 90 % of what comes after each curve's first quarter, a margin of a quarter
    of that or 5 % of the median, and the last values, but reach no further than the data.
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
    """Says how many values the limits of an axis hide, None where they hide none."""
    values = np.concatenate(curves)
    count = int(np.sum((values < limits[0]) | (values > limits[1])))
    return f"{count} value{'s' * (count > 1)} outside" if count else None


@matplotlib.rc_context(style.STYLE)
def reconstructions(path: Path, images: Images, reconstructions: Images) -> None:
    """Draws test images, each above its reconstruction, in lines of at most ten."""
    columns = min(len(images), 10)
    pairs = np.stack(
        [mosaic.lines(images, columns), mosaic.lines(reconstructions, columns)], axis=1
    )
    grid = pairs.reshape(-1, *pairs.shape[2:])
    figure, axes = mosaic.figure(grid, row_breaks=range(2, len(grid), 2))
    mosaic.label_rows(axes, ["test image", "reconstruction"] * (len(grid) // 2))
    axes.set_title("Test images and their reconstructions")
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def samples(path: Path, images: Images) -> None:
    """Draws images in a square grid, row by row."""
    figure, axes = mosaic.figure(mosaic.lines(images, int(np.ceil(np.sqrt(len(images))))))
    axes.set_title("Samples from the prior, shown as means of the likelihood")
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def manifold(
    path: Path,
    images: Float[np.ndarray, "side side height width channels"],
    values: Float[np.ndarray, " side"],
) -> None:
    """Draws what a two-dimensional latent space decodes to.

    Args:
      path: the PNG file to write.
      images: `images[i, j]` is decoded from z1 = `values[j]`, z2 = `values[i]`.
      values: ascending; z1 grows to the right and z2 upwards.
    """
    figure, axes = mosaic.figure(images[::-1])
    shown = np.linspace(0, len(values) - 1, min(len(values), 9)).round()
    labels = [_signed(value) if i in shown else "" for i, value in enumerate(values)]
    mosaic.label_columns(axes, labels)
    mosaic.label_rows(axes, labels[::-1])
    axes.set_xlabel("z1")
    axes.set_ylabel("z2", rotation=0, labelpad=10)
    axes.set_title("Decoder means over the two latents")
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def traversals(
    path: Path,
    images: Grid,
    latents: Int[np.ndarray, " rows"],
    values: Float[np.ndarray, " columns"],
    kl: Float[np.ndarray, " latents"],
) -> None:
    """Draws one latent per row moved through `values`, the others held.

    Args:
      path: the PNG file to write.
      images: `images[i, j]` is decoded with latent `latents[i]` at `values[j]`.
      latents: indices of the latents, counted from 0 (and drawn as z1, z2, ...).
      values: of the latent that is moved.
      kl: KL of every latent of the model, nats per example.
    """
    figure, axes = mosaic.figure(images)
    mosaic.label_rows(axes, [f"{_name(i)}, KL {kl[i]:.2f} nats" for i in latents.tolist()])
    mosaic.label_columns(axes, [_signed(value) for value in values])
    axes.set_xlabel("value of the latent")
    axes.set_title("One latent moved at a time")
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def interpolations(
    path: Path,
    images: Grid,
    ends: Float[np.ndarray, "rows 2 height width channels"] | None = None,
) -> None:
    """Draws decoded paths between the codes of two test images, one pair per row.

    Args:
      path: the PNG file to write.
      images: a path per row; its first and last image are reconstructions of test images.
      ends: the two test images themselves, drawn left and right of their path.
    """
    steps = images.shape[1]
    labels = ["recon-\nstruction", *[""] * (steps - 2), "recon-\nstruction"]
    breaks: Sequence[int] = ()
    if ends is not None:
        images = np.concatenate([ends[:, :1], images, ends[:, 1:]], axis=1)
        labels = ["test\nimage", *labels, "test\nimage"]
        breaks = (1, steps + 1)
    figure, axes = mosaic.figure(images, column_breaks=breaks)
    mosaic.label_columns(axes, labels)
    axes.set_title("Straight paths in latent space between two test images")
    style.save(figure, path)


@matplotlib.rc_context(style.STYLE)
def kl_per_latent(
    path: Path, kl: Float[np.ndarray, " latents"], active: Bool[np.ndarray, " latents"]
) -> None:
    """Draws the KL of each latent in nats per example, largest first, inactive ones coloured."""
    order = np.argsort(-kl, kind="stable")
    places, heights, inactive = np.arange(len(kl)), kl[order], ~active[order]
    figure = Figure(figsize=(max(5.0, min(10.0, 0.3 * len(kl))), 3.0))
    axes = figure.add_subplot()
    axes.bar(places, heights, color=np.where(inactive, style.ALARM, style.STRONG), width=0.8)
    # A bar of height zero cannot be seen, so inactive latents get a dot as well.
    if inactive.any():
        (dots,) = axes.plot(places[inactive], heights[inactive], "o", color=style.ALARM)
        dots.set(markersize=4, clip_on=False, label="inactive")
        axes.legend(loc="upper right")
    axes.grid(axis="y")
    axes.set_xlim(-0.6, len(kl) - 0.4)
    axes.set_ylim(bottom=0)
    shown = places[:: int(np.ceil(len(kl) / 25))]
    axes.set_xticks(shown, [_name(i) for i in order[shown].tolist()])
    axes.set_ylabel("KL (nats per example)")
    axes.set_title(_activity(int(active.sum()), len(kl)))
    style.save(figure, path)


def _activity(num_active: int, num_latents: int) -> str:
    inactive = num_latents - num_active
    count = _WORDS[inactive] if inactive < len(_WORDS) else inactive
    return f"KL per latent: {num_active} of {num_latents} active, {count} inactive"


def _name(index: int) -> str:
    return f"z{index + 1}"


def _signed(value: float) -> str:
    """Returns at most two decimals and never a minus zero."""
    return style.minus(f"{round(value, 2) + 0.0:g}")
