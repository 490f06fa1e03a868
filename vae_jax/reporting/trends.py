"""Trends of learning curves: whether the last evaluations rise, beyond the jitter of training.

Valid is evaluated with the same noise each time, so what a curve jitters by is training's own. A
least-squares slope is held against that, by the quantile of Student's t for the few points that
there are, and with the correlation of one evaluation with the next.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

T = TypeVar("T")

MANY_ERRORS = 2.0
"""Standard errors from which a difference counts."""
CONFIDENCE = 0.99
"""Probability with which a curve without any trend is not called a rise."""
SMALLEST_SHARE = 0.25
"""Share of the standard error of the last value below which a rise is too small to matter."""
FEWEST = 3
"""Evaluations below which nothing is said of a trend."""
_FEWEST_OF_THIRD = 4
_LARGEST_CORRELATION = 0.9


class Trend(NamedTuple):
    """Trend of a curve over all its points.

    Attributes:
        change: slope times the length, in the unit of the values.
        error: standard error of the change.
        is_rise: whether the curve rises, beyond chance and by more than is too small to matter.

    Example:
        >>> trend([100, 200, 300, 400], [1.0, 2.0, 3.0, 4.0]).change
        3.0
    """

    change: float
    error: float
    is_rise: bool


def last_third(values: Sequence[T]) -> Sequence[T]:
    """Return the last third of the values, at least four where there are so many.

    Example:
        >>> last_third(range(15))
        range(10, 15)
    """
    return values[-max(_FEWEST_OF_THIRD, -(-len(values) // 3)) :]


def trend(
    steps: Sequence[int], values: Sequence[float], error: float | None = None
) -> Trend | None:
    """Return the trend of a curve; None for fewer points than :data:`FEWEST`.

    A rise is a slope that exceeds its error by Student's t at :data:`CONFIDENCE`. Of a smooth but
    bent curve of a few points the line fits badly; there it is enough that every point is above
    the one before, the last above the first by two standard errors over the examples, and above
    the last but one by more than is too small to matter.

    Args:
        steps: steps of the points, rising.
        values: values of the curve there.
        error: standard error of the last value over the examples; None where it is unknown.

    Example:
        >>> trend(range(4), [-9.0, -5.0, -3.0, -2.0], error=1.0).is_rise
        True
        >>> trend(range(4), [-9.0, -9.1, -8.9, -9.0], error=1.0).is_rise
        False
    """
    if len(values) < FEWEST:
        return None
    x, y = np.asarray(steps, float), np.asarray(values, float)
    change, change_error = (each * (x[-1] - x[0]) for each in slope(x, y))
    is_large = change > SMALLEST_SHARE * (error or 0.0)
    is_steep = change > stdtrit(len(y) - 2, CONFIDENCE) * change_error
    climbs = error is not None and bool(np.all(np.diff(y) > 0))
    climbs = climbs and y[-1] - y[0] > MANY_ERRORS * (error or 0.0)
    climbs = climbs and y[-1] - y[-2] > SMALLEST_SHARE * (error or 0.0)
    return Trend(float(change), float(change_error), bool(is_large and (is_steep or climbs)))


def slope(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the least-squares slope and its standard error.

    The error is raised by sqrt((1 + r) / (1 - r)), r being the residuals' correlation from one
    point to the next, corrected for the (1 + 4 r) / n that fitting a line takes from it.
    """
    x = x - x.mean()
    slope = x @ y / (x @ x)
    residual = y - y.mean() - slope * x
    squares = residual @ residual
    variance = squares / (len(y) - 2) / (x @ x)
    if squares > 0 and len(y) > FEWEST:
        r = residual[1:] @ residual[:-1] / squares
        r = min(max(r + (1 + 4 * r) / len(y), 0.0), _LARGEST_CORRELATION)
        variance *= (1 + r) / (1 - r)
    return float(slope), math.sqrt(variance)
