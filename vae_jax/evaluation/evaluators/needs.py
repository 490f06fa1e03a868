"""Needs of evaluators that a model meets or not, made of the traits that its members declare."""

from vae_jax.models.combinations import Spelling, enumeration, names_with
from vae_jax.models.posteriors import POSTERIORS, PosteriorFamily
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.training.spec import TrainSpec

NEEDS = frozenset(
    (
        *("density", "latent_densities", "reals", "coordinates", "local", "prior"),
        *("unconditional", "labels", "factors", "sklearn"),
    )
)
"""Names of all needs: of the model (:func:`unmet`), of the data and of the installation."""
PRIOR_STRENGTHS = [
    strength
    for family in REGULARIZERS.values()
    if family.is_of_prior
    for strength in family.strengths()
]
"""Weights of the penalties that draw the codes to the prior."""


def unmet(
    posterior: PosteriorFamily | type[PosteriorFamily],
    spell: Spelling,
    *,
    follows_prior: bool,
    is_conditional: bool,
) -> dict[str, str]:
    """Return the needs of evaluators that a model does not meet, each with an explanation.

    Args:
        posterior: family of q(z|x), or its class.
        spell: way to write the settings ``posterior`` and ``conditional``.
        follows_prior: whether a penalty draws the codes to the prior.
        is_conditional: whether the model reads labels.

    Example:
        >>> spell = Spelling({"posterior": "delta"}, "--")
        >>> family = POSTERIORS["delta"]
        >>> sorted(unmet(family, spell, follows_prior=False, is_conditional=False))
        ['density', 'latent_densities', 'local', 'prior']
    """
    own, reasons = spell("posterior"), {}
    if not posterior.has_density:
        reasons["density"] = f"a density, which {own} does not have"
    if posterior.support != "reals":
        reasons["reals"] = f"latents that may move anywhere in R^n, and those of {own} may not"
    if not posterior.has_coordinates:
        reasons["coordinates"] = f"latents that vary one by one, and those of {own} do not"
    if not posterior.has_latent_densities:
        families = enumeration(names_with(POSTERIORS, "has_latent_densities"))
        reasons["latent_densities"] = (
            f"the densities of single latents, of {spell('posterior', families)} with one "
            "stochastic layer"
        )
    if not (posterior.is_local and posterior.has_density):
        families = enumeration(names_with(POSTERIORS, "is_local"), "and")
        reasons["local"] = (
            f"parameters of q(z|x) for each x, as {spell('posterior', families)} have with one "
            "stochastic layer"
        )
    if not (posterior.has_density or follows_prior):
        weights = enumeration([f"{spell.prefix}{name}" for name in PRIOR_STRENGTHS])
        reasons["prior"] = (
            f"codes that are trained to follow the prior, as with {own} only {weights} does"
        )
    if is_conditional:
        reasons["unconditional"] = (
            f"codes that do not depend on the label, unlike those of {spell.prefix}conditional"
        )
    return reasons


def unmet_by(spec: TrainSpec) -> dict[str, str]:
    """Return the needs of evaluators that the runs of a training do not meet."""
    return unmet(
        spec.model.posterior,
        spec.model.spelling,
        follows_prior=any(penalty.is_of_prior for penalty in spec.regularizers),
        is_conditional=spec.model.num_classes > 0,
    )
