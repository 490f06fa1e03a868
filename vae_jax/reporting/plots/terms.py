"""What the figures of a study show: five terms, and the words and numbers that go with them."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import TEST, Column
from vae_jax.reporting import table
from vae_jax.reporting.plots import style
from vae_jax.reporting.table import Cells
from vae_jax.types import Row

_TICK = 9  # letters that fit under a cell


class Term(NamedTuple):
    """A column as it is drawn.

    Attributes:
      column: what is drawn.
      sign: -1 where it is drawn with the other sign.
      other_title: of its panel, where the other sign has a name of its own.
    """

    column: Column
    sign: int = 1
    other_title: str = ""

    @property
    def key(self) -> str:
        """Its name in a row."""
        return self.column.name

    @property
    def title(self) -> str:
        """The head of its panel."""
        return self.other_title or self.column.label

    @property
    def title_with_unit(self) -> str:
        """The head of its panel with the unit, where there is one."""
        unit = self.column.unit
        return self.title + ("" if unit in (columns.NUMBER, columns.TEXT) else f" ({unit})")

    @property
    def colors(self) -> str:
        """A colour map in which what is better, or where neither end is, what is more, is light."""
        return _COLORS[self.column.better]

    def cells(self, rows: Sequence[Row], axes: Sequence[str]) -> Cells:
        """Returns the term over axes, as it is drawn."""
        cells = table.cells(rows, axes, self.key)
        return cells._replace(mean=self.sign * cells.mean)


_COLORS = {"higher": "viridis", "lower": "viridis_r", "neither": "cividis"}

ELBO = Term(TEST["elbo"])
NLL = Term(TEST["nll"])
RATE = Term(TEST["kl"])
DISTORTION = Term(TEST["log_likelihood"], -1, "Distortion")
ACTIVE = Term(TEST["active_units"])
TERMS = (ELBO, NLL, RATE, DISTORTION, ACTIVE)


def name(axis: str) -> str:
    """Returns an axis as it is written in a figure."""
    return axis.replace("_", " ")


def value(of_axis: Any) -> str:
    """Returns a value of an axis as text."""
    text = f"{of_axis:g}" if table.is_ordered(of_axis) else str(of_axis)
    return style.minus(text) if table.is_ordered(of_axis) else text


def tick(of_axis: Any) -> str:
    """Returns a value of an axis as text for a tick, long words in several lines."""
    text = value(of_axis)
    if len(text) <= _TICK:
        return text
    return textwrap.fill(text.replace("_", " ").replace(",", ", "), _TICK, break_long_words=False)


def settings(values: Mapping[str, Any]) -> str:
    """Returns "beta = 4, latent size = 8"."""
    return ", ".join(f"{name(axis)} = {value(at)}" for axis, at in values.items())


def decimals(numbers: Float[np.ndarray, "..."]) -> int:
    """Returns after how many decimals to cut all numbers of a panel: none for counts."""
    known = numbers[np.isfinite(numbers)]
    if np.all(known == np.round(known)):
        return 0
    return 1 if np.abs(known).max() >= 10 else 2


def error_words(cells: Iterable[Cells]) -> str:
    """Returns what the errors of a figure are: what they were taken over."""
    all_cells = list(cells)
    seeds = np.concatenate([c.num_seeds.ravel() for c in all_cells])
    if not np.any(seeds > 1):
        return "standard errors over test examples"
    if np.any(seeds == 1):
        return "standard errors over seeds, over test examples where one seed is left"
    return "standard errors over seeds"


def mean_words(cells: Cells) -> str:
    """Returns how many seeds a mean is over, "" for one."""
    fewest, most = int(cells.num_seeds[cells.num_seeds > 0].min(initial=99)), cells.num_seeds.max()
    if most <= 1:
        return ""
    return f"means over {most} seeds" if fewest == most else f"means over {fewest} to {most} seeds"
