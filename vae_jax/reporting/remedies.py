"""Remedies that diagnostics advise: only what changes something of a run, and what it may have.

A remedy is a phrase that names settings, as ``--prior=vamp`` or ``a smaller --beta``. It is left
out where it is in force already, and where the command line would refuse it beside the run's other
settings; that is asked of the function that stands under :data:`IS_ACCEPTED` beside the columns.
"""

import contextlib
import re
from typing import Any

from vae_jax import contract
from vae_jax.models.combinations import Spelling, refused_priors
from vae_jax.objectives import OBJECTIVES, Objective
from vae_jax.runtime.errors import InputError
from vae_jax.settings import is_name, static_settings
from vae_jax.training.members import BASES, REGISTRIES
from vae_jax.types import Row

IS_ACCEPTED = "is_accepted"
"""Key of a function that says whether the settings of a run may be changed so: it takes new texts
by the names of the settings, None for one that is left out."""
_FLAG = re.compile(r"(without )?--(\w+)(?:=([^\s)]+))?")
_IS_LESS = re.compile(r"\b(smaller|fewer)\b")


def advise(run: Row, *remedies: str) -> str:
    """Return "Try this, or that." without what is in force already or may not be; "" for none.

    Example:
        >>> advise({"posterior": "iaf"}, "--posterior=iaf", "--objective=iwae", "more data")
        'Try --objective=iwae, or more data.'
    """
    left = [remedy for remedy in dict.fromkeys(remedies) if is_open(run, remedy)]
    if not left:
        return ""
    return f"Try {', '.join(left[:-1])}{', or ' if left[1:] else ''}{left[-1]}."


def first_open(run: Row, *remedies: str) -> list[str]:
    """Return the first remedy that is open, as a list of at most one.

    Example:
        >>> first_open({"posterior": "iaf"}, "--posterior=iaf", "--posterior=full_gaussian")
        ['--posterior=full_gaussian']
    """
    return [remedy for remedy in remedies if is_open(run, remedy)][:1]


def is_open(run: Row, remedy: str) -> bool:
    """Return whether a remedy would change anything of this run, and goes with its settings.

    Example:
        >>> is_open({"beta": 0.0}, "a smaller --beta"), is_open({"beta": 1.0}, "a smaller --beta")
        (False, True)
    """
    changes = changes_of(run, remedy)
    if not all(_has_effect(run, name, remedy) for name in changes):
        return False
    first = next((name for name in changes if f"--{name}=" in remedy), "")
    if first and str(run.get(first)) == changes[first]:
        return False
    if not all(_fits(run, name, str(value)) for name, value in changes.items()):
        return False
    is_accepted = run.get(IS_ACCEPTED)
    is_less = _IS_LESS.search(remedy) is not None  # fewer updates are chosen to go with the rest
    asked = {n: value for n, value in changes.items() if not (is_less and n == "num_steps")}
    return not asked or is_accepted is None or is_accepted(asked)


def changes_of(run: Row, remedy: str) -> dict[str, str | None]:
    """Return texts of settings that a remedy changes; half or twice the value where it names none.

    Example:
        >>> changes_of({"beta": 4.0}, "a smaller --beta")
        {'beta': '2.0'}
        >>> changes_of({}, "--scale_mode=optimal (without --scale)")
        {'scale_mode': 'optimal', 'scale': None}
        >>> changes_of({"hidden_sizes": "400,200"}, "wider --hidden_sizes")
        {'hidden_sizes': '800,400'}
    """
    factor = 0.5 if _IS_LESS.search(remedy) else 2.0
    return {
        name: None if without else value or _scaled(run.get(name), factor)
        for without, name, value in _FLAG.findall(remedy)
    }


def _scaled(value: Any, factor: float) -> str:
    """Return numbers times a factor, whole ones as whole ones of at least 1; "1" for nothing."""
    parts = [part for part in str(value).strip("()").split(",") if part.strip()]
    if value is None or not parts:
        return "1"
    is_whole = all(part.strip().isdigit() for part in parts)
    scaled = [factor * float(part) for part in parts]
    return ",".join(str(max(int(each), 1)) if is_whole else str(each) for each in scaled)


def _has_effect(run: Row, name: str, remedy: str) -> bool:
    """Return whether a setting does anything in this run that it does not do already."""
    needed = {
        "beta": number(run, "beta", 1.0) > 0 or "larger" in remedy,
        "kl_warmup_steps": _IS_LESS.search(remedy) is not None
        or (not number(run, "kl_warmup_steps") and number(run, "beta", 1.0) > 0),
        "kl_penalty": _settings_of_objective(run) >= {"kl_penalty"}
        and run.get("kl_penalty", "beta") == "beta"
        and number(run, "beta", 1.0) > 0,
        "posterior": not number(run, "top_latent_size"),
        "hidden_sizes": run.get("hidden_sizes") != "",
    }
    is_of_kl = name in ("beta", "kl_warmup_steps", "kl_penalty", "posterior", "objective")
    has_kl = not ("test_elbo" in run and run["test_elbo"] is None)
    return needed.get(name, True) and (has_kl or not is_of_kl)


def _fits(run: Row, name: str, member: str) -> bool:
    """Return whether the posterior or prior that a remedy names goes with the other of the run."""
    chosen = {each: str(run.get(each)) for each in ("posterior", "prior")} | {name: member}
    if name not in ("posterior", "prior") or "None" in chosen.values():
        return True
    posterior, prior = member_of(chosen, "posterior"), member_of(chosen, "prior")
    if posterior is None or prior is None:
        return False
    return not list(refused_priors(posterior, prior, Spelling(chosen)))


def member_of(run: Row, kind: str) -> Any:
    """Return the class of a run's member, whose traits decide, also of one from outside.

    None where the run does not name it, and for one from outside whose module is not there.

    Example:
        >>> member_of({"posterior": "iaf"}, "posterior").has_density
        True
        >>> member_of({"posterior": "no_such_module:Mine"}, "posterior")
    """
    name, registry = str(run.get(kind)), REGISTRIES[kind]
    if name in registry:
        return registry[name]
    with contextlib.suppress(InputError):
        return contract.outside_class(kind, name, BASES[kind]) if is_name({}, name) else None
    return None


def objective_of(run: Row) -> type[Objective] | None:
    """Return the class of a run's objective; None for one from outside that is not there."""
    return member_of({"objective": run.get("objective") or next(iter(OBJECTIVES))}, "objective")


def _settings_of_objective(run: Row) -> set[str]:
    return {each.name for each in static_settings(objective_of(run))}


def number(run: Row, name: str, default: float = 0.0) -> float:
    """Return a setting as a number, also where it is known as text alone.

    Example:
        >>> number({"beta": "4.0"}, "beta"), number({}, "beta", 1.0)
        (4.0, 1.0)
    """
    value = run.get(name)
    return default if value is None or value == "" else float(value)
