"""Do single latents stand for single factors? On data whose factors are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax.assessments.base import EachRun, Part, Row, Subject, Tell
from vae_jax.data import sprites

NUM_TRAIN, NUM_TEST = 10_000, 5_000
_GRID_SHARE = 0.6  # of the time that goes into the codes of the grid


@dataclass(frozen=True)
class Disentanglement(EachRun):
    """Measures of disentanglement of the posterior means, on sprites.

    Predictors see the first 10,000 codes of train and are scored on the first 5,000 of test
    (Locatello et al. 2019). Measures that draw factors take their images from a grid of up to
    ``factor_values`` values of each, evenly spread; with 40 that is the whole grid.
    """

    factor_values: int = 16

    needs: ClassVar[frozenset[str]] = frozenset({"factors", "unconditional", "sklearn"})
    columns: ClassVar[Mapping[str, str]] = {
        "mig": "gap between the two latents that know most of a factor, over its entropy (Chen et "
        "al. 2018, eq. 6)",
        "modularity": "does each latent know one factor at most (Ridgeway & Mozer 2018)",
        "dci_disentanglement": "concentration of each latent's importance on one factor (Eastwood "
        "& Williams 2018)",
        "dci_completeness": "concentration of each factor's importance on one latent, the same",
        "dci_informativeness": "held-out accuracy of the factors from the code, the same",
        "sap": "gap between the two latents that predict a factor best (Kumar et al. 2018)",
        "explicitness": "area under the ROC curve of the factors, linear in the code (Ridgeway & "
        "Mozer 2018)",
        "factor_vae_score": "accuracy of the fixed factor by the latent that varies least (Kim & "
        "Mnih 2018)",
        "beta_vae_score": "accuracy of the fixed factor, linear in mean differences (Higgins et "
        "al. 2017)",
        "irs": "how little a latent moves when all but its factor do (Suter et al. 2019)",
    }

    def __call__(self, subject: Subject, tell: Tell) -> Row:
        """All measures."""
        from vae_jax.metrics import disentanglement
        from vae_jax.metrics.codes import Coded, grid_lookup

        data = subject.data
        assert data.train_factors is not None
        assert data.test_factors is not None
        sizes = tuple(min(size, self.factor_values) for size in sprites.FACTORS.values())
        images = sprites.render(sprites.thinned_grid(sizes))[..., None]
        grid = subject.codes(Part(images, None), lambda share: tell(_GRID_SHARE * share))
        train, test = subject.part("train", NUM_TRAIN), subject.part("test", NUM_TEST)
        return disentanglement.scores(
            Coded(subject.codes(train), data.train_factors[:NUM_TRAIN]),
            Coded(subject.codes(test), data.test_factors[:NUM_TEST]),
            grid_lookup(np.asarray(grid), sizes),
            sizes,
            sprites.IS_ORDERED,
            int(subject.trained.hparams.seed),
        )
