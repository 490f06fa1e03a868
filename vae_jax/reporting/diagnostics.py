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
from vae_jax.evaluation.evaluators.nll import MOST_PARTICLES
from vae_jax.evaluation.metrics.evidence import (
    EVIDENCE_PARTICLES,
    LARGEST_SHARE,
    share_of_doubtful,
)
from vae_jax.objectives.regularizers import REGULARIZERS
from vae_jax.reporting import format, table, trends
from vae_jax.reporting.remedies import (
    advise,
    first_open,
    is_open,
    member_of,
    number,
    objective_of,
)
from vae_jax.reporting.trends import MANY_ERRORS
from vae_jax.types import Row

LARGEST_GAP = 0.2
"""Share of the KL that q(z|x) may lose by not being the posterior without being poor inference."""
LARGEST_SHORTFALL = 0.02
"""Share of the NLL of train by which that of test may exceed it without being overfitting, where
both are probabilities. The NLL of a density depends on the unit of x, its difference does not."""
LARGEST_SHORTFALL_PER_VALUE = 0.005
"""Nats per dimension of x by which it may where they are densities."""
SMALLEST_GAP = 0.1
"""Nats below which an inference gap is none, whatever share of a vanishing KL it is."""
LARGEST_SANDWICH = 1.0
"""Nats by which bounds of the same quantity may differ and still be trusted."""
LARGEST_LOSS = 0.05
"""Share of samples that may leave the data when their codes come from the prior."""
LARGEST_INFORMATION = 0.1
"""Nats that the code of a collapsed latent may carry at most."""
LARGEST_MISFIT = 2.0
"""Factor by which a fixed scale may differ from the deviation of the reconstructions."""

NUM_VALUES = "num_values"
"""Key of pixels times channels, a fact of the data that stands beside a run's columns."""
FREE_BITS = "0.25"
"""Nats that are advised for ``--free_bits``, without which that penalty is none (Kingma et al. 2016
try 0.125 to 2)."""
PARTICLES = "5"
"""Particles that are advised for ``--objective=iwae``, which is the ELBO with one."""

_FREE_BITS = "free_bits"
_NUM_LOOKS = 10
"""Evaluations on valid of which a trend can be told, for which an interval is advised."""
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
            (what is in force already is not advised) and, under :data:`NUM_VALUES`, the size of x,
            under ``remedies.IS_ACCEPTED`` what the command line would refuse.
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
    variance, family = run.get("variance_per_latent"), member_of(run, "posterior")
    if not variance or (family is not None and not family.has_coordinates):
        return None
    collapsed = _collapsed(run, variance)
    name, size = "posterior collapse", len(variance)
    if run.get("test_log_likelihood") is not None and run.get("test_log_likelihood_se", 0) is None:
        return Diagnostic(name, None, "needs at least 2 test examples")
    still = sum(value <= ACTIVE_THRESHOLD for value in variance) - len(collapsed)
    if not collapsed:
        narrow = f", {still} of them in a narrow range" if still > 0 else ""
        return Diagnostic(name, False, f"{size} of {size} latents are active{narrow}")
    names = ", ".join(map(format.latent, collapsed[:_MOST_NAMED]))
    others = len(collapsed) - _MOST_NAMED
    more = f" and {others} others" if others > 0 else ""
    left = size - len(collapsed)
    fewer = f"--latent_size={left}" if left else ""
    if not left:
        less = " The decoder ignores z altogether"
    else:
        less = f" {fewer} loses little" if is_open(run, fewer) else ""
    is_holed = _is_found(_holes(run, history, is_alone=True))
    remedies = [
        *([_scale_mode(run, "optimal")] if _misfit(run) else []),
        _warmup(run),
        f"--kl_penalty=free_bits --free_bits={FREE_BITS}",
        *([] if is_holed or run.get("kl_penalty", "beta") != "beta" else ["a smaller --beta"]),
        *(["a larger --free_bits"] if run.get("kl_penalty") == "free_bits" else []),
        *(["a larger --capacity"] if run.get("kl_penalty") == "capacity" else []),
    ]
    remedy = advise(run, *remedies)
    message = (
        f"Posterior collapse: the codes {names}{more} ({len(collapsed)} of {size}) hardly depend "
        f"on x{_kl_of(run, collapsed)}{_since(run, history)}.{less}"
    )
    if remedy and less:
        message += f"; to use more, t{remedy[1:]}"
    elif remedy:
        message += f" To use more, t{remedy[1:]}"
    elif less:
        message += "."
    return Diagnostic(name, True, message)


