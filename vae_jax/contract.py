"""Contract of members: the classes and functions that a run is given, checked for what they lack.

The base class of a kind is its contract. A member inherits from it, defines what is abstract there
and what is annotated without a value, takes the arguments that the base class names, and gives its
traits the types that they have there. A member of a model or a training is a frozen dataclass too.

The same checks hold for a member that ``MODULE:CLASS`` names and for an object given in Python.
"""

import abc
import contextlib
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Iterator
from typing import Any

from vae_jax.hparams import HParam, declarations
from vae_jax.runtime.errors import InputError
from vae_jax.settings import Setting, check_settings, check_value

VALUES = (bool, str, tuple, frozenset)
"""Types of traits."""
INHERITED = (object, abc.ABC, typing.Generic, typing.Protocol)
"""Bases whose attributes are no part of any contract."""
RESERVED = frozenset(
    (
        *("run", "step", "seconds", "ms_per_step", "diverged", "diverged_reason", "best_step"),
        *("stopped", "active_units", "kl_per_latent", "variance_per_latent"),
        *("sweep", "flagfile", "help", "helpfull", "h"),
    )
)
"""Names of columns and arguments that every run has, which no setting of a member may take; nor
may one begin as the columns of a split do."""
_SPLITS = ("train_", "valid_", "test_")


def outside_class(label: str, path: str, base: type, *, is_spec: bool = True) -> type:
    """Return the class that ``MODULE:CLASS`` names, which fulfils a contract.

    Args:
        label: setting with its value, with which errors begin.
        path: module, which is looked for in the working directory too, and class.
        base: base class of the kind.
        is_spec: whether it is a frozen dataclass, which is made of the values of flags.

    Raises:
        InputError: it cannot be imported, or lacks something.

    Example:
        >>> from vae_jax.training.optimizers import Optimizer
        >>> outside_class("optimizer=x", "vae_jax.training.optimizers:SGD", Optimizer).__name__
        'SGD'
        >>> outside_class("optimizer=x", "optax:GradientTransformation", Optimizer)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: optimizer=x: GradientTransformation does not inherit from
        vae_jax.training.optimizers.Optimizer; derive it from that class
    """
    found = outside(label, path)
    if not isinstance(found, type):
        raise InputError(f"{label}: is {_a_kind(found)} and no class; name a class")
    for problem in _problems(found, base, is_spec):
        raise InputError(f"{label}: {problem}")
    if is_spec:
        for name in _without_default(found):
            problem = f"the field {name} of {found.__name__} has no default"
            raise InputError(f"{label}: {problem}; give it one, by setting(...) for a flag")
        for problem in _unhashable(found.__name__, found()):
            raise InputError(f"{label}: {problem}")
    return found


def outside(label: str, path: str) -> Any:
    """Return what ``MODULE:NAME`` names; its module is imported, also from the working directory.

    Raises:
        InputError: there is no such module or name, or importing it fails.
    """
    module_name, _, name = path.partition(":")
    module = _module(label, module_name)
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, vars(module), 1)
        remedy = f"did you mean {module_name}:{close[0]}?" if close else "define it there"
        raise InputError(f"{label}: the module {module_name} has no {name}; {remedy}")
    return getattr(module, name)


def _module(label: str, name: str) -> Any:
    """Import a module of the working directory, as ``python run.py`` finds one, or installed."""
    folder = os.getcwd()
    if folder not in sys.path:  # at the end, so that no file there hides an installed module
        sys.path.append(folder)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            problem = f"the module {name} imports {error.name}, which is not installed"
            raise InputError(f"{label}: {problem}; install it") from None
        raise InputError(
            f"{label}: there is no module {name}; give one that is installed or lies in the "
            "working directory"
        ) from None
    except (Exception, SystemExit) as error:
        origin = ""
        with contextlib.suppress(Exception):
            origin = getattr(importlib.util.find_spec(name), "origin", "")
        raise InputError(f"{label}: importing {name} fails with {reason(error, origin)}") from None


def reason(error: BaseException, path: str = "") -> str:
    """Return what a file from outside raised, where, and the remedy.

    Args:
        error: exception.
        path: file of which the line is wanted; that where the error was raised, if it is not there.
    """
    first = next(iter(str(error).splitlines()), "")[:300]
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    frame = ([each for each in frames if each.filename == path] or frames)[-1]
    where = f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
    return f"{text}{'' if isinstance(error, SyntaxError) else where}; mend it"


