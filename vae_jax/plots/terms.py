"""What the figures of a study show: five terms, and the words and numbers that go with them."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vae_jax import table
from vae_jax.plots import style
from vae_jax.table import Cells, Row

_TICK = 9  # letters that fit under a cell


class Term(NamedTuple):
    """A term as it is drawn.

    Attributes:
      key: its name in a row.
      sign: -1 where it is drawn with the other sign.
      title: of its panel.
      colors: a colour map in which what is better, or where neither end is, what is more, is light.
      unit: of its numbers; "" for a share or a count.
    """

    key: str
    sign: int
    title: str
    colors: str
    unit: str = "nats per example"

    def cells(self, rows: Sequence[Row], axes: Sequence[str]) -> Cells:
        """Returns the term over axes, as it is drawn."""
        cells = table.cells(rows, axes, self.key)
        return cells._replace(mean=self.sign * cells.mean)


ELBO = Term("test_elbo", 1, "Test ELBO", "viridis")
NLL = Term("test_nll", 1, "Test NLL", "viridis_r")
RATE = Term("test_kl", 1, "Rate (KL)", "cividis")
DISTORTION = Term("test_log_likelihood", -1, "Distortion", "cividis")
ACTIVE = Term("active_units", 1, "Active units", "cividis", "")
TERMS = (ELBO, NLL, RATE, DISTORTION, ACTIVE)
EVALUATED = (
    Term("nll_gap", 1, "NLL of test - train", "cividis"),
    Term("mutual_information", 1, "Mutual information", "cividis"),
    Term("total_correlation", 1, "Total correlation", "cividis"),
    Term("dimensionwise_kl", 1, "Dimension-wise KL", "cividis"),
    Term("test_ais", 1, "AIS bound of test", "viridis"),
    Term("bdmc_gap", 1, "BDMC gap", "cividis"),
    Term("mig", 1, "MIG", "viridis", ""),
    Term("dci_disentanglement", 1, "DCI disentanglement", "viridis", ""),
    Term("sap", 1, "SAP", "viridis", ""),
    Term("factor_vae_score", 1, "FactorVAE score", "viridis", ""),
    Term("probe_all", 1, "Linear probe, all labels", "viridis", ""),
    Term("mmd_pixels", 1, "MMD of samples, pixels", "viridis_r", ""),
    Term("precision_pixels", 1, "Precision of samples", "viridis", ""),
    Term("recall_pixels", 1, "Recall of samples", "viridis", ""),
)
"""Of what `--evaluate` measures, what is drawn along an axis where it was asked for."""


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
