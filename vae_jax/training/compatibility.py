"""Rules on which data a model can be trained on, made of the traits that its members declare.

The command line and Python share them, before anything is compiled; they differ in how a setting
is written.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS
from vae_jax.models.combinations import enumeration, names_with
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import NETWORKS
from vae_jax.models.priors import PRIORS, StackedPrior
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError
from vae_jax.settings import check_type
from vae_jax.training import dry_run
from vae_jax.training.selection import LAST
from vae_jax.training.spec import TrainSpec

Spell = Callable[[str, object], str]
"""Function from the name and value of a setting to how it is written."""

_REGISTRIES: dict[str, Mapping[str, Any]] = {
    "likelihood": LIKELIHOODS,
    "network": NETWORKS,
    "prior": PRIORS,
}


def check_data(spec: TrainSpec, data: Dataset, *, is_trained: bool = False) -> None:
    """Refuse data that a model cannot be asked about or trained on, in the words of Python.

    Args:
        spec: model and training.
        data: data set.
        is_trained: True for a model that is only asked, so that no batch need fit.

    Raises:
        InputError: naming the setting, its value and the remedy.

    Example:
        >>> import numpy as np
        >>> from vae_jax.data import Provenance
        >>> from vae_jax.models.vae import VAE
        >>> x = np.zeros((9, 4), np.float32)
        >>> data = Dataset(x, x, x, None, None, None, Provenance("x", "x", "x", "x"))
        >>> try:
        ...     check_data(TrainSpec(VAE((4,), max_latents=2)), data)
        ... except InputError as error:
        ...     print(str(error)[:65])
        likelihood=bernoulli: takes pixels, but the data are reals; give
    """
    check_type("spec", spec, TrainSpec, "give a vae_jax.TrainSpec")
    check_type("data", data, Dataset, "give a data set, as vae_jax.load returns one")
    shape = spec.model.event_shape
    if shape != data.event_shape:
        raise InputError(
            setting="event_shape",
            value=shape,
            problem=f"the examples of the data have shape {data.event_shape}",
            advice="make the model with VAE(data.event_shape, ...)",
        )

    def spell(name: str, value: object) -> str:
        return f"{name}={value}"

    rules = (data_problems,) if is_trained else (data_problems, training_problems)
    for problem in itertools.chain.from_iterable(rule(spec, data, spell) for rule in rules):
        raise InputError(problem, setting=problem.partition("=")[0])
    if not is_trained:
        dry_run.check_members(spec, data.encoding, len(data.train))


def refused_length(num_steps: int, batch_size: int) -> Iterator[str]:
    """Yield the reason why a training is too long for its 32-bit counters, with a remedy.

    Example:
        >>> list(refused_length(2**30, 2))
        ['num_steps=1073741824: times batch_size=2 exceeds 2^31 examples; give at most 1073741823 \
steps']
    """
    if num_steps * batch_size >= 2**31:
        yield (
            f"num_steps={num_steps}: times batch_size={batch_size} exceeds 2^31 "
            f"examples; give at most {(2**31 - 1) // batch_size} steps"
        )


def refused_looks(num_steps: int, eval_every: int, keep: str, patience: int) -> Iterator[str]:
    """Yield the reason why a training cannot choose on valid: its end is no look of its own.

    A look at the last update alone would be missing from a longer training, which would then not
    be the same one continued.

    Example:
        >>> list(refused_looks(1000, 500, "best", 3))
        []
        >>> list(refused_looks(1100, 500, "last", 3))
        ['patience=3: looks at valid every eval_every=500 updates, of which num_steps=1100 is no \
multiple; give multiples']
    """
    if keep == LAST and not patience:
        return
    given = f"patience={patience}" if keep == LAST else f"keep={keep}"
    if num_steps % eval_every:
        yield (
            f"{given}: looks at valid every eval_every={eval_every} updates, of which "
            f"num_steps={num_steps} is no multiple; give multiples"
        )


def is_binary(data: Dataset) -> bool:
    """Return whether every training pixel is 0 or 255; stop at the first block that is not."""
    if data.encoding != "pixels":
        return False
    starts = range(0, len(data.train), 1000)
    return all(np.isin(data.train[start : start + 1000], (0, 255)).all() for start in starts)


def training_problems(
    spec: TrainSpec, data: Dataset, spell: Spell, names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the reasons why a model that fits the data cannot be trained on them, with remedies.

    Args:
        spec: model and training.
        data: data set.
        spell: way to write a setting.
        names: names of data and members as they were given; by default those that they have.
    """
    dataset = spell("dataset", (names or {}).get("dataset", data.record.used))
    likelihood, binarize = spec.model.likelihood, spell("binarize", spec.binarize)
    if spec.batch_size > len(data.train):
        yield (
            f"{spell('batch_size', spec.batch_size)}: exceeds the {len(data.train)} training "
            f"examples of {dataset}; give at most that many"
        )
    if spec.binarize != "none" and is_binary(data):
        yield (
            f"{binarize}: has no effect on {dataset}, whose pixels are binary already; give "
            f"{spell('binarize', 'none')}"
        )
    if spec.binarize != "none" and likelihood.is_eight_bit:
        name = (names or {}).get("likelihood") or _name_of("likelihood", likelihood)
        binary = enumeration(names_with(LIKELIHOODS, "is_binary"))
        yield (
            f"{binarize}: makes pixels 0 or 1, and {spell('likelihood', name)} has 256 values; "
            f"give {spell('binarize', 'none')}, or {spell('likelihood', binary)}"
        )


