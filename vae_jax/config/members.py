"""Members that flags name: the registry of each kind, and those that a command line chooses."""

from collections.abc import Iterable, Mapping
from typing import Any

from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS
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
        name: name in its registry.

    Example:
        >>> find("posterior", "iaf").__name__
        'InverseAutoregressive'
    """
    return KINDS[kind][name]


def chosen(values: Mapping[str, Any]) -> Chosen:
    """Return the members that the values of flags choose, and the regularizers, all of which are.

    Args:
        values: a name for each kind, names for ``evaluate``.

    Example:
        >>> names = dict(network="mlp", posterior="iaf", prior="normal", likelihood="bernoulli")
        >>> members = chosen(names | dict(objective="elbo", evaluate=("nll",)))
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
    return tuple((kind, find(kind, name)) for kind, name in pairs if name in KINDS.get(kind, ()))
