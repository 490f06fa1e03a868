"""Diagnostics: health checks of a run, each with a number and, where it fails, a remedy.

Posterior collapse, a scale that does not fit, overfitting, poor inference, prior holes, estimates
that are not to be trusted, numbers that are not finite, unfinished learning. A check that cannot be
made is reported as not made, with the reason. Curves are judged by ``trends``. The thresholds are
rules of thumb and stand here with their reasons; the table of runs whose truth is known, in
``tests/reporting/test_known_truths.py``, says where each check speaks and where it is silent.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.elbo import ACTIVE_THRESHOLD
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES, LARGEST_SHARE
from vae_jax.models.combinations import Spelling, refused_priors
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.objectives import OBJECTIVES, Objective
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.reporting import format, table, trends
from vae_jax.reporting.trends import MANY_ERRORS
from vae_jax.settings import static_settings
from vae_jax.types import Row

LARGEST_GAP = 0.2
"""Share of the KL that q(z|x) may lose by not being the posterior without being poor inference."""
LARGEST_SHORTFALL = 0.02
"""Share of the NLL of train by which that of test may exceed it without being overfitting."""
SMALLEST_GAP = 0.1
"""Nats below which an inference gap is none, whatever share of a vanishing KL it is."""
LARGEST_SANDWICH = 1.0
"""Nats by which bounds of the same quantity may differ and still be trusted."""
LARGEST_LOSS = 0.05
"""Share of samples that may leave the data when their codes come from the prior."""
LARGEST_MISFIT = 2.0
"""Factor by which a fixed scale may differ from the deviation of the reconstructions."""

NUM_VALUES = "num_values"
"""Key of pixels times channels, a fact of the data that stands beside a run's columns."""

_OF_AIS = ("ais_steps", "ais_chains")
_MOST_NAMED = 6  # latents or runs that are named one by one


class Diagnostic(NamedTuple):
    """Result of one check of one run.

    Attributes:
        problem: name of the problem.
        is_found: whether the run has it; None where that could not be checked.
        message: a sentence with the numbers and a remedy if it is found, otherwise the number that
            speaks against it, or the reason why it was not checked.

    Example:
        >>> Diagnostic("posterior collapse", False, "4 of 4 latents are active").is_found
        False
    """

    problem: str
    is_found: bool | None
    message: str


def diagnose_run(run: Row, history: Sequence[Row]) -> list[Diagnostic]:
    """Return the results of the checks that concern a run; none for a diverged run.

    Args:
        run: row of results, with ``kl_per_latent`` and ``variance_per_latent``, the flags as text
            (what is in force already is not advised) and, under :data:`NUM_VALUES`, the size of x.
        history: the run's rows of ``metrics.jsonl``.

    Example:
        >>> run = {"test_elbo": -98.0, "test_kl": 25.0, "variance_per_latent": [0.9, 0.8]}
        >>> [(d.problem, d.message) for d in diagnose_run(run, []) if d.is_found is False]
        [('posterior collapse', '2 of 2 latents are active')]
    """
    if table.has_diverged(run):
        return []
    results = [check(run, history) for check in _CHECKS.values()]
    return [result for result in results if result is not None]


