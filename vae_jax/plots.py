"""Figures of a run as PNG files; the only room with matplotlib.

Images are arrays in [0, 1], `[..., height, width, channels]` with one channel (drawn white on
black) or three. Latents are named z1, z2, ... in the order of the model, so z1 has index 0.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vae_jax import records

_INK, _MUTED, _RULE = "#22303c", "#7b8794", "#e4e7eb"
_TRAIN, _VALID, _INACTIVE = "#9fb3c8", "#1c5d99", "#d64545"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.edgecolor": _MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.8,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_DPIS = (130, 100, 75, 50)  # the first at which the file is small enough
_MAX_BYTES = 400_000
_GRID_PIXELS, _TILE_PIXELS = 960, 112  # largest width of a grid and of an image in it
_GAP, _BREAK = 2, 14  # pixels of the figure between images, whatever their size
_TERMS = {"elbo": "ELBO", "log_likelihood": "Log-likelihood", "kl": "KL to the prior"}
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

Images = Float[np.ndarray, "n height width channels"]
Grid = Float[np.ndarray, "rows columns height width channels"]


@matplotlib.rc_context(_STYLE)
def training_curves(path: Path, metrics: Sequence[Mapping[str, Any]], run: int = 0) -> None:
    """Draws ELBO, log-likelihood and KL of one run against the step, train and valid.

    Args:
      path: the PNG file to write.
      metrics: rows of `metrics.jsonl`, of any number of runs.
      run: the run to draw.
    """
    rows = [row for row in metrics if row["run"] == run]
    figure = Figure(figsize=(10, 3.0), layout="constrained")
    panels = figure.subplots(1, len(_TERMS))
    for axes, (term, title) in zip(panels, _TERMS.items(), strict=True):
        _curves_panel(axes, rows, term)
        axes.set_title(f"{title} (nats per example)")
        axes.set_xlabel("training step")
    _save(figure, path)


def _curves_panel(axes: Axes, rows: Sequence[Mapping[str, Any]], term: str) -> None:
    curves = []
    for split, color in (("train", _TRAIN), ("valid", _VALID)):
        steps, values = _curve(rows, f"{split}_{term}")
        if len(steps):
            marker = "o" if len(steps) < 25 else None
            label = f"{split}, last {_minus(f'{values[-1]:.2f}')}"
            axes.plot(steps, values, color=color, marker=marker, markersize=3, label=label)
            curves.append(values)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if curves:
        axes.set_ylim(*robust_limits(curves))
        style = {"title_fontproperties": {"size": 7}, "alignment": "left"}
        axes.legend(loc="best", title=_outside(axes.get_ylim(), curves), **style)


def _curve(
    rows: Sequence[Mapping[str, Any]], name: str
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


@matplotlib.rc_context(_STYLE)
def reconstructions(path: Path, images: Images, reconstructions: Images) -> None:
    """Draws test images, each above its reconstruction, in lines of at most ten."""
    columns = min(len(images), 10)
    pairs = np.stack([_lines(images, columns), _lines(reconstructions, columns)], axis=1)
    grid = pairs.reshape(-1, *pairs.shape[2:])
    figure, axes = _mosaic(grid, row_breaks=range(2, len(grid), 2))
    _label_rows(axes, ["test image", "reconstruction"] * (len(grid) // 2))
    axes.set_title("Test images and their reconstructions")
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
def samples(path: Path, images: Images) -> None:
    """Draws images in a square grid, row by row."""
    figure, axes = _mosaic(_lines(images, int(np.ceil(np.sqrt(len(images))))))
    axes.set_title("Samples from the prior, shown as means of the likelihood")
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
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
    figure, axes = _mosaic(images[::-1])
    shown = np.linspace(0, len(values) - 1, min(len(values), 9)).round()
    labels = [_signed(value) if i in shown else "" for i, value in enumerate(values)]
    _label_columns(axes, labels)
    _label_rows(axes, labels[::-1])
    axes.set_xlabel("z1")
    axes.set_ylabel("z2", rotation=0, labelpad=10)
    axes.set_title("Decoder means over the two latents")
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
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
    figure, axes = _mosaic(images)
    _label_rows(axes, [f"{_name(i)}, KL {kl[i]:.2f} nats" for i in latents.tolist()])
    _label_columns(axes, [_signed(value) for value in values])
    axes.set_xlabel("value of the latent")
    axes.set_title("One latent moved at a time")
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
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
    figure, axes = _mosaic(images, column_breaks=breaks)
    _label_columns(axes, labels)
    axes.set_title("Straight paths in latent space between two test images")
    _save(figure, path)


@matplotlib.rc_context(_STYLE)
def kl_per_latent(
    path: Path, kl: Float[np.ndarray, " latents"], active: Bool[np.ndarray, " latents"]
) -> None:
    """Draws the KL of each latent in nats per example, largest first, inactive ones coloured."""
    order = np.argsort(-kl, kind="stable")
    places, heights, inactive = np.arange(len(kl)), kl[order], ~active[order]
    figure = Figure(figsize=(max(5.0, min(10.0, 0.3 * len(kl))), 3.0))
    axes = figure.add_subplot()
    axes.bar(places, heights, color=np.where(inactive, _INACTIVE, _VALID), width=0.8)
    # A bar of height zero cannot be seen, so inactive latents get a dot as well.
    if inactive.any():
        (dots,) = axes.plot(places[inactive], heights[inactive], "o", color=_INACTIVE)
        dots.set(markersize=4, clip_on=False, label="inactive")
        axes.legend(loc="upper right")
    axes.grid(axis="y")
    axes.set_xlim(-0.6, len(kl) - 0.4)
    axes.set_ylim(bottom=0)
    shown = places[:: int(np.ceil(len(kl) / 25))]
    axes.set_xticks(shown, [_name(i) for i in order[shown].tolist()])
    axes.set_ylabel("KL (nats per example)")
    axes.set_title(_activity(int(active.sum()), len(kl)))
    _save(figure, path)


def _activity(num_active: int, num_latents: int) -> str:
    inactive = num_latents - num_active
    count = _WORDS[inactive] if inactive < len(_WORDS) else inactive
    return f"KL per latent: {num_active} of {num_latents} active, {count} inactive"


def _mosaic(
    grid: Grid, row_breaks: Collection[int] = (), column_breaks: Collection[int] = ()
) -> tuple[Figure, Axes]:
    """Returns a figure filled by a grid of images, with wider gaps before the named lines."""
    rows, columns, height, width, _ = grid.shape
    scale = max(1, min(_GRID_PIXELS // (columns * width), _TILE_PIXELS // max(height, width)))
    tops = _offsets(rows, height * scale, row_breaks)
    lefts = _offsets(columns, width * scale, column_breaks)
    canvas = _canvas(grid, scale, tops, lefts)
    size = (canvas.shape[1] / _DPIS[0], canvas.shape[0] / _DPIS[0])
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(lefts + (width * scale - 1) / 2, [""] * columns)
    axes.set_yticks(tops + (height * scale - 1) / 2, [""] * rows)
    return figure, axes


def _offsets(count: int, size: int, breaks: Collection[int]) -> Int[np.ndarray, " count"]:
    """Returns the first pixel of each of `count` tiles in a line."""
    gaps = [0 if i == 0 else _BREAK if i in breaks else _GAP for i in range(count)]
    return np.arange(count) * size + np.cumsum(gaps)


def _canvas(
    grid: Grid, scale: int, tops: Int[np.ndarray, " rows"], lefts: Int[np.ndarray, " columns"]
) -> UInt8[np.ndarray, "full_height full_width 3"]:
    """Returns the grid as one picture, each pixel `scale` wide; what is not finite is white."""
    tiles = np.nan_to_num(grid, nan=1.0).clip(0, 1).repeat(scale, axis=2).repeat(scale, axis=3)
    height, width = tiles.shape[2:4]
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            canvas[top : top + height, left : left + width] = np.round(255 * tiles[i, j])
    return canvas


def _lines(images: Images, columns: int) -> Grid:
    """Returns images in lines of `columns`, the last filled up with NaN."""
    missing = -len(images) % columns
    padding = np.full((missing, *images.shape[1:]), np.nan, images.dtype)
    return np.concatenate([images, padding]).reshape(-1, columns, *images.shape[1:])


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(axes.get_yticks(), labels)


def _label_columns(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_xticks(axes.get_xticks(), labels)


def _name(index: int) -> str:
    return f"z{index + 1}"


def _signed(value: float) -> str:
    """Returns at most two decimals and never a minus zero."""
    return _minus(f"{round(value, 2) + 0.0:g}")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _save(figure: Figure, path: Path) -> None:
    """Writes a PNG file at the finest resolution that stays below the size limit."""
    pictures = (_png(figure, dpi) for dpi in _DPIS)
    fitting = (picture for picture in pictures if len(picture) <= _MAX_BYTES)
    records.write_bytes(path, next(fitting, None) or _png(figure, _DPIS[-1]))


def _png(figure: Figure, dpi: int) -> bytes:
    """Returns the same bytes for the same figure: no date, no version in them."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return file.getvalue()
