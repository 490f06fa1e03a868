"""Measures of the labels in a representation: linear probes, nearest neighbours, and an embedding.

A code is the posterior mean of an image, in the latents that the run uses. Codes are standardized
by the training codes, which needs no label.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

from vae_jax.evaluation.metrics import cores
from vae_jax.evaluation.metrics.codes import Codes, standardized
from vae_jax.evaluation.metrics.estimates import Estimate, mean_of

FEW_LABELS = (10, 100, 1000)
NUM_DRAWS = 10
"""Choices of the labelled examples over which accuracies with few labels are averaged."""
NUM_NEIGHBOURS = 5
MOST_POINTS = 2500
"""Codes in a t-SNE picture: about ten seconds on two cores, where 10,000 need a minute."""

_MOST_ITERATIONS = 1000


class Labelled(NamedTuple):
    """Codes and their labels.

    Attributes:
        codes: ``[n, latents]``.
        labels: whole numbers from 0.
    """

    codes: Codes
    labels: Integer[np.ndarray, " n"]


def accuracies(train: Labelled, test: Labelled, seed: int = 0) -> dict[str, float]:
    """Return test accuracies `probe_10`, `knn_10`, ... `probe_all`, `knn_all` with their `_se`.

    A number of labels below the number of classes, or not below that of the training examples, is
    left out.

    Example:
        >>> separate = Labelled(np.arange(40.0)[:, None], np.arange(40) // 20)
        >>> row = accuracies(separate, separate)
        >>> row["probe_all"], row["knn_all"], "probe_100" in row
        (1.0, 1.0, False)
    """
    num_classes = len(np.unique(train.labels))
    few = [n for n in FEW_LABELS if num_classes <= n < len(train.labels)]
    row: dict[str, float] = {}
    for num_labels in [*few, None]:
        name = "all" if num_labels is None else str(num_labels)
        row |= linear_probe(train, test, num_labels, seed).columns(f"probe_{name}")
        row |= knn(train, test, num_labels, seed).columns(f"knn_{name}")
    return row


def linear_probe(
    train: Labelled, test: Labelled, num_labels: int | None = None, seed: int = 0
) -> Estimate:
    """Return the test accuracy of a logistic regression (l2, C = 1) on `num_labels` codes.

    The labelled examples are drawn with as equal numbers of each class as there are; the accuracy
    is a mean over 10 draws, its standard error over the draws. With all labels (None) the error is
    that over the test examples. The "M1" of Kingma et al. 2014 is such a probe.

    Args:
        train: codes on which the probe is fitted.
        test: held-out codes.
        num_labels: number of labelled training examples; None for all.
        seed: seed of the draws of labelled examples.

    Example:
        >>> separate = Labelled(np.arange(40.0)[:, None], np.arange(40) // 20)
        >>> linear_probe(separate, separate).mean
        1.0
    """
    return _accuracy(LogisticRegression(max_iter=_MOST_ITERATIONS), train, test, num_labels, seed)


def knn(train: Labelled, test: Labelled, num_labels: int | None = None, seed: int = 0) -> Estimate:
    """Return the test accuracy of the majority of the 5 nearest labelled codes.

    Labelled examples are drawn as by :func:`linear_probe`. With fewer than 5 labels a class only
    the nearest one decides: a majority of other classes would win. Distances are Euclidean, as in
    Davidson et al. 2018.

    Args:
        train: codes among which neighbours are sought.
        test: held-out codes.
        num_labels: number of labelled training examples; None for all.
        seed: seed of the draws of labelled examples.

    Example:
        >>> separate = Labelled(np.arange(40.0)[:, None], np.arange(40) // 20)
        >>> knn(separate, separate).mean
        1.0
    """
    num_known = len(train.labels) if num_labels is None else num_labels
    is_scarce = num_known < NUM_NEIGHBOURS * len(np.unique(train.labels))
    cores.count_quietly()
    model = KNeighborsClassifier(1 if is_scarce else NUM_NEIGHBOURS, algorithm="brute")
    return _accuracy(model, train, test, num_labels, seed)


def _accuracy(
    model: LogisticRegression | KNeighborsClassifier,
    train: Labelled,
    test: Labelled,
    num_labels: int | None,
    seed: int,
) -> Estimate:
    fitted, held_out = (standardized(codes, train.codes) for codes in (train.codes, test.codes))
    if num_labels is None:
        model.fit(fitted, train.labels)
        return mean_of(np.equal(model.predict(held_out), test.labels))
    rng, scores = np.random.default_rng(seed), []
    for _ in range(NUM_DRAWS):
        rows = balanced_rows(rng, train.labels, num_labels)
        model.fit(fitted[rows], train.labels[rows])
        scores.append(np.mean(model.predict(held_out) == test.labels))
    return mean_of(np.array(scores))


def balanced_rows(
    rng: np.random.Generator, labels: Integer[np.ndarray, " n"], num_rows: int
) -> Integer[np.ndarray, " rows"]:
    """Draw rows with as equal numbers of each label as possible.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1])
        >>> int(labels[balanced_rows(np.random.default_rng(0), labels, 4)].sum())
        2
    """
    order = rng.permutation(len(labels))
    shuffled = labels[order]
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = shuffled == label
        rank[mine] = np.arange(mine.sum())
    return order[np.argsort(rank, kind="stable")[:num_rows]]


def embed(codes: Codes, seed: int = 0) -> Float[np.ndarray, "points 2"]:
    """Return the first 2,500 codes in the plane: themselves if they have two latents, else t-SNE.

    t-SNE (van der Maaten & Hinton 2008; perplexity 30, started from the two principal components)
    shows which codes are neighbours; distances between clusters, their sizes and the axes mean
    nothing. One latent is drawn against zero, and of fewer than four codes the first two latents.

    Example:
        >>> embed(np.array([[1.0], [2.0]])).tolist()
        [[1.0, 0.0], [2.0, 0.0]]
    """
    points = codes[:MOST_POINTS]
    points = points[:, :2] if len(points) < 4 else points
    if points.shape[1] <= 2:
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    perplexity = min(30.0, (len(points) - 1) / 3)
    cores.count_quietly()
    return TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(points)
