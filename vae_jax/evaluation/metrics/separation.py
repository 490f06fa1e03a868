"""Measures of disentanglement from simple predictors: SAP and explicitness."""

import numpy as np
from jaxtyping import Float, Float64, Integer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from vae_jax.evaluation.metrics.codes import Coded, standardized

_MOST_ITERATIONS = 1000


def sap(train: Coded, test: Coded, is_ordered: tuple[bool, ...]) -> float:
    """Return the separated attribute predictability (Kumar et al. 2018, section 3), 0 to 1.

    The mean over factors of (best - second best) score of a single latent. The score of an ordered
    factor is the R^2 of its regression on the latent, that of a named one the balanced accuracy,
    on `test`, of thresholds on the latent, where the second best is at chance at least: perfect
    codes of a name of three values score 2/3. Implementations that use a linear classifier for
    ordered factors too give values several times smaller: do not compare with those.

    Args:
        train: codes on which predictors are fitted.
        test: held-out codes.
        is_ordered: for each factor, True if its values are quantities and not names.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(3)])
        >>> perfect = Coded(factors.astype(float), factors)
        >>> round(sap(perfect, perfect, is_ordered=(True, True)), 4)
        1.0
    """
    second, first = np.sort(_sap_scores(train, test, is_ordered), axis=0)[-2:]
    return float(np.mean(first - second))


def _sap_scores(
    train: Coded, test: Coded, is_ordered: tuple[bool, ...]
) -> Float64[np.ndarray, "rows factors"]:
    """Return the score of each latent for each factor, after a row of what no latent scores.

    That is zero for ordered factors and chance for named ones.
    """
    scores = np.zeros((1 + train.codes.shape[1], len(is_ordered)))
    for factor, ordered in enumerate(is_ordered):
        if ordered:
            scores[1:, factor] = _r_squared(train, factor)
        else:
            scores[0, factor] = 1 / len(np.unique(train.factors[:, factor]))
            scores[1:, factor] = _threshold_accuracies(train, test, factor)
    return scores


def _r_squared(coded: Coded, factor: int) -> Float64[np.ndarray, " latents"]:
    values = coded.factors[:, [factor]].astype(np.float64)
    codes = coded.codes.astype(np.float64)
    return np.mean(standardized(codes, codes) * standardized(values, values), axis=0) ** 2


def _threshold_accuracies(
    train: Coded, test: Coded, factor: int
) -> Float64[np.ndarray, " latents"]:
    values, held_out = train.factors[:, factor], test.factors[:, factor]
    num_values = max(2, len(np.unique(values)))

    def accuracy(latent: int) -> float:
        tree = DecisionTreeClassifier(max_leaf_nodes=num_values, class_weight="balanced")
        tree.fit(train.codes[:, [latent]], values)
        return balanced_accuracy_score(held_out, tree.predict(test.codes[:, [latent]]))

    return np.array([accuracy(latent) for latent in range(train.codes.shape[1])])


def explicitness(train: Coded, test: Coded) -> float:
    """Return the explicitness (Ridgeway & Mozer 2018, section 3), 0.5 at chance to 1.

    The mean over factors and their values of the area under the ROC curve, on `test`, of a
    logistic regression from the standardized code: one multinomial model for each factor, read one
    value against the rest, so that a latent linear in an ordered factor is fully explicit.

    Args:
        train: codes on which the regressions are fitted.
        test: held-out codes.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(3)])
        >>> perfect = Coded(factors.astype(float), factors)
        >>> round(explicitness(perfect, perfect), 4)
        1.0
    """
    fitted, held_out = (standardized(codes, train.codes) for codes in (train.codes, test.codes))
    areas = []
    for train_values, test_values in zip(train.factors.T, test.factors.T, strict=True):
        model = LogisticRegression(max_iter=_MOST_ITERATIONS).fit(fitted, train_values)
        areas.append(_mean_area(model.classes_, model.predict_proba(held_out), test_values))
    return float(np.mean(areas))


def _mean_area(
    values: Integer[np.ndarray, " values"],
    probabilities: Float[np.ndarray, "n values"],
    targets: Integer[np.ndarray, " n"],
) -> float:
    """Return the mean area over those values that some but not all test examples have."""
    is_value = targets[:, None] == values
    both = np.flatnonzero(is_value.any(axis=0) & ~is_value.all(axis=0))
    return float(np.mean([roc_auc_score(is_value[:, v], probabilities[:, v]) for v in both]))
