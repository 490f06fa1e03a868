"""Two-sample measures: closed forms, brute force, and what they say of known defects."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from vae_jax.data import load
from vae_jax.evaluation.metrics import features, samples
from vae_jax.evaluation.metrics.estimates import mean_of


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Problems this small are done before the threads of a busy machine have met."""
    with threadpool_limits(1):
        yield


WIDTHS = np.array([0.5, 2.0])


def normal(num, shift=0.0, seed=0, columns=2):
    return shift + np.random.default_rng(seed).normal(size=(num, columns))


# Estimates.


def test_an_estimate_is_a_mean_with_its_error():
    estimate = mean_of(np.array([1.0, 2.0, 3.0]))
    assert estimate == pytest.approx((2, 1 / math.sqrt(3)))
    assert mean_of(np.array([True, False])).columns("p") == {"p": 0.5, "p_se": 0.5}


# MMD.


def kernel(a, b):
    square = ((a - b) ** 2).sum()
    return np.mean([math.exp(-square / (2 * width**2)) for width in WIDTHS])


def test_mmd_is_that_of_its_definition(monkeypatch):
    monkeypatch.setattr(samples, "_ROWS_AT_ONCE", 5)
    x, y = normal(12), normal(14, 0.5, seed=1)[:12]
    pairs = [
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(y[i], x[j])
        for i in range(12)
        for j in range(12)
        if i != j
    ]
    assert samples._mmd(x, y, WIDTHS).mean == pytest.approx(np.mean(pairs), abs=1e-12)
    longer = np.vstack([y, y])
    assert samples._mmd(x, longer, WIDTHS) == samples._mmd(x, y, WIDTHS)


def closed_form(shift, columns=2):
    """Between N(0, I) and N(shift, I): E k = (s^2 / (s^2 + 2))^(d/2) exp(-|m|^2 / 2 (s^2 + 2))."""
    scale = WIDTHS**2 / (WIDTHS**2 + 2)
    far = np.exp(-columns * shift**2 / (2 * (WIDTHS**2 + 2)))
    return float(np.mean(2 * scale ** (columns / 2) * (1 - far)))


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_mmd_between_normals_is_the_closed_form(shift):
    estimate = samples._mmd(normal(800), normal(800, shift, seed=1), WIDTHS)
    assert abs(estimate.mean - closed_form(shift)) < 4 * estimate.se


def test_the_error_of_mmd_is_that_of_repetitions():
    """Ratio of the stated error to the spread of 60 repetitions (known to 10 %)."""
    pairs = [(normal(100, seed=s), normal(100, 1.0, seed=1000 + s)) for s in range(60)]
    estimates = [samples._mmd(x, y, WIDTHS) for x, y in pairs]
    spread = np.std([estimate.mean for estimate in estimates])
    assert np.mean([estimate.se for estimate in estimates]) / spread == pytest.approx(1, abs=0.35)


def test_mmd_of_rows_that_are_equal_is_a_number():
    """As blank images, or samples of a collapsed model: kernels of width 0 would be 0 / 0."""
    blank, other = np.zeros((30, 4)), np.ones((30, 4))
    assert samples.mmd(blank, blank) == pytest.approx((0, 0), abs=1e-12)
    # The only distance is that of the two: k = 1 within and the mean of exp(-1 / 2 s^2) between.
    between = np.mean([math.exp(-1 / (2 * width**2)) for width in samples.BANDWIDTHS])
    assert samples.mmd(blank, other) == pytest.approx((2 - 2 * between, 0), abs=1e-12)
    mostly = np.vstack([np.zeros((28, 4)), normal(2, columns=4)])
    assert np.isfinite(samples.mmd(mostly, normal(30, columns=4))).all()


def test_widths_come_from_the_reference_alone():
    x = np.array([[0.0], [1.0], [3.0]])
    assert samples._scale(x, 9 + x) == pytest.approx(2)
    assert samples.mmd(x, 9 + x) == samples._mmd(x, 9 + x, np.array([1.0, 2.0, 4.0]))


# Neighbourhoods.


def brute_force(real, fake, k):
    """Written out ball by ball."""

    def radii(rows):
        distances = np.linalg.norm(rows[:, None] - rows, axis=-1)
        return np.sort(distances, axis=1)[:, k]

    across = np.linalg.norm(real[:, None] - fake, axis=-1)
    in_real, in_fake = across <= radii(real)[:, None], across <= radii(fake)
    return (
        in_real.any(0).mean(),
        in_fake.any(1).mean(),
        in_real.sum() / (k * len(fake)),
        in_real.any(1).mean(),
    )


def test_neighbourhoods_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr(samples, "_ROWS_AT_ONCE", 7)
    real, fake = normal(40), normal(30, 0.7, seed=1)
    found = samples.neighbourhoods(real, fake, 3)
    np.testing.assert_allclose([share.mean for share in found], brute_force(real, fake, 3))


