"""The flags: one field of :class:`Config` each, with its range and its meaning.

All values are parsed and checked here, so that every mistake gets one line in the same words,
before anything is compiled.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vae_jax.batches import BINARIZATIONS
from vae_jax.errors import InputError
from vae_jax.networks import ACTIVATIONS
from vae_jax.optimizers import SCHEDULES

LARGEST_REAL = 3e38  # float32 ends at 3.4e38


@dataclass(frozen=True)
class Kind:
    """A set of values that a flag may take: how they are read, which are allowed, in words."""

    parse: Callable[[str], Any]
    is_valid: Callable[[Any], bool]
    words: str


def real(low: float, *, is_open: bool = False, or_infinite: bool = False) -> Kind:
    """Numbers from ``low`` on (or above it)."""
    words = f"a finite number {'above' if is_open else 'of at least'} {low:g}"
    words += ", or inf" if or_infinite else ""

    def is_valid(value: float) -> bool:
        above = value > low if is_open else value >= low
        return above and (value <= LARGEST_REAL or (or_infinite and math.isinf(value)))

    return Kind(float, is_valid, words)


def whole(low: int, high: int = 2**31 - 1) -> Kind:
    """Whole numbers from ``low`` to ``high``."""
    return Kind(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


TRUTH = Kind(_truth, lambda value: True, "true or false")


def sizes(low: int) -> Kind:
    """Comma-separated positive whole numbers, at least ``low`` of them."""

    def parse(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",")) if text else ()

    words = "whole numbers of at least 1, separated by commas" + (
        " (or nothing)" if not low else ""
    )

    def is_valid(value: tuple[int, ...]) -> bool:
        return len(value) >= low and all(1 <= n < 2**31 for n in value)

    return Kind(parse, is_valid, words)


def one_of(*names: str) -> Kind:
    """One of some words."""
    return Kind(str, lambda value: value in names, "one of " + ", ".join(names))


def _is_plain(value: str) -> bool:
    """Whether a line of a flagfile gives the value back as it was."""
    return value.isprintable() and value == value.strip()


TEXT = Kind(str, _is_plain, "printable text (or nothing)")
NON_EMPTY = Kind(str, lambda value: bool(value) and _is_plain(value), "printable text")


def _flag(
    default: Any,
    kind: Kind,
    words: str,
    *,
    changes_run: bool = True,
    is_sweepable: bool | None = None,
) -> Any:
    is_sweepable = changes_run if is_sweepable is None else is_sweepable
    metadata = {"kind": kind, "help": words}
    metadata |= {"changes_run": changes_run, "is_sweepable": is_sweepable}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All flags with their defaults.

    ``changes_run`` says which ones decide what is trained, ``is_sweepable`` which ones may differ
    between the runs of a study. ``sweep`` holds the texts of ``--sweep``, which may be repeated.
    """

    workdir: str = _flag(
        "", NON_EMPTY, "where the run lives; runs/NAME of NAME.flags", changes_run=False
    )
    dataset: str = _flag(
        "mnist",
        NON_EMPTY,
        "tfds name, mnist_5k, digits, or a path: .npz, IDX or image folder",
        is_sweepable=False,
    )
    data_dir: str = _flag("", TEXT, "where prepared data sets live", changes_run=False)
    offline_dataset: str = _flag(
        "", TEXT, "what to use where --dataset cannot be had", changes_run=False
    )
    num_valid: int = _flag(
        0,
        whole(0),
        "images held out for valid where the data have none; 0: a sixth or a tenth",
        is_sweepable=False,
    )
    binarize: str = _flag("none", one_of(*BINARIZATIONS), "how gray pixels become binary")
    network: str = _flag("mlp", one_of("mlp", "conv"), "architecture of encoder and decoder")
    hidden_sizes: tuple[int, ...] = _flag((400,), sizes(0), "dense layers, mirrored in the decoder")
    channels: tuple[int, ...] = _flag((32, 64), sizes(1), "convolutions 4x4 stride 2 (conv only)")
    activation: str = _flag("relu", one_of(*ACTIVATIONS), "between the layers")
    output_bias: str = _flag(
        "data_mean", one_of("data_mean", "zeros"), "where the decoder's per-pixel bias starts"
    )
    latent_size: int = _flag(20, whole(1), "active coordinates of z")
    likelihood: str = _flag("bernoulli", one_of("bernoulli"), "p(x|z)")
    posterior: str = _flag("gaussian", one_of("gaussian"), "q(z|x)")
    prior: str = _flag("normal", one_of("normal"), "p(z)")
    objective: str = _flag("elbo", one_of("elbo"), "the bound that is maximised")
    beta: float = _flag(1.0, real(0.0), "weight of the KL term")
    num_particles: int = _flag(1, whole(1), "samples of z per example in the objective")
    batch_size: int = _flag(128, whole(1), "examples per update")
    num_steps: int = _flag(5000, whole(1), "updates", changes_run=False)
    learning_rate: float = _flag(1e-3, real(0.0, is_open=True), "Adam's step size, at its peak")
    schedule: str = _flag("constant", one_of(*SCHEDULES), "learning rate after the warm-up")
    warmup_steps: int = _flag(0, whole(0), "updates over which the learning rate rises")
    clip_norm: float = _flag(
        math.inf, real(0.0, is_open=True, or_infinite=True), "largest norm of the gradient"
    )
    seed: int = _flag(0, whole(0), "of weights, order, pixels and noise")
    compute_dtype: str = _flag(
        "float32",
        one_of("float32", "bfloat16", "float64"),
        "float64: everything; bfloat16: networks only",
        is_sweepable=False,
    )
    chunk_steps: int = _flag(500, whole(1), "most updates between host visits", changes_run=False)
    eval_every: int = _flag(500, whole(1), "updates between looks at valid", changes_run=False)
    checkpoint_every: int = _flag(1000, whole(1), "updates between checkpoints", changes_run=False)
    max_parallel_runs: int = _flag(
        0, whole(0), "runs that advance together; 0: 1 on CPU, else what fits", changes_run=False
    )
    eval_particles: int = _flag(100, whole(1), "K of the test NLL", changes_run=False)
    restart: bool = _flag(
        False, TRUTH, "train anew what no checkpoint can bring back", changes_run=False
    )
    debug_nans: bool = _flag(
        False, TRUTH, "name the operation at which a run diverged", changes_run=False
    )
    sweep: tuple[str, ...] = ()


