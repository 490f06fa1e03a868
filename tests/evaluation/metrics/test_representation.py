"""Probes, neighbours and pictures of codes whose classes are known."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from vae_jax.evaluation.metrics import representation
from vae_jax.evaluation.metrics.representation import Labelled


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Problems this small are done before the threads of a busy machine have met."""
    with threadpool_limits(1):
        yield


def clusters(num, spread, seed=0, num_classes=4):
    """Classes around the corners of a simplex, with a latent of great scale that knows nothing."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    codes = np.eye(num_classes)[labels] + spread * rng.normal(size=(num, num_classes))
    return Labelled(np.hstack([codes, 1000 * rng.normal(size=(num, 1))]), labels)


PREDICTORS = [representation.linear_probe, representation.knn]


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_separate_classes_are_told_apart_with_all_labels_and_few(predictor):
    train, test = clusters(400, 0.05), clusters(200, 0.05, seed=1)
    everything = predictor(train, test)
    assert everything.mean > 0.99
    few = predictor(train, test, 8)
    assert few.mean > 0.9
    assert 0 <= few.se < 0.05
    assert predictor(train, test, 8) == few
    assert predictor(train, test, 8, seed=1) != few


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_codes_without_labels_in_them_are_at_chance(predictor):
    train, test = clusters(400, 1e4), clusters(400, 1e4, seed=1)
    for num_labels in (None, 100):
        estimate = predictor(train, test, num_labels)
        assert abs(estimate.mean - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_scales_of_latents_do_not_matter(predictor):
    train, test = clusters(200, 0.4), clusters(200, 0.4, seed=1)
    scale = np.array([1.0, 5.0, 0.1, 2.0, 1e-3])
    scaled = [Labelled(part.codes * scale, part.labels) for part in (train, test)]
    assert predictor(*scaled).mean == pytest.approx(predictor(train, test).mean, abs=0.006)


def test_neighbours_vote_unless_labels_are_scarce():
    """By hand, in one latent: five of class 0 around a single 1, and a point beside that 1."""
    codes = np.array([[0.0], [1], [2], [3], [4], [2.1], [90], [91], [92], [93]])
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    test = Labelled(np.array([[2.11]]), np.array([1]))
    assert representation.knn(Labelled(codes, labels), test).mean == 0
    assert representation.knn(Labelled(codes[:9], labels[:9]), test).mean == 1


def test_the_error_with_all_labels_is_that_over_the_test_examples():
    train, test = clusters(400, 0.5), clusters(300, 0.5, seed=1)
    estimate = representation.linear_probe(train, test)
    assert 0.5 < estimate.mean < 1
    expected = math.sqrt(estimate.mean * (1 - estimate.mean) / 299)
    assert estimate.se == pytest.approx(expected)


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(6, [2, 2, 2]), (8, [2, 3, 3]), (12, [2, 5, 5])]
)
def test_drawn_rows_are_balanced(num_rows, expected):
    labels = np.array([0] * 50 + [1] * 50 + [7] * 2)
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = representation.balanced_rows(rng, labels, num_rows)
        assert len(set(rows)) == num_rows
        counts = sorted(np.unique(labels[rows], return_counts=True)[1])
        assert counts == expected


def test_every_row_is_drawn_as_often():
    rng, labels = np.random.default_rng(0), np.arange(30) % 3
    counts = np.zeros(30)
    for _ in range(600):
        counts[representation.balanced_rows(rng, labels, 6)] += 1
    assert np.abs(counts - 120).max() < 5 * math.sqrt(600 * 0.2 * 0.8)


def test_columns_leave_out_numbers_of_labels_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(representation, "NUM_DRAWS", 2)
    row = representation.accuracies(clusters(400, 0.3), clusters(50, 0.3, seed=1))
    expected = {f"{kind}_{n}" for kind in ("probe", "knn") for n in ("10", "100", "all")}
    assert {name for name in row if not name.endswith("_se")} == expected
    assert {f"{name}_se" for name in expected} < set(row)
    many = [clusters(120, 0.3, seed, num_classes=12) for seed in (0, 1)]
    assert "probe_10" not in representation.accuracies(*many)


def test_one_and_two_latents_are_drawn_as_they_are():
    codes = np.random.default_rng(0).normal(size=(7, 2))
    np.testing.assert_array_equal(representation.embed(codes), codes)
    np.testing.assert_array_equal(representation.embed(codes[:, :1])[:, 1], 0)


def test_neighbours_stay_neighbours_in_the_plane(monkeypatch):
    monkeypatch.setattr(representation, "MOST_POINTS", 40)
    data = clusters(50, 0.02)
    points = representation.embed(data.codes[:, :4])
    assert points.shape == (40, 2)
    picture = Labelled(points, data.labels[:40])
    assert representation.knn(picture, picture).mean == 1
