"""Make the tables of what combines from the traits that members declare, by the package's rules.

They are asked as the command line asks them, so a table says neither more nor less than a run.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from vae_jax.evaluation.evaluators import EVALUATORS, needs
from vae_jax.models.combinations import Spelling, has_closed_form_kl, refused_priors
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import NETWORKS
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.combinations import refused_objectives, refused_regularizer
from vae_jax.objectives.gradient_estimators import ESTIMATORS
from vae_jax.objectives.regularizers import REGULARIZERS

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Head of a table, and its rows."""


def tables() -> dict[str, Table]:
    """Return the tables by their introductions."""
    return {
        "How the KL is computed: in closed form, as a mean over samples, or not at all (a "
        "deterministic code: only a penalty draws it to the prior). A dash: refused.": _priors(),
        "What a posterior allows. Likelihoods and networks go with all.": _posteriors(),
        "What x may be. Axes of an image: height, width, channels.": _data(),
    }


def _priors() -> Table:
    rows = [(f"`{name}`", *(_kl(name, prior) for prior in PRIORS)) for name in POSTERIORS]
    return ("posterior", *(f"`{name}`" for name in PRIORS)), rows


def _kl(posterior: str, prior: str) -> str:
    families = POSTERIORS[posterior], PRIORS[prior]
    if any(refused_priors(*families, Spelling({"posterior": posterior, "prior": prior}))):
        return "-"
    if not families[0].has_density:
        return "no KL"
    return "closed form" if has_closed_form_kl(*families) else "samples"


def _posteriors() -> Table:
    head = ("posterior", "support", "objectives", "estimators", "penalties", "evaluators")
    rows = [
        (
            f"`{name}`",
            family.support,
            _listed(OBJECTIVES, (each for each in OBJECTIVES if _trains(name, each))),
            _listed(ESTIMATORS, (each for each in ESTIMATORS if _estimates(name, each))),
            _listed(REGULARIZERS, (each for each in REGULARIZERS if _is_penalized(name, each))),
            _listed(EVALUATORS, _evaluators(name)),
        )
        for name, family in POSTERIORS.items()
    ]
    return head, rows


def _trains(posterior: str, objective: str, **settings: str) -> bool:
    names = {"posterior": posterior, "prior": "", "objective": objective} | settings
    members = POSTERIORS[posterior], next(iter(PRIORS.values())), OBJECTIVES[objective]
    return not any(refused_objectives(*members, Spelling(names)))


def _estimates(posterior: str, estimator: str) -> bool:
    return any(_trains(posterior, each, estimator=estimator) for each in OBJECTIVES)


def _is_penalized(posterior: str, penalty: str) -> bool:
    members = POSTERIORS[posterior], REGULARIZERS[penalty]
    return not any(refused_regularizer(*members, penalty, Spelling({"posterior": posterior})))


def _evaluators(posterior: str) -> Iterator[str]:
    """Yield the evaluators that a posterior allows, with a penalty to the prior where it helps."""
    spell = Spelling({"posterior": posterior})
    for follows_prior, note in ((False, ""), (True, " (with a penalty to the prior)")):
        unmet = needs.unmet(
            POSTERIORS[posterior], spell, follows_prior=follows_prior, is_conditional=False
        )
        before = {"prior"} if follows_prior else set()
        for name, evaluator in EVALUATORS.items():
            is_new = before <= evaluator.needs
            helps = not follows_prior or not POSTERIORS[posterior].has_density
            if is_new and helps and not evaluator.needs & unmet.keys():
                yield name + note


def _data() -> Table:
    rows = [
        (f"`{name}`", kind, _ranks(family), ", ".join(getattr(family, "encodings", ())) or "any")
        for kind, registry in (("likelihood", LIKELIHOODS), ("network", NETWORKS))
        for name, family in registry.items()
    ]
    return ("member", "kind", "axes of x", "encodings"), rows


def _ranks(family: Any) -> str:
    return "any" if family.event_ranks is None else ", ".join(map(str, family.event_ranks))


def _listed(known: Iterable[str], names: Iterable[str]) -> str:
    """Return the names, or that they are all there are."""
    names = list(names)
    return "all" if names == list(known) else ", ".join(names) or "none"
