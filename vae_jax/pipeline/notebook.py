"""Display of a study in a terminal and in a notebook: a screen, not a page."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from vae_jax.evaluation.columns import CORE
from vae_jax.reporting import format, html, table
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.types import Row

MOST_ROWS = 12
_TERMS = ("valid_elbo", "test_elbo", "test_nll", "test_kl", "active_units")


def as_text(name: str, rows: Sequence[Row], swept: Sequence[str]) -> str:
    """Return the study as lines of text: the table and its best row.

    Example:
        >>> rows = [{"run": i, "beta": b, "test_elbo": -9.0 - b} for i, b in enumerate((1.0, 4.0))]
        >>> print(as_text("mnist", rows, ["beta"]))
        mnist: 2 runs, the best is run 0 (beta = 1)
        run  beta  test_elbo
          0     1     −10.00
          1     4     −13.00
    """
    names, lines = _cells(rows, swept)
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    body = (
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in (names, *lines)
    )
    return "\n".join([_headline(name, rows, swept), *body, *_rest(rows)])


def as_html(name: str, rows: Sequence[Row], swept: Sequence[str], plot: Callable[[], Any]) -> str:
    """Return the study for a notebook: the table, the best row, and three figures of it.

    Args:
        name: name of the study.
        rows: rows of its table.
        swept: names of what differs between its runs.
        plot: returns its figures.
    """
    names, lines = _cells(rows, swept)
    best = table.leading(rows)
    weight = "font-weight:600"
    shown = _shown(rows)
    body = "".join(
        f"<tr style='{weight if row is best else ''}'>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in line)
        + "</tr>"
        for row, line in zip(shown, lines, strict=True)
    )
    head = "".join(f"<th>{escape(each)}</th>" for each in names)
    rest = "".join(f"<p>{escape(line)}</p>" for line in _rest(rows))
    pictures = "" if best is None else "".join(_pictures(plot))
    return (
        f"<p><b>{escape(_headline(name, rows, swept))}</b></p><table><tr>{head}</tr>{body}</table>"
        f"{rest}<div style='display:flex;flex-wrap:wrap;gap:8px'>{pictures}</div>"
    )


def _headline(name: str, rows: Sequence[Row], swept: Sequence[str]) -> str:
    best, runs = table.leading(rows), format.count(len(rows), "run")
    if best is None:
        return f"{name}: {runs}, none has a result yet"
    setting = format.settings(best, swept) if swept else ""
    return f"{name}: {runs}, the best is run {best['run']}" + (f" ({setting})" if setting else "")


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that fit on a screen: the best ones, in the order of their numbers."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    ranked = table.ranking(rows)
    first = [*ranked, *(row for row in rows if row not in ranked)][:MOST_ROWS]
    return [row for row in rows if row in first]


def _rest(rows: Sequence[Row]) -> list[str]:
    hidden = len(rows) - len(_shown(rows))
    return [f"... and {format.count(hidden, 'run')} that are not as good"] if hidden else []


def _cells(rows: Sequence[Row], swept: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and the texts of each row that is shown."""
    known = [name for name in _TERMS if any(row.get(name) is not None for row in rows)]
    names = ["run", *swept, *(name for name in ("step",) if name in rows[0]), *known]
    return names, [[_cell(row, name) for name in names] for row in _shown(rows)]


def _cell(row: Row, name: str) -> str:
    value = row.get(name)
    if name in _TERMS and CORE[name].unit != CORE["active_units"].unit:
        return "-" if value is None else format.real(value)
    return format.setting(value)


def _pictures(plot: Callable[[], Any]) -> list[str]:
    """Return the HTML of what can be drawn without the data: samples, traversals, curves."""
    if not libraries.is_installed("matplotlib"):
        return []
    found = []
    for draw in (plot().samples, plot().traversals, plot().curves):
        try:
            found.append(html.image(draw()._repr_png_(), width=300))
        except InputError:  # a posterior without a density has no samples, a running one no weights
            continue
    return found
