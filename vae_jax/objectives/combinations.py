"""Rules on which objective and regularizers a posterior allows, made of declared traits.

The command line and Python share them, as those of ``vae_jax/models/combinations.py``.
"""

from collections.abc import Iterator, Sequence

from vae_jax.models.combinations import Spelling, enumeration, has_closed_form_kl, names_with
from vae_jax.models.posteriors import POSTERIORS, PosteriorFamily
from vae_jax.models.priors import PriorFamily
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.base import Objective
from vae_jax.objectives.regularizers import Regularizer

LATENT_DENSITIES = enumeration(names_with(POSTERIORS, "has_latent_densities"))
"""Posteriors with the densities of single latents, as a message lists them."""


def refused_objectives(
    posterior: PosteriorFamily | type[PosteriorFamily],
    prior: PriorFamily | type[PriorFamily],
    objective: Objective | type[Objective],
    spell: Spelling,
) -> Iterator[str]:
    """Yield the reasons why an objective cannot be trained with these families, with remedies.

    Args:
        posterior: family of q(z|x), or its class.
        prior: family of p(z), or its class.
        objective: objective, or its class.
        spell: way to write the settings ``posterior``, ``prior`` and ``objective``, and ``kl``,
            ``kl_penalty`` and ``estimator`` where the objective has them.
    """
    if objective.needs_density and not posterior.has_density:
        yield (
            f"{spell('objective')}: needs a density, which {spell('posterior')} does not have; "
            "leave it out to train a plain autoencoder"
        )
    estimator, kl = (spell.values.get(name) for name in ("estimator", "kl"))
    has_path = posterior.has_density and posterior.is_reparameterized
    if estimator not in (None, "standard") and not has_path:
        yield (
            f"{spell('estimator')}: needs the derivative of log q(z|x) along z, which "
            f"{spell('posterior')} does not have; give {spell('estimator', 'standard')}"
        )
    if estimator == "dreg" and not objective.has_weights:
        weighted = enumeration(names_with(OBJECTIVES, "has_weights"))
        yield (
            f"{spell('estimator')}: equals stl for {spell('objective')}, whose particles have "
            f"equal weights; give {spell('estimator', 'stl')}, or {spell('objective', weighted)} "
            f"with {spell.prefix}num_particles above 1"
        )
    elif estimator == "dreg" and spell.values.get("num_particles") == 1:
        yield (
            f"{spell('estimator')}: equals stl with {spell('num_particles')}; give more particles, "
            "or stl"
        )
    if estimator not in (None, "standard") and kl == "analytic":
        yield (
            f"{spell('estimator')}: needs a sampled KL term, which {spell('kl')} "
            f"does not have; give {spell('kl', 'monte_carlo')} or leave it out"
        )
    if kl == "analytic" and not has_closed_form_kl(posterior, prior):
        yield (
            f"{spell('kl')}: no closed form is known for {spell('posterior')} and "
            f"{spell('prior')}; give {spell('kl', 'auto')}"
        )
    is_sampled = kl == "monte_carlo" or estimator not in (None, "standard")
    is_floored = spell.values.get("kl_penalty") == "free_bits" and posterior.has_coordinates
    if is_floored and is_sampled and has_closed_form_kl(posterior, prior):
        yield (
            f"{spell('kl' if kl == 'monte_carlo' else 'estimator')}: has no effect with "
            f"{spell('kl_penalty')}, which takes the KL of each latent in closed form; leave one "
            "of them out"
        )


def refused_regularizer(
    posterior: PosteriorFamily | type[PosteriorFamily],
    regularizer: Regularizer | type[Regularizer],
    label: str,
    spell: Spelling,
) -> Iterator[str]:
    """Yield the reasons why a penalty cannot be added with this posterior, with remedies.

    Args:
        posterior: family of q(z|x), or its class.
        regularizer: penalty, or its class.
        label: setting that adds the penalty, with its value.
        spell: way to write the setting ``posterior``.
    """
    if regularizer.needs_latent_densities and not posterior.has_latent_densities:
        yield (
            f"{label}: needs the variance of each latent, which "
            f"{spell('posterior', LATENT_DENSITIES)} with one stochastic layer has; leave one of "
            "them out"
        )
    if regularizer.needs_coordinates and not posterior.has_coordinates:
        yield (
            f"{label}: compares single latents, which depend on each other by definition with "
            f"{spell('posterior')}; leave one of them out"
        )


def refused_batch(batch_size: int, penalties: Sequence[str], spell: Spelling) -> Iterator[str]:
    """Yield the reason why penalties cannot be computed of a batch, with a remedy.

    Args:
        batch_size: examples per update.
        penalties: settings that add penalties, each with its value.
        spell: way to write a setting.
    """
    if penalties and batch_size < 2:
        yield (
            f"{penalties[0]}: compares the codes of a batch; give {spell.prefix}batch_size of at "
            "least 2"
        )
