"""The page one sends to a colleague: `report.html`, of a run or of a study.

`results` is what `results.json` holds. Only `runs` has to be there: a list with a mapping per run
of hyperparameters, `test_*`, `valid_*` and `train_*` terms in nats per example, standard errors
`*_se`, `diverged` ("" or the step) with `diverged_reason`, and `ms_per_step`. A study names what
it swept in `swept`. The rest is shown where it is known: `title`, `command`, `dataset`, `flags`,
`kl_per_latent` (a list per run), `versions`, `device`, `precision`, `seconds`, `peak_memory_mb`,
`commit`, `notes`, `diagnosis` (sentences per run), `reading` (sentences on a study), `columns` (the
declarations of the rows' columns, see `vae_jax.evaluation.columns.described`) and `evaluations`
(the names of the columns that each of them brings).
"""

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import CORE, TEST, Column
from vae_jax.reporting import html, summary, table
from vae_jax.reporting.html import Figure
from vae_jax.reporting.summary import Results
from vae_jax.runtime import files
from vae_jax.types import Row

_TERMS = tuple(TEST[name] for name in ("elbo", "log_likelihood", "kl", "nll"))


def write(path: Path, results: Results, figures: Sequence[Figure]) -> None:
    """Writes the report to `path`, a single file with the figures inside it.

    Args:
      path: the HTML file to write.
      results: described at the top of this file.
      figures: in the order of the page.
    """
    results = {"swept": [], **files.finite(results)}
    parts = [
        _headline(results),
        _notices(results),
        *(_study_parts(results) if results["swept"] else _run_parts(results)),
        html.section("Figures", "".join(map(html.figure, figures))),
        _runs(results),
        _evaluations_of_all(results),
        _command(results),
        html.section("Data", html.pairs(_data_record(results.get("dataset", {})))),
        html.section("Where and how long", html.pairs(_provenance(results))),
        html.section("All flags", html.pairs(results.get("flags", {}))),
    ]
    files.write_text(path, html.document(f"{_title(results)}: report", parts))


def _run_parts(results: Results) -> list[str]:
    run = results["runs"][0]
    words = html.paragraphs(summary.summarize_run(results, run))
    return [html.section("What the numbers say", words), *_about(results, run)]


def _about(results: Results, run: Row) -> list[str]:
    """Returns what may be wrong with a run, and its numbers."""
    own = results.get("diagnosis", [[]] * len(results["runs"]))[results["runs"].index(run)]
    return [
        html.section("Diagnosis", html.advice(own)),
        _terms(run),
        _evaluations(results, run),
    ]


def _evaluations(results: Results, run: Row) -> str:
    """Returns the numbers of the evaluations of one run with what they mean."""
    rows = [
        [
            f"<b>{escape(each.name)}</b>",
            _digits(run, each.name),
            _digits(run, each.error.name),
            escape(each.explanation),
        ]
        for each in _evaluated(results, [run])
    ]
    body = html.table(["column", "value", "s.e.", "what it is"], rows) if rows else ""
    return html.section("Evaluations", body)


def _evaluated(results: Results, rows: Sequence[Row]) -> list[Column]:
    """Returns the columns of evaluations that any of the rows has a value of."""
    known = columns.read(results.get("columns", {}))
    names = [name for own in results.get("evaluations", {}).values() for name in own]
    return columns.known_to(rows, [known[name] for name in names])


def _evaluations_of_all(results: Results) -> str:
    """Returns a table of a study with a line per run and the evaluations that its runs have."""
    rows, swept = results["runs"], results["swept"]
    names = [each.name for each in _evaluated(results, rows)]
    if not swept or not names:
        return ""
    before = ["run", *swept]
    lines = [
        [escape(html.short(run.get(name))) for name in before]
        + [_digits(run, name) or "&ndash;" for name in names]
        for run in rows
    ]
    body = html.table([*before, *names], lines, _kinds(rows))
    return html.section("Evaluations of all runs", body)


def _digits(run: Row, name: str) -> str:
    value = run.get(name)
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}".replace("-", "&minus;")


def _study_parts(results: Results) -> list[str]:
    rows, swept = results["runs"], results["swept"]
    values = {name: "; ".join(map(html.short, table.values(rows, name))) for name in swept}
    best = table.best(rows)
    parts = [
        html.section("What was swept", html.pairs(values)),
        html.section("What the study says", html.paragraphs(_reading(results))),
    ]
    if best is None:
        return parts
    words = html.paragraphs(summary.summarize_run(results, best))
    about = _about(results, best)
    return [*parts, html.section(f"The best run, number {best['run']}", words), *about]


def _reading(results: Results) -> list[str]:
    return results.get("reading") or summary.summarize_study(results)


def _title(results: Results) -> str:
    return str(results.get("title", "vae_jax"))


def _headline(results: Results) -> str:
    best = table.best(results["runs"])
    cards = _study_card(results) + (_cards(best) if best else "Every run diverged.")
    lead = "".join(f"<p class='lead'>{escape(line)}</p>" for line in _lead(results, best))
    return (
        f"<header><h1>{escape(_title(results))}</h1>{lead}<div class='cards'>{cards}</div></header>"
    )


def _lead(results: Results, best: Row | None) -> list[str]:
    """Returns what was modelled, and which run of a study the numbers are of."""
    data, rows, swept = results.get("dataset", {}), results["runs"], results["swept"]
    what = f"Study of {len(rows)} variational autoencoders" if swept else "Variational autoencoder"
    parts = [f"{what} on {data.get('used', 'images')}", _shape(data)]
    if data.get("binarize", "none") != "none":
        parts.append(f"{data['binarize']} binarization")
    steps = {row.get("step") for row in rows}
    if len(steps) == 1 and steps != {None}:
        parts.append(f"{rows[0]['step']:,} training steps")
    lines = [", ".join(part for part in parts if part)]
    if swept and best:
        setting = summary.setting(best, swept)
        chosen = f"chosen by its {summary.how_chosen(rows)}"
        lines.append(f"The best is run {best['run']}, with {setting}, {chosen}.")
    return lines