FIELDS = {field.name: field for field in dataclasses.fields(Config) if field.metadata}


def parse_value(name: str, text: str) -> Any:
    """The value of one flag from its text.

    Raises:
        InputError: text that does not parse or lies outside the flag's range.
    """
    kind: Kind = FIELDS[name].metadata["kind"]
    try:
        value = kind.parse(text)
    except ValueError:
        value = None
    if value is None or not kind.is_valid(value):
        raise InputError(f"--{name}={text}: must be {kind.words}")
    return value


def without_effect(config: Config) -> dict[str, str]:
    """Flags that do nothing in this combination, each with the reason."""
    reasons = {}
    if config.network != "conv":
        reasons["channels"] = f"with --network={config.network}"
        if not config.hidden_sizes:
            reasons["activation"] = "without --hidden_sizes"
    return reasons


def check_combination(config: Config) -> None:
    """Refuse values that are allowed one by one but not together.

    Raises:
        InputError: naming the flags.
    """
    if config.num_steps * config.batch_size >= 2**31:
        raise InputError(
            f"--num_steps={config.num_steps}: times --batch_size={config.batch_size} exceeds "
            f"2^31 examples; give at most {(2**31 - 1) // config.batch_size} steps"
        )
    if config.network == "conv" and not config.hidden_sizes:
        raise InputError("--hidden_sizes=: must name a size with --network=conv, for example 256")


def as_text(value: Any) -> str:
    """A flag's value as one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def as_flags(config: Config) -> dict[str, str]:
    """Every flag that has an effect, as typed text; swept ones have none of their own."""
    idle = without_effect(config).keys() | {text.partition("=")[0] for text in config.sweep}
    return {name: as_text(getattr(config, name)) for name in FIELDS if name not in idle}


def as_lines(config: Config) -> list[str]:
    """The command line that repeats a run or study, a flag a line."""
    flags = [f"--{name}={value}" for name, value in as_flags(config).items()]
    return flags + [f"--sweep={text}" for text in config.sweep]


def help_text() -> str:
    """One line for each flag: name, default, meaning, allowed values."""
    lines = ["python run.py --flagfile=NAME.flags [--name=value ...]", ""]
    for field in FIELDS.values():
        default = as_text(field.default)
        kind: Kind = field.metadata["kind"]
        lines.append(f"  --{field.name}={default}\n      {field.metadata['help']}; {kind.words}")
    lines.append("  --sweep=NAME=V1,V2,...\n      repeatable; the study is the product of all")
    return "\n".join(lines)
