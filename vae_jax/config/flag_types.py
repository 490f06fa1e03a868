"""Sets of values that a flag may take: how they are read, which are allowed, in words."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST_REAL = 3e38  # float32 ends at 3.4e38


@dataclass(frozen=True)
class FlagType:
    """A set of values that a flag may take: how they are read, which are allowed, in words."""

    parse: Callable[[str], Any]
    is_valid: Callable[[Any], bool]
    words: str

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.parse in (int, float)


def real(low: float, *, is_open: bool = False, or_infinite: bool = False) -> FlagType:
    """Numbers from ``low`` on (or above it)."""
    words = f"a finite number {'above' if is_open else 'of at least'} {low:g}"
    words += ", or inf" if or_infinite else ""

    def is_valid(value: float) -> bool:
        above = value > low if is_open else value >= low
        return above and (value <= LARGEST_REAL or (or_infinite and math.isinf(value)))

    return FlagType(float, is_valid, words)


def whole(low: int, high: int = 2**31 - 1) -> FlagType:
    """Whole numbers from ``low`` to ``high``."""
    return FlagType(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


BOOLEAN = FlagType(_truth, lambda value: True, "true or false")


def sizes(low: int) -> FlagType:
    """Comma-separated positive whole numbers, at least ``low`` of them."""

    def parse(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",")) if text else ()

    words = "whole numbers of at least 1, separated by commas" + (
        " (or nothing)" if not low else ""
    )

    def is_valid(value: tuple[int, ...]) -> bool:
        return len(value) >= low and all(1 <= n < 2**31 for n in value)

    return FlagType(parse, is_valid, words)


def one_of(*names: str) -> FlagType:
    """One of some words."""
    return FlagType(str, lambda value: value in names, "one of " + ", ".join(names))


def some_of(*names: str) -> FlagType:
    """Some words, at least one and each once."""

    def is_valid(value: tuple[str, ...]) -> bool:
        return 0 < len(value) == len(set(value)) and set(value) <= set(names)

    words = "separated by commas, each once, some of " + ", ".join(names)
    return FlagType(lambda text: tuple(text.split(",")), is_valid, words)


def _is_plain(value: str) -> bool:
    """Whether a line of a flagfile gives the value back as it was."""
    return value.isprintable() and value == value.strip()


TEXT = FlagType(str, _is_plain, "printable text (or nothing)")
NON_EMPTY = FlagType(str, lambda value: bool(value) and _is_plain(value), "printable text")
