"""Evaluator ``disentanglement``: scores of single latents for single factors."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax.data import sprites
from vae_jax.evaluation.columns import NUMBER, Column
from vae_jax.evaluation.evaluators.base import (
    EvalContext,
    ExampleSubset,
    OnProgress,
    PerRunEvaluator,
)
from vae_jax.settings import setting, whole
from vae_jax.training.batches import SPLITS
from vae_jax.types import Row

NUM_TRAIN, NUM_TEST = 10_000, 5_000
_GRID_SHARE = 0.6  # share of the time that the codes of the grid take


def _score(name: str, meaning: str, title: str, source: str, *, is_drawn: bool = False) -> Column:
    return Column(name, meaning, NUMBER, title, source, "higher", is_drawn=is_drawn)


@dataclass(frozen=True)
class Disentanglement(PerRunEvaluator):
    """Measures of disentanglement of the posterior means, on data whose factors are known.

    Predictors see the first 10,000 codes of train and are scored on the first 5,000 of test
    (Locatello et al. 2019). Measures that draw factors take their examples from a grid of up to
    ``factor_values`` values of each, evenly spread: of sprites they are drawn, of other data those
    of all splits are taken, and where some are missing these measures are left out. Factors of
    other data than sprites are taken for quantities. A factor of a single value is left out.

    Attributes:
        factor_values: largest number of values of each factor in the grid.
    """

    factor_values: int = setting(
        16, whole(2), "most values of each factor on the grid (disentanglement)"
    )

    needs: ClassVar[frozenset[str]] = frozenset(
        {"coordinates", "factors", "unconditional", "sklearn"}
    )
    columns: ClassVar[tuple[Column, ...]] = (
        _score(
            "mig",
            "gap between the two latents with most information on a factor, over its entropy",
            "MIG",
            "Chen et al. 2018, eq. 6",
            is_drawn=True,
        ),
        _score(
            "modularity",
            "degree to which each latent has information on one factor at most",
            "modularity",
            "Ridgeway & Mozer 2018",
        ),
        _score(
            "dci_disentanglement",
            "concentration of each latent's importance on one factor",
            "DCI disentanglement",
            "Eastwood & Williams 2018",
            is_drawn=True,
        ),
        _score(
            "dci_completeness",
            "concentration of each factor's importance on one latent",
            "DCI completeness",
            "Eastwood & Williams 2018",
        ),
        _score(
            "dci_informativeness",
            "held-out accuracy of the factors from the code",
            "DCI informativeness",
            "Eastwood & Williams 2018",
        ),
        _score(
            "sap",
            "gap between the two latents that predict a factor best",
            "SAP score",
            "Kumar et al. 2018",
            is_drawn=True,
        ),
        _score(
            "explicitness",
            "area under the ROC curve of the factors, linear in the code",
            "explicitness",
            "Ridgeway & Mozer 2018",
        ),
        _score(
            "factor_vae_score",
            "accuracy of the fixed factor by the latent that varies least",
            "FactorVAE score",
            "Kim & Mnih 2018, section 4",
            is_drawn=True,
        ),
        _score(
            "beta_vae_score",
            "accuracy of the fixed factor, linear in mean differences",
            "beta-VAE score",
            "Higgins et al. 2017, section 3",
        ),
        _score(
            "irs",
            "how little a latent moves when all but its factor do",
            "IRS",
            "Suter et al. 2019",
        ),
    )

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return all scores, of which 1 is best."""
        from vae_jax.evaluation.metrics import disentanglement
        from vae_jax.evaluation.metrics.codes import Coded, grid_lookup

        data = context.data
        assert data.train_factors is not None
        assert data.test_factors is not None
        found = self._sprites() if sprites.is_sprites(data.record.used) else self._grid(context)
        codes_at, sizes = None, ()
        if found is not None:
            examples, sizes = found
            grid = context.codes(
                ExampleSubset(examples, None), lambda share: on_progress(_GRID_SHARE * share)
            )
            codes_at = grid_lookup(np.asarray(grid), sizes)
        is_ordered = (
            sprites.IS_ORDERED
            if sprites.is_sprites(data.record.used)
            else (True,) * data.train_factors.shape[1]
        )
        train, test = context.subset("train", NUM_TRAIN), context.subset("test", NUM_TEST)
        return disentanglement.scores(
            Coded(context.codes(train), data.train_factors[:NUM_TRAIN]),
            Coded(context.codes(test), data.test_factors[:NUM_TEST]),
            codes_at,
            sizes,
            is_ordered,
            int(context.trained.hparams.seed),
        )

    def _sprites(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return sprites of a grid of factors, and the number of values of each."""
        sizes = tuple(min(size, self.factor_values) for size in sprites.FACTORS.values())
        return sprites.render(sprites.thinned_grid(sizes))[..., None], sizes

    def _grid(self, context: EvalContext) -> tuple[np.ndarray, tuple[int, ...]] | None:
        """Return examples of all splits on a grid of their factors, or None if some are missing."""
        data = context.data
        splits = [context.subset(split).pixels for split in SPLITS]
        parts = [data.train_factors, data.valid_factors, data.test_factors]
        known = [(x, own) for x, own in zip(splits, parts, strict=True) if own is not None]
        factors = np.concatenate([own for _, own in known])
        values = [np.unique(column) for column in factors.T]
        sizes = tuple(min(len(own), self.factor_values) for own in values)
        kept = [own[np.arange(n) * len(own) // n] for own, n in zip(values, sizes, strict=True)]
        is_kept = np.all(
            [np.isin(column, own) for column, own in zip(factors.T, kept, strict=True)], 0
        )
        rows = np.flatnonzero(is_kept)
        places = [np.searchsorted(own, factors[rows, i]) for i, own in enumerate(kept)]
        points, first = np.unique(np.ravel_multi_index(places, sizes), return_index=True)
        if len(points) < np.prod(sizes):
            return None
        ends = np.cumsum([0, *(len(x) for x, _ in known)])
        split = np.searchsorted(ends, rows[first], side="right") - 1
        return np.stack(
            [known[s][0][row - ends[s]] for s, row in zip(split, rows[first], strict=True)]
        ), sizes
