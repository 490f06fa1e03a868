"""Combinations of flags: which have an effect together, and which values exclude each other.

A flag without effect is an error and never ignored, and so is a combination that makes no sense.
Both are reported in one line before anything is compiled.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from vae_jax.config.flags import Config, as_text, with_dashes
from vae_jax.config.members import KINDS, SEVERAL, SPECS, find
from vae_jax.evaluation.columns import by_name
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, columns, needs
from vae_jax.hparams import declarations
from vae_jax.models.combinations import (
    Spelling,
    enumeration,
    has_kl_of_latents,
    names_with,
    refused_priors,
    refused_size,
)
from vae_jax.models.posteriors import POSTERIORS, Stacked
from vae_jax.models.priors import StackedPrior
from vae_jax.objectives import FIXED
from vae_jax.objectives.combinations import (
    refused_batch,
    refused_objectives,
    refused_regularizer,
)
from vae_jax.objectives.regularizers import REGULARIZERS, Regularizer
from vae_jax.runtime.errors import InputError
from vae_jax.settings import MODULE_CLASS, is_met
from vae_jax.training.compatibility import refused_length, refused_looks


@functools.cache
def fields_of(member: type) -> frozenset[str]:
    """Return the names of the flags that a member of a registry reads.

    Example:
        >>> sorted(fields_of(KINDS["network"]["mlp"]))
        ['activation', 'hidden_sizes', 'weight_norm']
    """
    return frozenset(each.name for each in declarations(member))


def penalties(config: Config) -> dict[str, type[Regularizer]]:
    """Return the regularizers with a weight that is not zero, by name.

    Example:
        >>> list(penalties(Config(mmd_weight=10.0)))
        ['mmd']
    """
    return {
        name: family
        for name, family in known_penalties(config).items()
        if any(getattr(config, strength) for strength in family.strengths())
    }


def known_penalties(config: Config) -> dict[str, type[Regularizer]]:
    """Return the regularizers that are shipped and those that the flags name, by name."""
    return REGULARIZERS | {name: find("regularizer", name) for name in config.regularizer}


def without_effect(config: Config) -> dict[str, str]:
    """Return the flags that have no effect in this combination, each with the reason.

    Example:
        >>> without_effect(Config())["channels"]
        'with --network=mlp'
        >>> without_effect(Config())["free_bits"]
        'without --kl_penalty=free_bits'
    """
    reasons = (
        _fields_of_other_members(config)
        | _fields_of_unused_penalties(config)
        | _fields_of_unused_evaluators(config)
        | _fields_of_the_absent_kl(config)
    )
    for name, flag in config.flags.items():
        if name not in reasons and not is_met(flag.only_with, vars(config).get):
            needed = flag.only_with.partition("=")[0]
            unmet = f"without --{flag.only_with}"
            unmet = unmet.replace("without", "with").replace("!=", "=") if "!" in unmet else unmet
            reasons[name] = reasons.get(needed, unmet)
    return reasons


def _fields_of_other_members(config: Config) -> dict[str, str]:
    """Return the flags that only members read that are not chosen."""
    read = {name for _, member in config.members for name in fields_of(member)}
    read |= {name for spec in SPECS for name in fields_of(spec)}
    reasons = {}
    for kind in [kind for kind in KINDS if kind not in SEVERAL]:
        members = {*KINDS[kind].values(), *(own for each, own in config.known if each == kind)}
        unread = set().union(*map(fields_of, members)) - read
        reasons |= dict.fromkeys(unread, f"with --{kind}={getattr(config, kind)}")
    return reasons


def _fields_of_unused_penalties(config: Config) -> dict[str, str]:
    reasons, used = {}, penalties(config)
    for name, family in known_penalties(config).items():
        if name not in used:
            settings = fields_of(family) - set(family.strengths())
            reasons |= dict.fromkeys(settings, f"without a weight of {name}")
    elsewhere = [own for kind, own in config.known if kind == "regularizer"]
    for family in set(elsewhere) - set(known_penalties(config).values()):
        path = f"{family.__module__}:{family.__qualname__}"
        reasons |= dict.fromkeys(fields_of(family), f"without --regularizer={path}")
    if not used.keys() & set(config.regularizer):
        families = [find("regularizer", each) for each in config.regularizer]
        weights = [f"--{name}" for family in families for name in family.strengths()]
        reasons["regularizer"] = f"without {' or '.join(weights) or MODULE_CLASS}"
    return reasons


def _fields_of_unused_evaluators(config: Config) -> dict[str, str]:
    readers: dict[str, list[str]] = {}
    evaluators = EVALUATORS | {name: find("evaluate", name) for name in config.evaluate}
    for name, evaluator in evaluators.items():
        for flag in fields_of(evaluator):
            readers.setdefault(flag, []).append(name)
    used = {*ALWAYS, *config.evaluate}
    return {
        flag: f"without --evaluate={' or '.join(names)}"
        for flag, names in readers.items()
        if not used & set(names)
    }


def _fields_of_the_absent_kl(config: Config) -> dict[str, str]:
    """Return what the objective and, unless a penalty does, the prior read where there is no KL."""
    if find("posterior", config.posterior).has_density:
        return {}
    names = set(fields_of(find("objective", config.objective)))
    if not any(family.is_of_prior for family in penalties(config).values()):
        names |= {"prior", *fields_of(find("prior", config.prior))}
    return dict.fromkeys(names, f"with --posterior={config.posterior}, which has no KL")


def check_combination(config: Config) -> None:
    """Refuse values that are allowed one by one but not together.

    Raises:
        InputError: a message that names the flags, the problem and the remedy.

    Example:
        >>> check_combination(Config(tc_weight=6.0, batch_size=128))
        >>> check_combination(Config(tc_weight=6.0, batch_size=1))
        Traceback (most recent call last):
        ...
        vae_jax.runtime.errors.InputError: --tc_weight=6: compares the codes of a batch; give
        --batch_size of at least 2
    """
    rules = (
        _refused_lengths,
        _refused_processes,
        _refused_members,
        _refused_data_on_device,
        _refused_objectives,
        _refused_names,
        _refused_penalties,
        _refused_evaluations,
    )
    for message in itertools.chain.from_iterable(rule(config) for rule in rules):
        raise InputError(message)


def _refused_lengths(config: Config) -> Iterator[str]:
    yield from map(with_dashes, refused_length(config.num_steps, config.batch_size))
    looks = config.num_steps, config.eval_every, config.keep, config.patience
    yield from map(with_dashes, refused_looks(*looks))


def _refused_processes(config: Config) -> Iterator[str]:
    is_numbered = config.distributed and config.coordinator
    if is_numbered and config.process_id >= config.num_processes:
        yield (
            f"--process_id={config.process_id}: must be below --num_processes="
            f"{config.num_processes}; count the processes from 0"
        )
    if config.batch_devices and config.batch_size % config.batch_devices:
        yield (
            f"--batch_devices={config.batch_devices}: does not divide --batch_size="
            f"{config.batch_size}; give a divisor, or leave it out"
        )


def _refused_members(config: Config) -> Iterator[str]:
    posterior = find("posterior", config.posterior)
    if find("prior", config.prior).needs_labels and not config.conditional:
        yield f"--prior={config.prior}: needs labels; give --conditional as well"
    if config.top_latent_size and not posterior.can_be_stacked:
        families = enumeration(names_with(POSTERIORS, "can_be_stacked"))
        yield (
            f"--top_latent_size={config.top_latent_size}: needs --posterior={families}, not "
            f"{config.posterior}; leave one of them out"
        )
    yield from refused_priors(posterior, find("prior", config.prior), _spelling(config))
    yield from refused_size(posterior, "latent_size", config.latent_size, _spelling(config))


def _refused_data_on_device(config: Config) -> Iterator[str]:
    if config.data_on_device == "no" and config.binarize == "static":
        yield (
            "--data_on_device=no: --binarize=static draws all images at once, on the device; leave "
            "one of them out"
        )


def _refused_objectives(config: Config) -> Iterator[str]:
    objective = find("objective", config.objective)
    yield from refused_objectives(_posterior(config), _prior(config), objective, _spelling(config))


def _spelling(config: Config) -> Spelling:
    """Return how messages of the command line write a flag with its value."""
    return Spelling(vars(config), "--")


def _posterior(config: Config) -> type[Any]:
    """Return the class of the family of q(z|x), all layers together."""
    return Stacked if config.top_latent_size else find("posterior", config.posterior)


def _prior(config: Config) -> type[Any]:
    """Return the class of the family of p(z), all layers together."""
    return StackedPrior if config.top_latent_size else find("prior", config.prior)


def has_closed_form(config: Config) -> bool:
    """Return whether the KL of every latent has a closed form with this posterior and prior.

    Example:
        >>> has_closed_form(Config()), has_closed_form(Config(prior="vamp"))
        (True, False)
    """
    return has_kl_of_latents(_posterior(config), _prior(config))


def _refused_names(config: Config) -> Iterator[str]:
    """Yield a message where a name stands for another value of a setting than the given one."""
    names, family = KINDS["objective"], find("objective", config.objective)
    for setting, fixed in FIXED.get(config.objective, {}).items():
        if getattr(config, setting) == fixed:
            continue
        others = [n for n in names if names[n] is family and setting not in FIXED.get(n, {})]
        yield (
            f"--{setting}={as_text(getattr(config, setting))}: --objective={config.objective} is "
            f"the one with {setting}={as_text(fixed)}; give --objective={enumeration(others)}"
        )


def _refused_penalties(config: Config) -> Iterator[str]:
    spell = _spelling(config)
    used = {
        strength: family
        for family in penalties(config).values()
        for strength in family.strengths()
        if getattr(config, strength)
    }
    for name, family in sorted(used.items()):
        yield from refused_regularizer(_posterior(config), family, spell(name), spell)
    yield from refused_batch(config.batch_size, [spell(name) for name in sorted(used)], spell)


def _refused_evaluations(config: Config) -> Iterator[str]:
    """Yield a message for each need that the model does not meet, and for columns of one name."""
    unmet = _unmet_needs(config)
    for name in config.evaluate:
        for need in sorted(find("evaluate", name).needs & unmet.keys()):
            yield f"--evaluate={name}: needs {unmet[need]}; leave {name} out"
    for name in [each for each in config.evaluate if each not in EVALUATORS]:
        others = {*ALWAYS, *config.evaluate} - {name}
        taken = by_name(columns(find("evaluate", each) for each in others)).keys() | {*config.flags}
        for own in by_name(find("evaluate", name).columns).keys() & taken:
            yield (
                f"--evaluate={name}: its column {own} has the name of a flag or of a column of "
                "another evaluation; rename it"
            )


def _unmet_needs(config: Config) -> dict[str, str]:
    """Return the needs of evaluators that the model does not meet, each with an explanation."""
    return needs.unmet(
        _posterior(config),
        _spelling(config),
        follows_prior=any(family.is_of_prior for family in penalties(config).values()),
        is_conditional=config.conditional,
    )


def is_accepted(settings: Mapping[str, Any], changes: Mapping[str, str | None]) -> bool:
    """Return whether a run's flags may be changed so: in range, with effect, and allowed together.

    True where the flags of the run are not known themselves, as of a member from outside that
    cannot be imported here.

    Args:
        settings: values or texts of the run's flags, beside which other things may stand. Those
            that have their defaults may change with what is chosen, as if they were not given.
        changes: new texts by the names of the flags, None for one that is left out.

    Example:
        >>> is_accepted({"kl": "analytic"}, {"prior": "vamp"})
        False
        >>> is_accepted({"kl": "analytic"}, {"prior": "vamp", "kl": None})
        True
        >>> is_accepted({"scale": 0.5, "likelihood": "gaussian"}, {"scale_mode": "optimal"})
        False
    """
    try:
        kinds = {name: as_text(settings[name]) for name in KINDS if settings.get(name)}
        known = _names_of(frozenset(kinds.items()))
    except InputError:
        return True
    texts = {name: as_text(settings[name]) for name in known if settings.get(name) is not None}
    return _is_accepted(frozenset(texts.items()), frozenset(changes.items()))


_Texts = frozenset[tuple[str, str]]
"""Names of flags with their texts, as a key of a cache."""


@functools.lru_cache
def _names_of(kinds: _Texts) -> tuple[str, ...]:
    """Return the flags of the chosen members but the seed, whose value excludes nothing."""
    return tuple(name for name in Config.of_texts(dict(kinds)).flags if name != "seed")


@functools.lru_cache(maxsize=2**12)
def _is_accepted(texts: _Texts, changes: frozenset[tuple[str, str | None]]) -> bool:
    """Return what :func:`is_accepted` does; asked once for runs that differ by the seed alone."""
    changed = dict(changes)
    try:
        base = _without_idle(texts)
    except InputError:
        return True
    try:
        given = {name: text for name, text in base.items() if name not in changed}
        given |= {name: text for name, text in changed.items() if text is not None}
        config = Config.of_texts(given)
        check_combination(config)
    except InputError:
        return False
    return not given.keys() & without_effect(config).keys()


@functools.lru_cache(maxsize=2**6)
def _without_idle(texts: _Texts) -> Mapping[str, str]:
    """Return the texts of flags that have an effect and another value than their default."""
    config = Config.of_texts(dict(texts))
    idle = without_effect(config)
    return {
        name: text
        for name, text in texts
        if name not in idle and getattr(config, name) != config.flags[name].default
    }


def as_flags(config: Config) -> dict[str, str]:
    """Return the text of every flag that has an effect, except swept ones.

    Example:
        >>> as_flags(Config(beta=4.0))["beta"], "channels" in as_flags(Config())
        ('4.0', False)
    """
    idle = without_effect(config).keys() | {text.partition("=")[0] for text in config.sweep}
    return {name: as_text(getattr(config, name)) for name in config.flags if name not in idle}
