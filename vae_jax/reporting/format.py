"""Numbers as text: tables, sentences, cards and figures of a report all write them through here.

Reals have a minus sign instead of a hyphen and thousands separators. From ten million on they are
written with a power of ten, so that a number that is absurd but finite stays short.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

_LARGEST_FIXED = 1e7  # largest real that is written without a power of ten
_LARGEST_INT = 10**15  # largest whole number that is written in full
_TICK_LETTERS = 9  # letters that fit under a cell of a heat map


def minus(text: str) -> str:
    """Return a number's text with a minus sign instead of the hyphen in front.

    Example:
        >>> minus("-1e-05") == "\N{MINUS SIGN}1e-05"
        True
    """
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


def real(value: int | float, decimals: int = 2) -> str:
    """Return a real with fixed decimals and never a minus zero; a huge one with three digits.

    Example:
        >>> real(1234.5), real(-0.001), real(3.25, 1), real(1e25)
        ('1,234.50', '0.00', '3.2', '1.00e+25')
    """
    if abs(value) >= _LARGEST_FIXED:
        return minus(f"{value:.2e}")
    return minus(f"{round(value, decimals) + 0.0:,.{decimals}f}")


def with_error(value: int | float, error: int | float | None = None) -> str:
    """Return a mean with its standard error, where one is known.

    Example:
        >>> with_error(98.0, 0.5), with_error(98.0, None), with_error(2e25, 1e24)
        ('98.00 ± 0.50', '98.00', '2.00e+25 ± 1.00e+24')
    """
    if error is None or not math.isfinite(error):
        return real(value)
    return f"{real(value)} ± {standard_error(error)}"


def standard_error(value: int | float, decimals: int = 2) -> str:
    """Return a standard error with at least one digit that is not 0, up to four decimals.

    Example:
        >>> standard_error(0.5), standard_error(0.0031), standard_error(1e-9)
        ('0.50', '0.003', '0.00')
    """
    needed = (n for n in range(decimals, 5) if round(value, n) > 0)
    return real(value, next(needed, decimals))


def nats(value: int | float) -> str:
    """Return a number of nats with its unit.

    Example:
        >>> nats(25.0)
        '25.00 nats'
    """
    return f"{real(value)} nats"


def share(value: int | float) -> str:
    """Return a share in percent.

    Example:
        >>> share(0.241)
        '24%'
    """
    return f"{real(100 * value, 0)}%"


def count(number: int, noun: str = "") -> str:
    """Return a whole number, with a noun whose plural has an s.

    Example:
        >>> count(5000), count(1, "example"), count(2, "example"), count(10**25)
        ('5,000', '1 example', '2 examples', '1.00e+25')
    """
    text = f"{number:,}" if abs(number) < _LARGEST_INT else f"{number:.2e}"
    return f"{minus(text)} {noun}{'s' * (number != 1)}" if noun else minus(text)


def significant(value: int | float, digits: int = 4) -> str:
    """Return a whole number in full, a real with so many significant digits.

    Example:
        >>> significant(5000), significant(0.0123456), significant(1e25)
        ('5,000', '0.01235', '1e+25')
    """
    if isinstance(value, int):
        return count(value)
    return minus(f"{value:.{digits}g}")


def rounded(value: int | float) -> str:
    """Return a real with at most two decimals, without zeros at its end and never a minus zero.

    Example:
        >>> rounded(1.5), rounded(2.0), rounded(-0.001)
        ('1.5', '2', '0')
    """
    return minus(f"{round(value, 2) + 0.0:g}")


def seconds(value: int | float) -> str:
    """Return a duration in at most two units.

    Example:
        >>> seconds(21.44), seconds(125.0), seconds(3900.0)
        ('21.4 s', '2 min 5 s', '1 h 5 min')
    """
    if value < 60:
        return f"{real(value, 1)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 100 else f"{count(hours)} h"


def setting(value: Any) -> str:
    """Return a setting as a flag takes it: reals with six digits, nothing for None.

    Example:
        >>> setting(4.0), setting(0.001), setting(None), setting("400,200")
        ('4', '0.001', '', '400,200')
    """
    if value is None:
        return ""
    is_long = isinstance(value, int) and abs(value) >= _LARGEST_INT
    return f"{value:g}" if isinstance(value, float) or is_long else str(value)


def settings(values: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """Return settings by their names.

    Args:
        values: settings, or a row that holds them.
        names: those to write, in order; all of them by default.

    Example:
        >>> settings({"beta": 4.0, "latent_size": 8, "seed": 0}, ["beta", "latent_size"])
        'beta = 4, latent_size = 8'
    """
    written = values if names is None else names
    return ", ".join(f"{name} = {setting(values.get(name)) or 'none'}" for name in written)


def axis(name: str) -> str:
    """Return the name of a swept setting as a figure's axis has it.

    Example:
        >>> axis("latent_size")
        'latent size'
    """
    return name.replace("_", " ")


def tick(value: Any) -> str:
    r"""Return a setting as a tick of a figure, long text in several lines.

    Example:
        >>> tick(0.5), tick("500,500,500,500")
        ('0.5', '500, 500,\n500, 500')
    """
    text = setting(value)
    if len(text) <= _TICK_LETTERS:
        return text
    spaced = text.replace("_", " ").replace(",", ", ")
    return textwrap.fill(spaced, _TICK_LETTERS, break_long_words=False)


def latent(index: int) -> str:
    """Return the name of a latent: coordinate 0 of z is z1.

    Example:
        >>> latent(0)
        'z1'
    """
    return f"z{index + 1}"


def latent_with_kl(index: int, kl: Float[np.ndarray, " latents"] | None) -> str:
    """Return the name of a latent with its KL, where that of every latent is known.

    Example:
        >>> latent_with_kl(1, np.array([0.5, 1.25])), latent_with_kl(0, None)
        ('z2, KL 1.25 nats', 'z1')
    """
    return latent(index) + ("" if kl is None else f", KL {nats(float(kl[index]))}")


def decimals(numbers: Float[np.ndarray, "..."]) -> int:
    """Return how many decimals the numbers of one panel have: 0 where all are whole.

    Example:
        >>> decimals(np.array([3.0, 4.0])), decimals(np.array([98.2])), decimals(np.array([0.5]))
        (0, 1, 2)
    """
    known = numbers[np.isfinite(numbers)]
    if np.all(known == np.round(known)):
        return 0
    return 1 if np.abs(known).max() >= 10 else 2


def error_source(num_seeds: Int[np.ndarray, "..."]) -> str:
    """Return over what standard errors were taken.

    Args:
        num_seeds: seeds behind each mean; one seed has the error over test examples.

    Example:
        >>> error_source(np.array([1, 1])), error_source(np.array([0, 3]))
        ('standard errors over test examples', 'standard errors over seeds')
    """
    if not np.any(num_seeds > 1):
        return "standard errors over test examples"
    if np.any(num_seeds == 1):
        return "standard errors over seeds, over test examples where one seed is left"
    return "standard errors over seeds"


def mean_source(num_seeds: Int[np.ndarray, "..."]) -> str:
    """Return over how many seeds means were taken, "" where each has one.

    Example:
        >>> mean_source(np.array([3, 3])), mean_source(np.array([0, 2, 3]))
        ('means over 3 seeds', 'means over 2 to 3 seeds')
    """
    known = num_seeds[num_seeds > 0]
    if known.size == 0 or known.max() <= 1:
        return ""
    fewest, most = int(known.min()), int(known.max())
    return f"means over {most} seeds" if fewest == most else f"means over {fewest} to {most} seeds"
