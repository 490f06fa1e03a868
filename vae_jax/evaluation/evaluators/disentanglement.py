"""Evaluator ``disentanglement``: scores of single latents for single factors, on sprites."""

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
from vae_jax.types import Row

NUM_TRAIN, NUM_TEST = 10_000, 5_000
_GRID_SHARE = 0.6  # share of the time that the codes of the grid take


def _score(name: str, meaning: str, title: str, source: str, *, is_drawn: bool = False) -> Column:
    return Column(name, meaning, NUMBER, title, source, "higher", is_drawn=is_drawn)


@dataclass(frozen=True)
class Disentanglement(PerRunEvaluator):
    """Measures of disentanglement of the posterior means, on sprites.

    Predictors see the first 10,000 codes of train and are scored on the first 5,000 of test
    (Locatello et al. 2019). Measures that draw factors take their images from a grid of up to
    ``factor_values`` values of each, evenly spread; with 40 that is the whole grid.

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
        sizes = tuple(min(size, self.factor_values) for size in sprites.FACTORS.values())
        images = sprites.render(sprites.thinned_grid(sizes))[..., None]
        grid = context.codes(
            ExampleSubset(images, None), lambda share: on_progress(_GRID_SHARE * share)
        )
        train, test = context.subset("train", NUM_TRAIN), context.subset("test", NUM_TEST)
        return disentanglement.scores(
            Coded(context.codes(train), data.train_factors[:NUM_TRAIN]),
            Coded(context.codes(test), data.test_factors[:NUM_TEST]),
            grid_lookup(np.asarray(grid), sizes),
            sizes,
            sprites.IS_ORDERED,
            int(context.trained.hparams.seed),
        )
