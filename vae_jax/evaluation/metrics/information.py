"""Measures of disentanglement from the mutual information of each latent and each factor."""

import numpy as np
from jaxtyping import Float, Float64, Integer

from vae_jax.evaluation.metrics.codes import Codes, Factors

NUM_BINS = 20

Information = Float64[np.ndarray, "latents factors"]


def discretize(codes: Codes, num_bins: int = NUM_BINS) -> Integer[np.ndarray, "n latents"]:
    """Return indices of equal-width bins between each latent's smallest and largest code.

    The convention of Locatello et al. 2019, with 20 bins.

    Example:
        >>> discretize(np.array([[0.0], [0.5], [1.0]]), num_bins=4).ravel().tolist()
        [0, 2, 3]
    """
    low, high = codes.min(axis=0), codes.max(axis=0)
    width = np.where(high > low, high - low, 1)
    return np.minimum((codes - low) / width * num_bins, num_bins - 1).astype(np.int64)


def entropies(values: Integer[np.ndarray, "n columns"]) -> Float64[np.ndarray, " columns"]:
    """Return the entropy of the empirical distribution of each column, in nats.

    Columns hold whole numbers from 0.

    Example:
        >>> entropies(np.array([[0], [1]])).round(4).tolist()  # ln 2
        [0.6931]
    """
    return np.array([_entropy(column) for column in values.T])


def mutual_information(
    binned: Integer[np.ndarray, "n latents"], factors: Factors
) -> Float64[np.ndarray, "latents factors"]:
    """Return I(latent; factor) = H(latent) + H(factor) - H(latent, factor), in nats.

    The plug-in estimate: independent columns give about (bins - 1)(values - 1) / 2n, not zero.

    Args:
        binned: codes from :func:`discretize`.
        factors: factors of the same images.

    Example:
        >>> factors = np.array([[0], [1]])
        >>> mutual_information(factors, factors).round(4).tolist()  # H(factor) = ln 2
        [[0.6931]]
    """
    joint = np.array([[_joint_entropy(a, b) for b in factors.T] for a in binned.T])
    return np.maximum(entropies(binned)[:, None] + entropies(factors) - joint, 0.0)


def _joint_entropy(a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " n"]) -> float:
    return _entropy(a * (b.max() + 1) + b)


def _entropy(column: Integer[np.ndarray, " n"]) -> float:
    counts = np.bincount(column)
    p = counts[counts > 0] / len(column)
    return float(-(p * np.log(p)).sum())


def mig(information: Information, factor_entropies: Float[np.ndarray, " factors"]) -> float:
    """Return the mutual information gap (Chen et al. 2018, eq. 6), 0 to 1.

    The mean over factors of (largest - second largest I(latent; factor)) / H(factor). With codes
    that are posterior means, as in Locatello et al. 2019; Chen et al. integrate over q(z|x). A
    factor of one value is left out. In 20 bins a factor of more values cannot reach 1: perfect
    codes of 40 values score ln 20 / ln 40 = 0.81.

    Args:
        information: I(latent; factor) from :func:`mutual_information`.
        factor_entropies: H(factor) from :func:`entropies`.

    Example:
        >>> factors = np.array([[a, b] for a in range(3) for b in range(3)])
        >>> codes = factors.astype(float)  # a latent for each factor
        >>> information = mutual_information(discretize(codes), factors)
        >>> round(mig(information, entropies(factors)), 4)
        1.0
    """
    second, first = np.sort(np.vstack([np.zeros_like(information[:1]), information]), axis=0)[-2:]
    varies = factor_entropies > 0
    return float(np.mean((first - second)[varies] / factor_entropies[varies]))


def modularity(information: Information) -> float:
    """Return the modularity (Ridgeway & Mozer 2018, section 3), 0 to 1.

    It is 1 if each latent has information on one factor at most: the mean over latents of
    1 - sum of the other I^2 / (largest I^2 (factors - 1)), 0 for a latent without any. The noise of
    an estimate counts as information, so codes independent of all factors do not score 0; read it
    beside the MIG.

    Example:
        >>> modularity(np.array([[1.0, 0.0], [0.5, 0.5]]))
        0.5
    """
    squares = information**2
    largest = squares.max(axis=1)
    rest = (squares.sum(axis=1) - largest) / np.maximum(squares.shape[1] - 1, 1)
    share = np.divide(rest, largest, out=np.ones_like(rest), where=largest > 0)
    return float(np.mean(1 - share))