def check(setting: str, member: Any, base: type) -> None:
    """Refuse an object that is no member of a kind, or has a setting out of its range.

    Args:
        setting: name of the argument, for the error.
        member: object that was given.
        base: base class of the kind.

    Raises:
        InputError: naming what it lacks, or the setting.

    Example:
        >>> from vae_jax.models.networks import MLP, Network
        >>> check("network", MLP(), Network)
        >>> check("network", MLP, Network)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: network=MLP: is a class; give an instance, as MLP()
    """
    if isinstance(member, type):
        name = member.__name__
        raise InputError(f"{setting}={name}: is a class; give an instance, as {name}()")
    name = type(member).__name__
    for problem in _problems(type(member), base, True):
        raise InputError(f"{setting}={name}: {problem}")
    check_settings(member)
    for problem in _unhashable(name, member):
        raise InputError(f"{setting}={name}: {problem}")


def check_result(member: Any, result: Any, interface: type) -> None:
    """Refuse what a member returned if it lacks methods, as a distribution without ``sample``.

    Args:
        member: likelihood, posterior or prior that was called.
        result: distribution that it returned.
        interface: protocol with the methods that are needed.

    Raises:
        InputError: naming the methods that are not there.
    """
    missing = _missing(type(result), interface)
    if missing:
        name = type(result).__name__
        raise InputError(
            f"{type(member).__name__}: returns {with_article(name)}, which lacks "
            f"{', '.join(missing)}; define what {interface.__name__} has"
        )


@functools.cache
def _missing(found: type, interface: type) -> tuple[str, ...]:
    return tuple(name for name in _public(interface) if not hasattr(found, name))


@functools.cache
def _problems(member: type, base: type, is_spec: bool) -> tuple[str, ...]:
    """Return what a class lacks as a member of a kind, each with a remedy."""
    rules = [_unrelated, _undefined, _other_kinds, _other_arguments, _no_hparams, _misdeclared]
    if is_spec:
        rules.insert(1, _not_frozen)
    return next((found for rule in rules if (found := tuple(rule(member, base)))), ())


def _unrelated(member: type, base: type) -> Iterator[str]:
    if base not in member.__mro__:
        path = f"{base.__module__}.{base.__qualname__}"
        yield f"{member.__name__} does not inherit from {path}; derive it from that class"


def _not_frozen(member: type, base: type) -> Iterator[str]:
    """Yield that a class is no frozen dataclass, or has fields of which its base knows nothing."""
    del base
    params = getattr(member, "__dataclass_params__", None)
    is_decorated = "__dataclass_params__" in vars(member) or not _own_fields(member)
    if params is None or not params.frozen or member.__hash__ is None or not is_decorated:
        yield f"{member.__name__} is no frozen dataclass; write @dataclass(frozen=True) above it"


def _own_fields(member: type) -> list[str]:
    """Return the annotated names of a class itself that are no class variables."""
    return [
        name
        for name, each in inspect.get_annotations(member).items()
        if "ClassVar" not in (each if isinstance(each, str) else repr(each))
    ]


def _undefined(member: type, base: type) -> Iterator[str]:
    abstract = getattr(member, "__abstractmethods__", frozenset())
    lacking = [
        name
        for name in dict.fromkeys([*_public(base), *sorted(abstract)])
        if name in abstract or not (hasattr(member, name) or name in _fields(member))
    ]
    if lacking:
        yield f"{member.__name__} lacks {', '.join(lacking)}; define what {base.__name__} asks for"


def _other_kinds(member: type, base: type) -> Iterator[str]:
    """Yield attributes of another type: methods that are values, flags that are texts."""
    for name in _public(base):
        theirs, own = (inspect.getattr_static(owner, name, None) for owner in (base, member))
        if inspect.isfunction(theirs) and not callable(getattr(member, name)):
            yield f"{name} of {member.__name__} must be a method; define it by def"
        elif isinstance(theirs, property) and inspect.isfunction(own):
            yield f"{name} of {member.__name__} must be a property; write @property above it"
        elif isinstance(theirs, tuple) and own is None and name != "hparams":
            continue  # no restriction
        elif isinstance(theirs, VALUES) and not isinstance(own, type(theirs)):
            kind = type(theirs).__name__
            yield f"{name}={own!r} of {member.__name__} must be a {kind}; give one"