def _shape(data: Mapping[str, Any]) -> str:
    return " x ".join(str(size) for size in data.get("image_shape", []))


def _study_card(results: Results) -> str:
    rows, swept = results["runs"], results["swept"]
    if not swept:
        return ""
    sizes = " x ".join(f"{len(table.values(rows, name))} {name}" for name in swept)
    lost = sum(map(table.has_diverged, rows))
    return html.card("Runs", str(len(rows)), f"{sizes}, {lost or 'none'} diverged")


def _cards(run: Row) -> str:
    particles = f"K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{run.get('eval_particles') or '?'}"
    cards = [
        _card(run, TEST["elbo"], f"{TEST['elbo'].better} is better"),
        _card(run, TEST["nll"], particles),
    ]
    if run.get("active_units") is not None and run.get("latent_size") is not None:
        note = f"of {run['latent_size']} latents"
        cards.append(html.card(TEST["active_units"].label, str(run["active_units"]), note))
    return "".join(cards)


def _card(run: Row, column: Column, note: str) -> str:
    return html.card(column.label, _with_error(run, column.name), f"{column.unit}, {note}")


def _notices(results: Results) -> str:
    """Returns what the reader must know before any number."""
    data = results.get("dataset", {})
    substitution = html.paragraphs(filter(None, [data.get("substitution")]))
    heading = "<b>These are not the data that were asked for.</b>" if substitution else ""
    remarks = html.paragraphs([*data.get("warnings", []), *results.get("notes", [])])
    return html.box("notice", heading + substitution) + html.box("note", remarks)


def _terms(run: Row) -> str:
    """Returns the test terms of one run with what they mean; nothing where it diverged."""
    if table.has_diverged(run):
        return ""
    particles = str(run.get("eval_particles") or "?")
    rows = [
        [
            f"<b>{escape(each.title)}</b>",
            _cell(run, each.name),
            _cell(run, each.error.name),
            escape(each.unit),
            escape(each.meaning.replace("eval_particles", particles)),
        ]
        for each in (*_TERMS, *columns.known_to([run], [TEST["bits_per_dim"]]))
    ]
    body = html.table(["term", "mean", "s.e.", "unit", "what it means"], rows)
    return html.section("Test terms", body)


def _runs(results: Results) -> str:
    """Returns a table with a line per run of a study."""
    rows, swept = results["runs"], results["swept"]
    if not swept:
        return ""
    shown = (CORE["valid_elbo"], *_TERMS, CORE["active_units"], CORE["diverged"])
    head = ["run", *swept, *(each.title for each in shown)]
    lines = [_runs_line(row, swept) for row in rows]
    why = "Greyed: runs that diverged, with the step." if any(map(table.has_diverged, rows)) else ""
    best = table.best(rows)
    if best is not None:
        why = f"Shaded: run {best['run']}, which has the highest {summary.how_chosen(rows)}. {why}"
    note = f"Test terms in nats per example, &plusmn; standard error over test examples. {why}"
    body = html.table(head, lines, _kinds(rows)) + f"<p class='small'>{note}</p>"
    return html.section("All runs", body)


def _kinds(rows: Sequence[Row]) -> dict[int, Literal["best", "lost"]]:
    kinds: dict[int, Literal["best", "lost"]] = {
        i: "lost" for i, row in enumerate(rows) if table.has_diverged(row)
    }
    best = table.best(rows)
    return kinds if best is None else {**kinds, rows.index(best): "best"}


def _runs_line(run: Row, swept: Sequence[str]) -> list[str]:
    """Returns the cells of one run as HTML."""
    before = [escape(html.short(run.get(name))) for name in ("run", *swept)]
    terms = [
        _cell(run, "valid_elbo"),
        _with_error(run, "test_elbo"),
        _cell(run, "test_log_likelihood"),
        _cell(run, "test_kl"),
        _with_error(run, "test_nll"),
    ]
    after = [escape(html.short(run.get(name))) for name in ("active_units", "diverged")]
    return [*before, *terms, *after]


def _with_error(run: Row, name: str) -> str:
    error = run.get(f"{name}_se")
    return _cell(run, name) + ("" if error is None else f"<small> &plusmn; {error:.2f}</small>")


def _cell(run: Row, name: str) -> str:
    return "&ndash;" if run.get(name) is None else summary.number(run[name])


def _command(results: Results) -> str:
    command = escape(results.get("command", ""))
    return html.section("Repeat it", f"<pre>{command}</pre>" if command else "")


def _data_record(data: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: data.get(name) for name in ("asked", "used", "source", "splits", "binarize")}
    counts = {name: data.get(name) for name in ("num_train", "num_valid", "num_test")}
    return {**words, **counts, "image_shape": _shape(data)}


def _provenance(results: Results) -> dict[str, Any]:
    names = ("device", "precision", "peak_memory_mb", "commit")
    seconds = {f"seconds, {name}": value for name, value in results.get("seconds", {}).items()}
    facts = {name: results.get(name) for name in names}
    return {**facts, **_speed(results), **seconds, **results.get("versions", {})}


def _speed(results: Results) -> dict[str, float]:
    """Returns milliseconds per step, of a study the median over its runs."""
    known = [row["ms_per_step"] for row in results["runs"] if row.get("ms_per_step") is not None]
    name = "ms per step and run (median)" if results["swept"] else "ms per step"
    return {name: round(statistics.median(known), 3)} if known else {}
