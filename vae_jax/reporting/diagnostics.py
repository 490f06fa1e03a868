"""What may be wrong with a run: seven questions, each answered with a number and a flag to try.

Posterior collapse, overfitting, poor inference, prior holes, an estimator that is not to be
trusted, numbers that are not finite, learning that is not finished. A question whose numbers were
not asked for is named as not examined. The thresholds are rules of thumb, and stand here with their
reasons.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.elbo import ACTIVE_THRESHOLD
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.reporting import table
from vae_jax.reporting.summary import number
from vae_jax.types import Row

LARGEST_GAP = 0.2
"""Share of the KL that may be paid for q(z|x) not being the posterior: then it is no detail."""
LARGEST_SHORTFALL = 0.02
"""Share of the NLL of train by which that of test may exceed it: no reason to change anything."""
LARGEST_SANDWICH = 1.0
"""Nats that bounds of the same quantity may differ by."""
LARGEST_LOSS = 0.05
"""Share of samples that may leave the data when their codes come from the prior."""
SMALLEST_RISE = 1e-3
"""Rise of the valid ELBO over the last third of the visits, relative to it, that is no noise."""
LARGEST_FALL = 0.5
"""Nats by which the valid ELBO, whose noise is the same at every visit, may fall from its peak."""
MANY_ERRORS = 2.0
"""Standard errors from which a difference counts."""

_NAMED = 6


class Diagnostic(NamedTuple):
    """An answer.

    Attributes:
        problem: what was looked for.
        is_found: whether it was found.
        words: a sentence with what to try if it was, otherwise the number that speaks against it.
    """

    problem: str
    is_found: bool
    words: str


def diagnose_run(run: Row, history: Sequence[Row]) -> list[Diagnostic]:
    """Answers to those questions for which there are numbers; none for a diverged run.

    Args:
        run: its row of results, with ``kl_per_latent`` and ``variance_per_latent``, and its flags
            as text: what is in force already is not advised.
        history: its rows of ``metrics.jsonl``.
    """
    if table.has_diverged(run):
        return []
    answers = [question(run, history) for question in _QUESTIONS.values()]
    return [answer for answer in answers if answer is not None]


def as_sentences(verdicts: Sequence[Diagnostic]) -> list[str]:
    """A sentence for each problem found, one for those looked for in vain, one for the others."""
    if not verdicts:
        return []
    calm = [f"{v.problem} ({v.words})" for v in verdicts if not v.is_found]
    looked_for = {verdict.problem for verdict in verdicts}
    missing = [f"{name} ({flag})" for name, flag in _EXAMINED_BY.items() if name not in looked_for]
    return [
        *(verdict.words for verdict in verdicts if verdict.is_found),
        *([f"Not found: {'; '.join(calm)}."] if calm else []),
        *([f"Not examined: {'; '.join(missing)}."] if missing else []),
    ]


def diagnose_study(runs: Sequence[Row], verdicts: Sequence[Sequence[Diagnostic]]) -> list[str]:
    """A sentence for each problem of the study: in how many runs, and in which."""
    sentences = []
    for problem in _QUESTIONS:
        asked = [
            (run["run"], verdict)
            for run, own in zip(runs, verdicts, strict=True)
            for verdict in own
            if verdict.problem == problem
        ]
        found = [number for number, verdict in asked if verdict.is_found]
        if found:
            which = ", ".join(map(str, found[:_NAMED])) + (", ..." if len(found) > _NAMED else "")
            name = problem[0].upper() + problem[1:]
            sentences.append(f"{name}: in {len(found)} of {len(asked)} runs ({which}).")
    return sentences


def _collapse(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Latents whose code hardly moves over the test set (Burda et al. 2016)."""
    variance = run.get("variance_per_latent")
    if not variance:
        return None
    dead = [i for i, value in enumerate(variance) if value <= ACTIVE_THRESHOLD]
    name, size = "posterior collapse", len(variance)
    if not dead:
        return Diagnostic(name, False, f"{size} of {size} latents are active")
    names = ", ".join(f"z{i + 1}" for i in dead[:_NAMED])
    more = f" and {len(dead) - _NAMED} others" if len(dead) > _NAMED else ""
    rest = size - len(dead)
    keep = f"--latent_size={rest} loses little" if rest else "the decoder ignores z altogether"
    words = (
        f"Posterior collapse: the codes {names}{more} ({len(dead)} of {size}) hardly depend on the "
        f"image{_share(run, dead)}{_since(history)}. {keep[0].upper() + keep[1:]}; to use more, "
        + _try(run, "--kl_warmup_steps", "--kl_penalty=free_bits", "a smaller --beta").lower()
    )
    return Diagnostic(name, True, words)