def _collapsed(run: Row, variance: Sequence[int | float]) -> list[int]:
    """Return the latents whose center hardly varies, beside what their codes carry.

    Without a density there is no unit for a code to be small in but that of the other codes; with
    one, a code of little variance is counted only where it cannot carry much.
    """
    if "test_elbo" in run and run["test_elbo"] is None:
        largest = max(variance)
        few = ACTIVE_THRESHOLD * min(largest, 1.0)
        return [i for i, value in enumerate(variance) if value <= few]
    kl = run.get("kl_per_latent") or []
    carried = [kl[i] if i < len(kl) and kl[i] is not None else 0.0 for i in range(len(variance))]
    return [
        i
        for i, value in enumerate(variance)
        if value <= ACTIVE_THRESHOLD and _most_carried(value, carried[i]) <= LARGEST_INFORMATION
    ]


def _most_carried(variance: int | float, kl: int | float) -> float:
    """Return a bound on the nats that a Gaussian code of this variance and KL carries.

    A code of variance v with noise of variance s carries at most ln(1 + v / s) / 2, and its KL is
    at least (s - 1 - ln s) / 2, so that s is at least exp(-1 - 2 KL): what varies little carries
    much only where q(z|x) is narrow.
    """
    return 0.5 * math.log1p(variance * math.exp(min(1 + 2 * kl, 700.0)))


def _is_found(result: Diagnostic | None) -> bool:
    return result is not None and bool(result.is_found)


def _warmup(run: Row) -> str:
    """Return the advice of a warm-up of the KL, over half of the updates where these are known."""
    num_steps = int(number(run, "num_steps"))
    return f"--kl_warmup_steps={num_steps // 2}" if num_steps > 1 else "--kl_warmup_steps"


def _scale_mode(run: Row, mode: str) -> str:
    """Return the advice of another mode of the scale; no initial one goes with ``optimal``."""
    is_given = mode == "optimal" and number(run, "scale", 1.0) != 1.0
    return f"--scale_mode={mode}" + (" (without --scale)" if is_given else "")


def _trained_for(run: Row) -> str:
    """Return what q(z|x) and p(x|z) are trained for where that is not the ELBO; "" where it is.

    Example:
        >>> _trained_for({"objective": "elbo", "beta": 4.0}), _trained_for({"beta": 1.0})
        ('beta = 4', '')
    """
    objective, penalty = objective_of(run), run.get("kl_penalty", "beta")
    is_of_one = number(run, "num_particles", math.inf) == 1  # one weight: the ELBO by another name
    if objective is None or not (objective.is_elbo or (objective.has_weights and is_of_one)):
        return f"--objective={run.get('objective')}"
    if number(run, "free_bits", math.inf) == 0 and penalty == _FREE_BITS:
        penalty = "beta"  # none are free
    strengths = [name for family in REGULARIZERS.values() for name in family.strengths()]
    others = [f"--kl_penalty={penalty}"] if penalty != "beta" else []
    others += [f"--{name}={number(run, name):g}" for name in strengths if number(run, name)]
    others += [f"--regularizer={run['regularizer']}"] if run.get("regularizer") else []
    beta, warmup = number(run, "beta", 1.0), number(run, "kl_warmup_steps")
    end = number(run, "best_step", number(run, "step", warmup))
    others += ["a warm-up of the KL that had not ended"] if warmup > end else []
    return ", ".join(([f"beta = {beta:g}"] if beta != 1 else []) + others)


def _kl_of(run: Row, latents: Sequence[int]) -> str:
    kl = run.get("kl_per_latent") or []
    if run.get("test_kl") is None or len(kl) <= max(latents) or None in kl:
        return ""
    own = format.real(sum(kl[i] for i in latents))
    return f" and carry {own} of {format.nats(run['test_kl'])}"


