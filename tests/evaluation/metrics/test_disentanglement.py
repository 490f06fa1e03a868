"""Measures of disentanglement: identities of their definitions, perfect codes and hopeless ones."""

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from threadpoolctl import threadpool_limits

from vae_jax.data import sprites
from vae_jax.evaluation.metrics import (
    dci,
    disentanglement,
    information,
    intervention,
    separation,
)
from vae_jax.evaluation.metrics.codes import Coded, grid_lookup, standardized


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Problems this small are done before the threads of a busy machine have met."""
    with threadpool_limits(1):
        yield


SIZES = (10,) * 10
ORDERED = (True,) * 10
TWO_OF_TEN = 1 - math.log(2) / math.log(10)


def identity(factors):
    return 1.0 + factors


def zeros(factors):
    return 0.0 * factors


def duplicated(factors):
    return np.hstack([identity(factors), identity(factors)])


def permuted(factors):
    """Each example's code in an order of its own: every latent knows a little of every factor."""
    return np.random.default_rng(5).permuted(identity(factors), axis=1)


def noise(factors):
    return np.random.default_rng(6).normal(size=(len(factors), 10))


def coded(code_fn, num=3000, seed=0):
    factors = np.random.default_rng(seed).integers(0, 10, (num, 10))
    return Coded(code_fn(factors), factors)


def table(code_fn, num=3000):
    sample = coded(code_fn, num)
    return information.mutual_information(sample.codes.astype(int), sample.factors)


# Codes.


def test_a_grid_gives_the_codes_of_its_factors():
    codes = np.arange(24.0).reshape(24, 1)
    at = grid_lookup(codes, (2, 3, 4))
    assert at(np.array([[0, 0, 0], [0, 0, 1], [1, 2, 3], [1, 0, 2]]))[:, 0].tolist() == [
        0,
        1,
        23,
        14,
    ]


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(ValueError, match="24 codes for a grid of"):
        grid_lookup(np.zeros((24, 1)), (2, 3, 5))


def test_standardized_codes_have_unit_variance_and_constants_become_zero():
    codes = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(standardized(codes, codes), [[-1, 0], [1, 0]])


# Information.


def test_bins_have_equal_width_from_the_least_to_the_largest_code():
    codes = np.array([[0.0, 7.0], [0.24, 7.0], [0.26, 7.0], [0.99, 7.0], [1.0, 7.0]])
    assert information.discretize(codes, 4).T.tolist() == [[0, 0, 1, 3, 3], [0, 0, 0, 0, 0]]


def test_information_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    factors = rng.integers(0, (3, 7), (500, 2))
    binned = information.discretize(factors @ rng.normal(size=(2, 4)) + rng.normal(size=(500, 4)))
    expected = [[mutual_info_score(a, b) for b in factors.T] for a in binned.T]
    np.testing.assert_allclose(
        information.mutual_information(binned, factors), expected, atol=1e-12
    )
    own = [mutual_info_score(factor, factor) for factor in factors.T]
    np.testing.assert_allclose(information.entropies(factors), own, atol=1e-12)


def test_mig_is_the_gap_over_the_entropy():
    """By hand: gaps 2 of 4 and 1 of 2; one latent alone has the gap to nothing."""
    known = np.array([[3.0, 0.0], [1.0, 1.0], [0.5, 2.0]])
    assert information.mig(known, np.array([4.0, 2.0])) == pytest.approx(0.5)
    assert information.mig(known[:1, :1], np.array([4.0])) == pytest.approx(0.75)
    assert information.mig(known, np.array([4.0, 0.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("code_fn", "low", "high"), [(identity, 0.99, 1.0), (zeros, 0, 0), (duplicated, 0, 1e-9)]
)
def test_mig_of_known_codes(code_fn, low, high):
    sample = coded(code_fn)
    gap = information.mig(table(code_fn), information.entropies(sample.factors))
    assert low <= gap <= high


EYE = 5 * np.eye(5)
EMPTY_CODE = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
WIDE, TALL = np.hstack([EYE, EYE]), np.vstack([EYE, EYE])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (EYE, 1),
        (EMPTY_CODE, 2 / 3),
        (np.zeros((10, 10)), 0),
        (TALL, 1),
        (EYE[:2], 1),
        (WIDE, 1 - 1 / 9),
    ],
)
def test_modularity_of_known_matrices(matrix, expected):
    assert information.modularity(matrix) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("code_fn", "low", "high"), [(identity, 0.9, 1), (permuted, 0, 0.2), (duplicated, 0.9, 1)]
)
def test_modularity_of_known_codes(code_fn, low, high):
    assert low <= information.modularity(table(code_fn, num=20_000)) <= high