def data_problems(
    spec: TrainSpec, data: Dataset, spell: Spell, names: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the reasons why a model cannot be trained on data, each with a remedy.

    Args:
        spec: model and training; the shape of an example is taken from the data.
        data: data set.
        spell: way to write a setting.
        names: names of the members as they were given; by default those of their registries.
    """
    model, rank = spec.model, len(data.event_shape)
    prior = model.prior.top if isinstance(model.prior, StackedPrior) else model.prior
    members = {"likelihood": model.likelihood, "network": model.network, "prior": prior}
    for setting, member in members.items():
        name = (names or {}).get(setting) or _name_of(setting, member)
        encodings = getattr(member, "encodings", None)
        if encodings is not None and data.encoding not in encodings:
            remedy = _others(setting, "encodings", data.encoding, spell)
            asked = f"or {spell('encoding', encodings[0])} if they are {encodings[0]}"
            yield (
                f"{spell(setting, name)}: takes {' or '.join(encodings)}, but the data are "
                f"{data.encoding}; give {remedy}{asked}"
            )
        ranks = getattr(member, "event_ranks", None)
        if ranks is not None and rank not in ranks:
            remedy = _others(setting, "event_ranks", rank, spell) or "another one"
            taken, shape = " or ".join(map(str, ranks)), data.event_shape
            yield (
                f"{spell(setting, name)}: takes examples of {taken} axes, but those of the data "
                f"have the shape {shape}; give {remedy.strip(', ')}"
            )
    if spec.binarize != "none" and data.encoding != "pixels":
        yield (
            f"{spell('binarize', spec.binarize)}: makes pixels binary, but the data are "
            f"{data.encoding}; leave it out, or give {spell('encoding', 'pixels')}"
        )
    yield from _label_problems(model, data, spell, names or {})


def _label_problems(
    model: VAE, data: Dataset, spell: Spell, names: Mapping[str, str]
) -> Iterator[str]:
    """Yield the reasons why the labels are not those of a conditional model."""
    num_classes, prior = model.num_classes, model.prior
    if not num_classes and not names.get("conditional"):
        if prior.needs_labels:
            name = names.get("prior") or _name_of("prior", prior)
            yield f"{spell('prior', name)}: needs labels; give the model num_classes"
        return
    dataset = spell("dataset", names.get("dataset", data.record.used))
    setting = spell("num_classes", num_classes)
    unlabeled = [split for split in SPLITS if data.labels_of(split) is None]
    if unlabeled:
        yield (
            f"{setting}: {dataset} has no labels of {', '.join(unlabeled)}; leave it out, or give "
            "a data set with labels"
        )
    elif data.num_classes > num_classes:
        yield (
            f"{setting}: {dataset} has labels up to {data.num_classes - 1}; give "
            f"{spell('num_classes', data.num_classes)}"
        )


def _name_of(setting: str, member: object) -> str:
    """Return the name of a member in its registry, or that of its class from outside."""
    for name, family in _REGISTRIES[setting].items():
        if type(member) is family:
            return name
    return type(member).__name__


def _others(setting: str, trait: str, value: object, spell: Spell) -> str:
    """Return the settings of the members that declare to take a value."""
    names = [
        name
        for name, family in _REGISTRIES[setting].items()
        if isinstance(traits := getattr(family, trait, None), tuple | None)
        and (traits is None or value in traits)
    ]
    return "".join(f"{spell(setting, name)}, " for name in names[:3])
