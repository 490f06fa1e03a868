"""Studies as grids: from ``--sweep=NAME=V1,V2,...`` to one :class:`Config` per run.

The runs are all combinations of the values, the last ``--sweep`` varying fastest. Values are
written ``0.5,1,2``; ``0:5`` is the whole numbers 0 to 4; ``log:1e-4:1e-2:5`` and ``lin:0:1:3`` are
evenly spaced reals with both ends; values that hold commas themselves are separated by ``/``, as in
``hidden_sizes=400/400,200``.
"""

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.config.flags import Config, Flag, as_text
from vae_jax.config.validation import as_flags, check_combination
from vae_jax.runtime.errors import InputError

MOST_RUNS = 10_000


class Axis(NamedTuple):
    """Axis of a study: a swept flag and its values.

    Attributes:
        name: name of the flag.
        values: values in the order given.
    """

    name: str
    values: tuple[Any, ...]


def axes(config: Config) -> list[Axis]:
    """Return the swept flags with their values.

    Raises:
        InputError: a name that is unknown, repeated or cannot be swept; values that are missing,
            repeated or out of range.

    Example:
        >>> axes(Config(sweep=("beta=1,4", "seed=0:3")))
        [Axis(name='beta', values=(1.0, 4.0)), Axis(name='seed', values=(0, 1, 2))]
        >>> axes(Config(sweep=("learning_rate=log:1e-4:1e-2:3",)))[0].values
        (0.0001, 0.001, 0.01)
    """
    found = [_axis(text, config.flags) for text in config.sweep]
    names = [axis.name for axis in found]
    for text, name in zip(config.sweep, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"--sweep={text}: {name} is swept twice; give all values at once")
    return found


def configs(config: Config) -> list[Config]:
    """Return one configuration per run, without ``sweep``; a single one where nothing is swept.

    Raises:
        InputError: a sweep that :func:`axes` refuses, too many runs, or a run whose values do not
            go together.

    Example:
        >>> [(run.beta, run.seed) for run in configs(Config(sweep=("beta=1,4", "seed=0:2")))]
        [(1.0, 0), (1.0, 1), (4.0, 0), (4.0, 1)]
    """
    found = axes(config)
    if math.prod(len(axis.values) for axis in found) > MOST_RUNS:
        raise InputError(f"--sweep: makes more than {MOST_RUNS} runs; give fewer values")
    names = [axis.name for axis in found]
    configs = [
        config.replace(sweep=(), **dict(zip(names, values, strict=True)))
        for values in itertools.product(*(axis.values for axis in found))
    ]
    for run in configs:
        check_combination(run)
    return configs


def as_lines(config: Config) -> list[str]:
    """Return the command line that repeats a run or study, one flag a line.

    A flag that has an effect in any of the runs is there.

    Example:
        >>> config = Config(sweep=("likelihood=bernoulli,gaussian",), scale=0.5)
        >>> [line for line in as_lines(config) if "scale=" in line]
        ['--scale=0.5']
    """
    names = {axis.name for axis in axes(config)}
    used = set().union(*(as_flags(run) for run in configs(config))) - names
    flags = {name: as_text(getattr(config, name)) for name in config.flags if name in used}
    lines = [f"--{name}={text}" for name, text in flags.items()]
    return lines + [f"--sweep={text}" for text in config.sweep]


def runs_as_lines(configs: Sequence[Config]) -> list[str]:
    """Return the settings of runs that are no product of values, with what can be done with them.

    The first lines are for readers; then come the flags that all runs share, and those of each.

    Example:
        >>> runs = [Config(beta=1.0, seed=0), Config(beta=4.0, seed=1)]
        >>> runs_as_lines(runs)[-2:]
        ['run 0: --beta=1.0 --seed=0', 'run 1: --beta=4.0 --seed=1']
    """
    texts = [as_flags(run) for run in configs]
    shared = dict(set.intersection(*(set(own.items()) for own in texts)))
    own = [{name: text for name, text in each.items() if name not in shared} for each in texts]
    flags = [" ".join(f"--{name}={text}" for name, text in each.items()) for each in (shared, *own)]
    return [
        "These runs are no product of values, so no one command line continues or repeats them.",
        "In Python vae_jax.load_run(WORKDIR).fit(data, num_steps) continues all of them;",
        "the flags below, with another --workdir, train a single one anew.",
        f"all runs: {flags[0]}",
        *(f"run {number}: {text}" for number, text in enumerate(flags[1:])),
    ]


def _axis(text: str, flags: Mapping[str, Flag]) -> Axis:
    name, equals, rest = text.partition("=")
    if name not in flags:
        close = difflib.get_close_matches(name, flags, 1)
        advice = f"did you mean {close[0]}?" if close else "see --help"
        raise InputError(f"--sweep={text}: there is no flag {name}; {advice}")
    if not flags[name].is_sweepable:
        known = ", ".join(n for n, flag in flags.items() if flag.is_sweepable)
        raise InputError(f"--sweep={text}: {name} cannot be swept; these can: {known}")
    if not equals or not rest:
        raise InputError(f"--sweep={text}: no values; write --sweep={name}=V1,V2,...")
    try:
        values = tuple(flags[name].parse(value) for value in _value_texts(flags[name], rest))
    except InputError as error:
        raise InputError(f"--sweep={text}: {error}") from None
    if len(set(values)) < len(values):
        raise InputError(f"--sweep={text}: a value occurs twice; give each once")
    return Axis(name, values)


def _value_texts(flag: Flag, text: str) -> list[str]:
    """Return the texts of the single values of a sweep."""
    parse = flag.type.parse
    if parse is int and text.count(":") == 1:
        return _whole_range(flag, text)
    if parse is float and text.startswith(("log:", "lin:")):
        return _evenly_spaced(flag, text)
    return text.split("/" if isinstance(flag.default, tuple) else ",")


def _whole_range(flag: Flag, text: str) -> list[str]:
    """Return the texts of the whole numbers of ``LOW:HIGH``, without HIGH."""
    low, _, high = text.partition(":")
    numbers = range(flag.parse(low), flag.parse(high))
    if len(numbers) > MOST_RUNS:
        raise InputError(f"{text} holds more than {MOST_RUNS} values; give fewer")
    if not numbers:
        raise InputError(f"{text} is empty; the second number must exceed the first")
    return [str(number) for number in numbers]


def _evenly_spaced(flag: Flag, text: str) -> list[str]:
    """Return evenly spaced values, linear or logarithmic, to six digits."""
    spacing, *numbers = text.split(":")
    if len(numbers) != 3 or not _is_count(numbers[2]):
        form = f"{spacing}:LOW:HIGH:NUMBER, NUMBER from 2 to {MOST_RUNS}"
        raise InputError(f"{text} must be {form}")
    low, high = (flag.parse(number) for number in numbers[:2])
    if not np.isfinite([low, high]).all() or (spacing == "log" and low <= 0):
        raise InputError(f"{text} must lie between finite numbers, above 0 for log")
    space = np.geomspace if spacing == "log" else np.linspace
    return [as_text(float(f"{value:.6g}")) for value in space(low, high, int(numbers[2]))]


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 9 and 2 <= int(text) <= MOST_RUNS
