"""Two-sample measures of samples and data, which need no downloaded network.

They compare two sets of rows: pixels, or features of the small classifier of `features`. None of
them is an FID, and their values depend on the number of rows: compare only like with like. Compare
samples as the data are, too: binary images with binary samples, not with their gray means.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

from vae_jax.evaluation.metrics import cores
from vae_jax.evaluation.metrics.estimates import Estimate, mean_of

NUM_NEIGHBOURS = 5
BANDWIDTHS = (0.5, 1.0, 2.0)
"""Widths of the kernels of `mmd`, in median distances between reference rows."""

_ROWS_AT_ONCE = 500
_ROWS_FOR_MEDIAN = 1000

Rows = Float[np.ndarray, "n columns"]
OtherRows = Float[np.ndarray, "m columns"]


def compare(reference: Rows, samples: OtherRows, space: str) -> dict[str, float]:
    """Return all measures with their `_se`: `mmd_SPACE`, `precision_SPACE`, ... `coverage_SPACE`.

    Args:
        reference: rows of held-out data.
        samples: as many rows of samples.
        space: name of what the rows are, `pixels` or `features`.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(20, 2))
        >>> row = compare(rows, rows + 100, "pixels")
        >>> row["precision_pixels"], row["coverage_pixels"]
        (0.0, 0.0)
    """
    row = mmd(reference, samples).columns(f"mmd_{space}")
    for name, estimate in neighbourhoods(reference, samples)._asdict().items():
        row |= estimate.columns(f"{name}_{space}")
    return row


def mmd(reference: Rows, samples: OtherRows) -> Estimate:
    """Return the squared maximum mean discrepancy, unbiased (Gretton et al. 2012, lemma 6, m = n).

    The kernel is the mean of three Gaussians exp(-d^2 / 2 s^2), s = 1/2, 1 and 2 times the median
    distance within the first 1,000 reference rows. Zero in expectation for equal distributions,
    where it may be negative; at most 2. The longer set is cut. The error is that of the
    U-statistic's first-order term; for equal distributions it is conservative, by a factor of
    about 1.4.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(20, 2))
        >>> mmd(rows, rows + 100).mean > mmd(rows, rows + 1).mean > 0
        True
    """
    return _mmd(reference, samples, _median_distance(reference) * np.array(BANDWIDTHS))


def _median_distance(rows: Rows) -> float:
    some = rows[:_ROWS_FOR_MEDIAN]
    distances = euclidean_distances(some)
    return float(np.median(distances[np.triu_indices(len(some), 1)]))


def _mmd(x: Rows, y: OtherRows, widths: Float64[np.ndarray, " widths"]) -> Estimate:
    """Return the mean over i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j)."""
    num = min(len(x), len(y))
    x, y = x[:num], y[:num]
    means = []
    for rows in _row_blocks(num):
        pairs = _kernel(x[rows], x, widths) + _kernel(y[rows], y, widths)
        pairs -= _kernel(x[rows], y, widths) + _kernel(y[rows], x, widths)
        pairs[np.arange(len(pairs)), np.arange(num)[rows]] = 0.0
        means.append(pairs.sum(axis=1) / (num - 1))
    mean, se = mean_of(np.concatenate(means))
    return Estimate(mean, 2 * se)  # each row stands in the pairs twice, as i and as j


def _row_blocks(num: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, num, _ROWS_AT_ONCE))


def _kernel(
    x: Rows, y: OtherRows, widths: Float64[np.ndarray, " widths"]
) -> Float64[np.ndarray, "n m"]:
    squares = euclidean_distances(x, y, squared=True).astype(np.float64)
    return np.mean([np.exp(-squares / (2 * width**2)) for width in widths], axis=0)


class Neighbourhoods(NamedTuple):
    """Shares of rows inside neighbourhood balls; errors are over the rows, with the balls fixed.

    Attributes:
        precision: share of samples that lie in a ball of the reference, so are plausible.
        recall: share of reference rows that lie in a ball of the samples, so can be generated.
        density: mean number of the reference's balls that a sample lies in, over k: 1 on average
            for equal distributions, more if samples concentrate where the data are dense.
        coverage: share of the reference's balls that hold a sample; 1 - 2^-k for equal
            distributions.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def neighbourhoods(
    reference: Rows, samples: OtherRows, num_neighbours: int = NUM_NEIGHBOURS
) -> Neighbourhoods:
    """Return precision and recall, density and coverage of balls up to the k-th neighbour.

    Kynkaanniemi et al. 2019 and Naeem et al. 2020. Outliers make large balls, which raise precision
    and recall more than density and coverage.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(20, 2))
        >>> shares = neighbourhoods(rows, rows)
        >>> shares.precision.mean, shares.coverage.mean
        (1.0, 1.0)
    """
    of_reference = _radii(reference, num_neighbours)
    of_samples = _radii(samples, num_neighbours)
    balls_around = np.zeros(len(samples))
    is_covered, is_reached = [], []
    for rows in _row_blocks(len(reference)):
        distances = euclidean_distances(reference[rows], samples)
        holds = distances <= of_reference[rows, None]
        balls_around += holds.sum(axis=0)
        is_covered.append(holds.any(axis=1))
        is_reached.append((distances <= of_samples).any(axis=1))
    return Neighbourhoods(
        precision=mean_of(balls_around > 0),
        recall=mean_of(np.concatenate(is_reached)),
        density=mean_of(balls_around / num_neighbours),
        coverage=mean_of(np.concatenate(is_covered)),
    )


def _radii(rows: Rows, num_neighbours: int) -> Float[np.ndarray, " n"]:
    """Return the distance of each row to its k-th nearest other row."""
    cores.count_quietly()
    index = NearestNeighbors(n_neighbors=num_neighbours, algorithm="brute").fit(rows)
    return index.kneighbors()[0][:, -1]
