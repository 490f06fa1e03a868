"""Rules on which data a model can be trained on, made of the traits that its members declare.

The command line and Python share them, before anything is compiled; they differ in how a setting
is written.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vae_jax.data import Dataset
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import NETWORKS
from vae_jax.models.priors import PRIORS, StackedPrior
from vae_jax.runtime.errors import InputError
from vae_jax.training.step import TrainSpec

Spell = Callable[[str, object], str]
"""Function from the name and value of a setting to how it is written."""

_REGISTRIES: dict[str, Mapping[str, Any]] = {
    "likelihood": LIKELIHOODS,
    "network": NETWORKS,
    "prior": PRIORS,
}


def check_data(spec: TrainSpec, data: Dataset) -> None:
    """Refuse data that a model cannot be trained on, in the words of Python.

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
    shape = spec.model.event_shape
    if shape != data.event_shape:
        raise InputError(
            setting="event_shape",
            value=shape,
            problem=f"the examples of the data have shape {data.event_shape}",
            advice="make the model with VAE(data.event_shape, ...)",
        )
    for problem in data_problems(spec, data, lambda name, value: f"{name}={value}"):
        raise InputError(problem)


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
