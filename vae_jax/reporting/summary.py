"""Short summaries of a run and of a study: the sentences that a researcher acts on.

Each follows from numbers of rows and is left out where one is missing; numbers that are not finite
must have become None before. What a table shows is not repeated.
"""

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import CORE, TEST, Column
from vae_jax.reporting import format, table
from vae_jax.types import Row

LARGEST_SHARE = 0.95
"""Share of ln N above which an estimated mutual information is limited by the N examples."""
_MOST_NAMED = 5  # diverged runs that are named one by one
_TRENDS = (TEST["kl"], TEST["log_likelihood"], TEST["active_units"])
_INCOMPARABLE = ("dataset", "binarize", "likelihood")


def summarize_run(run: Row) -> list[str]:
    """Return what must be known to read the numbers of a run.

    Example:
        >>> summarize_run({"run": 0, "beta": 4.0, "diverged": "", "test_elbo": -98.0})
        ['Trained with beta = 4; the test terms are those of the ELBO with beta = 1.']
    """
    if table.has_diverged(run):
        return [f"Run {run['run']} diverged{_divergence(run)}; its terms are empty."]
    elbo, nll, sentences = run.get("test_elbo"), run.get("test_nll"), []
    if elbo is None:
        distortion = format.nats(-run["test_log_likelihood"])
        sentences.append(f"The code is deterministic: no KL, no ELBO. Distortion: {distortion}.")
    elif nll is not None and elbo + nll > 0:
        sentences.append(
            f"The NLL with K = {run.get('eval_particles') or '?'} is {format.nats(elbo + nll)} "
            "above minus the ELBO, by the noise of its estimate alone: raise --eval_particles."
        )
    information, num = run.get("mutual_information"), run.get("decomposition_examples")
    if information is not None and num and information > LARGEST_SHARE * math.log(num):
        limit = f"ln {format.count(num)} = {format.real(math.log(num))}"
        sentences.append(
            f"The mutual information, {format.nats(information)}, is at its limit by the number of "
            f"examples, {limit}: more test images or --decomposition_examples may show more."
        )
    if run.get("beta") not in (None, 1.0):
        beta = format.settings(run, ["beta"])
        sentences.append(
            f"Trained with {beta}; the test terms are those of the ELBO with beta = 1."
        )
    return sentences


def summarize_study(rows: Sequence[Row], swept: Sequence[str]) -> list[str]:
    """Return the best run, the effect of each axis, the spread over seeds and what limits these.

    Example:
        >>> rows = [{"run": i, "beta": float(i), "test_elbo": -9.0 - i} for i in range(2)]
        >>> _, effect = summarize_study(rows, ["beta"])
        >>> effect.replace(chr(0x2212), "-")
        'Effect of beta: the test ELBO is highest at 0 (-9.00) and lowest at 1 (-10.00).'
    """
    if table.best(rows) is None:
        return ["Every run diverged.", _diverged(rows, swept)]
    sentences = [
        _best_run(rows, swept),
        _best_setting(rows, swept),
        *(_effect(rows, swept, name) for name in table.axes(swept)),
        _spread_over_seeds(rows, swept),
        _diverged(rows, swept),
        _comparability(swept),
    ]
    return [sentence for sentence in sentences if sentence]


def _best_run(rows: Sequence[Row], swept: Sequence[str]) -> str:
    best, *others = table.ranking(rows)
    chosen, term = CORE[table.criterion(rows)], TEST["elbo"]
    term = TEST["log_likelihood"] if best.get(term.name) is None else term
    lead = f", {_lead(rows, swept, best, others[0])}" if others else ""
    is_on_test = chosen.name.startswith("test")
    return (
        f"Run {best['run']} ({format.settings(best, swept)}) is the best of {len(rows)}, by its "
        f"{chosen.title}, {format.real(best[chosen.name])}{lead}. Its {term.title} is "
        + format.with_error(best[term.name], best.get(term.error.name))
        + (", a little too good, as it was chosen on the test set." if is_on_test else ".")
    )


def _lead(rows: Sequence[Row], swept: Sequence[str], best: Row, second: Row) -> str:
    name = table.criterion(rows)
    lead, (spread, _) = best[name] - second[name], table.seed_deviation(rows, swept, name)
    if lead == 0:
        return f"equal to that of the later run {second['run']}"
    doubt = " (less than seeds differ)" if lead < spread else ""
    return f"{format.nats(lead)} above run {second['run']}{doubt}"


