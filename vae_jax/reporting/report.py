"""Report of a run or of a study: `report.html`, one page that can be sent to a colleague.

`results` is what `results.json` holds. Only `runs` is required: a list with a row per run
(`vae_jax.types.Row`) of settings, `test_*`, `valid_*` and `train_*` terms with their standard
errors `*_se`, `diverged` ("" or the step) with `diverged_reason`, and `ms_per_step`. A study names
what it swept in `swept`. The rest is shown where it is known: `title`, `command`, `dataset`,
`flags`, `versions`, `device`, `precision`, `seconds`, `peak_memory_mb`, `commit`, `notes`,
`missing` (sentences on what failed), `diagnosis` (sentences per run), `reading` (sentences on a
study), `columns` (the declarations of the rows' columns, see
`vae_jax.evaluation.columns.described`) and `evaluations` (the names of the columns of each
evaluator). Titles, units, meanings and their order are those of the columns.

The page of a study has a script beside (:mod:`vae_jax.reporting.study_page`), by which its tables
sort and filter, its heat maps tell their values and open the pictures of a run, and the curves of
chosen runs are drawn.
"""

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import CORE, TEST, Column
from vae_jax.reporting import format, heat_maps, html, study_page, summary, table
from vae_jax.reporting.html import Figure, Mark
from vae_jax.reporting.study_page import NOTHING, Material
from vae_jax.runtime import files
from vae_jax.types import Row

Results = Mapping[str, Any]

_TERMS = tuple(TEST[name] for name in ("elbo", "log_likelihood", "kl", "nll"))
_OF_ALL_RUNS = (CORE["valid_elbo"], *_TERMS, CORE["active_units"])
_WITH_ERRORS = (TEST["elbo"], TEST["nll"])


def write(
    path: Path, results: Results, figures: Sequence[Figure], material: Material = NOTHING
) -> None:
    """Write the report to `path`, a single file with the figures inside it.

    Args:
      path: path of the HTML file.
      results: results of the run or study, as described at the top of this module.
      figures: figures in the order of the page.
      material: curves and pictures of the runs of a study.

    Example:
        >>> import tempfile
        >>> run = {"run": 0, "test_elbo": -98.0, "test_elbo_se": 0.5}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "report.html"), {"runs": [run]}, [])
        ...     "98.00" in Path(folder, "report.html").read_text(encoding="utf-8")
        True
    """
    rows = table.finite(results["runs"], results.get("swept", []))
    results = {"swept": [], **files.finite(results), "runs": rows}
    swept = results["swept"]
    maps = heat_maps.figures(rows, swept)
    others = [each for each in figures if each.path.stem not in map(heat_maps.file_name, maps)]
    parts = [
        _headline(results),
        _notices(results),
        *(_study(results) if swept else _about(results, results["runs"][0])),
        html.section("Heat maps", "".join(maps.values())),
        html.section("Figures", "".join(map(html.figure, others))),
        _all_runs(results),
        study_page.placeholders(material, rows) if swept else "",
        _evaluations_of_all_runs(results),
        _command(results),
        html.section("Data", html.pairs(_data(results.get("dataset", {})))),
        html.section("Software, hardware and time", html.pairs(_provenance(results))),
        html.section("All flags", html.pairs(results.get("flags", {}))),
        study_page.data(material, rows, swept) if swept else "",
    ]
    own = {"style": study_page.style(), "script": study_page.script()} if swept else {}
    files.write_text(path, html.document(f"{_title(results)}: report", parts, **own))


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
    """Return what was modelled, and of which run of a study the numbers are."""
    data, rows, swept = results.get("dataset", {}), results["runs"], results["swept"]
    model = f"Study of {len(rows)} variational autoencoders" if swept else "Variational autoencoder"
    parts = [f"{model} on {data.get('used', 'images')}", _shape(data)]
    if data.get("binarize", "none") != "none":
        parts.append(f"{data['binarize']} binarization")
    steps = {row.get("step") for row in rows}
    if len(steps) == 1 and steps != {None}:
        parts.append(f"{format.count(rows[0]['step'])} training steps")
    lines = [", ".join(filter(None, parts))]
    if best and best.get("best_step") is not None:
        step = f": step {format.count(best['best_step'])}"
        lines.append(
            f"Evaluated are the weights of the highest valid {table.bound_on_valid(rows)}"
            + (" of each run with a best step" if swept else "")
            + f", chosen on valid{'' if swept else step}."
        )
    if swept and best:
        setting = format.settings(best, swept)
        chosen = CORE[table.criterion(rows)].title
        lines.append(f"The best is run {best['run']}, with {setting}, chosen by its {chosen}.")
    return lines


