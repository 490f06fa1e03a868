"""Studies as grids: from ``--sweep=NAME=V1,V2,...`` to one :class:`Config` per run.

The rows are all combinations of the values, the last ``--sweep`` varying fastest. Values are
written ``0.5,1,2``; ``0:5`` is the whole numbers 0 to 4; ``log:1e-4:1e-2:5`` and ``lin:0:1:3`` are
evenly spaced reals with both ends; values that hold commas themselves are parted by ``/``, as in
``hidden_sizes=400/400,200``.
"""

import dataclasses
import difflib
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.config.schema import FIELDS, Config, as_text, parse_value
from vae_jax.config.validation import check_combination
from vae_jax.runtime.errors import InputError

MOST_RUNS = 10_000


class Axis(NamedTuple):
    """A swept flag and its values, in the order given."""

    name: str
    values: tuple[Any, ...]


def axes(config: Config) -> list[Axis]:
    """The swept flags.

    Raises:
        InputError: a name that is unknown, repeated or cannot be swept; values that are missing,
            repeated or out of range.
    """
    found = [_axis(text) for text in config.sweep]
    names = [axis.name for axis in found]
    for text, name in zip(config.sweep, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"--sweep={text}: {name} is swept twice; give all values at once")
    return found


def rows(config: Config) -> list[Config]:
    """One configuration per run, without ``sweep``; a single one where nothing is swept."""
    found = axes(config)
    if math.prod(len(axis.values) for axis in found) > MOST_RUNS:
        raise InputError(f"--sweep: makes more than {MOST_RUNS} runs; give fewer values")
    products = itertools.product(*(axis.values for axis in found))
    names = [axis.name for axis in found]
    every = [
        dataclasses.replace(config, sweep=(), **dict(zip(names, values, strict=True)))
        for values in products
    ]
    for row in every:
        check_combination(row)
    return every


def _axis(text: str) -> Axis:
    name, equals, rest = text.partition("=")
    if name not in FIELDS:
        close = difflib.get_close_matches(name, FIELDS, 1)
        hint = f"did you mean {close[0]}?" if close else "see --help"
        raise InputError(f"--sweep={text}: there is no flag {name}; {hint}")
    if not FIELDS[name].metadata["is_sweepable"]:
        known = ", ".join(n for n, field in FIELDS.items() if field.metadata["is_sweepable"])
        raise InputError(f"--sweep={text}: {name} cannot be swept; these can: {known}")
    if not equals or not rest:
        raise InputError(f"--sweep={text}: no values; write --sweep={name}=V1,V2,...")
    try:
        values = tuple(parse_value(name, part) for part in _parts(name, rest))
    except InputError as error:
        raise InputError(f"--sweep={text}: {error}") from None
    if len(set(values)) < len(values):
        raise InputError(f"--sweep={text}: a value occurs twice; give each once")
    return Axis(name, values)


def _parts(name: str, text: str) -> list[str]:
    """Texts of the single values."""
    parse = FIELDS[name].metadata["kind"].parse
    if parse is int and text.count(":") == 1:
        return _whole_range(name, text)
    if parse is float and text.startswith(("log:", "lin:")):
        return _spaced(name, text)
    return text.split("/" if isinstance(FIELDS[name].default, tuple) else ",")


def _whole_range(name: str, text: str) -> list[str]:
    low, _, high = text.partition(":")
    numbers = range(parse_value(name, low), parse_value(name, high))
    if len(numbers) > MOST_RUNS:
        raise InputError(f"{text} holds more than {MOST_RUNS} values; give fewer")
    values = [str(number) for number in numbers]
    if not values:
        raise InputError(f"{text} is empty; the second number must exceed the first")
    return values


def _is_number_of_values(text: str) -> bool:
    return text.isdecimal() and len(text) < 9 and 2 <= int(text) <= MOST_RUNS


def _spaced(name: str, text: str) -> list[str]:
    """Evenly spaced values, on a line or on a logarithmic scale, to six digits."""
    spacing, *numbers = text.split(":")
    if len(numbers) != 3 or not _is_number_of_values(numbers[2]):
        words = f"NUMBER from 2 to {MOST_RUNS}"
        raise InputError(f"{text} must be {spacing}:LOW:HIGH:NUMBER, {words}")
    low, high = (parse_value(name, number) for number in numbers[:2])
    if not np.isfinite([low, high]).all() or (spacing == "log" and low <= 0):
        raise InputError(f"{text} must lie between finite numbers, above 0 for log")
    space = np.geomspace if spacing == "log" else np.linspace
    return [as_text(float(f"{value:.6g}")) for value in space(low, high, int(numbers[2]))]
