"""Heat maps of the report as SVG: every cell says its value and names its runs.

They show what ``heat_*.png`` shows. Without a script a cell tells its value by its ``<title>``;
``assets/study.js`` reads ``data-runs`` of the cells to open their runs.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from vae_jax.evaluation import columns
from vae_jax.reporting import colors, format, table
from vae_jax.reporting.table import Cells
from vae_jax.reporting.terms import TERMS, Term
from vae_jax.types import Row

MOST_CELLS = 5_000
"""Cells of all maps of a page; a pair of axes that does not fit is left to its PNG."""
_MOST_WRITTEN = 24  # values of an axis whose cells have numbers
_WRITTEN, _SMALL = (56, 32), (12, 12)  # pixels of a cell with a number, and without
_LETTER, _LINE = 6.2, 14.0  # pixels of a letter and of a line of labels
_TOP = 4.0
_LONGEST_LABEL, _MOST_NAMED = 24, 6
_ALARM = "#d64545"

_CAPTION = (
    "Point at a cell, or move over the cells with the arrow keys, to read its value; click it, or "
    "press Enter, to see its runs. The frame is around the setting of the best run."
)


def figures(rows: Sequence[Row], swept: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the maps of every pair of axes that fits, by the names across and down, as HTML.

    Args:
        rows: rows of a study.
        swept: names of the swept flags.

    Example:
        >>> rows = [{"run": r, "beta": b, "latent_size": n, "test_elbo": -b - n}
        ...         for r, (b, n) in enumerate(itertools.product((1.0, 4.0), (2, 8)))]
        >>> list(figures(rows, ["beta", "latent_size"]))
        [('beta', 'latent_size')]
    """
    found, left = {}, MOST_CELLS
    for pair in itertools.combinations(table.axes(swept), 2):
        across, down = table.across_and_down(rows, pair)
        held = table.fixed(rows, swept, pair)
        here = table.at(rows, held)
        terms = [term for term in TERMS if any(table.is_number(row.get(term.key)) for row in here)]
        num_cells = len(table.values(here, across)) * len(table.values(here, down)) * len(terms)
        if not terms or num_cells > left:
            continue
        left -= num_cells
        maps = "".join(heat_map(here, (across, down), term) for term in terms)
        found[across, down] = _figure(maps, (across, down), held, here)
    return found


def file_name(axes: tuple[str, str]) -> str:
    """Return the name, without its suffix, of the PNG that shows what a map of the page shows.

    Example:
        >>> file_name(("beta", "latent_size"))
        'heat_beta_latent_size'
    """
    across, down = axes
    return f"heat_{across}_{down}"


def _figure(maps: str, axes: tuple[str, str], held: Mapping[str, Any], rows: Sequence[Row]) -> str:
    across, down = axes
    ranked = ", ".join(term.title for term in TERMS if term.column.better != "neither")
    num_seeds = TERMS[0].cells(rows, (down, across)).num_seeds
    sentences = [
        _CAPTION,
        f"{ranked}: lighter is better; others: lighter is more.",
        *([f"Numbers are {mean}."] if (mean := format.mean_source(num_seeds)) else []),
        *([f"Shown at {format.settings(held)}, as in the best run."] if held else []),
    ]
    title = f"Terms over {across} and {down}"
    return (
        f"<figure class='heat'><div class='maps'>{maps}</div><figcaption><b>{escape(title)}.</b> "
        f"{escape(' '.join(sentences))}</figcaption></figure>"
    )


def heat_map(rows: Sequence[Row], axes: tuple[str, str], term: Term) -> str:
    """Return one term over two axes as SVG under its title.

    Args:
        rows: rows that differ in nothing but the two axes and the seed.
        axes: names of the axes that go across and down.
        term: term that the cells have.
    """
    return _HeatMap(rows, axes, term).html()