def _since(run: Row, history: Sequence[Row]) -> str:
    """Return the first step after which no more latents were active on valid than at the end.

    The end is the look whose weights are evaluated.
    """
    name, end = "valid_active_units", number(run, "best_step", math.inf)
    counts = [
        (row["step"], row[name])
        for row in history
        if row["step"] <= end and table.is_number(row.get(name))
    ]
    if not counts:
        return ""
    steps, active = zip(*counts, strict=True)
    later = [max(active[i:]) for i in range(len(active))]
    since = steps[next(i for i, most in enumerate(later) if most <= active[-1])]
    return f", since step {format.count(since)} at the latest on valid"


class _Misfit(NamedTuple):
    """Fixed scale that does not fit.

    Attributes:
        scale: the fixed one.
        best: the one under which the test examples are most likely, reconstructions held.
        lost: nats per example that the fixed one loses.
        power: power of the deviation in -log p(x|z).
    """

    scale: float
    best: float
    lost: float
    power: float


def _misfit(run: Row) -> _Misfit | None:
    """Return the fixed scale with the one that fits, if they differ widely."""
    family, scale = member_of(run, "likelihood"), number(run, "scale")
    num, log_likelihood = run.get(NUM_VALUES), run.get("test_log_likelihood")
    if run.get("scale_mode") != "fixed" or family is None or scale <= 0:
        return None
    if not num or log_likelihood is None:
        return None
    others = [each.name for each in family.hparams if each.name != "scale" and each.name in run]
    settings = {name: number(run, name) for name in others}
    best = family.best_scale(log_likelihood, scale, num, **settings)
    if best is None or abs(math.log(scale / best.scale)) <= math.log(LARGEST_MISFIT):
        return None
    return _Misfit(scale, best.scale, best.log_likelihood - log_likelihood, best.power)


