"""DCI: disentanglement, completeness and informativeness (Eastwood & Williams 2018)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from sklearn.ensemble import RandomForestClassifier

from vae_jax.evaluation.metrics.codes import Coded, Codes

NUM_TREES = 10
LEAF_SHARE = 200
_EVERY_LATENT: Any = None

Importance = Float[np.ndarray, "latents factors"]


class DCI(NamedTuple):
    """Scores, each 0 to 1.

    Attributes:
        disentanglement: degree to which each latent is important for one factor only.
        completeness: degree to which one latent suffices for each factor.
        informativeness: accuracy of the factors predicted on held-out codes, a mean over factors.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def dci(train: Coded, test: Coded, seed: int = 0) -> DCI:
    """Return the scores of random forests that predict each factor from the whole code.

    The importance of a latent is the mean decrease of impurity in a forest of 10 trees in which
    every split considers all latents. A leaf holds at least 1/200 of the training examples: trees
    that fit noise spread importance over latents without information. Random codes are informative
    at chance, 1 / number of values.

    Args:
        train: codes on which the forests are fitted.
        test: held-out codes.
        seed: seed of the forests.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(3)] * 20)
        >>> perfect = Coded(factors.astype(float), factors)
        >>> [round(score, 2) for score in dci(perfect, perfect)]
        [1.0, 1.0, 1.0]
    """
    forests = [_fit(train.codes, factor, seed) for factor in train.factors.T]
    importance = np.stack([forest.feature_importances_ for forest in forests], axis=1)
    pairs = zip(forests, test.factors.T, strict=True)
    accuracies = [np.mean(forest.predict(test.codes) == factor) for forest, factor in pairs]
    return DCI(disentanglement(importance), completeness(importance), float(np.mean(accuracies)))


def _fit(codes: Codes, factor: Integer[np.ndarray, " n"], seed: int) -> RandomForestClassifier:
    smallest_leaf = max(1, len(codes) // LEAF_SHARE)
    forest = RandomForestClassifier(
        NUM_TREES, max_features=_EVERY_LATENT, min_samples_leaf=smallest_leaf, random_state=seed
    )
    return forest.fit(codes, factor)


def disentanglement(importance: Importance) -> float:
    """Return the mean over latents, by total importance, of 1 - H(its factors) / ln(factors).

    Eastwood & Williams 2018, section 2. Zero where nothing is important.

    Example:
        >>> disentanglement(np.eye(2)), disentanglement(np.ones((2, 2)))
        (1.0, 0.0)
    """
    return _concentration(importance)


def completeness(importance: Importance) -> float:
    """Return the mean over factors, by total importance, of 1 - H(its latents) / ln(latents).

    Example:
        >>> completeness(np.array([[1.0, 0.0], [1.0, 0.0]]))
        0.0
    """
    return _concentration(importance.T)


def _concentration(rows: Importance) -> float:
    """Return the mean of 1 - H(row) / ln(columns), weighted by the rows' sums."""
    totals = rows.sum(axis=1)
    if totals.sum() == 0:
        return 0.0
    shares = rows / np.where(totals > 0, totals, 1.0)[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1)
    greatest = np.log(rows.shape[1]) if rows.shape[1] > 1 else 1.0
    return float(np.average(1 - entropy / greatest, weights=totals))
