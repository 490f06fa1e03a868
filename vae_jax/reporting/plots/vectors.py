"""Figure of vectors beside their reconstructions, with a scale that can be read."""

from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure

_COLUMNS, _MOST = 4, 12
_MOST_BARS = 60  # more dimensions are drawn as a curve


@matplotlib.rc_context(style.STYLE)
def vector_reconstructions(
    path: Path | None,
    vectors: Float[np.ndarray, "n dims"],
    reconstructions: Float[np.ndarray, "n dims"],
) -> Figure:
    """Draw test vectors as bars, or as curves where they are long, with their reconstructions.

    Args:
      path: the PNG file to write.
      vectors: test vectors.
      reconstructions: E[x'|z] of each.
    """
    num = min(len(vectors), _MOST)
    columns = min(num, _COLUMNS)
    rows = -(-num // columns)
    figure = Figure(figsize=(2.6 * columns, 1.7 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    positions = np.arange(1, vectors.shape[1] + 1)
    for i, own in enumerate(axes.flat):
        own.set_visible(i < num)
        if i >= num:
            continue
        if len(positions) <= _MOST_BARS:
            own.bar(positions, vectors[i], color=style.PALE, width=0.8, label="test vector")
            own.plot(positions, reconstructions[i], "o", color=style.STRONG, markersize=3)
        else:
            own.plot(positions, vectors[i], color=style.PALE, label="test vector")
            own.plot(positions, reconstructions[i], color=style.STRONG, linewidth=1)
        own.lines[-1].set_label("reconstruction")
        own.axhline(0, color=style.MUTED, linewidth=0.6)
    axes[0, 0].legend(loc="upper left", bbox_to_anchor=(0, 1.45), ncols=2, frameon=False)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for own in axes[-1]:
        own.set_xlabel("dimension of x")
    style.save(figure, path)
    return figure
