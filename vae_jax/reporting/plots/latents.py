"""Figure of the KL of each latent."""

from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Bool, Float

from vae_jax.evaluation import columns
from vae_jax.reporting import format
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.style import Figure


@matplotlib.rc_context(style.STYLE)
def kl_per_latent(
    path: Path | None, kl: Float[np.ndarray, " latents"], active: Bool[np.ndarray, " latents"]
) -> Figure:
    """Draw the KL of each latent in nats per example, largest first, inactive ones coloured."""
    order = np.argsort(-kl, kind="stable")
    positions, heights, inactive = np.arange(len(kl)), kl[order], ~active[order]
    figure = Figure(figsize=(max(5.0, min(10.0, 0.3 * len(kl))), 3.0))
    axes = figure.add_subplot()
    axes.bar(positions, heights, color=np.where(inactive, style.ALARM, style.STRONG), width=0.8)
    # A bar of height zero cannot be seen, so inactive latents get a dot as well.
    if inactive.any():
        (dots,) = axes.plot(positions[inactive], heights[inactive], "o", color=style.ALARM)
        dots.set(markersize=4, clip_on=False, label="inactive")
        axes.legend(loc="upper right")
    axes.grid(axis="y")
    axes.set_xlim(-0.6, len(kl) - 0.4)
    axes.set_ylim(bottom=0)
    shown = positions[:: int(np.ceil(len(kl) / 25))]
    axes.set_xticks(shown, [format.latent(i) for i in order[shown].tolist()])
    axes.set_ylabel(f"KL ({columns.NATS})")
    axes.set_title(f"KL per latent: {active.sum()} of {len(kl)} active")
    style.save(figure, path)
    return figure
