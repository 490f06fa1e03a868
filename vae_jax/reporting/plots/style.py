"""Style of every figure, and its PNG file."""

import io
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from jaxtyping import Float

from vae_jax.runtime import files

Images = Float[np.ndarray, "n height width channels"]
Grid = Float[np.ndarray, "rows columns height width channels"]

INK, MUTED, RULE = "#22303c", "#7b8794", "#e4e7eb"
CROSS = "\N{MULTIPLICATION SIGN}"  # mark of a run that diverged
PALE, STRONG, ALARM = "#9fb3c8", "#1c5d99", "#d64545"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
DPIS = (130, 100, 75, 50)  # the first at which the file is small enough
MAX_BYTES = 400_000


class Figure(matplotlib.figure.Figure):
    """Figure of matplotlib that a notebook shows as it is written, without ``pyplot``."""

    def _repr_png_(self) -> bytes:
        return as_png(self)


def save(figure: Figure, path: Path | None) -> None:
    """Write a PNG file, unless there is no path."""
    if path is not None:
        files.write_bytes(path, as_png(figure))


def as_png(figure: Figure) -> bytes:
    """Return a PNG at the finest resolution that stays below the size limit."""
    images = (_png(figure, dpi) for dpi in DPIS)
    fitting = (image for image in images if len(image) <= MAX_BYTES)
    return next(fitting, None) or _png(figure, DPIS[-1])


def _png(figure: Figure, dpi: int) -> bytes:
    """Return a PNG without date or version: equal figures have equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return file.getvalue()