def _scale(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare a fixed scale of p(x|z) with the deviation of the reconstructions."""
    del history
    found = _misfit(run)
    if found is None:
        return None
    remedies = [_scale_mode(run, mode) for mode in ("optimal", "learned")]
    message = (
        f"The scale does not fit: p(x|z) has the fixed scale {found.scale:g}, but the test "
        f"examples deviate by {found.best:.2g} from their reconstructions; with that scale the "
        f"log-likelihood would be {format.nats(found.lost)} higher. {_weight_of_kl(run, found)}"
        + advise(run, *remedies, f"--scale={found.best:.2g}")
    )
    return Diagnostic("a scale that does not fit", True, message)


def _weight_of_kl(run: Row, found: _Misfit) -> str:
    """Return what a scale does to the weight of the KL, beta included; "" where there is no KL.

    log p(x|z) over beta has the form of one with the scale times beta^(1/power): beta = 0.01 with
    the scale 1 of a Gaussian trains as beta = 1 with the scale 0.1 does.
    """
    beta = number(run, "beta", 1.0)
    if run.get("test_kl") is None or beta <= 0:
        return ""
    trained = found.scale * beta ** (1 / found.power)
    if abs(math.log(trained / found.best)) <= math.log(LARGEST_MISFIT):
        return (
            f"With beta = {beta:g} the KL weighs as with the scale {trained:.2g}, which fits; the "
            "log-likelihood, ELBO and NLL are those of the fixed one. "
        )
    if trained > found.best:
        return (
            "The KL weighs too much, which draws reconstructions to the mean of the data (mean "
            "images) and collapses codes. "
        )
    return "The KL weighs too little. "


def _overfitting(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find an NLL of test above that of train, at equal K, or a valid ELBO past its peak."""
    gap, error, name = run.get("nll_gap"), run.get("nll_gap_se"), "overfitting"
    if run.get("test_elbo") is None:
        family = member_of(run, "posterior")
        if family is None or family.has_density:
            return None
        return Diagnostic(name, None, f"--posterior={run['posterior']} has no density, so no NLL")
    if gap is None or error is None:
        return Diagnostic(name, None, "needs at least 2 test examples with a finite NLL")
    above = _gap_in_words(run, gap, error)
    fall = _fall(run, history, gap, error)
    is_above = gap > max(MANY_ERRORS * error, _smallest_shortfall(run))
    if not is_above and fall is None:
        return Diagnostic(name, False, above)
    facts = [above] if fall is None else [fall, above]
    few = ["--keep=best", "fewer --num_steps"] if fall else []
    fresh = ["--binarize=dynamic"] if run.get("binarize") == "static" else []
    remedy = advise(run, *few, *fresh, *_size(run, "smaller"), "more data")
    return Diagnostic(name, True, f"Overfitting: {', and '.join(facts)}. {remedy}")


def _smallest_shortfall(run: Row) -> float:
    """Return the nats by which the NLL of test may exceed that of train.

    Of probabilities it is a share of the NLL. Of densities, whose NLL has no zero (another unit of
    x adds to it), it is a number of nats for each dimension of x.
    """
    family = member_of(run, "likelihood")
    if "likelihood" in run and (family is None or not family.is_discrete):
        return max(SMALLEST_GAP, LARGEST_SHORTFALL_PER_VALUE * (run.get(NUM_VALUES) or 0))
    return LARGEST_SHORTFALL * abs(run.get("train_nll") or 0.0)


def _size(run: Row, word: str) -> list[str]:
    """Return the advice of a smaller or wider network, by a setting that it has."""
    others = {"smaller": "fewer", "wider": "more"}
    return first_open(run, f"{word} --hidden_sizes", f"{others[word]} --channels")


def _gap_in_words(run: Row, gap: float, error: float) -> str:
    """Return the difference between test and train, and what else than the decoder it may be of."""
    side, size = ("above", gap) if gap >= 0 else ("below", -gap)
    text = f"the NLL of test is {format.with_error(size, error)} nats {side} that of train"
    if gap <= MANY_ERRORS * error or not _is_gap_of_loose_bounds(run):
        return text
    particles = int(number(run, "eval_particles"))
    text += (
        ", by bounds that are loose (see the NLL)"
        if run.get("test_nll_distrust")
        else (f", by bounds with K = {MOST_PARTICLES}, which are loose")
    )
    text += ", so that it counts what the encoder loses on new examples as well"
    if particles < MOST_PARTICLES:
        return f"{text}, and less of that with {_more_particles(run)}"
    return f"{text}; the decoder's own part is less"


def _is_gap_of_loose_bounds(run: Row) -> bool:
    """Return whether the bounds that are compared, with K = 100 at most, are loose."""
    if (run.get("test_ess_low_share") or 0.0) > LARGEST_SHARE:
        return True
    particles, effective = int(number(run, "eval_particles")), run.get("test_ess_median")
    if effective is None or particles <= MOST_PARTICLES:
        return False
    share = np.array([max(1.0, effective * MOST_PARTICLES / particles)])
    return share_of_doubtful(share, MOST_PARTICLES) > 0


def _fall(run: Row, history: Sequence[Row], gap: float, error: float) -> str | None:
    """Return how the valid ELBO fell from its peak while that of train did not; None if not so.

    It is asked only where the ELBO is what is maximised. The peak itself, chosen for its height,
    is left out of the trend; and the fall, or the gap, must exceed what other examples may change.
    Train must not fall alike: its lead over valid has to rise as well, and where it falls by half
    as much or more, it is training that went wrong on both.
    """
    own = _curve(run, history)
    if run.get("best_step") is not None:
        return None  # the weights are those of the peak
    if _trained_for(run) or own is None or own.error is None or _rises(own):
        return None
    peak = max(range(len(own.values)), key=own.values.__getitem__)
    fall, after = own.values[peak] - own.values[-1], own.steps[peak + 1 :]
    if not _is_rise(after, [-value for value in own.values[peak + 1 :]], own.error):
        return None
    if gap <= MANY_ERRORS * error and fall <= MANY_ERRORS * own.error:
        return None
    name = "train_elbo"
    train = {row["step"]: row[name] for row in history if table.is_number(row.get(name))}
    known = [train[step] for step in own.steps[peak:] if step in train]
    if len(known) > len(after):
        leads = [a - b for a, b in zip(known, own.values[peak:], strict=True)]
        if known[0] - known[-1] > fall / 2 or not _is_rise(after, leads[1:], own.error):
            return None
    since = format.count(own.steps[peak])
    return (
        f"the valid ELBO has fallen by {format.nats(fall)} since step {since} and that of train "
        "has not"
    )


def _inference(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare what the ELBO lies below the best estimate of log p(x) with the KL."""
    elbo, kl, nll = run.get("test_elbo"), run.get("test_kl"), run.get("test_nll")
    if elbo is None or kl is None or nll is None:
        return None
    name, gap, error = "poor inference", -elbo - nll, run.get("test_bound_gain_se")
    if int(number(run, "eval_particles", 2.0)) < 2:
        return Diagnostic(name, None, f"needs {_more_particles(run)}")
    if error is None and "test_bound_gain_se" in run:
        return Diagnostic(name, None, "needs at least 2 test examples")
    facts = f"the ELBO is at least {format.with_error(gap, error)} nats below log p(x)"
    if gap < 0:
        facts = (
            f"the bound of the NLL is {format.with_error(-gap, error)} nats below the ELBO, by the "
            "noise of its estimate"
        )
    facts += f", {format.share(gap / kl)} of the KL" if kl > max(SMALLEST_GAP, gap / 10) else ""
    family, encoder = run.get("approximation_gap"), run.get("amortization_gap")
    if family is not None and encoder is not None:
        facts += (
            f"; on the first {run.get('gap_examples', '?')} test examples "
            f"{_with_error(run, 'approximation_gap')} nats are due to the family and "
            f"{_with_error(run, 'amortization_gap')} to the encoder"
        )
    largest = max(LARGEST_GAP * kl, SMALLEST_GAP)
    if gap - MANY_ERRORS * (error or 0.0) <= largest:
        return Diagnostic(name, False, facts)
    if _trained_for(run):
        return Diagnostic(name, False, f"{facts}; {_other_posterior(run)}")
    weighted = "" if number(run, "num_particles", 1.0) > 1 else f" --num_particles={PARTICLES}"
    is_overfitted = _is_found(_overfitting(run, history))
    own = member_of(run, "posterior")
    full = ["--posterior=full_gaussian"] if own is not None and own.has_latent_densities else []
    richer = first_open(run, "--posterior=iaf", *full)
    wider = ["more data"] if is_overfitted else _size(run, "wider")
    remedies = [*richer, f"--objective=iwae{weighted}", *wider]
    if encoder is not None and family is not None and family <= encoder:
        remedies = [*wider, *richer, f"--objective=iwae{weighted}"]
    return Diagnostic(name, True, f"Poor inference: {facts}. {advise(run, *remedies)}".rstrip())


def _more_particles(run: Row) -> str:
    return f"more --eval_particles (here {run.get('eval_particles') or '?'})"


def _other_posterior(run: Row) -> str:
    """Return what q(z|x) approximates where the ELBO is not maximised."""
    goal, beta = _trained_for(run), number(run, "beta", 1.0)
    if goal != f"beta = {beta:g}":
        return f"trained with {goal}, q(z|x) is not meant to be p(z|x)"
    if beta == 0:
        return "with beta = 0 nothing draws q(z|x) to p(z|x)"
    return (
        f"with {goal} q(z|x) is trained for the posterior under p(x|z)^(1/beta), not for p(z|x), "
        "and is as far from it as that is"
    )


def _holes(run: Row, history: Sequence[Row], *, is_alone: bool = False) -> Diagnostic | None:
    """Compare samples at codes from the prior with samples at codes of real examples.

    Args:
        run: row of results.
        history: the run's learning curve.
        is_alone: whether other checks are left out of what is advised.
    """
    name = "prior holes"
    drawn, coded = run.get("precision_pixels"), run.get("precision_aggregate")
    if drawn is None or coded is None:
        return _no_samples(run, name)
    errors = (run.get("precision_pixels_se") or 0.0, run.get("precision_aggregate_se") or 0.0)
    lost, error = coded - drawn, math.hypot(*errors)
    mmd = (format.real(run.get(f"mmd_{of}") or 0.0, 4) for of in ("pixels", "aggregate"))
    facts = (
        f"{format.share(drawn)} of samples with z from the prior lie near test examples, "
        f"{format.share(coded)} of those with z of real ones; MMD {' against '.join(mmd)}"
    )
    if lost <= max(LARGEST_LOSS, MANY_ERRORS * error):
        return Diagnostic(name, False, facts)
    is_collapsed = not is_alone and _is_found(_collapse(run, history))
    has_beta = run.get("kl_penalty", "beta") == "beta" and not is_collapsed
    remedy = advise(run, "--prior=vamp", "--prior=flow", *(["a larger --beta"] if has_beta else []))
    return Diagnostic(name, True, f"Prior holes: {facts}. {remedy}".rstrip())


def _no_samples(run: Row, name: str) -> Diagnostic:
    """Return why there are no samples to judge the prior by."""
    own, asked = "samples", _with_evaluation(run, "samples")
    if asked is None:
        return Diagnostic(name, None, f"--evaluate={own} has given no precision")
    if not is_open(run, asked):
        return Diagnostic(name, None, "the codes are not trained to follow the prior")
    return Diagnostic(name, None, f"needs --evaluate={own}")


def _with_evaluation(run: Row, name: str) -> str | None:
    """Return the advice of an evaluation beside those of the run; None where it was made."""
    given = str(run.get("evaluate") or "nll")
    return None if name in given.split(",") else f"--evaluate={given},{name}"


def _untrusted(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Check the weights of the NLL, the sandwich of BDMC, and AIS against importance weights."""
    del history
    name, found, facts = "estimates not to be trusted", [], []
    distrust, effective = run.get("test_nll_distrust") or "", run.get("test_ess_median")
    distrust, is_of_weights, _ = distrust.partition("; raise --eval_particles")
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
    beaten = ""
    for column, examples in (("ais_gain", "test examples"), ("bdmc_gain", "samples of the model")):
        if run.get(column) is None:
            continue
        error = run.get(f"{column}_se")
        side, size = ("above", run[column]) if run[column] >= 0 else ("below", -run[column])
        facts.append(
            f"AIS is {format.with_error(size, error)} nats {side} the bound with "
            f"K = {format.count(EVIDENCE_PARTICLES)} on {examples}"
        )
        if error is None or size <= max(LARGEST_SANDWICH, MANY_ERRORS * error):
            continue
        if side == "below":  # of two lower bounds the lower one is loose
            found.append(f"Do not trust AIS at these settings: {facts[-1]}{_more(run, *_OF_AIS)}")
        elif int(number(run, "eval_particles")) <= EVIDENCE_PARTICLES:
            beaten = facts[-1]
    doubts = [each for each in (distrust, beaten) if each]
    if doubts:
        other = _with_evaluation(run, "ais") if is_of_weights and not beaten else None
        remedy = advise(run, _more_particles(run), *([other] if other else []))
        remedy = f". {remedy}" if is_of_weights or beaten else ""
        found.append(f"Do not trust the NLL: {'; '.join(doubts)}{remedy}")
    if not facts and not found:
        if run.get("test_nll") is None or int(number(run, "eval_particles", 2.0)) > 1:
            return None
        return Diagnostic(name, None, f"one weight says nothing of others; {_more_particles(run)}")
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
    has_scale = "scale_mode" in run
    remedy = advise(
        run,
        "--compute_dtype=float64",
        *(["a larger --scale"] if has_scale else []),
        "a smaller --learning_rate",
    )
    message = (
        f"Not finite, and left empty with all that is computed from it: {names}. There a density "
        f"or a weight is beyond the range of the floats. {remedy}"
    )
    return Diagnostic("numbers that are not finite", True, message)


def _with_error(run: Row, name: str) -> str:
    return format.with_error(run[name], run.get(f"{name}_se"))


def _more(run: Row, *names: str) -> str:
    options = [f"more --{name} (here {run.get(name, '?')})" for name in names]
    return f". {advise(run, *options)}".rstrip()


def _unfinished(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find a rise, at the end, of what is maximised on valid."""
    name, last = "unfinished learning", max((row["step"] for row in history), default=0)
    stopped = bool(run.get("stopped"))
    for setting, subject in _RAMPS.items():
        length = int(number(run, setting))
        if length > last > 0:
            longer = "more --patience" if stopped else "more --num_steps"
            message = (
                f"Learning is not finished: at step {format.count(last)} {subject} "
                f"(--{setting}={length}). {advise(run, longer, f'fewer --{setting}')}"
            )
            return Diagnostic(name, True, message)
    if run.get("schedule", "constant") != "constant" and not stopped:
        return Diagnostic(
            name,
            None,
            f"the learning rate ends at 0 with --schedule={run['schedule']}, and so does any rise; "
            "more --num_steps would show whether more is left",
        )
    own = _curve(run, history)
    trend = None if own is None else _end(own)
    if own is None or trend is None:
        return Diagnostic(name, None, _too_few_looks(run, last))
    span = trends.last_third(own.steps)[-1] - trends.last_third(own.steps)[0]
    facts = (
        f"over the last {format.count(span)} steps the valid {own.title} changed by "
        f"{'+' if trend.change > 0 else ''}{format.with_error(trend.change, trend.error)} nats"
    )
    if not trend.is_rise:
        return Diagnostic(name, False, facts)
    longer = "more --patience" if stopped else "more --num_steps"
    is_fast = _is_found(_not_finite(run, history))
    remedy = advise(run, longer, *([] if is_fast else ["a larger --learning_rate"]))
    return Diagnostic(name, True, f"Learning is not finished: {facts}. {remedy}".rstrip())


def _too_few_looks(run: Row, last: int) -> str:
    """Return why a curve has no trend, with an interval of which it would have one."""
    begin = max(int(number(run, name)) for name in _RAMPS)
    needed = f"needs {trends.FEWEST} evaluations on valid{' after all warm-ups' * (begin > 0)}"
    every, given = (last - begin) // _NUM_LOOKS, int(number(run, "eval_every"))
    if 0 < last - begin < trends.FEWEST:
        return f"{needed}; give more --num_steps"
    if every < 1 or (given and every >= given) or not is_open(run, f"--eval_every={every}"):
        return f"{needed}; give a smaller --eval_every, or more --num_steps"
    return f"{needed}; give a smaller --eval_every, as --eval_every={every}"


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
    begin = max(int(number(run, name)) for name in _RAMPS)
    rows = [row for row in history if row["step"] >= begin]
    beta, title, terms = number(run, "beta", 1.0), "ELBO", {"valid_elbo": 1.0}
    is_of_beta = _trained_for(run) == f"beta = {beta:g}"
    if not any(table.is_number(row.get("valid_elbo")) for row in rows) or (is_of_beta and not beta):
        title, terms = "log-likelihood", {"valid_log_likelihood": 1.0}
    elif is_of_beta:
        title = f"log-likelihood - {beta:g} KL"
        terms = {"valid_log_likelihood": 1.0, "valid_kl": -beta}
    known = [row for row in rows if all(table.is_number(row.get(name)) for name in terms)]
    if not known:
        return None
    values = [sum(weight * row[name] for name, weight in terms.items()) for row in known]
    error = known[-1].get("valid_elbo_se")
    is_known = table.is_number(error)
    return _Curve(title, [row["step"] for row in known], values, error if is_known else None)


def _end(own: _Curve) -> trends.Trend | None:
    """Return the trend of the last third of a curve."""
    steps = trends.last_third(own.steps)
    return trends.trend(steps, own.values[-len(steps) :], own.error)


def _rises(own: _Curve) -> bool:
    trend = _end(own)
    return trend is not None and trend.is_rise


def _is_rise(steps: Sequence[int], values: Sequence[float], error: float | None) -> bool:
    trend = trends.trend(steps, values, error)
    return trend is not None and trend.is_rise


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
