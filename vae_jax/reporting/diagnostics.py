"""Diagnostics: seven health checks of a run, each with a number and, where it fails, a remedy.

Posterior collapse, overfitting, poor inference, prior holes, estimates that are not to be trusted,
numbers that are not finite, unfinished learning. A check without its numbers is reported as not
made. The thresholds are rules of thumb and stand here with their reasons.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.elbo import ACTIVE_THRESHOLD
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.models.combinations import Spelling, refused_priors
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.reporting import format, table
from vae_jax.types import Row

LARGEST_GAP = 0.2
"""Share of the KL that q(z|x) may lose by not being the posterior without being poor inference."""
LARGEST_SHORTFALL = 0.02
"""Share of the NLL of train by which that of test may exceed it without being overfitting."""
LARGEST_SANDWICH = 1.0
"""Nats by which bounds of the same quantity may differ and still be trusted."""
LARGEST_LOSS = 0.05
"""Share of samples that may leave the data when their codes come from the prior."""
SMALLEST_RISE = 1e-3
"""Relative rise of the valid ELBO over the last third of the evaluations that is not noise."""
LARGEST_FALL = 0.5
"""Nats that the valid ELBO, whose noise is the same at each evaluation, may fall from its peak."""
MANY_ERRORS = 2.0
"""Standard errors from which a difference counts."""

_MOST_NAMED = 6  # latents or runs that are named one by one


class Diagnostic(NamedTuple):
    """Result of one check of one run.

    Attributes:
        problem: name of the problem.
        is_found: whether the run has it.
        message: a sentence with the numbers and a remedy if it is found, otherwise the number that
            speaks against it.

    Example:
        >>> Diagnostic("posterior collapse", False, "4 of 4 latents are active").is_found
        False
    """

    problem: str
    is_found: bool
    message: str


def diagnose_run(run: Row, history: Sequence[Row]) -> list[Diagnostic]:
    """Return the results of the checks for which there are numbers; none for a diverged run.

    Args:
        run: row of results, with ``kl_per_latent`` and ``variance_per_latent``, and the flags as
            text: what is in force already is not advised.
        history: the run's rows of ``metrics.jsonl``.

    Example:
        >>> run = {"test_elbo": -98.0, "test_kl": 25.0, "variance_per_latent": [0.9, 0.8]}
        >>> [(d.problem, d.is_found, d.message) for d in diagnose_run(run, [])]
        [('posterior collapse', False, '2 of 2 latents are active')]
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
    if not diagnostics:
        return []
    absent = [f"{each.problem} ({each.message})" for each in diagnostics if not each.is_found]
    checked = {each.problem for each in diagnostics}
    unchecked = [f"{name} (needs {flag})" for name, flag in _NEEDS.items() if name not in checked]
    return [
        *(each.message for each in diagnostics if each.is_found),
        *([f"Not found: {'; '.join(absent)}."] if absent else []),
        *([f"Not checked: {'; '.join(unchecked)}."] if unchecked else []),
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
            if each.problem == problem
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
    message = (
        f"Posterior collapse: the codes {names}{more} ({len(collapsed)} of {size}) hardly depend "
        f"on the image{_kl_of(run, collapsed)}{_since(history)}. {less}; to use more, "
        + _try(run, "--kl_warmup_steps", "--kl_penalty=free_bits", "a smaller --beta").lower()
    )
    return Diagnostic(name, True, message)


def _try(run: Row, *remedies: str) -> str:
    """Return "Try this, or that." without flags of that value and members that do not fit."""
    flags = {f"--{name}={value}" for name, value in run.items()}
    left = [remedy for remedy in remedies if remedy not in flags and _fits(run, remedy)]
    return f"Try {', '.join(left[:-1])}{', or ' if left[1:] else ''}{left[-1]}."


def _fits(run: Row, remedy: str) -> bool:
    """Return whether the posterior or prior that a remedy names goes with the other of the run."""
    name, _, member = remedy.removeprefix("--").partition("=")
    chosen = {each: str(run.get(each)) for each in ("posterior", "prior")} | {name: member}
    if name not in ("posterior", "prior") or "None" in chosen.values():
        return True
    posterior, prior = POSTERIORS.get(chosen["posterior"]), PRIORS.get(chosen["prior"])
    if posterior is None or prior is None:  # from outside: nothing is known of it here
        return False
    return not list(refused_priors(posterior, prior, Spelling(chosen)))


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


def _overfitting(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find an NLL of test above that of train, at equal K, or a valid ELBO past its peak."""
    gap, error = run.get("nll_gap"), run.get("nll_gap_se")
    if gap is None or error is None:
        return None
    steps, elbos = _curve(history)
    fall = float(elbos.max() - elbos[-1]) if len(elbos) else 0.0
    above = f"the NLL of test is {format.with_error(gap, error)} nats above that of train"
    enough = max(MANY_ERRORS * error, LARGEST_SHORTFALL * abs(run.get("train_nll") or 0.0))
    if gap <= enough and fall <= LARGEST_FALL:
        return Diagnostic("overfitting", False, above)
    peak = ""
    if fall > LARGEST_FALL:
        peak = f", and the valid ELBO has fallen by {format.nats(fall)} since step "
        peak += format.count(int(steps[elbos.argmax()]))
    few = ["fewer --num_steps"] if fall > LARGEST_FALL else []
    fresh = ["--binarize=dynamic"] if run.get("binarize") == "static" else []
    remedy = _try(run, *few, *fresh, "smaller --hidden_sizes", "more data")
    return Diagnostic("overfitting", True, f"Overfitting: {above}{peak}. {remedy}")


def _inference(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare what the ELBO lies below the best estimate of log p(x) with the KL."""
    del history
    elbo, kl, nll = run.get("test_elbo"), run.get("test_kl"), run.get("test_nll")
    if elbo is None or kl is None or nll is None or kl <= 0:
        return None
    gap, remedies = -elbo - nll, ["--posterior=iaf", "--objective=iwae", "wider --hidden_sizes"]
    facts = f"the ELBO is at least {format.nats(gap)} below log p(x), {format.share(gap / kl)} of "
    facts += "the KL"
    family, encoder = run.get("approximation_gap"), run.get("amortization_gap")
    if family is not None and encoder is not None:
        facts += (
            f"; on the first {run.get('gap_examples', '?')} test examples "
            f"{_with_error(run, 'approximation_gap')} nats are due to the family and "
            f"{_with_error(run, 'amortization_gap')} to the encoder"
        )
        remedies = remedies if family > encoder else [remedies[-1], *remedies[:-1]]
    if gap <= LARGEST_GAP * kl:
        return Diagnostic("poor inference", False, facts)
    return Diagnostic("poor inference", True, f"Poor inference: {facts}. {_try(run, *remedies)}")


def _holes(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Compare samples at codes from the prior with samples at codes of real images."""
    del history
    drawn, coded = run.get("precision_pixels"), run.get("precision_aggregate")
    if drawn is None or coded is None:
        return None
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
            found.append("Do not trust AIS at these settings: " + facts[-1] + _more(run, "ais"))
    for name, examples in (("ais_gain", "test examples"), ("bdmc_gain", "samples of the model")):
        if run.get(name) is None:
            continue
        facts.append(
            f"AIS is {_with_error(run, name)} nats above the bound with K = "
            f"{format.count(EVIDENCE_PARTICLES)} on {examples}"
        )
        if _is_beyond(run, name):
            distrust = f"{distrust} {facts[-1]}{_more(run, 'nll')}".strip()
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


def _is_beyond(run: Row, gain: str) -> bool:
    """Return whether AIS shows a poor NLL that has no more weights than the bound beside AIS."""
    is_large = run[gain] > max(LARGEST_SANDWICH, MANY_ERRORS * (run.get(f"{gain}_se") or 0.0))
    return is_large and int(run.get("eval_particles") or 0) <= EVIDENCE_PARTICLES


def _with_error(run: Row, name: str) -> str:
    return format.with_error(run[name], run.get(f"{name}_se") or 0.0)


def _more(run: Row, estimate: str) -> str:
    names = ("ais_steps", "ais_chains") if estimate == "ais" else ("eval_particles",)
    options = [f"more --{name} (here {run.get(name, '?')})" for name in names]
    return f". {_try(run, *options)}"


def _unfinished(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Find a rise of the valid ELBO over the last third of the evaluations, at least three."""
    steps, elbos = _curve(history)
    last = max(3, -(-len(steps) // 3))
    if len(steps) < last:
        return None
    x, y = steps[-last:].astype(float), elbos[-last:]
    slope, error = _slope(x, y)
    span = float(x[-1] - x[0])
    change, change_error = slope * span, error * span
    facts = (
        f"over the last {format.count(int(span))} steps the valid ELBO changed by "
        f"{'+' if change > 0 else ''}{format.with_error(change, change_error)} nats"
    )
    if change <= max(SMALLEST_RISE * abs(y[-1]), MANY_ERRORS * change_error):
        return Diagnostic("unfinished learning", False, facts)
    remedy = _try(run, "more --num_steps", "a larger --learning_rate")
    return Diagnostic("unfinished learning", True, f"Learning is not finished: {facts}. {remedy}")


def _curve(history: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the valid ELBO or, without a density, of the log-likelihood."""
    names = ("valid_elbo", "valid_log_likelihood")
    name = next((n for n in names if any(table.is_number(row.get(n)) for row in history)), names[0])
    points = [(row["step"], row[name]) for row in history if table.is_number(row.get(name))]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, int), np.array(values, float)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the least-squares slope and its standard error."""
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    residual = y - y.mean() - slope * centred
    variance = residual @ residual / (len(x) - 2) / (centred @ centred)
    return float(slope), math.sqrt(variance)


_CHECKS: dict[str, Callable[[Row, Sequence[Row]], Diagnostic | None]] = {
    "posterior collapse": _collapse,
    "overfitting": _overfitting,
    "poor inference": _inference,
    "prior holes": _holes,
    "estimates not to be trusted": _untrusted,
    "numbers that are not finite": _not_finite,
    "unfinished learning": _unfinished,
}
_NEEDS = {"prior holes": "--evaluate=samples"}
"""Flags without which a check has no numbers."""