def _shape(data: Mapping[str, Any]) -> str:
    shape = data.get("event_shape", data.get("image_shape", []))
    return " x ".join(str(size) for size in shape)


def _study_card(results: Results) -> str:
    rows, swept = results["runs"], results["swept"]
    if not swept:
        return ""
    sizes = " x ".join(f"{len(table.values(rows, name))} {name}" for name in swept)
    num_diverged = sum(map(table.has_diverged, rows))
    return html.card("Runs", str(len(rows)), f"{sizes}, {num_diverged or 'none'} diverged")


def _cards(run: Row) -> str:
    elbo, nll, active = TEST["elbo"], TEST["nll"], TEST["active_units"]
    particles = f"K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{run.get('eval_particles') or '?'}"
    cards = [
        html.card(elbo.label, _with_error(run, elbo), f"{elbo.unit}, {elbo.better} is better"),
        html.card(nll.label, _with_error(run, nll), f"{nll.unit}, {particles}"),
    ]
    if run.get(active.name) is not None and run.get("latent_size") is not None:
        note = f"of {run['latent_size']} latents"
        cards.append(html.card(active.label, str(run[active.name]), note))
    return "".join(cards)


def _notices(results: Results) -> str:
    """Return what must be known before any number."""
    data = results.get("dataset", {})
    substitution = html.paragraphs(filter(None, [data.get("substitution")]))
    heading = "<b>These are not the data that were asked for.</b>" if substitution else ""
    remarks = html.paragraphs([*data.get("warnings", []), *results.get("notes", [])])
    missing = html.paragraphs(results.get("missing", []))
    alarms = html.box("notice", heading + substitution) + html.box("notice", missing)
    return alarms + html.box("note", remarks)


def _study(results: Results) -> list[str]:
    rows, swept = results["runs"], results["swept"]
    best = table.best(rows)
    values = {name: "; ".join(map(format.setting, table.values(rows, name))) for name in swept}
    reading = results.get("reading") or summary.summarize_study(rows, swept)
    return [
        html.section("What was swept", html.pairs(values)),
        html.section("Summary", html.paragraphs(reading)),
        *(_about(results, best, f" of the best run, number {best['run']}") if best else []),
    ]


def _about(results: Results, run: Row, of_run: str = "") -> list[str]:
    """Return the diagnostics of a run, and its numbers; `of_run` is appended to their headings."""
    diagnosis = results.get("diagnosis", [[]] * len(results["runs"]))
    own = diagnosis[results["runs"].index(run)]
    sentences = html.paragraphs([*summary.summarize_run(run), *own])
    return [
        html.section(f"Diagnostics{of_run}", sentences),
        html.section(f"Test terms{of_run}", _terms(run)),
        html.section(f"Evaluations{of_run}", _evaluations(results, run)),
    ]


def _terms(run: Row) -> str:
    """Return a table of the test terms of one run with what they mean; nothing if it diverged."""
    if table.has_diverged(run):
        return ""
    particles = str(run.get("eval_particles") or "?")
    rows = [
        [
            f"<b>{escape(each.title)}</b>",
            _term(run, each),
            _error(run, each),
            escape(each.unit),
            escape(each.meaning.replace("eval_particles", particles)),
        ]
        for each in (*_TERMS, *columns.known_to([run], [TEST["bits_per_dim"]]))
    ]
    return html.table(["term", "mean", "s.e.", "unit", "what it means"], rows)


def _evaluations(results: Results, run: Row) -> str:
    """Return a table of the evaluations of one run with what they mean."""
    rows = [
        [
            f"<b>{escape(each.name)}</b>",
            _measured(run, each.name),
            _measured(run, each.error.name, digits=2),
            escape("" if each.unit == columns.NUMBER else each.unit),
            escape(each.explanation),
        ]
        for each in _evaluated(results, [run])
    ]
    return html.table(["column", "value", "s.e.", "unit", "what it means"], rows) if rows else ""


def _evaluated(results: Results, rows: Sequence[Row]) -> list[Column]:
    """Return the columns of evaluations that any of the rows has a value of."""
    known = columns.read(results.get("columns", {}))
    names = [name for own in results.get("evaluations", {}).values() for name in own]
    return columns.known_to(rows, [known[name] for name in names])