def _best_setting(rows: Sequence[Row], swept: Sequence[str]) -> str:
    """Return the best setting when each is averaged over its seeds."""
    names, chosen, term = table.axes(swept), CORE[table.criterion(rows)], TEST["elbo"]
    if not names or "seed" not in swept:
        return ""
    means, tested = table.cells(rows, names, chosen.name), table.cells(rows, names, term.name)
    best = np.unravel_index(np.nanargmax(means.mean), means.mean.shape)
    if not math.isfinite(tested.mean[best]):
        return ""
    setting = {name: values[i] for name, values, i in zip(names, means.values, best, strict=True)}
    return (
        f"Averaged over seeds, {format.settings(setting)} has the highest {chosen.title}; its "
        f"{term.title} is {format.with_error(tested.mean[best], tested.error[best])} "
        f"({format.error_source(np.atleast_1d(tested.num_seeds[best]))})."
    )


def _effect(rows: Sequence[Row], swept: Sequence[str], name: str) -> str:
    """Return what an axis does to the main terms, the others held at the best row's values."""
    held, term = table.fixed(rows, swept, (name,)), TEST["elbo"]
    here = table.at(rows, held)
    elbo = table.cells(here, (name,), term.name)
    if np.isfinite(elbo.mean).sum() < 2:
        return ""
    high, low = (
        f"{format.setting(elbo.values[0][i]) or 'none'} ({format.real(float(elbo.mean[i]))})"
        for i in (np.nanargmax(elbo.mean), np.nanargmin(elbo.mean))
    )
    effects = [f"the {term.title} is highest at {high} and lowest at {low}"]
    if all(map(table.is_ordered, elbo.values[0])):
        effects += [_trend(each, table.cells(here, (name,), each.name).mean) for each in _TRENDS]
    at = f" (at {format.settings(held)})" if held else ""
    return f"Effect of {name}{at}: {'; '.join(filter(None, effects))}."


def _trend(column: Column, means: np.ndarray) -> str:
    """Return how the means of a column change along an ascending axis."""
    known = means[np.isfinite(means)].tolist()
    if len(known) < 2:
        return ""
    show, unit = (format.real, " nats") if column.unit == columns.NATS else (format.rounded, "")
    first, last, least, most = map(show, (known[0], known[-1], min(known), max(known)))
    if least == most:
        change = f"constant at {first}"
    elif known in (sorted(known), sorted(known, reverse=True)):
        change = f"{'rising' if known[0] < known[-1] else 'falling'} from {first} to {last}"
    else:
        change = f"varying between {least} and {most}"
    return f"{column.title} {change}{unit}"


def _spread_over_seeds(rows: Sequence[Row], swept: Sequence[str]) -> str:
    deviation, num_settings = table.seed_deviation(rows, swept, TEST["elbo"].name)
    if not num_settings or not math.isfinite(deviation):
        return ""
    pooled = f", pooled over {num_settings} settings" if num_settings > 1 else ""
    return (
        f"Standard deviation of the {TEST['elbo'].title} over seeds: {format.nats(deviation)}"
        f"{pooled}; single runs that differ by no more may differ by luck."
    )


def _diverged(rows: Sequence[Row], swept: Sequence[str]) -> str:
    diverged = [row for row in rows if table.has_diverged(row)]
    if not diverged:
        return ""
    named = [
        f"run {row['run']} ({format.settings(row, swept)}){_divergence(row)}"
        for row in diverged[:_MOST_NAMED]
    ]
    if more := len(diverged) - len(named):
        named.append(f"{more} more are in the table")
    count = f"{len(diverged)} of {len(rows)} runs"
    return f"Diverged, and left out of every mean: {count}: {'; '.join(named)}."


def _divergence(run: Row) -> str:
    step, reason = run.get("diverged"), run.get("diverged_reason")
    at = f" at step {format.count(step)}" if isinstance(step, int) else ""
    return at + (f" ({reason})" if reason else "")


def _comparability(swept: Sequence[str]) -> str:
    names = " or ".join(name for name in swept if name in _INCOMPARABLE)
    if not names:
        return ""
    return (
        f"Runs that differ in {names} model different quantities: their ELBO and NLL cannot be "
        "compared, and there is no best run among them."
    )
