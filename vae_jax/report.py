"""The page one sends to a colleague: `report.html`, and its findings in words.

`results` is what `results.json` holds. Only `runs` has to be there: a list with a mapping per run
of hyperparameters, `test_*`, `valid_*` and `train_*` terms in nats per example, and standard
errors `*_se`. The rest is shown where it is known: `title`, `command`, `dataset`, `flags`,
`kl_per_latent` (a list per run), `versions`, `device`, `precision`, `seconds`, `ms_per_step`,
`peak_memory_mb`, `commit` and `notes`.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vae_jax import page, records
from vae_jax.page import Figure

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_SPLITS = ("train_", "valid_", "test_")
_NOT_HYPERPARAMETERS = (
    *("run", "step", "seconds", "ms_per_step", "diverged"),
    *("eval_particles", "active_units", "kl_per_latent", "variance_per_latent"),
)
_TERMS = (
    ("test_elbo", "ELBO", "log-likelihood &minus; KL, a lower bound of log p(x); beta = 1"),
    ("test_log_likelihood", "log-likelihood", "E<sub>q</sub> log p(x|z), minus the distortion"),
    ("test_kl", "KL", "KL(q(z|x) || p(z)), the rate: what the code says about the image"),
    ("test_nll", "NLL", "minus the importance-weighted bound of log p(x), K = {particles}"),
)


def write(path: Path, results: Results, figures: Sequence[Figure]) -> None:
    """Writes the report to `path`, a single file with the figures inside it.

    Args:
      path: the HTML file to write.
      results: described at the top of this file.
      figures: in the order of the page.
    """
    results = records.finite(results)
    parts = [
        _headline(results),
        _notices(results),
        page.section("What the numbers say", page.paragraphs(in_words(results))),
        _numbers(results),
        page.section("Figures", "".join(map(page.figure, figures))),
        _command(results),
        page.section("Data", page.pairs(_data_record(results.get("dataset", {})))),
        page.section("Where and how long", page.pairs(_provenance(results))),
        page.section("All flags", page.pairs(results.get("flags", {}))),
    ]
    records.write_text(path, page.document(f"{_title(results)}: report", parts))


def best_run(results: Results) -> Run | None:
    """Returns the run with the highest test ELBO, None where all diverged."""
    return next(iter(_ranking(results)), None)


def in_words(results: Results) -> list[str]:
    """Returns sentences about the numbers of the best run, and of the study if there is one.

    Each sentence is built from numbers in `results`; where one is missing, so is its sentence.
    """
    results = records.finite(results)
    diverged = [_diverged(run) for run in results["runs"] if run.get("test_elbo") is None]
    run = best_run(results)
    if run is None:
        return diverged
    sentences = [
        _study_sentence(results),
        _bound_sentence(run),
        _rate_sentence(run),
        _latents_sentence(run) + _share_sentence(results, run),
        _generalisation_sentence(run),
        _beta_sentence(run),
        *diverged,
    ]
    return [sentence for sentence in sentences if sentence]


def _ranking(results: Results) -> list[Run]:
    """Returns the runs that did not diverge, the highest test ELBO first."""
    alive = [run for run in records.finite(results["runs"]) if run.get("test_elbo") is not None]
    return sorted(alive, key=lambda run: run["test_elbo"], reverse=True)


def _study_sentence(results: Results) -> str:
    order = _ranking(results)
    if len(order) < 2:
        return ""
    best, second, last = order[0], order[1], order[-1]
    lead, error = best["test_elbo"] - second["test_elbo"], best.get("test_elbo_se")
    doubt = "" if error is None or lead > error else " (less than one standard error)"
    return (
        f"Of {len(results['runs'])} runs, run {best['run']}{_setting(results, best)} has the "
        f"highest test ELBO, {_nats(lead)} above run {second['run']}{doubt}; the lowest is "
        f"{_number(last['test_elbo'])}. What follows is about run {best['run']}."
    )


def _bound_sentence(run: Run) -> str:
    nll, particles = run.get("test_nll"), run.get("eval_particles", "?")
    if nll is None:
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


def _rate_sentence(run: Run) -> str:
    kl, log_likelihood = run.get("test_kl"), run.get("test_log_likelihood")
    if kl is None or log_likelihood is None:
        return ""
    return (
        f"The code of an image costs {_nats(kl)} ({kl / math.log(2):.1f} bits; the rate), and "
        f"{_nats(-log_likelihood)} remain to be paid for its pixels (the distortion)."
    )


def _latents_sentence(run: Run) -> str:
    active, size = run.get("active_units"), run.get("latent_size")
    if active is None or size is None:
        return ""
    if active == size:
        return f"All {size} latents are active."
    return (
        f"{active} of {size} latents are active; the posterior mean of the other {size - active} "
        "hardly depends on the image."
    )


def _share_sentence(results: Results, run: Run) -> str:
    """Says how concentrated the rate is, where there are many latents."""
    per_run = results.get("kl_per_latent", [[]] * len(results["runs"]))
    kl = sorted((kl for kl in per_run[results["runs"].index(run)] if kl), reverse=True)
    if len(kl) < 10:
        return ""
    return f" The five most informative carry {sum(kl[:5]) / sum(kl):.0%} of the rate."


def _generalisation_sentence(run: Run) -> str:
    train, valid = run.get("train_elbo"), run.get("valid_elbo")
    if train is None or valid is None:
        return ""
    if train <= valid:
        return f"The valid ELBO is {_nats(valid - train)} above that of train: no overfitting."
    return f"The train ELBO is {_nats(train - valid)} above that of valid (generalisation gap)."


def _beta_sentence(run: Run) -> str:
    if run.get("beta") in (None, 1.0):
        return ""
    return (
        f"The run was trained with beta = {run['beta']:g}; the test terms are those of the true "
        "ELBO, with beta = 1."
    )


def _diverged(run: Run) -> str:
    mark = run.get("diverged", "")
    where = f" at step {mark:,}" if isinstance(mark, int) else f" ({mark})" if mark else ""
    return f"Run {run['run']} diverged{where}; its terms are left empty."


def _setting(results: Results, run: Run) -> str:
    values = [f"{name} = {page.short(run.get(name))}" for name in _varying(results)]
    return f" ({', '.join(values)})" if values else ""


def _varying(results: Results) -> list[str]:
    """Returns the names of the hyperparameters that are not the same in all runs."""
    first, *others = results["runs"]
    differing = [name for name in first if any(run.get(name) != first[name] for run in others)]
    names = [name for name in differing if name not in _NOT_HYPERPARAMETERS]
    return [name for name in names if not name.startswith(_SPLITS)]


def _title(results: Results) -> str:
    return str(results.get("title", "vae_jax"))


def _headline(results: Results) -> str:
    run = best_run(results)
    return (
        f"<header><h1>{escape(_title(results))}</h1><p class='lead'>{_lead(results)}</p>"
        f"<div class='cards'>{_cards(run) if run else 'Every run diverged.'}</div></header>"
    )


def _lead(results: Results) -> str:
    """Returns in one line what was modelled and which run is shown."""
    data, runs, best = results.get("dataset", {}), results["runs"], best_run(results)
    parts = [f"Variational autoencoder on {data.get('used', 'images')}", _shape(data)]
    if data.get("binarize", "none") != "none":
        parts.append(f"{data['binarize']} binarization")
    if runs[0].get("step"):
        parts.append(f"{runs[0]['step']:,} training steps")
    if best and len(runs) > 1:
        parts.append(f"run {best['run']}, the best of {len(runs)} by test ELBO")
    return escape(", ".join(part for part in parts if part))


def _shape(data: Mapping[str, Any]) -> str:
    return " x ".join(str(size) for size in data.get("image_shape", []))


def _cards(run: Run) -> str:
    particles = f"K = {run.get('eval_particles', '?')}"
    cards = [
        page.card("Test ELBO", _with_error(run, "test_elbo"), "nats per example, higher is better"),
        page.card("Test NLL", _with_error(run, "test_nll"), f"nats per example, {particles}"),
    ]
    if run.get("active_units") is not None and "latent_size" in run:
        note = f"of {run['latent_size']} latents"
        cards.append(page.card("Active units", str(run["active_units"]), note))
    return "".join(cards)


def _notices(results: Results) -> str:
    """Returns what the reader must know before any number."""
    data = results.get("dataset", {})
    substitution = page.paragraphs(filter(None, [data.get("substitution")]))
    heading = "<b>These are not the data that were asked for.</b>" if substitution else ""
    remarks = page.paragraphs([*data.get("warnings", []), *results.get("notes", [])])
    return page.box("notice", heading + substitution) + page.box("note", remarks)


def _numbers(results: Results) -> str:
    run = best_run(results)
    terms = page.section("Test terms, nats per example", _terms_table(run)) if run else ""
    runs = page.section("All runs", _runs_table(results)) if len(results["runs"]) > 1 else ""
    return runs + terms


def _terms_table(run: Run) -> str:
    particles = escape(str(run.get("eval_particles", "?")))
    rows = [
        [f"<b>{name}</b>", _cell(run, key), _cell(run, f"{key}_se"), meaning]
        for key, name, meaning in _TERMS
    ]
    rows[-1][-1] = rows[-1][-1].format(particles=particles)
    return page.table(["term", "mean", "s.e.", "what it means"], rows)


def _runs_table(results: Results) -> str:
    names = _varying(results)
    columns = ["run", *names, *(name for _, name, _ in _TERMS), "active", "diverged"]
    rows = [_runs_row(run, names) for run in results["runs"]]
    best = best_run(results)
    if best is None:
        return page.table(columns, rows)
    why = (
        f"Shaded: run {best['run']}, which has the highest test ELBO. It was chosen on the test "
        "set itself, so its numbers are a little flattered."
    )
    return page.table(columns, rows, marked=results["runs"].index(best)) + page.paragraphs([why])


def _runs_row(run: Run, names: Sequence[str]) -> list[str]:
    """Returns the cells of one run as HTML."""
    before = [escape(page.short(run.get(name))) for name in ("run", *names)]
    after = [escape(page.short(run.get(name))) for name in ("active_units", "diverged")]
    return [*before, *(_with_error(run, key) for key, _, _ in _TERMS), *after]


def _with_error(run: Run, name: str) -> str:
    error = run.get(f"{name}_se")
    return _cell(run, name) + ("" if error is None else f"<small> &plusmn; {error:.2f}</small>")


def _cell(run: Run, name: str) -> str:
    return "&ndash;" if run.get(name) is None else _number(run[name])


def _command(results: Results) -> str:
    command = escape(results.get("command", ""))
    return page.section("Repeat it", f"<pre>{command}</pre>" if command else "")


def _data_record(data: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: data.get(name) for name in ("asked", "used", "source", "splits", "binarize")}
    counts = {name: data.get(name) for name in ("num_train", "num_valid", "num_test")}
    return {**words, **counts, "image_shape": _shape(data)}


def _provenance(results: Results) -> dict[str, Any]:
    names = ("device", "precision", "ms_per_step", "peak_memory_mb", "commit")
    seconds = {f"seconds, {name}": value for name, value in results.get("seconds", {}).items()}
    return {**{name: results.get(name) for name in names}, **seconds, **results.get("versions", {})}


def _number(value: float) -> str:
    return f"{value:,.2f}".replace("-", "\N{MINUS SIGN}")


def _nats(value: float) -> str:
    return f"{_number(value)} nats"
