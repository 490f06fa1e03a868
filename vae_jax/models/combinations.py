"""Rules on which posterior and prior go together, made of the traits that they declare.

The command line and Python share them: they differ in how a setting is written
(:class:`Spelling`). The rules on objectives and regularizers are in
``vae_jax/objectives/combinations.py``, those on evaluators in
``vae_jax/evaluation/evaluators/needs.py``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vae_jax.models.posteriors import PosteriorFamily
from vae_jax.models.priors import PRIORS, PriorFamily


class Spelling(NamedTuple):
    """Way to write a setting with its value in a message.

    Attributes:
        values: values of the settings by their names.
        prefix: dashes on the command line, nothing in Python.

    Example:
        >>> Spelling({"prior": "vamp", "tc_weight": 6.0}, "--")("tc_weight")
        '--tc_weight=6'
        >>> Spelling({})("kl", "auto")
        'kl=auto'
    """

    values: Mapping[str, Any]
    prefix: str = ""

    def __call__(self, setting: str, value: Any = None) -> str:
        """Return the setting with a value, by default the one that it has."""
        shown = self.values[setting] if value is None else value
        text = f"{shown:g}" if isinstance(shown, float) else str(shown)
        return f"{self.prefix}{setting}={text}"


def names_with(registry: Mapping[str, Any], trait: str, value: Any = True) -> list[str]:
    """Return the members of a registry that declare a trait, by the names that they have there.

    Example:
        >>> names_with(PRIORS, "needs_labels")
        ['class_normal']
    """
    return [name for name, family in registry.items() if getattr(family, trait) == value]


def enumeration(names: list[str], word: str = "or") -> str:
    """Return the names as they are listed in a sentence, with a word before the last.

    Example:
        >>> enumeration(["a", "b", "c"])
        'a, b or c'
    """
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def has_closed_form_kl(
    posterior: PosteriorFamily | type[PosteriorFamily], prior: PriorFamily | type[PriorFamily]
) -> bool:
    """Return whether the KL from the posterior to the prior is known in closed form.

    Example:
        >>> from vae_jax.models.posteriors import DiagonalGaussian
        >>> has_closed_form_kl(DiagonalGaussian, PRIORS["normal"])
        True
    """
    return issubclass(posterior.distribution, prior.closed_form_kl)


def has_kl_of_latents(
    posterior: PosteriorFamily | type[PosteriorFamily], prior: PriorFamily | type[PriorFamily]
) -> bool:
    """Return whether that closed form is a sum of terms of the single latents.

    Example:
        >>> from vae_jax.models.posteriors import POSTERIORS
        >>> vmf, sphere = POSTERIORS["von_mises_fisher"], PRIORS["uniform_sphere"]
        >>> has_closed_form_kl(vmf, sphere), has_kl_of_latents(vmf, sphere)
        (True, False)
    """
    return posterior.has_coordinates and has_closed_form_kl(posterior, prior)


def refused_priors(
    posterior: PosteriorFamily | type[PosteriorFamily],
    prior: PriorFamily | type[PriorFamily],
    spell: Spelling,
) -> Iterator[str]:
    """Yield the reasons why a prior cannot be that of a posterior, each with a remedy.

    Args:
        posterior: family of q(z|x), or its class.
        prior: family of p(z), or its class.
        spell: way to write the settings ``posterior`` and ``prior``.

    Example:
        >>> from vae_jax.models.posteriors import Delta
        >>> spell = Spelling({"posterior": "delta", "prior": "vamp"}, "--")
        >>> [message.partition(":")[0] for message in refused_priors(Delta, PRIORS["vamp"], spell)]
        ['--prior=vamp']
    """
    if posterior.support != prior.support:
        others = names_with(PRIORS, "support", posterior.support)
        known = spell("prior", enumeration(others)) if others else "a prior of that support"
        yield (
            f"{spell('prior')}: is a density of z in {prior.support}, but {spell('posterior')} "
            f"gives z in {posterior.support}; give {known}"
        )
    if prior.is_of_posteriors and (not posterior.has_density or posterior.has_own_noise):
        lack = "other noise" if posterior.has_density else "no density"
        yield (
            f"{spell('prior')}: is made of posteriors with a density and standard normal noise, "
            f"but {spell('posterior')} has {lack}; give another prior"
        )


def refused_size(
    posterior: PosteriorFamily | type[PosteriorFamily], setting: str, size: int, spell: Spelling
) -> Iterator[str]:
    """Yield the reason why a posterior cannot have so few latents, with a remedy.

    Args:
        posterior: family of q(z|x), or its class.
        setting: name of the setting that gives the size.
        size: number of latents.
        spell: way to write it, and the setting ``posterior``.

    Example:
        >>> from vae_jax.models.posteriors import VonMisesFisherFamily
        >>> spell = Spelling({"posterior": "von_mises_fisher"}, "--")
        >>> list(refused_size(VonMisesFisherFamily, "latent_size", 1, spell))
        ['--latent_size=1: --posterior=von_mises_fisher needs at least 2; give more']
    """
    if size < posterior.fewest_latents:
        yield (
            f"{spell(setting, size)}: {spell('posterior')} needs at least "
            f"{posterior.fewest_latents}; give more"
        )