# Importance.


@pytest.mark.parametrize(
    ("matrix", "disentangled", "complete"),
    [
        (EYE, 1, 1),
        (EMPTY_CODE, 1, 1),
        (np.zeros((10, 10)), 0, 0),
        (TALL, 1, TWO_OF_TEN),
        (EYE[:2], 1, 1),
        (WIDE, TWO_OF_TEN, 1),
    ],
)
def test_dci_of_known_matrices(matrix, disentangled, complete):
    assert dci.disentanglement(matrix) == pytest.approx(disentangled, abs=1e-12)
    assert dci.completeness(matrix) == pytest.approx(complete, abs=1e-12)


def test_rows_count_by_their_importance():
    """By hand: a row of 3 on one factor, a row of 1 on both."""
    assert dci.disentanglement(np.array([[3.0, 0.0], [0.5, 0.5]])) == pytest.approx(3 / 4)


def fitted_dci(code_fn):
    return dci.dci(coded(code_fn, 1000), coded(code_fn, 1000, seed=1))


def test_dci_of_perfect_codes_is_one():
    assert fitted_dci(identity) == pytest.approx((1, 1, 1), abs=0.01)


def test_dci_of_duplicated_codes_lacks_completeness():
    scores = fitted_dci(duplicated)
    assert scores.disentanglement > 0.9
    assert scores.completeness == pytest.approx(TWO_OF_TEN, abs=0.1)


@pytest.mark.parametrize("code_fn", [permuted, noise])
def test_dci_of_hopeless_codes_is_near_zero(code_fn):
    scores = fitted_dci(code_fn)
    assert max(scores.disentanglement, scores.completeness) < 0.05
    assert scores.informativeness < 0.25


def test_constant_codes_are_no_error():
    assert fitted_dci(zeros)[:2] == (0, 0)


# Separation.


def sap(code_fn, is_ordered=ORDERED):
    return separation.sap(coded(code_fn), coded(code_fn, seed=1), is_ordered)


@pytest.mark.parametrize(
    ("code_fn", "low", "high"), [(identity, 0.9, 1), (zeros, 0, 0), (duplicated, 0, 1e-9)]
)
def test_sap_of_known_codes(code_fn, low, high):
    assert low <= sap(code_fn) <= high


def test_sap_of_names_is_a_gap_of_balanced_accuracies():
    """A latent that tells all ten values; the others guess one tenth right."""
    shuffled = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    assert sap(lambda f: shuffled[f[:, :4]], (False,) * 4) == pytest.approx(0.9, abs=0.05)
    assert sap(lambda f: noise(f)[:, :4], (False,) * 4) < 0.03
    assert sap(lambda f: noise(f)[:, :1], (False,) * 4) < 0.03


def test_squared_correlations_are_those_of_numpy():
    sample = coded(lambda f: f @ np.random.default_rng(0).normal(size=(10, 3)))
    for factor in range(3):
        rows = np.vstack([sample.factors[:, factor], sample.codes.T])
        expected = np.corrcoef(rows)[0, 1:] ** 2
        np.testing.assert_allclose(separation._r_squared(sample, factor), expected, atol=1e-12)


def few_factors(code_fn, seed):
    factors = np.random.default_rng(seed).integers(0, 4, (600, 2))
    return Coded(code_fn(factors), factors)


@pytest.mark.parametrize(
    ("code_fn", "low", "high"), [(identity, 0.97, 1), (zeros, 0.5, 0.5), (noise, 0.45, 0.55)]
)
def test_explicitness_of_known_codes(code_fn, low, high):
    area = separation.explicitness(few_factors(code_fn, 0), few_factors(code_fn, 1))
    assert low <= area <= high


# Intervention.


@pytest.fixture(autouse=True)
def fewer_votes(monkeypatch):
    monkeypatch.setattr(intervention, "NUM_TRAIN", 1000)
    monkeypatch.setattr(intervention, "NUM_EVAL", 1000)


@pytest.mark.parametrize("score", [intervention.factor_vae_score, intervention.beta_vae_score])
def test_perfect_codes_name_the_fixed_factor(score):
    assert score(identity, SIZES) > 0.99
    assert score(duplicated, SIZES) > 0.99
    assert score(identity, SIZES) == score(identity, SIZES)


@pytest.mark.parametrize("score", [intervention.factor_vae_score, intervention.beta_vae_score])
@pytest.mark.parametrize("code_fn", [zeros, noise])
def test_codes_that_know_nothing_score_at_chance(score, code_fn):
    assert score(code_fn, SIZES) < 0.2


