"""Measures of disentanglement from groups of images that share the value of one factor.

They draw the factors and take the codes from a function (`codes.CodesAt`): of a grid, by
`codes.grid_lookup`, or of images rendered when needed.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64, Integer
from sklearn.linear_model import LogisticRegression

from vae_jax.evaluation.metrics.codes import Codes, CodesAt, standardized

NUM_TRAIN, NUM_EVAL, GROUP_SIZE = 10_000, 5_000, 64
"""Votes for training and for scoring, images (or pairs) behind each (Locatello et al. 2019)."""
PRUNED_BELOW = 0.05
"""Standard deviation of a code over the data below which a latent casts no vote."""

_VOTES_AT_ONCE = 1000
_NUM_REFERENCE = 10_000
_NUM_PER_VALUE = 1000
_DEVIATION_QUANTILE = 0.99  # taken for the largest distance
_MOST_ITERATIONS = 1000

Fixed = Integer[np.ndarray, " votes"]


def factor_vae_score(codes_at: CodesAt, sizes: tuple[int, ...], seed: int = 0) -> float:
    """Return the FactorVAE score (Kim & Mnih 2018, section 4), from chance (1 / factors) to 1.

    Each vote fixes a random factor at a random value and names the latent whose variance over 64
    images, relative to that over all images, is smallest. A latent is read as the factor for which
    it won most of 10,000 votes; the score is the accuracy on 5,000 others. It is 0 if no latent
    varies.

    Args:
        codes_at: function from factors to the codes of images with these factors.
        sizes: number of values of each factor; one of a single value is never fixed.
        seed: seed of the draws.

    Example:
        >>> factor_vae_score(lambda factors: factors.astype(float), sizes=(3, 3))
        1.0
    """
    rng = np.random.default_rng(seed)
    scale = _spread(codes_at(_random_factors(rng, sizes, (_NUM_REFERENCE,))))
    voters = np.flatnonzero(scale >= PRUNED_BELOW)
    if len(voters) == 0:
        return 0.0
    fixed, winners = [], []
    for which in _choices(rng, sizes):
        spread = _spread(_codes_of_groups(rng, codes_at, sizes, which), axis=1)
        fixed.append(which)
        winners.append((spread[:, voters] / scale[voters]).argmin(axis=1))
    return _majority_accuracy(np.concatenate(winners), np.concatenate(fixed))


def _spread(codes: Float[np.ndarray, "..."], axis: int = 0) -> Float64[np.ndarray, "..."]:
    return codes.std(axis=axis, dtype=np.float64)


def _codes_of_groups(
    rng: np.random.Generator, codes_at: CodesAt, sizes: tuple[int, ...], which: Fixed
) -> Float[np.ndarray, "votes members latents"]:
    """Draw groups of images within which factor `which` has one value; return their codes."""
    factors = _random_factors(rng, sizes, (len(which), GROUP_SIZE))
    rows = np.arange(len(which))
    factors[rows, :, which] = factors[rows, :1, which]
    return _at(codes_at, factors)


def _majority_accuracy(winners: Integer[np.ndarray, " votes"], fixed: Fixed) -> float:
    """Return the accuracy of reading each latent as the factor of most of its votes."""
    votes = np.zeros((winners.max() + 1, fixed.max() + 1), np.int64)
    np.add.at(votes, (winners[:NUM_TRAIN], fixed[:NUM_TRAIN]), 1)
    read_as = votes.argmax(axis=1)
    return float(np.mean(read_as[winners[NUM_TRAIN:]] == fixed[NUM_TRAIN:]))


def beta_vae_score(codes_at: CodesAt, sizes: tuple[int, ...], seed: int = 0) -> float:
    """Return the BetaVAE score (Higgins et al. 2017, section 3), from chance (1 / factors) to 1.

    Each example fixes a random factor within each of 64 pairs of images, and is described by the
    mean of |code - code'| over the pairs; the score is the accuracy of a linear classifier
    (logistic regression on 10,000 examples) that predicts the factor on 5,000 others. It saturates:
    entangled codes, too, often score above 0.9.

    Args:
        codes_at: function from factors to the codes of images with these factors.
        sizes: number of values of each factor; one of a single value is never fixed.
        seed: seed of the draws.

    Example:
        >>> beta_vae_score(lambda factors: factors.astype(float), sizes=(3, 3))
        1.0
    """
    rng = np.random.default_rng(seed)
    fixed, distances = [], []
    for which in _choices(rng, sizes):
        fixed.append(which)
        distances.append(_mean_distances(rng, codes_at, sizes, which))
    return _linear_accuracy(np.concatenate(distances), np.concatenate(fixed))


def _mean_distances(
    rng: np.random.Generator, codes_at: CodesAt, sizes: tuple[int, ...], which: Fixed
) -> Float[np.ndarray, "votes latents"]:
    """Return the mean of |code - code'| over pairs of images that share factor `which`."""
    factors = _random_factors(rng, sizes, (len(which), GROUP_SIZE, 2))
    rows = np.arange(len(which))
    factors[rows, :, 1, which] = factors[rows, :, 0, which]
    codes = _at(codes_at, factors)
    return np.abs(codes[:, :, 0] - codes[:, :, 1]).mean(axis=1)