def _try(run: Row, *cures: str) -> str:
    """Returns "Try this, or that." without the flags that have that value already."""
    flags = {f"--{name}={value}" for name, value in run.items()}
    left = [cure for cure in cures if cure not in flags]
    return f"Try {', '.join(left[:-1])}{', or ' if left[1:] else ''}{left[-1]}."


def _share(run: Row, dead: Sequence[int]) -> str:
    kl = run.get("kl_per_latent") or []
    if run.get("test_kl") is None or len(kl) <= max(dead) or None in kl:
        return ""
    nats = number(sum(kl[i] for i in dead))
    return f" and carry {nats} of {number(run['test_kl'])} nats"


def _since(history: Sequence[Row]) -> str:
    """Since which visit no more latents were active on valid than at the last."""
    name = "valid_active_units"
    counts = [(row["step"], row[name]) for row in history if table.is_number(row.get(name))]
    if not counts:
        return ""
    steps, active = zip(*counts, strict=True)
    later = [max(active[i:]) for i in range(len(active))]
    since = steps[next(i for i, most in enumerate(later) if most <= active[-1])]
    return f", since step {since:,} at the latest on valid"


def _overfitting(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """NLL of test above that of train, at equal K; or a valid ELBO that is past its peak."""
    gap, error = run.get("nll_gap"), run.get("nll_gap_se")
    if gap is None or error is None:
        return None
    steps, elbos = _curve(history)
    fall = float(elbos.max() - elbos[-1]) if len(elbos) else 0.0
    above = f"the NLL of test is {number(gap)} ± {error:.2f} nats above that of train"
    enough = max(MANY_ERRORS * error, LARGEST_SHORTFALL * abs(run.get("train_nll") or 0.0))
    if gap <= enough and fall <= LARGEST_FALL:
        return Diagnostic("overfitting", False, above)
    peak = ""
    if fall > LARGEST_FALL:
        peak = f", and the valid ELBO has fallen by {number(fall)} nats since step "
        peak += f"{steps[int(elbos.argmax())]:,}"
    few = ["fewer --num_steps"] if fall > LARGEST_FALL else []
    fresh = ["--binarize=dynamic"] if run.get("binarize") == "static" else []
    cure = _try(run, *few, *fresh, "smaller --hidden_sizes", "more data")
    return Diagnostic("overfitting", True, f"Overfitting: {above}{peak}. {cure}")


def _inference(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """How far the ELBO lies below the best estimate of log p(x), against the KL."""
    del history
    elbo, kl, nll = run.get("test_elbo"), run.get("test_kl"), run.get("test_nll")
    if elbo is None or kl is None or nll is None or kl <= 0:
        return None
    family, encoder = run.get("approximation_gap"), run.get("amortization_gap")
    gap = -elbo - nll
    words = f"the ELBO is at least {number(gap)} nats below log p(x), {gap / kl:.0%} of the KL"
    cures = ["--posterior=iaf", "--objective=iwae", "wider --hidden_sizes"]
    if family is not None and encoder is not None:
        words += (
            f"; on the first {run.get('gap_examples', '?')} test examples "
            f"{_with_error(run, 'approximation_gap')} nats are the family's and "
            f"{_with_error(run, 'amortization_gap')} the encoder's"
        )
        cures = cures if family > encoder else [cures[-1], *cures[:-1]]
    if gap <= LARGEST_GAP * kl:
        return Diagnostic("poor inference", False, words)
    return Diagnostic("poor inference", True, f"Poor inference: {words}. {_try(run, *cures)}")


def _holes(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Samples at codes from the prior against samples at codes of real images."""
    del history
    drawn, coded = run.get("precision_pixels"), run.get("precision_aggregate")
    if drawn is None or coded is None:
        return None
    errors = (run.get("precision_pixels_se") or 0.0, run.get("precision_aggregate_se") or 0.0)
    lost, error = coded - drawn, math.hypot(*errors)
    words = (
        f"{drawn:.0%} of samples with z from the prior lie near test images, {coded:.0%} of those "
        f"with z of real images; MMD {run.get('mmd_pixels') or 0.0:.4f} against "
        f"{run.get('mmd_aggregate') or 0.0:.4f}"
    )
    if lost <= max(LARGEST_LOSS, MANY_ERRORS * error):
        return Diagnostic("prior holes", False, words)
    cure = _try(run, "--prior=vamp", "--prior=flow", "a larger --beta")
    return Diagnostic("prior holes", True, f"Prior holes: {words}. {cure}")


def _untrusted(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """The weights of the NLL, the sandwich of BDMC, and AIS against the importance weights."""
    del history
    found, words = [], []
    distrust, effective = run.get("test_nll_distrust") or "", run.get("test_ess_median")
    if effective is not None:
        particles = run.get("eval_particles") or "?"
        words.append(f"in the median {effective:.0f} of K = {particles} weights count")
    gap = run.get("bdmc_gap")
    if gap is not None:
        words.append(f"BDMC's bounds are {_with_error(run, 'bdmc_gap')} nats apart")
        if gap > LARGEST_SANDWICH:
            found.append("Do not trust AIS at these settings: " + words[-1] + _more(run, "ais"))
    for name, which in (("ais_gain", "test examples"), ("bdmc_gain", "samples of the model")):
        if run.get(name) is None:
            continue
        words.append(
            f"AIS is {_with_error(run, name)} nats above the bound with K = "
            f"{EVIDENCE_PARTICLES:,} on {which}"
        )
        if _is_beyond(run, name):
            distrust = f"{distrust} {words[-1]}{_more(run, 'nll')}".strip()
    if distrust:
        found.append(f"Do not trust the NLL: {distrust}")
    if not words and not found:
        return None
    name = "estimates not to be trusted"
    return Diagnostic(name, bool(found), " ".join(found) if found else ", ".join(words))


def _not_finite(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Columns that are empty because their examples left the range of the floats."""
    del history
    lost = {
        name.removesuffix(NOT_FINITE): count
        for name, count in run.items()
        if name.endswith(NOT_FINITE) and count and not name.startswith("valid_")
    }
    if not lost:
        return None
    named = ", ".join(f"{name} (on {_examples(count)})" for name, count in lost.items())
    words = (
        f"Not finite, and left empty with all that is made of it: {named}. There a density or a "
        "weight lies beyond the range of the floats. "
        + _try(run, "--compute_dtype=float64", "a larger --scale", "a smaller --learning_rate")
    )
    return Diagnostic("numbers that are not finite", True, words)


def _examples(count: int) -> str:
    return f"{count:,} example" + ("" if count == 1 else "s")


def _is_beyond(run: Row, gain: str) -> bool:
    """Whether AIS shows that the NLL, with no more weights than the bound beside AIS, is poor."""
    is_large = run[gain] > max(LARGEST_SANDWICH, MANY_ERRORS * (run.get(f"{gain}_se") or 0.0))
    return is_large and int(run.get("eval_particles") or 0) <= EVIDENCE_PARTICLES


def _with_error(run: Row, name: str) -> str:
    return f"{number(run[name])} ± {run.get(f'{name}_se') or 0.0:.2f}"


def _more(run: Row, estimate: str) -> str:
    names = ("ais_steps", "ais_chains") if estimate == "ais" else ("eval_particles",)
    options = [f"more --{name} (here {run.get(name, '?')})" for name in names]
    return f". {_try(run, *options)}"


def _unfinished(run: Row, history: Sequence[Row]) -> Diagnostic | None:
    """Slope of the valid ELBO over the last third of the visits, at least three of them."""
    steps, elbos = _curve(history)
    last = max(3, -(-len(steps) // 3))
    if len(steps) < last:
        return None
    x, y = steps[-last:].astype(float), elbos[-last:]
    slope, error = _slope(x, y)
    span = x[-1] - x[0]
    words = (
        f"over the last {span:,.0f} steps the valid ELBO changed by "
        f"{'+' if slope > 0 else ''}{number(slope * span)} ± {error * span:.2f} nats"
    )
    enough = max(SMALLEST_RISE * abs(y[-1]), MANY_ERRORS * error * span)
    if slope * span <= enough:
        return Diagnostic("unfinished learning", False, words)
    cure = _try(run, "more --num_steps", "a larger --learning_rate")
    return Diagnostic("unfinished learning", True, f"Learning is not finished: {words}. {cure}")


def _curve(history: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the valid ELBO or, without a density, of the log-likelihood."""
    names = ("valid_elbo", "valid_log_likelihood")
    name = next((n for n in names if any(table.is_number(row.get(n)) for row in history)), names[0])
    points = [(row["step"], row[name]) for row in history if table.is_number(row.get(name))]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, int), np.array(values, float)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope and its standard error."""
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    residual = y - y.mean() - slope * centred
    variance = residual @ residual / (len(x) - 2) / (centred @ centred)
    return float(slope), math.sqrt(variance)


_QUESTIONS: dict[str, Callable[[Row, Sequence[Row]], Diagnostic | None]] = {
    "posterior collapse": _collapse,
    "overfitting": _overfitting,
    "poor inference": _inference,
    "prior holes": _holes,
    "estimates not to be trusted": _untrusted,
    "numbers that are not finite": _not_finite,
    "unfinished learning": _unfinished,
}
_EXAMINED_BY = {
    "prior holes": "--evaluate=samples",
}
