"""Terms that the figures of a study show, each a column with the sign in which it is drawn."""

from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import TEST, Column
from vae_jax.reporting import table
from vae_jax.reporting.table import Cells
from vae_jax.types import Row

_COLORS = {"higher": "viridis", "lower": "viridis_r", "neither": "cividis"}


class Term(NamedTuple):
    """Column as it is drawn.

    Attributes:
      column: declaration of the column.
      sign: -1 where it is drawn with the other sign.
      other_title: title of its panel, where the other sign has a name of its own.

    Example:
        >>> ELBO.title_with_unit, DISTORTION.title
        ('Test ELBO (nats per example)', 'Distortion')
    """

    column: Column
    sign: int = 1
    other_title: str = ""

    @property
    def key(self) -> str:
        """Name of the column in a row."""
        return self.column.name

    @property
    def title(self) -> str:
        """Title of the panel."""
        return self.other_title or self.column.label

    @property
    def title_with_unit(self) -> str:
        """Title of the panel with the unit, where there is one."""
        unit = self.column.unit
        return self.title + ("" if unit in (columns.NUMBER, columns.TEXT) else f" ({unit})")

    @property
    def colors(self) -> str:
        """Colour map in which the better values, or the larger if neither is better, are light."""
        return _COLORS[self.column.better]

    def cells(self, rows: Sequence[Row], axes: Sequence[str]) -> Cells:
        """Return the term over axes, with the sign in which it is drawn."""
        cells = table.cells(rows, axes, self.key)
        return cells._replace(mean=self.sign * cells.mean)


ELBO = Term(TEST["elbo"])
NLL = Term(TEST["nll"])
RATE = Term(TEST["kl"])
DISTORTION = Term(TEST["log_likelihood"], -1, "Distortion")
ACTIVE = Term(TEST["active_units"])
TERMS = (ELBO, NLL, RATE, DISTORTION, ACTIVE)
