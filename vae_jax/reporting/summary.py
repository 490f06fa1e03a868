"""What the numbers say, in sentences: of a run, and of a study.

Each sentence is built from numbers in `results` (described in `report`); where one is missing, so
is its sentence. Numbers that are not finite must have become None before.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import CORE
from vae_jax.reporting import html, table
from vae_jax.reporting.table import Cells
from vae_jax.types import Row

Results = Mapping[str, Any]

_AT_LIMIT = 0.95  # of ln N, from where the mutual information is a statement about N
_NAMED = 5  # diverged runs that are named one by one
_FOLLOWED = (
    *("mutual_information", "total_correlation", "dimensionwise_kl", "mig", "sap"),
    *("dci_disentanglement", "factor_vae_score", "probe_all", "precision_pixels", "recall_pixels"),
)
"""Columns of evaluations whose course along an axis is told, where they are known."""
_INCOMPARABLE = ("dataset", "binarize", "likelihood")


def summarize_run(results: Results, run: Row) -> list[str]:
    """Returns sentences about one run of `results`."""
    if table.has_diverged(run):
        return [f"Run {run['run']} diverged{_when(run)}; its terms are left empty."]
    sentences = [
        _code_sentence(run),
        _bound_sentence(run),
        _rate_sentence(run),
        _information_sentence(run),
        _latents_sentence(run) + _share_sentence(results, run),
        _generalisation_sentence(run),
        _beta_sentence(run),
    ]
    return [sentence for sentence in sentences if sentence]


def summarize_study(results: Results) -> list[str]:
    """Returns sentences about the runs together: the best, the axes, the seeds, the diverged."""
    rows, swept = results["runs"], results["swept"]
    if table.best(rows) is None:
        return ["Every run diverged.", _diverged_sentence(rows, swept)]
    sentences = [
        _best_sentence(rows, swept),
        _setting_sentence(rows, swept),
        *(_axis_sentence(rows, swept, name) for name in table.axes(swept)),
        *(_evaluated_sentence(results, name) for name in table.axes(swept)),
        _unused_sentence(rows, swept),
        _seeds_sentence(rows, swept),
        _diverged_sentence(rows, swept),
        _comparability_sentence(swept),
    ]
    return [sentence for sentence in sentences if sentence]


def setting(row: Row, names: Sequence[str]) -> str:
    """Returns "beta = 4, seed = 0"."""
    return ", ".join(f"{name} = {html.short(row.get(name))}" for name in names)


def how_chosen(rows: Sequence[Row]) -> str:
    """Returns what the best run was chosen by: "valid ELBO" or "test ELBO"."""
    return CORE[table.criterion(rows)].title


def number(value: float) -> str:
    """Returns a term with two decimals."""
    return f"{value:,.2f}".replace("-", "\N{MINUS SIGN}")


def _code_sentence(run: Row) -> str:
    """What a run without a density is, and is not."""
    if run.get("test_elbo") is not None or run.get("test_log_likelihood") is None:
        return ""
    return (
        "The code is deterministic: a plain autoencoder, which has no rate, no ELBO and no "
        f"likelihood of x. Its distortion is {_nats(-run['test_log_likelihood'])}."
    )


def _bound_sentence(run: Row) -> str:
    nll, particles = run.get("test_nll"), run.get("eval_particles") or "?"
    if nll is None or run.get("test_elbo") is None:
        return ""
    gap = -run["test_elbo"] - nll
    if gap < 0:
        return (
            f"The importance-weighted bound with K = {particles} samples comes out {_nats(-gap)} "
            "below the ELBO, which only the noise of its estimate can do: raise K."
        )
    return (
        f"The importance-weighted bound with K = {particles} samples is {_nats(gap)} tighter than "
        "the ELBO: at least that much is lost by the approximate posterior, not by the decoder."
    )


def _rate_sentence(run: Row) -> str:
    kl, log_likelihood = run.get("test_kl"), run.get("test_log_likelihood")
    if kl is None or log_likelihood is None:
        return ""
    return (
        f"The code of an image costs {_nats(kl)} ({kl / math.log(2):.1f} bits; the rate), and "
        f"{_nats(-log_likelihood)} remain to be paid for its pixels (the distortion)."
    )


def _information_sentence(run: Row) -> str:
    """Says what the KL consists of, and where the number of examples limits that."""
    terms = [run.get(n) for n in ("mutual_information", "total_correlation", "dimensionwise_kl")]
    num = run.get("decomposition_examples")
    if num is None or any(term is None for term in terms):
        return ""
    shared, dependence, marginals = (float(term or 0.0) for term in terms)
    most = math.log(num)
    limit = f" (at most ln {num:,} = {number(most)})"
    if shared > _AT_LIMIT * most:
        limit = f", which is all that {num:,} examples can show (ln {num:,} = {number(most)})"
    return (
        f"Of the KL {_nats(shared)} are information on which image it was{limit}, "
        f"{_nats(dependence)} dependence between latents and {_nats(marginals)} the distance of "
        "single latents from the prior."
    )


def _latents_sentence(run: Row) -> str:
    active, size = run.get("active_units"), run.get("latent_size")
    if active is None or size is None:
        return ""
    if active == size:
        return f"All {size} latents are active."
    return (
        f"{active} of {size} latents are active; the posterior mean of the other {size - active} "
        "hardly depends on the image."
    )


def _share_sentence(results: Results, run: Row) -> str:
    """Says how concentrated the rate is, where there are many latents."""
    per_run = results.get("kl_per_latent", [[]] * len(results["runs"]))
    kl = sorted((kl for kl in per_run[results["runs"].index(run)] if kl), reverse=True)
    if len(kl) < 10:
        return ""
    return f" The five most informative carry {sum(kl[:5]) / sum(kl):.0%} of the rate."


def _generalisation_sentence(run: Row) -> str:
    train, valid = run.get("train_elbo"), run.get("valid_elbo")
    if train is None or valid is None:
        return ""
    if train <= valid:
        return f"The valid ELBO is {_nats(valid - train)} above that of train: no overfitting."
    return f"The train ELBO is {_nats(train - valid)} above that of valid (generalisation gap)."


def _beta_sentence(run: Row) -> str:
    if run.get("beta") in (None, 1.0):
        return ""
    return (
        f"The run was trained with beta = {run['beta']:g}; the test terms are those of the true "
        "ELBO, with beta = 1."
    )


def _best_sentence(rows: Sequence[Row], swept: Sequence[str]) -> str:
    best, *others = table.ranking(rows)
    name, term = table.criterion(rows), how_chosen(rows)
    lead = f", {_lead(rows, swept, best, others[0])}" if others else ""
    reason = "so its test numbers had no part in the choice"
    if name.startswith("test"):
        reason = "the test set itself, so its numbers are a little flattered"
    return (
        f"Run {best['run']} ({setting(best, swept)}) is the best of {len(rows)}: its {term}, "
        f"{number(best[name])}, is the highest{lead}. It was chosen on {name.split('_')[0]}, "
        f"{reason}: {_tested(best)}."
    )


def _tested(run: Row) -> str:
    name = "test_elbo" if run.get("test_elbo") is not None else "test_log_likelihood"
    return f"the {CORE[name].title} is {_with_error(run[name], run.get(f'{name}_se'))}"


def _lead(rows: Sequence[Row], swept: Sequence[str], best: Row, second: Row) -> str:
    name = table.criterion(rows)
    lead, (spread, _) = best[name] - second[name], table.seed_deviation(rows, swept, name)
    if lead == 0:
        return f"and equal to that of run {second['run']}, which comes later"
    doubt = " (less than seeds differ)" if lead < spread else ""
    return f"{_nats(lead)} above run {second['run']}{doubt}"


def _setting_sentence(rows: Sequence[Row], swept: Sequence[str]) -> str:
    """Names the best setting when each is averaged over its seeds."""
    names = table.axes(swept)
    if not names or "seed" not in swept:
        return ""
    chosen_by = table.cells(rows, names, table.criterion(rows))
    place = np.unravel_index(np.nanargmax(chosen_by.mean), chosen_by.mean.shape)
    tested, count = table.cells(rows, names, "test_elbo"), int(chosen_by.num_seeds[place])
    if not math.isfinite(tested.mean[place]):
        return ""
    at = {name: tested.values[i][place[i]] for i, name in enumerate(names)}
    over = "seeds" if count > 1 else "test examples, one seed being left"
    return (
        f"With each setting averaged over its seeds, {setting(at, names)} has the highest "
        f"{how_chosen(rows)}; its test ELBO is "
        f"{_with_error(tested.mean[place], tested.error[place])} (standard error over {over})."
    )


def _axis_sentence(rows: Sequence[Row], swept: Sequence[str], name: str) -> str:
    """Says what an axis does, the others held at the best row's values."""
    held = table.fixed(rows, swept, (name,))
    here = table.at(rows, held)
    elbo = table.cells(here, (name,), "test_elbo")
    known = np.flatnonzero(np.isfinite(elbo.mean))
    if len(known) < 2:
        return ""
    at = f" (at {setting(held, list(held))})" if held else ""
    if all(table.is_ordered(value) for value in elbo.values[0]):
        return _growth_sentence(here, name, at, elbo)
    top, low = int(np.nanargmax(elbo.mean)), int(np.nanargmin(elbo.mean))
    return (
        f"Among the values of {name}{at}, {elbo.values[0][top]} has the highest test ELBO, "
        f"{number(elbo.mean[top])}, and {elbo.values[0][low]} the lowest, {number(elbo.mean[low])}."
    )