def _all_runs(results: Results) -> str:
    """Return a table with a line per run of a study."""
    rows, swept = results["runs"], results["swept"]
    if not swept:
        return ""
    has_diverged = any(map(table.has_diverged, rows))
    shown = [*_OF_ALL_RUNS, *([CORE["diverged"]] if has_diverged else [])]
    shown += columns.known_to(rows, [CORE[name] for name in columns.CHOSEN])
    head = ["run", *swept, *(each.title for each in shown)]
    lines = [[*_settings(run, swept), *(_of_all_runs(run, each) for each in shown)] for run in rows]
    best, legend = table.best(rows), ""
    if best is not None:
        chosen = CORE[table.criterion(rows)].title
        legend = f"Shaded: run {best['run']}, which has the highest {chosen}. "
    if has_diverged:
        legend += "Greyed: runs that diverged, with the step."
    note = f"ELBO, log-likelihood, KL and NLL in {columns.NATS}, &plusmn; standard error over test "
    note += f"examples. {legend}"
    body = html.table(head, lines, _marks(rows), "runs") + f"<p class='small'>{note}</p>"
    return html.section("All runs", body)


def _evaluations_of_all_runs(results: Results) -> str:
    """Return a table of a study with a line per run and the evaluations that its runs have."""
    rows, swept = results["runs"], results["swept"]
    names = [each.name for each in _evaluated(results, rows)]
    if not swept or not names:
        return ""
    lines = [
        [*_settings(run, swept), *(_measured(run, name) or "&ndash;" for name in names)]
        for run in rows
    ]
    body = html.table(["run", *swept, *names], lines, _marks(rows), "runs")
    return html.section("Evaluations of all runs", body)


def _settings(run: Row, swept: Sequence[str]) -> list[str]:
    return [escape(format.setting(run.get(name))) for name in ("run", *swept)]


def _marks(rows: Sequence[Row]) -> dict[int, Mark]:
    marks: dict[int, Mark] = {
        i: "diverged" for i, row in enumerate(rows) if table.has_diverged(row)
    }
    best = table.best(rows)
    return marks if best is None else {**marks, rows.index(best): "best"}


def _of_all_runs(run: Row, column: Column) -> str:
    if column.unit != columns.NATS:
        return escape(format.setting(run.get(column.name)))
    return _with_error(run, column) if column in _WITH_ERRORS else _term(run, column)


def _with_error(run: Row, column: Column) -> str:
    error = _error(run, column)
    return _term(run, column) + (f"<small> &plusmn; {error}</small>" if error else "")


def _error(run: Row, column: Column) -> str:
    value = run.get(column.error.name)
    return "" if value is None else format.standard_error(value)


def _term(run: Row, column: Column) -> str:
    value = run.get(column.name)
    return "&ndash;" if value is None else format.real(value)


def _measured(run: Row, name: str, digits: int = 4) -> str:
    value = run.get(name)
    is_number = isinstance(value, int | float)
    return format.significant(value, digits) if is_number else escape(format.setting(value))


def _command(results: Results) -> str:
    command = escape(results.get("command", ""))
    return html.section("Command to repeat it", f"<pre>{command}</pre>" if command else "")


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"asked for": data.get("asked")}
    facts |= {name: data.get(name) for name in ("used", "source", "splits", "binarize")}
    facts |= {"encoding": data.get("encoding"), "recognised": "; ".join(data.get("recognised", []))}
    counts = {name: data.get(name) for name in ("num_train", "num_valid", "num_test")}
    return {**facts, **counts, "shape of x": _shape(data)}


def _provenance(results: Results) -> dict[str, Any]:
    names = ("device", "precision", "peak_memory_mb", "commit")
    times = {
        f"time, {name}": format.seconds(value)
        for name, value in results.get("seconds", {}).items()
        if value is not None
    }
    facts = {name: results.get(name) for name in names}
    return {**facts, **_speed(results), **times, **results.get("versions", {})}


def _speed(results: Results) -> dict[str, str]:
    """Return the milliseconds per step, of a study the median over its runs."""
    column = CORE["ms_per_step"]
    known = [row[column.name] for row in results["runs"] if row.get(column.name) is not None]
    name = f"{column.title} and run (median)" if results["swept"] else column.title
    return {name: format.significant(statistics.median(known))} if known else {}