def _other_arguments(member: type, base: type) -> Iterator[str]:
    """Yield methods that cannot be called with the arguments that the base class names."""
    for name in _public(base):
        theirs, own = (inspect.getattr_static(owner, name, None) for owner in (base, member))
        if own is theirs or not (inspect.isfunction(theirs) and inspect.isfunction(own)):
            continue
        wanted = inspect.signature(theirs)
        try:
            inspect.signature(own).bind(*_positional(wanted), **_keywords(wanted))
        except TypeError as error:
            yield (
                f"{name} of {member.__name__} cannot be called as {name}({_arguments(wanted)}): "
                f"{error}; take these arguments"
            )


def _no_hparams(member: type, base: type) -> Iterator[str]:
    declared = getattr(member, "hparams", ())
    if isinstance(declared, property):  # of an object that holds hyperparameters' values
        return
    if not isinstance(declared, tuple) or not all(isinstance(each, HParam) for each in declared):
        yield f"hparams of {member.__name__} must be a tuple of HParam; declare them so"


def _misdeclared(member: type, base: type) -> Iterator[str]:
    """Yield settings whose name is taken, or whose default is none of their values."""
    del base
    if isinstance(getattr(member, "hparams", ()), property):
        return
    for each in declarations(member):
        subject = f"the setting {each.name} of {member.__name__}"
        if each.name in RESERVED or each.name.startswith(_SPLITS):
            yield f"{subject} has the name of a column or argument of every run; rename it"
        elif isinstance(each, HParam) and not each.type.is_number:
            yield (
                f"{subject} is an array, but its values are no numbers; give it real(...) or "
                "whole(...), or make it a field by setting(...)"
            )
        elif each.default is not dataclasses.MISSING and (problem := _default_problem(each)):
            yield f"{subject} has the default {each.default!r}, which {problem}; give another one"


def _default_problem(declared: Setting) -> str:
    """Return why a setting cannot have its default; "" where it can."""
    try:
        if isinstance(declared, HParam):
            declared.check(declared.default)
        else:
            check_value(declared.name, declared.default, declared.type)
    except InputError as error:
        return error.problem
    return ""


def _unhashable(name: str, member: Any) -> Iterator[str]:
    """Yield that an object cannot be a static argument of a compiled program."""
    try:
        hash(member)
    except TypeError as error:
        yield f"{name} has no hash ({error}); give it fields that have one, as numbers or tuples"


def _positional(signature: inspect.Signature) -> list[str]:
    """Return the arguments that are always given; one with a default may be left out."""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [each for each in signature.parameters.values() if each.kind in kinds]
    return [each.name for each in own if each.default is each.empty]


def _keywords(signature: inspect.Signature) -> dict[str, str]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return {name: name for name, each in signature.parameters.items() if each.kind is kind}


def _arguments(signature: inspect.Signature) -> str:
    return ", ".join([*_positional(signature)[1:], *_keywords(signature)])


@functools.cache
def _public(base: type) -> tuple[str, ...]:
    """Return the names that a contract has: attributes, methods and annotations of its classes."""
    names: dict[str, None] = {}
    for owner in reversed([each for each in base.__mro__ if each not in INHERITED]):
        names |= dict.fromkeys([*vars(owner), *inspect.get_annotations(owner)])
    return tuple(name for name in names if name[0] != "_" or name == "__call__")


def _fields(member: type) -> set[str]:
    is_dataclass = dataclasses.is_dataclass(member)
    return {each.name for each in dataclasses.fields(member)} if is_dataclass else set()


def _without_default(member: Any) -> Iterator[str]:
    for each in dataclasses.fields(member):
        if each.init and each.default is each.default_factory is dataclasses.MISSING:
            yield each.name


def _a_kind(found: Any) -> str:
    return with_article("function" if inspect.isroutine(found) else type(found).__name__)


def with_article(name: str) -> str:
    """Return a name behind its indefinite article."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