def _growth_sentence(rows: Sequence[Row], name: str, at: str, elbo: Cells) -> str:
    known = np.flatnonzero(np.isfinite(elbo.mean))
    first, last = (html.short(elbo.values[0][known[i]]) for i in (0, -1))
    rate, active = (table.cells(rows, (name,), term) for term in ("test_kl", "active_units"))
    distortion = table.cells(rows, (name,), "test_log_likelihood")
    courses = [
        _course("the rate", rate.mean, "nats"),
        _course("the distortion", -distortion.mean, "nats"),
        _course("the number of active units", active.mean, ""),
    ]
    told = "; ".join([*filter(None, courses), _ends(name, elbo)])
    return f"As {name} grows from {first} to {last}{at}, {told}."


def _evaluated_sentence(results: Results, name: str) -> str:
    """Says what an axis of numbers does to what `--evaluate` measured."""
    rows, swept = results["runs"], results["swept"]
    known = columns.read(results.get("columns", {}))
    held = table.fixed(rows, swept, (name,))
    here = table.at(rows, held)
    values = table.values(here, name)
    if len(values) < 2 or not all(map(table.is_ordered, values)):
        return ""
    courses = [
        _course(
            f"the {known[key].title}",
            table.cells(here, (name,), key).mean.round(3),
            "nats" if known[key].unit == columns.NATS else "",
        )
        for key in _FOLLOWED
        if key in known and any(table.is_number(row.get(key)) for row in here)
    ]
    told = "; ".join(filter(None, courses))
    at = f" (at {setting(held, list(held))})" if held else ""
    return f"With growing {name}{at} {told}." if told else ""