@dataclass(frozen=True, eq=False)
class _HeatMap:
    """One term over two axes; lengths are in pixels.

    Attributes:
        rows: rows that differ in nothing but the two axes and the seed.
        axes: names of the axes that go across and down.
        term: term that the cells have.
    """

    rows: Sequence[Row]
    axes: tuple[str, str]
    term: Term

    @functools.cached_property
    def _cells(self) -> Cells:
        return self.term.cells(self.rows, self.axes[::-1])

    @functools.cached_property
    def _runs(self) -> dict[tuple[Any, ...], list[int]]:
        """Numbers of the runs of each cell, by its values down and across."""
        found: dict[tuple[Any, ...], list[int]] = {}
        for row in self.rows:
            found.setdefault(tuple(row[name] for name in self.axes[::-1]), []).append(row["run"])
        return found

    @functools.cached_property
    def _is_written(self) -> bool:
        """Return whether cells have room for their numbers."""
        return max(self._cells.mean.shape) <= _MOST_WRITTEN

    @property
    def _size(self) -> tuple[int, int]:
        return _WRITTEN if self._is_written else _SMALL

    @functools.cached_property
    def _labels(self) -> tuple[list[str], list[str]]:
        """Values down and across as text."""
        down, across = ([_label(value) for value in values] for values in self._cells.values)
        return down, across

    @functools.cached_property
    def _left(self) -> float:
        return _LINE + 8 + _LETTER * max(map(len, self._labels[0]))

    def html(self) -> str:
        """Return the map under its title, with the range of its values."""
        across, down = self.axes
        (num_down, num_across), (width, height) = self._cells.mean.shape, self._size
        right, bottom = self._left + num_across * width, _TOP + num_down * height
        full = right + 8, bottom + self._foot + _LINE + 6
        middle = (self._left + right) / 2
        body = "".join([*self._squares(), *self._frame(), *self._ticks(bottom)])
        side = f"translate({_LINE - 3:g} {(_TOP + bottom) / 2:g}) rotate(-90)"
        return (
            f"<div class='wide'><b>{escape(self.term.title)}</b> "
            f"<small>{escape(self._range)}</small>"
            f"<svg width='{full[0]:g}' height='{full[1]:g}' "
            f"viewBox='0 0 {full[0]:g} {full[1]:g}' role='group' "
            f"aria-label='{escape(f'{self.term.title} over {across} and {down}')}'>{body}"
            f"<text x='{middle:g}' y='{full[1] - 6:g}'>{escape(format.axis(across))}</text>"
            f"<text transform='{side}'>{escape(format.axis(down))}</text></svg></div>"
        )

    def _squares(self) -> Iterator[str]:
        """Yield the cells that have runs, each a square with its value for pointer and reader."""
        cells, (width, height) = self._cells, self._size
        low, high = colors.limits(cells.mean)
        digits = format.decimals(cells.mean)
        for i, j in np.ndindex(cells.mean.shape):
            runs = self._runs.get((cells.values[0][i], cells.values[1][j]))
            if not runs:
                continue
            mean = float(cells.mean[i, j])
            color, ink, text = (1.0, 1.0, 1.0), _ALARM, "\N{MULTIPLICATION SIGN}"
            if math.isfinite(mean):
                color = colors.at(self.term.colors, (mean - low) / (high - low))
                ink, text = colors.ink_on(color), format.real(mean, digits or int(mean % 1 != 0))
            x, y = self._left + j * width, _TOP + i * height
            yield (
                f"<rect x='{x:g}' y='{y:g}' width='{width}' height='{height}' "
                f"fill='{colors.as_hex(color)}' data-runs='{' '.join(map(str, runs))}'>"
                f"<title>{escape(self._told((i, j), runs))}</title></rect>"
            )
            if self._is_written or not math.isfinite(mean):
                yield (
                    f"<text x='{x + width / 2:g}' y='{y + height / 2 + 4:g}' fill='{ink}'>"
                    f"{text}</text>"
                )

    def _frame(self) -> Iterator[str]:
        """Yield the frame around the cell of the best run, unless every run diverged."""
        best, (down, across) = table.best(self.rows), self._cells.values
        if best is not None:
            i, j = down.index(best[self.axes[1]]), across.index(best[self.axes[0]])
            width, height = self._size
            yield (
                f"<rect class='best-cell' x='{self._left + j * width:g}' "
                f"y='{_TOP + i * height:g}' width='{width}' height='{height}'/>"
            )

    def _told(self, index: tuple[int, int], runs: Sequence[int]) -> str:
        """Return what is told of a cell: setting, value with its error, seeds and runs."""
        cells, title = self._cells, self.term.title
        (across, down), (i, j) = self.axes, index
        setting = format.settings({across: cells.values[1][j], down: cells.values[0][i]})
        mean, error, lost = (float(a[index]) for a in (cells.mean, cells.error, cells.num_diverged))
        if not math.isfinite(mean):
            parts = ["every run diverged" if lost == len(runs) else f"no {title}"]
        else:
            is_number = self.term.column.unit == columns.NUMBER
            value = format.rounded(mean) if is_number else format.with_error(mean, error)
            parts = [f"{title} {value}"]
            if cells.num_seeds[index] > 1:
                parts.append(f"mean of {cells.num_seeds[index]} seeds")
            if lost:
                parts.append(f"{format.count(int(lost), 'run')} diverged")
        shown = ", ".join(map(str, runs[:_MOST_NAMED])) + ", ..." * (len(runs) > _MOST_NAMED)
        return f"{setting}: {', '.join(parts)}; {'runs' if len(runs) > 1 else 'run'} {shown}"

    @property
    def _range(self) -> str:
        """Smallest and largest value, with the unit."""
        known = self._cells.mean[np.isfinite(self._cells.mean)]
        if known.size == 0:
            return "every run diverged"
        digits = format.decimals(known)
        low, high = (format.real(float(end), digits) for end in (known.min(), known.max()))
        unit = self.term.title_with_unit.removeprefix(self.term.title)
        return f"{low} to {high}{unit}"

    @property
    def _is_upright(self) -> bool:
        """Return whether the labels under the cells are too long to lie."""
        return _LETTER * max(map(len, self._labels[1])) > self._size[0] - 4

    @property
    def _foot(self) -> float:
        """Height of the labels under the cells."""
        return _LETTER * max(map(len, self._labels[1])) + 8.0 if self._is_upright else _LINE + 4.0

    def _ticks(self, bottom: float) -> Iterator[str]:
        """Yield the values of both axes, as many as have room for a line."""
        (down, across), (width, height) = self._labels, self._size
        for i in range(0, len(down), math.ceil(_LINE / height)):
            y = _TOP + (i + 0.5) * height + 4
            yield f"<text x='{self._left - 5:g}' y='{y:g}' class='down'>{escape(down[i])}</text>"
        for j in range(0, len(across), math.ceil(_LINE / width)):
            x, place = self._left + (j + 0.5) * width, ""
            place = f"x='{x:g}' y='{bottom + _LINE:g}'"
            if self._is_upright:
                place = f"class='down' transform='translate({x + 4:g} {bottom + 5:g}) rotate(-90)'"
            yield f"<text {place}>{escape(across[j])}</text>"


def _label(value: Any) -> str:
    text = format.setting(value)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}\u2026"