def _linear_accuracy(distances: Float[np.ndarray, "votes latents"], fixed: Fixed) -> float:
    if len(np.unique(fixed)) < 2:
        return 1.0  # chance: there is a single factor to name
    features = standardized(distances, distances[:NUM_TRAIN])
    model = LogisticRegression(max_iter=_MOST_ITERATIONS)
    model.fit(features[:NUM_TRAIN], fixed[:NUM_TRAIN])
    return float(np.mean(model.predict(features[NUM_TRAIN:]) == fixed[NUM_TRAIN:]))


def irs(codes_at: CodesAt, sizes: tuple[int, ...], seed: int = 0) -> float:
    """Return the interventional robustness score (Suter et al. 2019), 0 to 1.

    While one factor is held and the others vary, the deviation of a latent is the 0.99 quantile of
    its distance from its mean, averaged over the held factor's values. A latent's score is one
    minus its smallest deviation over the held factors, relative to its largest distance from its
    mean over all images. The result is the mean over latents, weighted by these largest distances;
    0 if no latent varies.

    Args:
        codes_at: function from factors to the codes of images with these factors.
        sizes: number of values of each factor.
        seed: seed of the draws.

    Example:
        >>> irs(lambda factors: factors.astype(float), sizes=(3, 3))
        1.0
    """
    rng = np.random.default_rng(seed)
    reference = codes_at(_random_factors(rng, sizes, (_NUM_REFERENCE,)))
    farthest = np.abs(reference - reference.mean(axis=0)).max(axis=0).astype(np.float64)
    if farthest.sum() == 0:
        return 0.0
    held = [_deviation(rng, codes_at, sizes, factor) for factor in range(len(sizes))]
    relative = np.min(held, axis=0) / np.where(farthest > 0, farthest, 1.0)
    return float(np.average(1 - relative, weights=farthest))


def _deviation(
    rng: np.random.Generator, codes_at: CodesAt, sizes: tuple[int, ...], factor: int
) -> Float64[np.ndarray, " latents"]:
    """Return the deviation of each latent while a factor is held, a mean over its values."""
    factors = _random_factors(rng, sizes, (sizes[factor], _NUM_PER_VALUE))
    factors[..., factor] = np.arange(sizes[factor])[:, None]
    codes = _at(codes_at, factors).astype(np.float64)
    distances = np.abs(codes - codes.mean(axis=1, keepdims=True))
    return np.quantile(distances, _DEVIATION_QUANTILE, axis=1).mean(axis=0)


def _choices(rng: np.random.Generator, sizes: tuple[int, ...]) -> Iterator[Fixed]:
    """Yield the factor that each vote fixes, in blocks that bound the memory."""
    varying = np.flatnonzero(np.array(sizes) > 1)
    fixed = rng.choice(varying, NUM_TRAIN + NUM_EVAL)
    for start in range(0, len(fixed), _VOTES_AT_ONCE):
        yield fixed[start : start + _VOTES_AT_ONCE]


def _random_factors(
    rng: np.random.Generator, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> Integer[np.ndarray, "*shape factors"]:
    return rng.integers(0, sizes, (*shape, len(sizes)))


def _at(
    codes_at: CodesAt, factors: Integer[np.ndarray, "*shape factors"]
) -> Float[np.ndarray, "*shape latents"]:
    codes: Codes = codes_at(factors.reshape(-1, factors.shape[-1]))
    return codes.reshape(*factors.shape[:-1], -1)