def _ends(name: str, elbo: Cells) -> str:
    top, low = int(np.nanargmax(elbo.mean)), int(np.nanargmin(elbo.mean))
    return (
        f"the test ELBO is highest at {name} = {html.short(elbo.values[0][top])} "
        f"({number(elbo.mean[top])}) and lowest at {html.short(elbo.values[0][low])} "
        f"({number(elbo.mean[low])})"
    )


def _course(name: str, numbers: np.ndarray, unit: str) -> str:
    """Returns "the rate falls from 25.00 to 4.00 nats"."""
    known = numbers[np.isfinite(numbers)]
    if len(known) < 2:
        return ""
    show = number if unit else html.short
    first, last = show(float(known[0])), show(float(known[-1]))
    change = np.diff(known)
    if not change.any():
        return f"{name} stays at {first} {unit}".rstrip()
    is_steady = np.all(change <= 0) or np.all(change >= 0)
    verb = ("falls" if change.sum() < 0 else "rises") if is_steady else "goes unsteadily"
    return f"{name} {verb} from {first} to {last} {unit}".rstrip()


def _unused_sentence(rows: Sequence[Row], swept: Sequence[str]) -> str:
    known = [row for row in table.ranking(rows) if row.get("active_units") is not None]
    known = [row for row in known if row.get("latent_size") is not None]
    if not known:
        return ""
    full = sum(row["active_units"] == row["latent_size"] for row in known)
    if full == len(known):
        return "Every latent is active in every run."
    most = max(known, key=lambda row: row["latent_size"] - row["active_units"])
    return (
        f"Every latent is active in {full} of {len(known)} runs. Run {most['run']} "
        f"({setting(most, swept)}) leaves the most unused, "
        f"{most['latent_size'] - most['active_units']} of {most['latent_size']}."
    )


def _seeds_sentence(rows: Sequence[Row], swept: Sequence[str]) -> str:
    deviation, count = table.seed_deviation(rows, swept, "test_elbo")
    if not count or not math.isfinite(deviation):
        return ""
    pooled = f", pooled over {count} settings" if count > 1 else ""
    return (
        f"From seed to seed the test ELBO of one setting has a standard deviation of "
        f"{_nats(deviation)}{pooled}: differences of that size between single runs may be luck."
    )


def _diverged_sentence(rows: Sequence[Row], swept: Sequence[str]) -> str:
    lost = [row for row in rows if table.has_diverged(row)]
    if not lost:
        return ""
    named = "; ".join(
        f"run {row['run']} ({setting(row, swept)}){_when(row)}" for row in lost[:_NAMED]
    )
    more = f"; {len(lost) - _NAMED} more are in the table" if len(lost) > _NAMED else ""
    return f"Diverged and left out of every mean, {len(lost)} of {len(rows)} runs: {named}{more}."


def _when(run: Row) -> str:
    mark, reason = run.get("diverged"), run.get("diverged_reason")
    step = f" at step {mark:,}" if isinstance(mark, int) else ""
    return step + (f" ({reason})" if reason else "")


def _comparability_sentence(swept: Sequence[str]) -> str:
    names = [name for name in swept if name in _INCOMPARABLE]
    if not names:
        return ""
    return (
        f"Runs that differ in {' or '.join(names)} model different quantities: their ELBO and NLL "
        "cannot be compared, and the best of all runs means nothing across them."
    )


def _with_error(value: float, error: float | None) -> str:
    known = error is not None and math.isfinite(error)
    return number(value) + (f" ± {error:.2f}" if known else "")


def _nats(value: float) -> str:
    return f"{number(value)} nats"
