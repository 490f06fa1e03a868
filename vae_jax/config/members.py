"""Members that flags name: the registry of each kind, and those that a command line chooses."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vae_jax import contract
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, Evaluator, columns, misdeclared
from vae_jax.runtime.errors import InputError
from vae_jax.settings import is_name
from vae_jax.training.members import BASES, REGISTRIES, SPECS

__all__ = [
    "KINDS",
    "LOGGERS",
    "SEVERAL",
    "SPECS",
    "Chosen",
    "chosen",
    "columns_of",
    "find",
    "from_outside",
    "swept",
]

Chosen = tuple[tuple[str, type], ...]
"""Chosen members, each with its kind."""

KINDS: dict[str, Mapping[str, type]] = {**REGISTRIES, "evaluate": EVALUATORS}
"""Members by kind and name; a flag of the name of the kind chooses among them."""

LOGGERS = {
    "tensorboard": "vae_jax.pipeline.loggers.tensorboard:TensorBoardLogger",
    "wandb": "vae_jax.pipeline.loggers.wandb:WandbLogger",
    "mlflow": "vae_jax.pipeline.loggers.mlflow:MLflowLogger",
}
"""Loggers by name, each as ``MODULE:CLASS``: their modules stand above this one, bring libraries
that need not be installed, and are imported where they are used."""

SEVERAL = ("regularizer", "evaluate")
"""Kinds of which a run may have several; the flag ``regularizer`` adds those from outside."""


def find(kind: str, name: str) -> Any:
    """Return the class of a member.

    Args:
        kind: one of :data:`KINDS`.
        name: name in its registry, or ``MODULE:CLASS`` for one from outside.

    Raises:
        InputError: there is no such module or class, or the class lacks something.

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
    """Return the class that ``MODULE:CLASS`` names, which fulfils the contract of its kind."""
    base, label = BASES.get(kind, Evaluator), f"{kind}={name}"
    found = contract.outside_class(label, name, base)
    for problem in misdeclared(found) if kind == "evaluate" else ():
        raise InputError(f"{label}: {problem}")
    return found


def columns_of(evaluators: Iterable[str]) -> list[Column]:
    """Return the columns of evaluators, shipped or not, without those of standard errors.

    Example:
        >>> [each.name for each in columns_of(["gaps"])][:2]
        ['inference_gap', 'approximation_gap']
    """
    return columns(find("evaluate", name) for name in evaluators)


def from_outside(values: Mapping[str, Any]) -> dict[str, type]:
    """Return the members from outside that the values of flags choose, by ``MODULE:CLASS``.

    Example:
        >>> names = dict(network="mlp", posterior="iaf", prior="normal", likelihood="bernoulli")
        >>> names |= dict(objective="elbo", optimizer="adam", regularizer=(), evaluate=("nll",))
        >>> from_outside(names | {"prior": "vae_jax.models.priors:StandardNormal"}).keys()
        dict_keys(['vae_jax.models.priors:StandardNormal'])
    """
    names = ((kind, name) for kind in KINDS for name in _names(kind, values))
    return {name: find(kind, name) for kind, name in names if name not in KINDS[kind]}


def _names(kind: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    return values[kind] if kind in SEVERAL else (values[kind],)


def chosen(values: Mapping[str, Any]) -> Chosen:
    """Return the members that the values of flags choose, and all regularizers that are shipped.

    Args:
        values: a name for each kind, names for those of :data:`SEVERAL`.

    Example:
        >>> names = dict(network="mlp", posterior="iaf", prior="normal", likelihood="bernoulli")
        >>> names |= dict(objective="elbo", optimizer="adam", regularizer=(), evaluate=("nll",))
        >>> members = chosen(names)
        >>> [member.__name__ for kind, member in members if kind == "posterior"]
        ['InverseAutoregressive']
    """
    always = {"regularizer": tuple(KINDS["regularizer"]), "evaluate": ALWAYS}
    names = {
        kind: tuple(dict.fromkeys((*always.get(kind, ()), *_names(kind, values)))) for kind in KINDS
    }
    return tuple((kind, find(kind, name)) for kind, own in names.items() for name in own)


def swept(texts: Iterable[str]) -> Chosen:
    """Return the members that texts of ``--sweep`` name, without names that are none.

    Values are separated by commas, or, where one value names several, by slashes.

    Example:
        >>> [member.__name__ for _, member in swept(["beta=1,4", "prior=normal,mixtur,flow"])]
        ['StandardNormal', 'FlowPrior']
    """
    named = (text.partition("=") for text in texts)
    pairs = ((kind, name) for kind, _, names in named for name in re.split("[,/]", names))
    known = ((kind, name) for kind, name in pairs if is_name(KINDS.get(kind, {}), name))
    return tuple((kind, find(kind, name)) for kind, name in known if kind in KINDS)