@pytest.mark.parametrize("num_pixels", [8, 16])
def test_balls_hold_what_lies_on_their_surface(num_pixels):
    """Gray levels have many equal distances; in whole numbers they are equal without rounding."""
    rng = np.random.default_rng(num_pixels)
    real, fake = (85 * rng.integers(0, 4, (2, 200, num_pixels))).astype(np.int64)

    def squares(a, b):
        return ((a[:, None] - b[None]) ** 2).sum(-1)

    def radii(rows):
        return np.sort(squares(rows, rows), axis=1)[:, samples.NUM_NEIGHBOURS]  # after itself

    holds = squares(real, fake) <= radii(real)[:, None]
    is_reached = squares(real, fake) <= radii(fake)
    expected = holds.any(0), is_reached.any(1), holds.sum(0) / samples.NUM_NEIGHBOURS, holds.any(1)
    rows = (levels.astype(np.float32) / np.float32(255) for levels in (real, fake))
    found = samples.neighbourhoods(*rows)
    assert [each.mean for each in found] == pytest.approx([each.mean() for each in expected])


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_one_row_lie_in_one_anothers_balls(seed):
    """The distance of two equal rows, |x|^2 + |y|^2 - 2 xy under a root, is not always zero."""
    row = 10 * np.random.default_rng(seed).normal(size=(1, 3072)).astype(np.float32)
    shares = samples.neighbourhoods(np.repeat(row, 12, axis=0), np.repeat(row, 12, axis=0))
    assert [shares.precision.mean, shares.recall.mean, shares.coverage.mean] == [1, 1, 1]


def test_the_errors_of_shares_are_not_too_small():
    """The spread is that of 60 repetitions (known to 10 %), in which the balls move too."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        real, fake = rng.normal(size=(120, 5)), 0.5 + 1.2 * rng.normal(size=(120, 5))
        found.append(samples.neighbourhoods(real, fake))
    means, errors = (
        np.array([[getattr(e, of) for e in f] for f in found]) for of in ("mean", "se")
    )
    ratio = errors.mean(axis=0) / means.std(axis=0, ddof=1)
    assert (ratio > 0.8).all()
    assert (ratio < 1.8).all()


def test_equal_distributions_have_density_one_and_coverage_below_one_by_two_to_the_k():
    """Naeem et al. 2020; over repetitions, because one set's shares depend."""
    pairs = [(normal(300, seed=s), normal(300, seed=100 + s)) for s in range(10)]
    found = [samples.neighbourhoods(real, fake, 3) for real, fake in pairs]
    density = mean_of(np.array([one.density.mean for one in found]))
    coverage = mean_of(np.array([one.coverage.mean for one in found]))
    assert density.mean == pytest.approx(1, abs=4 * density.se)
    assert coverage.mean == pytest.approx(1 - 2**-3, abs=4 * coverage.se)


def test_collapsed_samples_lack_recall_and_far_ones_everything():
    real, collapsed = normal(200), 0.01 * normal(200, seed=1)
    found = samples.neighbourhoods(real, collapsed)
    assert found.precision.mean == 1
    assert found.recall.mean < 0.1
    far = samples.neighbourhoods(real, 50 + collapsed)
    assert [share.mean for share in far] == [0, 0, 0, 0]


def test_columns_are_named_by_measure_and_space():
    row = samples.compare(normal(20), normal(20, seed=1), "pixels")
    names = [name for name in row if not name.endswith("_se")]
    assert names == [
        "mmd_pixels",
        "precision_pixels",
        "recall_pixels",
        "density_pixels",
        "coverage_pixels",
    ]
    assert all(f"{name}_se" in row for name in names)


# Features.


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def classifier(digits):
    return features.train_classifier(
        digits.train, digits.train_labels, digits.test, digits.test_labels
    )


def test_the_classifier_tells_digits_apart(classifier):
    assert classifier.accuracy.mean > 0.85
    assert 0 < classifier.accuracy.se < 0.03


def test_features_are_the_activations_before_the_last_layer(digits, classifier):
    x = digits.test.reshape(-1, 64) / 255
    first = np.maximum(x @ classifier.kernels[0] + classifier.biases[0], 0)
    second = np.maximum(first @ classifier.kernels[1] + classifier.biases[1], 0)
    found = classifier.features(digits.test)
    assert found.shape == (len(digits.test), 64)
    np.testing.assert_allclose(found, second, atol=1e-4)


def test_the_seed_decides_the_classifier(digits, classifier):
    args = digits.train, digits.train_labels, digits.test[:50], digits.test_labels[:50]
    again = features.train_classifier(*args)
    np.testing.assert_array_equal(again.kernels[1], classifier.kernels[1])


def test_features_see_a_missing_class(digits, classifier):
    """Zeros alone are plausible digits, but do not reach the others."""
    real = classifier.features(digits.test)
    zeros = classifier.features(digits.train[digits.train_labels == 0])
    found = samples.neighbourhoods(real, zeros)
    assert found.precision.mean > 0.8
    assert found.recall.mean < 0.3
