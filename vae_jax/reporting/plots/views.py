"""Pictures of x of any kind: images as they are, vectors as bars, all in one scale per figure."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb

from vae_jax.reporting import format
from vae_jax.reporting.plots import style

Values = Float[np.ndarray, "..."]
Pictures = Float[np.ndarray, "... height width channels"]

_HEIGHT, _WIDTH = 56, 84  # pixels of the bars of one vector
_MARGIN, _PAPER = 5, 0.95


class View(NamedTuple):
    """Way in which the x of a data set are drawn: their axes and the range that is shown.

    Attributes:
        rank: axes of one x; 3 for images, of which those of two channels show the first and those
            of more than three the first three.
        low: value drawn black, or at the foot of the bars.
        high: value drawn white, or at the top of the bars.

    Example:
        >>> View().pictures(np.zeros((5, 8, 8, 4))).shape
        (5, 8, 8, 3)
        >>> View.of(np.array([[1.0, 3.0], [2.0, 2.0]]), is_unit=False).caption
        'Bars from 1 to 3, from 1.'
    """

    rank: int = 3
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, examples: Values, *, is_unit: bool) -> "View":
        """Return the view of examples ``[n, *event]``.

        Args:
            examples: x of a data set, at least one.
            is_unit: whether x lies in [0, 1], as pixels do; otherwise the range is theirs.
        """
        rank = examples.ndim - 1
        if is_unit:
            return cls(rank)
        low, high = float(np.nanmin(examples)), float(np.nanmax(examples))
        return cls(rank, low, high if high > low else low + 1.0)

    @property
    def noun(self) -> str:
        """Noun for one x."""
        return "image" if self.rank == 3 else "vector"

    @property
    def caption(self) -> str:
        """Sentence on the scale, empty for pixels."""
        low, high = format.rounded(self.low), format.rounded(self.high)
        if self.rank != 3:
            foot = "from the line of 0" if self.low < 0 < self.high else f"from {low}"
            return f"Bars from {low} to {high}, {foot}."
        return "" if (self.low, self.high) == (0.0, 1.0) else f"Black is {low}, white {high}."

    def pictures(self, values: Values) -> Pictures:
        """Return x ``[..., *event]`` as pictures in [0, 1] of one or three channels."""
        unit = values
        if (self.low, self.high) != (0.0, 1.0):
            unit = (values - self.low) / (self.high - self.low)
        if self.rank == 3:
            channels = unit.shape[-1]
            return unit if channels in (1, 3) else unit[..., : 1 if channels == 2 else 3]
        leading = unit.shape[: unit.ndim - self.rank]
        return _bars(unit.reshape(*leading, -1), -self.low / (self.high - self.low))


def _bars(heights: Float[np.ndarray, "... dims"], foot: float) -> Pictures:
    """Return a picture of bars for each vector of heights in [0, 1]; NaN where it holds NaN."""
    heights = _thinned(heights)
    num = heights.shape[-1]
    pitch = max(1, _WIDTH // num)
    column = np.minimum(np.arange(num * pitch) // pitch, num - 1)
    is_gap = (np.arange(num * pitch) % pitch == pitch - 1) & (pitch > 2)
    level = 1 - (np.arange(_HEIGHT) + 0.5)[:, None] / _HEIGHT
    top, foot = heights[..., None, column], min(max(foot, 0.0), 1.0)
    inside = (level <= np.maximum(top, foot)) & (level >= np.minimum(top, foot)) & ~is_gap
    is_line = np.abs(level - foot) <= 0.5 / _HEIGHT
    colours = [np.array(to_rgb(colour)) for colour in (style.STRONG, style.PALE)]
    picture = np.where(inside[..., None], colours[0], np.full(3, _PAPER))
    picture = np.where((is_line & ~inside)[..., None], colours[1], picture)
    margin = [(0, 0)] * (picture.ndim - 2) + [(_MARGIN, _MARGIN), (0, 0)]
    picture = np.pad(picture, margin, constant_values=_PAPER)
    is_empty = np.asarray(np.isnan(heights).any(axis=-1))[..., None, None, None]
    return np.where(is_empty, np.nan, picture)


def _thinned(heights: Float[np.ndarray, "... dims"]) -> Float[np.ndarray, "... bars"]:
    """Return means of neighbouring dimensions where there are more than fit."""
    num = heights.shape[-1]
    if num <= _WIDTH:
        return heights
    starts = np.arange(_WIDTH) * num // _WIDTH
    sizes = np.diff([*starts, num])
    return np.add.reduceat(heights, starts, axis=-1) / sizes
