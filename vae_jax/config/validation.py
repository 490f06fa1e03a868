"""Which flags have an effect together, and which values do not go together.

A flag without effect is an error and never ignored, and so is a combination that makes no sense;
both are told in one line before anything is compiled.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from vae_jax.config.schema import FIELDS, Config, as_text
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import NETWORKS
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.regularizers import REGULARIZERS, Regularizer
from vae_jax.runtime.errors import InputError

CHOICES: dict[str, dict[str, Any]] = {
    "network": NETWORKS,
    "likelihood": LIKELIHOODS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
}
"""Flags that choose a member of a registry, whose fields are flags in their turn."""


def fields_of(member: Any) -> set[str]:
    """Flags that a member of a registry reads."""
    return {field.name for field in dataclasses.fields(member)} & FIELDS.keys()


def penalties(config: Config) -> dict[str, type[Regularizer]]:
    """The regularisers that have some strength, by name."""
    return {
        name: kind
        for name, kind in REGULARIZERS.items()
        if any(getattr(config, strength) for strength in kind.strengths)
    }


def without_effect(config: Config) -> dict[str, str]:
    """Flags that do nothing in this combination, each with the reason."""
    reasons = {}
    for choice, members in CHOICES.items():
        read = fields_of(members[getattr(config, choice)])
        known = set().union(*(fields_of(member) for member in members.values()))
        reasons |= dict.fromkeys(known - read, f"with --{choice}={getattr(config, choice)}")
    on = penalties(config)
    for name, kind in REGULARIZERS.items():
        if name not in on:
            reasons |= dict.fromkeys(fields_of(kind), f"without a weight of {name}")
    reasons |= _without_effect_on_evaluation(config)
    if "scale_mode" in reasons:
        reasons["scale"] = reasons["scale_mode"]
    if not config.top_latent_size:
        reasons["top_hidden_sizes"] = "without --top_latent_size"
    if not config.coordinator:
        reasons |= dict.fromkeys(("num_processes", "process_id"), "without --coordinator")
    if not config.distributed:
        names = ("coordinator", "num_processes", "process_id")
        reasons |= dict.fromkeys(names, "without --distributed")
    if config.network == "mlp" and not config.hidden_sizes:
        reasons |= dict.fromkeys(("activation", "weight_norm"), "without --hidden_sizes")
    return reasons | _without_effect_on_kl(config)


def _without_effect_on_evaluation(config: Config) -> dict[str, str]:
    readers: dict[str, list[str]] = {}
    for name, kind in EVALUATORS.items():
        for flag in fields_of(kind):
            readers.setdefault(flag, []).append(name)
    made = {*ALWAYS, *config.evaluate}
    return {
        flag: f"without --evaluate={' or '.join(names)}"
        for flag, names in readers.items()
        if not made & set(names)
    }


def _without_effect_on_kl(config: Config) -> dict[str, str]:
    reasons = {}
    if config.kl_penalty != "free_bits" or config.objective != "elbo":
        reasons["free_bits"] = "without --kl_penalty=free_bits"
    if config.kl_penalty != "capacity" or config.objective != "elbo":
        reasons |= dict.fromkeys(("capacity", "capacity_steps"), "without --kl_penalty=capacity")
    if not POSTERIORS[config.posterior].has_density:
        names = ("kl", "kl_penalty", "estimator", "beta", "kl_warmup_steps", "free_bits")
        names += ("capacity", "capacity_steps", "num_particles")
        if not config.mmd_weight:
            names += ("prior", *fields_of(PRIORS[config.prior]))
        reasons |= dict.fromkeys(names, f"with --posterior={config.posterior}, which has no KL")
    return reasons


def check_combination(config: Config) -> None:
    """Refuse values that are allowed one by one but not together.

    Raises:
        InputError: naming the flags.
    """
    rules = (
        *(_refused_shapes, _refused_places, _refused_bounds, _refused_penalties),
        _refused_evaluations,
    )
    for refusal in itertools.chain.from_iterable(rule(config) for rule in rules):
        raise InputError(refusal)


def _refused_shapes(config: Config) -> Iterator[str]:
    if config.num_steps * config.batch_size >= 2**31:
        yield (
            f"--num_steps={config.num_steps}: times --batch_size={config.batch_size} exceeds "
            f"2^31 examples; give at most {(2**31 - 1) // config.batch_size} steps"
        )
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
    if "channels" in fields_of(NETWORKS[config.network]) and not config.hidden_sizes:
        yield (
            f"--hidden_sizes=: must name a size with --network={config.network}, for example 256"
        )
    if PRIORS[config.prior].needs_labels and not config.conditional:
        yield f"--prior={config.prior}: needs labels; give --conditional as well"
    if config.top_latent_size and config.posterior != "gaussian":
        yield (
            f"--top_latent_size={config.top_latent_size}: stands on --posterior=gaussian, not on "
            f"{config.posterior}; leave one of them out"
        )


def _refused_places(config: Config) -> Iterator[str]:
    if config.data_on_device == "no" and config.binarize == "static":
        yield (
            "--data_on_device=no: --binarize=static draws all images at once, on the device; leave "
            "one of them out"
        )


def _refused_bounds(config: Config) -> Iterator[str]:
    has_density = POSTERIORS[config.posterior].has_density
    if not has_density and config.objective != "elbo":
        yield (
            f"--objective={config.objective}: needs a density, which --posterior="
            f"{config.posterior} has not; leave it out to train a plain autoencoder"
        )
    if config.objective == "elbo" and config.estimator == "dreg":
        yield (
            "--estimator=dreg: is stl for the elbo, whose particles have equal weights; give "
            "--estimator=stl, or --objective=iwae with --num_particles above 1"
        )
    if config.estimator != "standard" and config.kl == "analytic":
        yield (
            f"--estimator={config.estimator}: follows the path of samples, of which --kl=analytic "
            "has none; give --kl=monte_carlo or leave it out"
        )
    is_gaussian = POSTERIORS[config.posterior].is_gaussian
    is_closed = is_gaussian and PRIORS[config.prior].has_gaussian_kl
    if config.kl == "analytic" and (not is_closed or config.top_latent_size):
        yield (
            f"--kl=analytic: no closed form is known for --posterior={config.posterior} and "
            f"--prior={config.prior}; give --kl=auto"
        )
    if config.objective != "elbo" and config.num_particles == 1 and config.estimator == "dreg":
        yield "--estimator=dreg: with --num_particles=1 it is stl; give more particles, or stl"


def _refused_penalties(config: Config) -> Iterator[str]:
    on = {
        name: kind
        for kind in penalties(config).values()
        for name in kind.strengths
        if getattr(config, name)
    }
    for name, kind in sorted(on.items()):
        if kind.needs_gaussian and (config.posterior != "gaussian" or config.top_latent_size):
            yield (
                f"--{name}={getattr(config, name):g}: needs the variances of --posterior=gaussian "
                "with one stochastic layer; leave one of them out"
            )
    if on and config.batch_size < 2:
        yield (
            f"--{min(on)}={getattr(config, min(on)):g}: compares the codes of a batch; give "
            "--batch_size of at least 2"
        )


def _refused_evaluations(config: Config) -> Iterator[str]:
    """Evaluations that ask the model for what it has not."""
    has_density = POSTERIORS[config.posterior].has_density
    lacks = {
        "density": (not has_density, f"a density, which --posterior={config.posterior} has not"),
        "gaussian": (
            config.posterior != "gaussian" or config.top_latent_size > 0,
            "the densities of single latents, of --posterior=gaussian with one stochastic layer",
        ),
        "local": (
            config.posterior not in ("gaussian", "full_gaussian") or config.top_latent_size > 0,
            "parameters of q(z|x) for each x, as --posterior=gaussian and full_gaussian have with "
            "one stochastic layer",
        ),
        "prior": (
            not has_density and not config.mmd_weight,
            f"a prior, to which nothing draws --posterior={config.posterior} without --mmd_weight",
        ),
        "unconditional": (config.conditional, "codes that know no label, unlike --conditional"),
    }
    for name in config.evaluate:
        for need in sorted(EVALUATORS[name].needs & lacks.keys()):
            is_lacking, words = lacks[need]
            if is_lacking:
                yield f"--evaluate={name}: needs {words}; leave {name} out"


def as_flags(config: Config) -> dict[str, str]:
    """Every flag that has an effect, as typed text; swept ones have none of their own."""
    idle = without_effect(config).keys() | {text.partition("=")[0] for text in config.sweep}
    return {name: as_text(getattr(config, name)) for name in FIELDS if name not in idle}


def as_lines(config: Config) -> list[str]:
    """The command line that repeats a run or study, a flag a line."""
    flags = [f"--{name}={value}" for name, value in as_flags(config).items()]
    return flags + [f"--sweep={text}" for text in config.sweep]
