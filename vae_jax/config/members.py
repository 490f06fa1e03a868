"""Members that flags name: the registry of each kind, and those that a command line chooses."""

import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS
from vae_jax.runtime.errors import InputError
from vae_jax.settings import is_name
from vae_jax.training.members import REGISTRIES, SPECS

__all__ = ["CHOICES", "KINDS", "SPECS", "Chosen", "chosen", "find", "swept"]

Chosen = tuple[tuple[str, type], ...]
"""Chosen members, each with its kind."""

KINDS: dict[str, Mapping[str, type]] = {**REGISTRIES, "evaluate": EVALUATORS}
"""Members by kind and name."""


CHOICES = tuple(kind for kind in KINDS if kind != "regularizer")
"""Kinds that a flag of the same name chooses."""


def find(kind: str, name: str) -> type:
    """Return the class of a member.

    Args:
        kind: one of :data:`KINDS`.
        name: name in its registry, or ``MODULE:CLASS`` for one from outside.

    Raises:
        InputError: there is no such module or class.

    Example:
        >>> find("posterior", "iaf").__name__
        'InverseAutoregressive'
        >>> find("posterior", "vae_jax.models.posteriors:Planar").__name__
        'Planar'
    """
    registry = KINDS[kind]
    return registry[name] if name in registry else _from_outside(kind, name)


@functools.cache
def _from_outside(kind: str, name: str) -> type:
    """Return the class that ``MODULE:CLASS`` names; its module is imported."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"--{kind}={name}: cannot be imported ({error}); give one of "
            f"{', '.join(KINDS[kind])}, or MODULE:CLASS"
        ) from None


def chosen(values: Mapping[str, Any]) -> Chosen:
    """Return the members that the values of flags choose, and the regularizers, all of which are.

    Args:
        values: a name for each kind, names for ``evaluate``.

    Example:
        >>> names = dict(network="mlp", posterior="iaf", prior="normal", likelihood="bernoulli")
        >>> names |= dict(objective="elbo", optimizer="adam", evaluate=("nll",))
        >>> members = chosen(names)
        >>> [member.__name__ for kind, member in members if kind == "posterior"]
        ['InverseAutoregressive']
    """
    names = {kind: (values[kind],) for kind in CHOICES if kind != "evaluate"}
    names |= {"regularizer": tuple(KINDS["regularizer"])}
    names |= {"evaluate": tuple(dict.fromkeys((*ALWAYS, *values["evaluate"])))}
    return tuple((kind, find(kind, name)) for kind, own in names.items() for name in own)


def swept(texts: Iterable[str]) -> Chosen:
    """Return the members that texts of ``--sweep`` name, without names that are none.

    Example:
        >>> [member.__name__ for _, member in swept(["beta=1,4", "prior=normal,mixtur,flow"])]
        ['StandardNormal', 'FlowPrior']
    """
    named = (text.partition("=") for text in texts)
    pairs = ((kind, name) for kind, _, names in named for name in names.split(","))
    known = ((kind, name) for kind, name in pairs if is_name(KINDS.get(kind, {}), name))
    return tuple((kind, find(kind, name)) for kind, name in known if kind in CHOICES)
