"""Scores of disentanglement of one representation, by the names of their columns."""

import numpy as np
from jaxtyping import Bool

from vae_jax.evaluation.metrics.codes import Coded, CodesAt
from vae_jax.evaluation.metrics.dci import dci
from vae_jax.evaluation.metrics.information import (
    discretize,
    entropies,
    mig,
    modularity,
    mutual_information,
)
from vae_jax.evaluation.metrics.intervention import beta_vae_score, factor_vae_score, irs
from vae_jax.evaluation.metrics.separation import explicitness, sap


def scores(
    train: Coded,
    test: Coded,
    codes_at: CodesAt | None,
    sizes: tuple[int, ...],
    is_ordered: tuple[bool, ...],
    seed: int = 0,
) -> dict[str, float]:
    """Return all scores, of which 1 is best; their functions document the values at chance.

    A factor that has one value in `train` or in `test` is left out, as nothing can tell how a code
    represents it. Where no factor is left, there are no scores.

    Args:
        train: codes on which predictors are fitted; 10,000 are customary.
        test: held-out codes, of which MIG and modularity are computed too.
        codes_at: function from factors to codes of images with these factors; None where the data
            do not hold a full grid of them, which leaves out the scores that draw factors.
        sizes: number of values of each factor, as `codes_at` takes them.
        is_ordered: for each factor, True if its values are quantities and not names.
        seed: seed of the draws and of the forests.
    """
    varies = _varying(train) & _varying(test)
    if not varies.any():
        return {}
    train, test = (Coded(each.codes, each.factors[:, varies]) for each in (train, test))
    is_ordered = tuple(np.array(is_ordered)[varies].tolist())
    information = mutual_information(discretize(test.codes), test.factors)
    importance = dci(train, test, seed)
    row = {
        "mig": mig(information, entropies(test.factors)),
        "modularity": modularity(information),
        "dci_disentanglement": importance.disentanglement,
        "dci_completeness": importance.completeness,
        "dci_informativeness": importance.informativeness,
        "sap": sap(train, test, is_ordered),
        "explicitness": explicitness(train, test),
    }
    if codes_at is None or max(sizes) < 2:
        return row
    return row | {
        "factor_vae_score": factor_vae_score(codes_at, sizes, seed),
        "beta_vae_score": beta_vae_score(codes_at, sizes, seed),
        "irs": irs(codes_at, sizes, seed),
    }


def _varying(coded: Coded) -> Bool[np.ndarray, " factors"]:
    """Return for each factor whether it has more than one value."""
    return (coded.factors != coded.factors[:1]).any(axis=0)
