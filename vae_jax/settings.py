"""Settings: how a member declares one, which values it takes, and how errors name them.

A static setting is a field of a member's frozen dataclass, made by :func:`setting`. The flag, its
checks and its row in the docs are made of that declaration. Settings that are arrays are declared
as :class:`vae_jax.hparams.HParam`.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from vae_jax.runtime.errors import InputError

LARGEST_REAL = 3e38  # float32 ends at 3.4e38


NUMBER = "1"
"""Unit of counts, shares and scores, as in the SI."""
MODULE_CLASS = "MODULE:CLASS"
"""Form of the name of a member from outside of the package."""
MOST_LAYERS = 1000
"""Bound on numbers of layers, each of which is compiled by itself."""


@dataclass(frozen=True)
class ValueType:
    """Type of a setting: a set of values with their parser and their description.

    Types are equal if their descriptions are, which name the range.

    Attributes:
        parse: turns a text into a value, or raises ValueError.
        is_valid: returns for a parsed value whether the setting may take it.
        description: phrase that completes "must be ..." in errors and in the help.

    Example:
        >>> even = ValueType(int, lambda value: value % 2 == 0, "an even number")
        >>> even.parse("4"), even.is_valid(4), even.is_valid(5), even.is_number
        (4, True, False, True)
    """

    parse: Callable[[str], Any] = dataclasses.field(compare=False)
    is_valid: Callable[[Any], bool] = dataclasses.field(compare=False)
    description: str

    @property
    def is_number(self) -> bool:
        """True where the values are numbers."""
        return self.parse in (int, float)


def real(
    low: float, *, is_open: bool = False, or_infinite: bool = False, below: float = math.inf
) -> ValueType:
    """Return the type of real numbers from ``low`` on.

    Args:
        low: smallest value.
        is_open: exclude ``low`` itself.
        or_infinite: include infinity.
        below: bound that the values stay below.

    Example:
        >>> real(0.0).description
        'a finite number of at least 0'
        >>> real(0.0, is_open=True).is_valid(0.0)
        False
        >>> real(0.0, below=1.0).description
        'a finite number of at least 0 and below 1'
    """
    description = f"a finite number {'above' if is_open else 'of at least'} {low:g}"
    description += f" and below {below:g}" if below < math.inf else ""
    description += ", or inf" if or_infinite else ""

    def is_valid(value: int | float) -> bool:
        is_above = value > low if is_open else value >= low
        is_finite = value <= LARGEST_REAL and value < below
        return is_above and (is_finite or (or_infinite and math.isinf(value)))

    return ValueType(float, is_valid, description)


def whole(low: int, high: int = 2**31 - 1) -> ValueType:
    """Return the type of whole numbers from ``low`` to ``high``, both included.

    Example:
        >>> whole(1, 10).description, whole(1, 10).is_valid(10)
        ('a whole number from 1 to 10', True)
    """
    description = f"a whole number from {low} to {high}"
    return ValueType(int, lambda value: low <= value <= high, description)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number and no truth value, which Python counts as one.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def _parse_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


BOOLEAN = ValueType(_parse_boolean, lambda value: isinstance(value, bool), "true or false")
"""Type of truth values."""


def sizes(low: int) -> ValueType:
    """Return the type of tuples of positive whole numbers, at least ``low`` of them.

    Example:
        >>> sizes(1).parse("400,200")
        (400, 200)
    """

    def parse(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",")) if text else ()

    def is_valid(value: tuple[int, ...]) -> bool:
        is_list = isinstance(value, tuple) and len(value) >= low
        return is_list and all(is_whole(n) and 1 <= n < 2**31 for n in value)

    description = "whole numbers of at least 1, separated by commas"
    return ValueType(parse, is_valid, description + ("" if low else " (or nothing)"))


def _parse_image_size(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.replace("x", ",").split(",")) if text else ()


IMAGE_SIZE = ValueType(
    _parse_image_size,
    lambda value: len(value) in (0, 2) and all(is_whole(n) and 1 <= n < 2**16 for n in value),
    "HEIGHTxWIDTH in pixels (or nothing)",
)
"""Type of sizes of images, as 64x48."""


def one_of(*names: str) -> ValueType:
    """Return the type of one name out of several.

    Example:
        >>> one_of("mlp", "conv").description
        'one of mlp, conv'
    """
    return ValueType(str, lambda value: value in names, "one of " + ", ".join(names))


def key_of(registry: Mapping[str, Any]) -> ValueType:
    """Return the type of the names in a registry, and of ``MODULE:CLASS`` for one from outside.

    Example:
        >>> key_of({"elbo": None, "iwae": None}).description
        'one of elbo, iwae, or MODULE:CLASS'
    """
    description = f"one of {', '.join(registry)}, or {MODULE_CLASS}"
    return ValueType(str, lambda value: is_name(registry, value), description)


def keys_of(registry: Mapping[str, Any], *, or_none: bool = False) -> ValueType:
    """Return the type of tuples of names as :func:`key_of` has them, each once, at least one.

    Without a registry all are from outside, and there may be none; with one if ``or_none``.

    Example:
        >>> both = keys_of({"nll": None, "ais": None})
        >>> both.parse("ais,my:Own"), both.is_valid(("nll", "nll"))
        (('ais', 'my:Own'), False)
        >>> keys_of({}).parse(""), keys_of({}).description
        ((), 'MODULE:CLASS, separated by commas, each once (or nothing)')
        >>> keys_of({"nll": None}, or_none=True).description
        'separated by commas, each once, some of nll, or MODULE:CLASS (or nothing)'
    """

    def is_valid(value: tuple[str, ...]) -> bool:
        is_long_enough = len(value) > 0 or or_none or not registry
        return is_long_enough and len(value) == len(set(value)) and all(map(is_known, value))

    def is_known(text: str) -> bool:
        return is_name(registry, text)

    nothing = " (or nothing)" if or_none else ""
    names = f"some of {', '.join(registry)}, or {MODULE_CLASS}{nothing}"
    others = f"{MODULE_CLASS}, separated by commas, each once (or nothing)"
    description = f"separated by commas, each once, {names}" if registry else others
    return ValueType(lambda text: tuple(text.split(",")) if text else (), is_valid, description)


def is_name(registry: Mapping[str, Any], text: str) -> bool:
    """Return whether a text names a member: as the registry does, or as ``MODULE:CLASS``.

    Example:
        >>> [is_name({"elbo": None}, text) for text in ("elbo", "my.bounds:Mine", "my.bounds")]
        [True, True, False]
    """
    module, colon, name = text.partition(":")
    is_path = bool(colon) and all(map(str.isidentifier, (*module.split("."), name)))
    return text in registry or is_path


def some_of(*names: str, or_none: bool = False) -> ValueType:
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
    return ValueType(parse, is_valid, description + (" (or nothing)" if or_none else ""))


def _is_plain(value: str) -> bool:
    """Return whether a line of a flagfile gives the value back unchanged."""
    return value.isprintable() and value == value.strip()


TEXT = ValueType(str, _is_plain, "printable text (or nothing)")
"""Type of texts, also the empty one."""
NON_EMPTY = ValueType(str, lambda value: bool(value) and _is_plain(value), "printable text")
"""Type of texts of at least one character."""


@dataclass(frozen=True)
class Setting:
    """Declaration of a setting, from which its flag, its checks and its docs are made.

    Attributes:
        name: name in Python and, behind dashes, on the command line.
        default: value where none is given.
        type: values that it may take.
        doc: phrase for the help, the docs and the columns of a study.
        unit: unit of a number, :data:`NUMBER` for counts, shares and scores.
        only_with: setting without which this one has no effect: ``NAME`` where any value but an
            empty one, zero or false will do, ``NAME=VALUE`` where it takes that value,
            ``NAME!=VALUE`` where it takes any other.
        source: papers with their equations.
    """

    name: str
    default: Any
    type: ValueType
    doc: str
    unit: str = NUMBER
    only_with: str = ""
    source: str = ""


def setting(
    default: Any, value_type: ValueType, doc: str, *, unit: str = NUMBER, only_with: str = ""
) -> Any:
    """Return the field of a frozen dataclass that declares a setting of the same name.

    Args:
        default: value in Python and on the command line where none is given.
        value_type: values that it may take.
        doc: phrase for the help and the docs.
        unit: unit of a number.
        only_with: setting without which this one has no effect, see :class:`Setting`.

    Example:
        >>> @dataclass(frozen=True)
        ... class Student:
        ...     num_modes: int = setting(1, whole(1), "modes of each pixel")
        >>> Student().num_modes, static_settings(Student)[0].type.description
        (1, 'a whole number from 1 to 2147483647')
    """
    metadata = {"type": value_type, "doc": doc, "unit": unit, "only_with": only_with}
    return dataclasses.field(default=default, metadata=metadata)


def static_settings(member: Any) -> tuple[Setting, ...]:
    """Return the static settings of a member, a frozen dataclass, in the order of its fields."""
    fields = dataclasses.fields(member) if dataclasses.is_dataclass(member) else ()
    return tuple(Setting(f.name, f.default, **f.metadata) for f in fields if "doc" in f.metadata)


def is_met(only_with: str, value_of: Callable[[str], Any]) -> bool:
    """Return whether a setting has the value with which alone another one has an effect.

    Args:
        only_with: condition, see :class:`Setting`.
        value_of: returns the text or value of a setting by its name.

    Example:
        >>> [is_met(text, {"mode": "best"}.get) for text in ("", "mode", "mode=best", "mode!=best")]
        [True, True, True, False]
    """
    name, equals, text = only_with.partition("=")
    if not equals:
        return not name or bool(value_of(name))
    is_equal = str(value_of(name.rstrip("!"))) == text
    return is_equal != name.endswith("!")


def check_settings(*members: Any) -> None:
    """Refuse a static setting whose value the command line would refuse.

    Args:
        *members: members and specs, instances of frozen dataclasses.

    Raises:
        InputError: the first value out of its range.

    Example:
        >>> import vae_jax
        >>> check_settings(vae_jax.Elbo(kl="exact"))
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: kl=exact: must be one of auto, analytic, monte_carlo
    """
    for member in members:
        for each in static_settings(member):
            value = getattr(member, each.name)
            check_value(each.name, value, each.type)


def check_value(name: str, value: Any, value_type: ValueType) -> None:
    """Refuse a value that is not of a type.

    Several values are a tuple, as a static setting decides which program is compiled, and a list
    could change after that.

    Raises:
        InputError: it is not.

    Example:
        >>> check_value("hidden_sizes", [400], sizes(0))
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: hidden_sizes=[400]: is no tuple; give (400,)
    """
    is_array = hasattr(value, "tolist") and not isinstance(value, type)
    listed = value.tolist() if is_array else value
    if isinstance(listed, list) and _is_valid(value_type, tuple(listed)):
        raise InputError(
            setting=name, value=value, problem="is no tuple", advice=f"give {tuple(listed)}"
        )
    if not _is_valid(value_type, value):
        problem = f"must be {value_type.description}"
        raise InputError(f"{name}={value}: {problem}", setting=name, value=value, problem=problem)


def check_type(name: str, value: Any, wanted: Any, advice: str) -> None:
    """Refuse an argument that is no instance of a class.

    Args:
        name: name of the argument.
        value: what was given.
        wanted: class that it must be of, or a union of classes.
        advice: remedy, as an imperative clause.

    Raises:
        InputError: it is of another class.

    Example:
        >>> check_type("grid", {"beta": 1.0}, tuple, "give grid(beta=1.0)")
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: grid=dict: is no tuple; give grid(beta=1.0)
    """
    if not isinstance(value, wanted):
        given = value.__name__ if isinstance(value, type) else type(value).__name__
        names = [each.__name__ for each in typing.get_args(wanted) or (wanted,)]
        problem = f"is no {' or '.join(name for name in names if name != 'NoneType')}"
        raise InputError(setting=name, value=given, problem=problem, advice=advice)


def as_path(name: str, value: Any) -> Path:
    """Return a path that was given as text or as a path.

    Args:
        name: name of the argument.
        value: what was given.

    Raises:
        InputError: it is neither, or empty.

    Example:
        >>> as_path("workdir", "runs/mnist").name
        'mnist'
        >>> as_path("workdir", None)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: workdir=None: is no path; give a text or a pathlib.Path
    """
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(
            setting=name,
            value=value,
            problem="is no path",
            advice="give a text or a pathlib.Path",
        )
    return Path(value)


def _is_valid(value_type: ValueType, value: Any) -> bool:
    """Return whether a value is in range; one of another type is not."""
    if value_type.parse is int and not is_whole(value):
        return False
    if isinstance(value, list):
        return False  # check_value names the tuple
    try:
        return bool(value_type.is_valid(value))
    except (TypeError, AttributeError):
        return False