def as_sentences(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Return a sentence per problem found, one for those not found, one for those not checked.

    Example:
        >>> as_sentences([Diagnostic("prior holes", True, "Prior holes: ... Try --prior=vamp.")])
        ['Prior holes: ... Try --prior=vamp.']
    """
    absent, unchecked = (
        "; ".join(
            f"{each.problem} ({each.message})" for each in diagnostics if each.is_found is is_
        )
        for is_ in (False, None)
    )
    return [
        *(each.message for each in diagnostics if each.is_found),
        *([f"Not found: {absent}."] if absent else []),
        *([f"Not checked: {unchecked}."] if unchecked else []),
    ]


def diagnose_study(runs: Sequence[Row], diagnostics: Sequence[Sequence[Diagnostic]]) -> list[str]:
    """Return a sentence per problem of the study: in how many runs it was found, and in which.

    Example:
        >>> diagnose_study([{"run": 0}, {"run": 1}], [[Diagnostic("overfitting", True, "...")], []])
        ['Overfitting: in 1 of 1 runs (0).']
    """
    sentences = []
    for problem in _CHECKS:
        checked = [
            (run["run"], each.is_found)
            for run, own in zip(runs, diagnostics, strict=True)
            for each in own
            if each.problem == problem and each.is_found is not None
        ]
        found = [str(number) for number, is_found in checked if is_found]
        if found:
            names = ", ".join([*found[:_MOST_NAMED], *(["..."] if found[_MOST_NAMED:] else [])])
            title = problem[0].upper() + problem[1:]
            sentences.append(f"{title}: in {len(found)} of {len(checked)} runs ({names}).")
    return sentences


def _collapse(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find latents whose code hardly moves over the test set (Burda et al. 2016)."""
    variance, family = run.get("variance_per_latent"), POSTERIORS.get(str(run.get("posterior")))
    if not variance or (family is not None and not family.has_coordinates):
        return None
    collapsed = [i for i, value in enumerate(variance) if value <= ACTIVE_THRESHOLD]
    name, size = "posterior collapse", len(variance)
    if not collapsed:
        return Diagnostic(name, False, f"{size} of {size} latents are active")
    names = ", ".join(map(format.latent, collapsed[:_MOST_NAMED]))
    others = len(collapsed) - _MOST_NAMED
    more = f" and {others} others" if others > 0 else ""
    left = size - len(collapsed)
    less = f"--latent_size={left} loses little" if left else "The decoder ignores z altogether"
    scale = ("--scale_mode=optimal",) if _misfit(run) else ()
    remedy = _try(run, *scale, "--kl_warmup_steps", "--kl_penalty=free_bits", "a smaller --beta")
    message = (
        f"Posterior collapse: the codes {names}{more} ({len(collapsed)} of {size}) hardly depend "
        f"on the image{_kl_of(run, collapsed)}{_since(history)}. {less}"
    )
    message += f"; to use more, t{remedy[1:]}" if remedy else "."
    return Diagnostic(name, True, message)


def _try(run: Row, *remedies: str) -> str:
    """Return "Try this, or that." without what is in force already or has no effect; "" for none.

    Example:
        >>> _try({"posterior": "iaf"}, "--posterior=iaf", "--objective=iwae", "more data")
        'Try --objective=iwae, or more data.'
    """
    left = [remedy for remedy in remedies if _is_open(run, remedy)]
    if not left:
        return ""
    return f"Try {', '.join(left[:-1])}{', or ' if left[1:] else ''}{left[-1]}."


def _is_open(run: Row, remedy: str) -> bool:
    """Return whether a remedy would change anything of this run, and goes with its members."""
    _, _, setting = remedy.partition("--")
    name, _, value = setting.partition("=")
    needed = {
        "beta": _number(run, "beta", 1.0) > 0 or "larger" in remedy,
        "kl_warmup_steps": not _number(run, "kl_warmup_steps"),
        "kl_penalty": "kl_penalty" in _settings_of_objective(run),
        "posterior": not _number(run, "top_latent_size"),
        "hidden_sizes": run.get("hidden_sizes") != "",
    }
    is_of_kl = name in ("beta", "kl_warmup_steps", "kl_penalty", "posterior", "objective")
    has_kl = not ("test_elbo" in run and run["test_elbo"] is None)
    is_given = bool(value) and str(run.get(name)) == value
    is_allowed = needed.get(name, True) and (has_kl or not is_of_kl) and not is_given
    return is_allowed and _fits(run, name, value)


def _fits(run: Row, name: str, member: str) -> bool:
    """Return whether the posterior or prior that a remedy names goes with the other of the run."""
    chosen = {each: str(run.get(each)) for each in ("posterior", "prior")} | {name: member}
    if name not in ("posterior", "prior") or "None" in chosen.values():
        return True
    posterior, prior = POSTERIORS.get(chosen["posterior"]), PRIORS.get(chosen["prior"])
    if posterior is None or prior is None:  # from outside: nothing is known of it here
        return False
    return not list(refused_priors(posterior, prior, Spelling(chosen)))


def _objective(run: Row) -> type[Objective] | None:
    """Return the class of a run's objective; None for one from outside, unknown here."""
    return OBJECTIVES.get(str(run.get("objective") or next(iter(OBJECTIVES))))


def _settings_of_objective(run: Row) -> set[str]:
    return {each.name for each in static_settings(_objective(run))}


def _number(run: Row, name: str, default: float = 0.0) -> float:
    """Return a setting as a number, also where it is known as text alone."""
    value = run.get(name)
    return default if value is None or value == "" else float(value)


def _trained_for(run: Row) -> str:
    """Return what q(z|x) and p(x|z) are trained for where that is not the ELBO; "" where it is.

    Example:
        >>> _trained_for({"objective": "elbo", "beta": 4.0}), _trained_for({"beta": 1.0})
        ('beta = 4', '')
    """
    objective, penalty = _objective(run), run.get("kl_penalty", "beta")
    if objective is None or not objective.is_elbo:
        return f"--objective={run.get('objective')}"
    strengths = [name for family in REGULARIZERS.values() for name in family.strengths()]
    others = [f"--kl_penalty={penalty}"] if penalty != "beta" else []
    others += [f"--{name}={_number(run, name):g}" for name in strengths if _number(run, name)]
    beta = _number(run, "beta", 1.0)
    return ", ".join(([f"beta = {beta:g}"] if beta != 1 else []) + others)


def _kl_of(run: Row, latents: Sequence[int]) -> str:
    kl = run.get("kl_per_latent") or []
    if run.get("test_kl") is None or len(kl) <= max(latents) or None in kl:
        return ""
    own = format.real(sum(kl[i] for i in latents))
    return f" and carry {own} of {format.nats(run['test_kl'])}"


def _since(history: Sequence[Row]) -> str:
    """Return the first step after which no more latents were active on valid than at the end."""
    name = "valid_active_units"
    counts = [(row["step"], row[name]) for row in history if table.is_number(row.get(name))]
    if not counts:
        return ""
    steps, active = zip(*counts, strict=True)
    later = [max(active[i:]) for i in range(len(active))]
    since = steps[next(i for i, most in enumerate(later) if most <= active[-1])]
    return f", since step {format.count(since)} at the latest on valid"


def _misfit(run: Row) -> tuple[float, float] | None:
    """Return the scale that fits and the nats that the fixed one loses, if they differ widely."""
    family, scale = LIKELIHOODS.get(str(run.get("likelihood"))), _number(run, "scale")
    num, log_likelihood = run.get(NUM_VALUES), run.get("test_log_likelihood")
    if run.get("scale_mode") != "fixed" or family is None or scale <= 0:
        return None
    if not num or log_likelihood is None:
        return None
    best = family.best_scale(log_likelihood, scale, num)
    if best is None or abs(math.log(scale / best.scale)) <= math.log(LARGEST_MISFIT):
        return None
    return best.scale, best.log_likelihood - log_likelihood


def _scale(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare a fixed scale of p(x|z) with the deviation of the reconstructions."""
    del history
    found = _misfit(run)
    if found is None:
        return None
    best, lost = found
    is_large = run["scale"] > best
    message = (
        f"The scale does not fit: p(x|z) has the fixed scale {run['scale']:g}, but the test images "
        f"deviate by {best:.2g} from their reconstructions; with that scale the log-likelihood "
        f"would be {format.nats(lost)} higher. The KL weighs too "
        + ("much, which gives mean images and collapsed codes. " if is_large else "little. ")
        + _try(run, "--scale_mode=optimal", "--scale_mode=learned", f"--scale={best:.2g}")
    )
    return Diagnostic("a scale that does not fit", True, message)


def _overfitting(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find an NLL of test above that of train, at equal K, or a valid ELBO past its peak."""
    gap, error, name = run.get("nll_gap"), run.get("nll_gap_se"), "overfitting"
    if run.get("test_elbo") is None:
        return None
    if gap is None or error is None:
        return Diagnostic(name, None, "needs at least 2 test images with a finite NLL")
    above = _gap_in_words(run, gap, error)
    fall = _fall(run, history, gap, error)
    enough = max(MANY_ERRORS * error, LARGEST_SHORTFALL * abs(run.get("train_nll") or 0.0))
    if gap <= enough and fall is None:
        return Diagnostic(name, False, above)
    peak = "" if fall is None else f", and {fall}"
    few = ["--keep=best", "fewer --num_steps"] if fall else []
    fresh = ["--binarize=dynamic"] if run.get("binarize") == "static" else []
    remedy = _try(run, *few, *fresh, "smaller --hidden_sizes", "more data")
    return Diagnostic(name, True, f"Overfitting: {above}{peak}. {remedy}")


def _gap_in_words(run: Row, gap: float, error: float) -> str:
    """Return the difference between test and train, and what else than the decoder it may be of."""
    side, size = ("above", gap) if gap >= 0 else ("below", -gap)
    text = f"the NLL of test is {format.with_error(size, error)} nats {side} that of train"
    if gap > MANY_ERRORS * error and (run.get("test_ess_low_share") or 0.0) > LARGEST_SHARE:
        text += (
            ", by bounds that are loose (see the NLL), so that it counts what the encoder loses on "
            "new images as well; a larger --eval_particles leaves that of the decoder"
        )
    return text


def _fall(run: Row, history: Sequence[Row], gap: float, error: float) -> str | None:
    """Return how the valid ELBO fell from its peak while that of train did not; None if not so.

    It is asked only where the ELBO is what is maximised. The peak itself, chosen for its height,
    is left out of the trend; and the fall, or the gap, must exceed what other examples may change.
    """
    own = _curve(run, history)
    if run.get("best_step") is not None:
        return None  # the weights are those of the peak
    if _trained_for(run) or own is None or own.error is None:
        return None
    peak = max(range(len(own.values)), key=own.values.__getitem__)
    trend = trends.trend(
        own.steps[peak + 1 :], [-value for value in own.values[peak + 1 :]], own.error
    )
    fall = own.values[peak] - own.values[-1]
    if trend is None or not trend.is_rise:
        return None
    if gap <= MANY_ERRORS * error and fall <= MANY_ERRORS * own.error:
        return None
    train = {row["step"]: row.get("train_elbo") for row in history}
    both = [train.get(step) for step in (own.steps[peak], own.steps[-1])]
    if all(map(table.is_number, both)) and np.diff(np.array(both, float))[0] < 0:
        return None
    since = format.count(own.steps[peak])
    return f"the valid ELBO has fallen by {format.nats(fall)} since step {since}"


def _inference(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare what the ELBO lies below the best estimate of log p(x) with the KL."""
    del history
    elbo, kl, nll = run.get("test_elbo"), run.get("test_kl"), run.get("test_nll")
    if elbo is None or kl is None or nll is None:
        return None
    name, gap = "poor inference", -elbo - nll
    error = run.get("test_bound_gain_se")
    remedies = ["--posterior=iaf", "--objective=iwae", "wider --hidden_sizes"]
    facts = f"the ELBO is at least {format.with_error(gap, error)} nats below log p(x)"
    facts += f", {format.share(gap / kl)} of the KL" if kl > max(SMALLEST_GAP, gap / 10) else ""
    family, encoder = run.get("approximation_gap"), run.get("amortization_gap")
    if family is not None and encoder is not None:
        facts += (
            f"; on the first {run.get('gap_examples', '?')} test examples "
            f"{_with_error(run, 'approximation_gap')} nats are due to the family and "
            f"{_with_error(run, 'amortization_gap')} to the encoder"
        )
        remedies = remedies if family > encoder else [remedies[-1], *remedies[:-1]]
    largest = max(LARGEST_GAP * kl, SMALLEST_GAP)
    if gap - MANY_ERRORS * (error or 0.0) <= largest:
        return Diagnostic(name, False, facts)
    if _trained_for(run):
        return Diagnostic(name, False, f"{facts}; {_other_posterior(run)}")
    return Diagnostic(name, True, f"Poor inference: {facts}. {_try(run, *remedies)}")


def _other_posterior(run: Row) -> str:
    """Return what q(z|x) approximates where the ELBO is not maximised."""
    goal, beta = _trained_for(run), _number(run, "beta", 1.0)
    if goal != f"beta = {beta:g}":
        return f"trained with {goal}, q(z|x) is not meant to be p(z|x)"
    if beta == 0:
        return "with beta = 0 nothing draws q(z|x) to p(z|x)"
    return (
        f"with {goal} q(z|x) is trained for the posterior under p(x|z)^(1/beta), not for p(z|x), "
        "and is as far from it as that is"
    )


def _holes(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare samples at codes from the prior with samples at codes of real images."""
    del history
    drawn, coded = run.get("precision_pixels"), run.get("precision_aggregate")
    if drawn is None or coded is None:
        return Diagnostic("prior holes", None, "needs --evaluate=samples")
    errors = (run.get("precision_pixels_se") or 0.0, run.get("precision_aggregate_se") or 0.0)
    lost, error = coded - drawn, math.hypot(*errors)
    mmd = (format.real(run.get(f"mmd_{of}") or 0.0, 4) for of in ("pixels", "aggregate"))
    facts = (
        f"{format.share(drawn)} of samples with z from the prior lie near test images, "
        f"{format.share(coded)} of those with z of real images; MMD {' against '.join(mmd)}"
    )
    if lost <= max(LARGEST_LOSS, MANY_ERRORS * error):
        return Diagnostic("prior holes", False, facts)
    remedy = _try(run, "--prior=vamp", "--prior=flow", "a larger --beta")
    return Diagnostic("prior holes", True, f"Prior holes: {facts}. {remedy}")


def _untrusted(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Check the weights of the NLL, the sandwich of BDMC, and AIS against importance weights."""
    del history
    found, facts = [], []
    distrust, effective = run.get("test_nll_distrust") or "", run.get("test_ess_median")
    if effective is not None:
        particles = run.get("eval_particles") or "?"
        facts.append(
            f"the median effective sample size is {format.real(effective, 0)} of K = {particles}"
        )
    gap = run.get("bdmc_gap")
    if gap is not None:
        facts.append(f"BDMC's bounds are {_with_error(run, 'bdmc_gap')} nats apart")
        if gap > LARGEST_SANDWICH:
            found.append("Do not trust AIS at these settings: " + facts[-1] + _more(run, *_OF_AIS))
    for name, examples in (("ais_gain", "test examples"), ("bdmc_gain", "samples of the model")):
        if run.get(name) is None:
            continue
        side, size = ("above", run[name]) if run[name] >= 0 else ("below", -run[name])
        facts.append(
            f"AIS is {format.with_error(size, run.get(f'{name}_se') or 0.0)} nats {side} the bound "
            f"with K = {format.count(EVIDENCE_PARTICLES)} on {examples}"
        )
        if size <= max(LARGEST_SANDWICH, MANY_ERRORS * (run.get(f"{name}_se") or 0.0)):
            continue
        if side == "below":  # of two lower bounds the lower one is loose
            found.append(f"Do not trust AIS at these settings: {facts[-1]}{_more(run, *_OF_AIS)}")
        elif int(run.get("eval_particles") or 0) <= EVIDENCE_PARTICLES:
            distrust = f"{distrust} {facts[-1]}{_more(run, 'eval_particles')}".strip()
    if distrust:
        found.append(f"Do not trust the NLL: {distrust}")
    if not facts and not found:
        return None
    name = "estimates not to be trusted"
    return Diagnostic(name, bool(found), " ".join(found) if found else ", ".join(facts))


def _not_finite(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find columns that are empty because their examples left the range of the floats."""
    del history
    counts = {
        name.removesuffix(NOT_FINITE): count
        for name, count in run.items()
        if name.endswith(NOT_FINITE) and count and not name.startswith("valid_")
    }
    if not counts:
        return None
    names = ", ".join(f"{name} (on {format.count(n, 'example')})" for name, n in counts.items())
    message = (
        f"Not finite, and left empty with all that is computed from it: {names}. There a density "
        "or a weight is beyond the range of the floats. "
        + _try(run, "--compute_dtype=float64", "a larger --scale", "a smaller --learning_rate")
    )
    return Diagnostic("numbers that are not finite", True, message)


def _with_error(run: Row, name: str) -> str:
    return format.with_error(run[name], run.get(f"{name}_se") or 0.0)


def _more(run: Row, *names: str) -> str:
    options = [f"more --{name} (here {run.get(name, '?')})" for name in names]
    return f". {_try(run, *options)}"


def _unfinished(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find a rise, at the end, of what is maximised on valid."""
    name, last = "unfinished learning", max((row["step"] for row in history), default=0)
    for setting, subject in _RAMPS.items():
        length = int(_number(run, setting))
        if length > last > 0:
            remedy = _try(run, f"more --num_steps than --{setting}={length}")
            message = f"Learning is not finished: at step {format.count(last)} {subject}. {remedy}"
            return Diagnostic(name, True, message)
    if run.get("schedule", "constant") != "constant":
        return Diagnostic(
            name,
            None,
            f"the learning rate ends at 0 with --schedule={run['schedule']}, and so does any rise; "
            "a longer --num_steps would show whether more is left",
        )
    own = _curve(run, history)
    steps = trends.last_third([] if own is None else own.steps)
    trend = None if own is None else trends.trend(steps, own.values[-len(steps) :], own.error)
    if own is None or trend is None:
        needed = f"needs {trends.FEWEST} evaluations on valid; give a smaller --eval_every"
        return Diagnostic(name, None, needed)
    span = steps[-1] - steps[0]
    facts = (
        f"over the last {format.count(span)} steps the valid {own.title} changed by "
        f"{'+' if trend.change > 0 else ''}{format.with_error(trend.change, trend.error)} nats"
    )
    if not trend.is_rise:
        return Diagnostic(name, False, facts)
    remedy = _try(run, "more --num_steps", "a larger --learning_rate")
    return Diagnostic(name, True, f"Learning is not finished: {facts}. {remedy}")


_RAMPS = {
    "kl_warmup_steps": "the weight of the KL still rises",
    "capacity_steps": "the capacity still rises",
    "warmup_steps": "the learning rate still rises",
}
"""Settings with the number of updates over which something rises, and what that is."""


class _Curve(NamedTuple):
    """Objective on valid, at each evaluation after all warm-ups.

    Attributes:
        title: name of it.
        steps: updates before each evaluation.
        values: nats per example.
        error: standard error of the last value over the examples; None where it is unknown.
    """

    title: str
    steps: Sequence[int]
    values: Sequence[float]
    error: float | None


def _curve(run: Row, history: Sequence[Row]) -> _Curve | None:
    """Return the curve of the ELBO, of the beta-VAE's objective or, without a KL, of E log p(x|z).

    Under other objectives it is that of the ELBO, which has no trend either once learning is over.
    """
    begin = max(int(_number(run, name)) for name in _RAMPS)
    rows = [row for row in history if row["step"] >= begin]
    beta, title, terms = _number(run, "beta", 1.0), "ELBO", {"valid_elbo": 1.0}
    if not any(table.is_number(row.get("valid_elbo")) for row in rows):
        title, terms = "log-likelihood", {"valid_log_likelihood": 1.0}
    elif _trained_for(run) == f"beta = {beta:g}":
        title = f"log-likelihood - {beta:g} KL"
        terms = {"valid_log_likelihood": 1.0, "valid_kl": -beta}
    known = [row for row in rows if all(table.is_number(row.get(name)) for name in terms)]
    if not known:
        return None
    values = [sum(weight * row[name] for name, weight in terms.items()) for row in known]
    error = known[-1].get("valid_elbo_se")
    is_known = table.is_number(error)
    return _Curve(title, [row["step"] for row in known], values, error if is_known else None)


_CHECKS: dict[str, Callable[[Row, Sequence[Row]], Diagnostic | None]] = {
    "posterior collapse": _collapse,
    "a scale that does not fit": _scale,
    "overfitting": _overfitting,
    "poor inference": _inference,
    "prior holes": _holes,
    "estimates not to be trusted": _untrusted,
    "numbers that are not finite": _not_finite,
    "unfinished learning": _unfinished,
}
