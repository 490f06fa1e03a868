"""Colours of the heat maps: their range, the maps themselves, and the text on them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

VIRIDIS = [
    "#440154",
    "#481f70",
    "#443983",
    "#3b528b",
    "#31688e",
    "#287c8e",
    "#21918c",
    "#20a486",
    "#35b779",
    "#5ec962",
    "#90d743",
    "#c8e020",
    "#fde725",
]
CIVIDIS = [
    "#00224e",
    "#003170",
    "#2a3f6d",
    "#434e6c",
    "#575d6d",
    "#6a6c71",
    "#7d7c78",
    "#918b78",
    "#a59c74",
    "#bcae6c",
    "#d2c060",
    "#e9d34e",
    "#fee838",
]
MAPS: dict[str, Sequence[str]] = {
    "viridis": VIRIDIS,
    "viridis_r": VIRIDIS[::-1],
    "cividis": CIVIDIS,
}
"""Thirteen evenly spaced colours of each of matplotlib's maps, which a page has without it."""


def limits(numbers: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Return the range of colours, which a few outlying cells do not stretch.

    It ends at the data or at Tukey's fences, 1.5 times the interquartile range beyond the
    quartiles, whichever is nearer; values beyond take the colour of the end.

    Example:
        >>> limits(np.array([1.0, 2.0, 3.0, np.nan]))
        (1.0, 3.0)
    """
    known = numbers[np.isfinite(numbers)]
    if known.size == 0:
        return 0.0, 1.0
    first, third = np.percentile(known, (25, 75))
    reach = 1.5 * (third - first) or np.inf
    low, high = max(known.min(), first - reach), min(known.max(), third + reach)
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(high) + 0.5)


def at(name: str, share: float) -> tuple[float, float, float]:
    """Return a colour of a map, red, green and blue in [0, 1].

    Args:
        name: one of :data:`MAPS`.
        share: position on the map; below 0 and above 1 are its ends.

    Example:
        >>> as_hex(at("viridis", 0.0)), as_hex(at("viridis_r", 2.0)), as_hex(at("cividis", 0.5))
        ('#440154', '#440154', '#7d7c78')
    """
    stops = np.array([_channels(text) for text in MAPS[name]])
    positions = np.linspace(0.0, 1.0, len(stops))
    red, green, blue = (float(np.interp(share, positions, channel)) for channel in stops.T)
    return red, green, blue


def as_hex(color: Sequence[float]) -> str:
    """Return a colour as HTML writes it.

    Example:
        >>> as_hex((1.0, 0.0, 0.5))
        '#ff0080'
    """
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color[:3])


def ink_on(color: Sequence[float]) -> str:
    """Return the text colour with the greater contrast to a colour (WCAG 2).

    Example:
        >>> ink_on((1.0, 1.0, 0.0)), ink_on((0.2, 0.0, 0.3))
        ('black', 'white')
    """
    linear = ((np.array(color[:3]) + 0.055) / 1.055) ** 2.4
    luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _channels(text: str) -> list[float]:
    return [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
