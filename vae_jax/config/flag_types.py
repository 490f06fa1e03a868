"""Types of flags: how a text becomes a value, which values are valid, and how errors name them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST_REAL = 3e38  # float32 ends at 3.4e38


@dataclass(frozen=True)
class FlagType:
    """Type of a flag: a set of values with their parser and their description.

    Attributes:
        parse: turns a text into a value, or raises ValueError.
        is_valid: returns for a parsed value whether the flag may take it.
        description: phrase that completes "must be ..." in errors and in the help.

    Example:
        >>> even = FlagType(int, lambda value: value % 2 == 0, "an even number")
        >>> even.parse("4"), even.is_valid(4), even.is_valid(5), even.is_number
        (4, True, False, True)
    """

    parse: Callable[[str], Any]
    is_valid: Callable[[Any], bool]
    description: str

    @property
    def is_number(self) -> bool:
        """True where the values are numbers."""
        return self.parse in (int, float)


def real(low: float, *, is_open: bool = False, or_infinite: bool = False) -> FlagType:
    """Return the type of real numbers from ``low`` on.

    Args:
        low: smallest value.
        is_open: exclude ``low`` itself.
        or_infinite: include infinity.

    Example:
        >>> real(0.0).description
        'a finite number of at least 0'
        >>> real(0.0, is_open=True).is_valid(0.0)
        False
    """
    description = f"a finite number {'above' if is_open else 'of at least'} {low:g}"
    description += ", or inf" if or_infinite else ""

    def is_valid(value: float) -> bool:
        is_above = value > low if is_open else value >= low
        return is_above and (value <= LARGEST_REAL or (or_infinite and math.isinf(value)))

    return FlagType(float, is_valid, description)


def whole(low: int, high: int = 2**31 - 1) -> FlagType:
    """Return the type of whole numbers from ``low`` to ``high``, both included.

    Example:
        >>> whole(1, 10).description, whole(1, 10).is_valid(10)
        ('a whole number from 1 to 10', True)
    """
    description = f"a whole number from {low} to {high}"
    return FlagType(int, lambda value: low <= value <= high, description)


def _parse_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


BOOLEAN = FlagType(_parse_boolean, lambda value: True, "true or false")
"""Type of truth values."""


def sizes(low: int) -> FlagType:
    """Return the type of tuples of positive whole numbers, at least ``low`` of them.

    Example:
        >>> sizes(1).parse("400,200")
        (400, 200)
    """

    def parse(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",")) if text else ()

    def is_valid(value: tuple[int, ...]) -> bool:
        return len(value) >= low and all(1 <= n < 2**31 for n in value)

    description = "whole numbers of at least 1, separated by commas"
    return FlagType(parse, is_valid, description + ("" if low else " (or nothing)"))


def one_of(*names: str) -> FlagType:
    """Return the type of one name out of several.

    Example:
        >>> one_of("mlp", "conv").description
        'one of mlp, conv'
    """
    return FlagType(str, lambda value: value in names, "one of " + ", ".join(names))


def some_of(*names: str, or_none: bool = False) -> FlagType:
    """Return the type of tuples of names, each once, at least one unless ``or_none``.

    Example:
        >>> both = some_of("nll", "ais")
        >>> both.parse("ais,nll"), both.is_valid(("nll", "nll"))
        (('ais', 'nll'), False)
    """

    def is_valid(value: tuple[str, ...]) -> bool:
        is_long_enough = or_none or len(value) > 0
        return is_long_enough and len(value) == len(set(value)) and set(value) <= set(names)

    def parse(text: str) -> tuple[str, ...]:
        return tuple(text.split(",")) if text or not or_none else ()

    description = "separated by commas, each once, some of " + ", ".join(names)
    return FlagType(parse, is_valid, description + (" (or nothing)" if or_none else ""))


def _is_plain(value: str) -> bool:
    """Return whether a line of a flagfile gives the value back unchanged."""
    return value.isprintable() and value == value.strip()


TEXT = FlagType(str, _is_plain, "printable text (or nothing)")
"""Type of texts, also the empty one."""
NON_EMPTY = FlagType(str, lambda value: bool(value) and _is_plain(value), "printable text")
"""Type of texts of at least one character."""
