"""Trends of learning curves: whether the last evaluations rise, beyond the jitter of training.

Valid is evaluated with the same noise each time, so what a curve jitters by is training's own. A
least-squares slope is held against that, by the quantile of Student's t for the few points that
there are. Of many points the means of a few blocks are taken, which evens out their jitter and most
of the correlation of one evaluation with the next; what is left of that widens the error and lowers
the degrees of freedom.
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
SMALLEST_RISE = 0.1
"""Nats below which a rise is too small to matter, where that standard error is unknown."""
FEWEST = 3
"""Evaluations below which nothing is said of a trend."""
NUM_BLOCKS = 6
"""Points of which a trend is taken; of more, means of as many blocks."""
_FEWEST_OF_THIRD = 4
_LARGEST_CORRELATION = 0.9
_CLIMBS = {3: (6.0, 2.0), 4: (3.0, 1.0), 5: (3.0, 1.0)}
"""Standard errors of the last value over the examples by which the last of three, four or five
points must exceed the last but two, and the last but one; six that climb one by one need no more.
"""


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
    bent curve of a few points the line fits badly; there it is enough that every point is above the
    one before, and the last above the last but two by so many standard errors over the examples
    that jitter as large as that does not explain it.

    Args:
        steps: steps of the points, rising.
        values: values of the curve there, in nats.
        error: standard error of the last value over the examples; None where it is unknown.

    Example:
        >>> trend(range(4), [-9.0, -5.0, -3.0, -2.0], error=0.5).is_rise
        True
        >>> trend(range(4), [-9.0, -9.1, -8.9, -9.0], error=0.5).is_rise
        False
    """
    if len(values) < FEWEST:
        return None
    x, y = (_block_means(np.asarray(each, float)) for each in (steps, values))
    rate, rate_error, freedom = slope(x, y)
    length = steps[-1] - steps[0]
    change, change_error = rate * length, rate_error * length
    smallest = SMALLEST_RISE if error is None else SMALLEST_SHARE * error
    is_steep = change > stdtrit(freedom, CONFIDENCE) * change_error
    is_rise = change > smallest and (is_steep or _climbs(y, error))
    return Trend(change, change_error, bool(is_rise))


def _block_means(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " blocks"]:
    """Return the means of at most :data:`NUM_BLOCKS` blocks of neighbours, equal but for one."""
    blocks = np.array_split(values, min(len(values), NUM_BLOCKS))
    return np.array([block.mean() for block in blocks])


def _climbs(y: Float[np.ndarray, " n"], error: float | None) -> bool:
    """Return whether every point is above the one before, the last ones by more than jitter."""
    if error is None:
        return False
    of_two, of_one = _CLIMBS.get(len(y), (0.0, 0.0))
    is_large = y[-1] - y[-3] > of_two * error and y[-1] - y[-2] >= of_one * error
    return bool(np.all(np.diff(y) > 0) and is_large)


def slope(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """Return the least-squares slope, its standard error and that error's degrees of freedom.

    With r the residuals' correlation from one point to the next, corrected for the (1 + 4 r) / n
    that fitting a line takes from it, n points are worth m = n (1 - r) / (1 + r): the error is
    raised by sqrt(n / m), and there are m - 2 degrees of freedom, at least one.
    """
    x = x - x.mean()
    slope = x @ y / (x @ x)
    residual = y - y.mean() - slope * x
    squares = residual @ residual
    variance, worth = squares / (len(y) - 2) / (x @ x), float(len(y))
    if squares > 0 and len(y) > FEWEST:
        r = residual[1:] @ residual[:-1] / squares
        r = min(max(r + (1 + 4 * r) / len(y), 0.0), _LARGEST_CORRELATION)
        worth *= (1 - r) / (1 + r)
        variance *= len(y) / worth
    return float(slope), math.sqrt(variance), max(worth - 2, 1.0)