def test_a_latent_that_hardly_varies_casts_no_vote():
    assert intervention.factor_vae_score(lambda f: 0.015 * f, SIZES) == 0  # sd 0.043
    assert intervention.factor_vae_score(lambda f: 0.02 * f, SIZES) > 0.99  # sd 0.057


def test_a_factor_of_one_value_is_never_fixed():
    sizes = (1, 5, 5)
    which = np.concatenate(list(intervention._choices(np.random.default_rng(0), sizes)))
    assert set(which) == {1, 2}


def test_groups_share_the_fixed_factor_and_pairs_their_own():
    rng, sizes, which = np.random.default_rng(0), (50, 60, 70), np.array([0, 2, 1])
    groups = intervention._codes_of_groups(rng, identity, sizes, which)
    for group, factor in zip(groups, which, strict=True):
        assert (group.std(axis=0) == 0).tolist() == [factor == column for column in range(3)]
    distances = intervention._mean_distances(rng, identity, sizes, which)
    for distance, factor in zip(distances, which, strict=True):
        assert (distance == 0).tolist() == [factor == column for column in range(3)]


@pytest.mark.parametrize(
    ("code_fn", "low", "high"), [(identity, 0.99, 1), (zeros, 0, 0), (noise, 0, 0.4)]
)
def test_irs_of_known_codes(code_fn, low, high):
    assert low <= intervention.irs(code_fn, SIZES) <= high


def test_irs_of_a_sum_is_what_the_other_factor_moves():
    """z = a + b on {-2..2}^2: with a held the sum strays by 2, at most it strays by 4."""
    score = intervention.irs(lambda f: f.sum(axis=1, keepdims=True) - 4.0, (5, 5))
    assert score == pytest.approx(0.5, abs=0.03)


# All together, on the factors of sprites.


def scores_of(factors_fn, sizes, monkeypatch):
    """All scores of perfect codes, from few votes."""
    monkeypatch.setattr(intervention, "NUM_TRAIN", 200)
    monkeypatch.setattr(intervention, "NUM_EVAL", 100)
    rng = np.random.default_rng(0)
    train, test = (factors_fn(rng.integers(0, sizes, (600, len(sizes)))) for _ in range(2))
    grid = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
    used = np.array(sizes) > 1 if max(sizes) > 1 else np.ones(len(sizes), bool)
    codes_at = grid_lookup(identity(grid[:, used]), sizes)
    codes = (Coded(identity(factors[:, used]), factors) for factors in (train, test))
    return disentanglement.scores(*codes, codes_at, sizes, (True,) * len(sizes))


@pytest.mark.parametrize("sizes", [(1, 4, 5), (4, 5, 1), (4,), (1, 4)])
def test_a_factor_of_one_value_is_left_out_of_every_score(sizes, monkeypatch):
    """As the color of dSprites, which is white: perfect codes of the others are perfect."""
    scores = scores_of(lambda factors: factors, sizes, monkeypatch)
    assert len(scores) == 10
    assert min(scores.values()) > 0.98


def test_without_a_factor_that_varies_there_are_no_scores(monkeypatch):
    assert scores_of(lambda factors: factors, (1, 1), monkeypatch) == {}


def test_a_factor_that_varies_in_one_split_alone_is_left_out(monkeypatch):
    """As the shape within the first 5,000 of images that lie in the order of their factors."""
    draws = iter((0, 1))

    def drawn(factors):
        return factors * np.array([next(draws), 1, 1])

    scores = scores_of(drawn, (3, 4, 5), monkeypatch)
    assert scores["explicitness"] > 0.98
    assert scores["mig"] > 0.98


def test_all_scores_of_perfect_codes_on_sprites():
    """With 20 bins the information of 40 and 32 values is ln 20: that bounds the MIG."""
    rng, grid = np.random.default_rng(2), (3, 6, 5, 4, 4)
    train, test = (
        Coded(factors.astype(np.float32), factors)
        for factors in sprites.factors_of(
            rng.integers(0, sprites.NUM_IMAGES, (2, 2000)).ravel()
        ).reshape(2, 2000, 5)
    )
    at = grid_lookup(sprites.thinned_grid(grid).astype(np.float32), grid)
    scores = disentanglement.scores(train, test, at, grid, sprites.IS_ORDERED)
    bound = (2 + math.log(20) / math.log(40) + 2 * math.log(20) / math.log(32)) / 5
    assert scores.pop("mig") == pytest.approx(bound, abs=0.06)
    assert scores.pop("sap") == pytest.approx((4 + 2 / 3) / 5, abs=0.02)
    assert min(scores.values()) > 0.94, scores
