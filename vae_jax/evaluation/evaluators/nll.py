"""Evaluator ``nll``: importance-weighted bounds on log p(x), of test and of train."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax.evaluation import scoring
from vae_jax.evaluation.columns import MEASURED, NATS, NOT_FINITE, TEST, Column
from vae_jax.evaluation.evaluators.base import Evaluator, OnProgress, Runs, fixed_pixels
from vae_jax.settings import setting, whole
from vae_jax.training.batches import Split
from vae_jax.types import Row

MOST_PARTICLES = 100
"""Largest K at which train and test are compared; the bounds' gaps to log p(x) are alike there."""


@dataclass(frozen=True)
class ImportanceWeightedNLL(Evaluator):
    """Importance-weighted NLL (Burda et al. 2016) of test and, for comparison, of train.

    It always runs. As many of the first training examples as there are test ones are evaluated
    with the same K as test or, where that is larger, both with 100 particles: a bound is looser at
    smaller K, so only bounds of equal K compare.

    Attributes:
        eval_particles: K, importance samples for each example.
    """

    eval_particles: int = setting(100, whole(1), "importance samples K of the test NLL")

    needs: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[tuple[Column, ...]] = (
        TEST["nll_bias"],
        MEASURED["train"]["nll"],
        Column(
            "nll_gap",
            "NLL of test minus that of train, both on as many examples and with K = eval_particles "
            "or 100 if that is less",
            NATS,
            "NLL of test - train",
            "Burda et al. 2016",
            better="lower",
            has_error=True,
            is_drawn=True,
        ),
        TEST["ess_median"],
        TEST["ess_min"],
        TEST["ess_low_share"],
    )

    def rows(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        """Yield for each run the columns of :func:`vae_jax.evaluation.elbo.summarize` and these."""
        at_once = runs.layout.max_parallel_runs * runs.layout.run_devices
        for start in range(0, runs.num_runs, at_once):
            some = runs.take(slice(start, start + at_once))
            yield from self._scored(some, lambda share, done=start: on_progress(done + share))
            on_progress(start + some.num_runs)

    def _scored(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        num, few = len(runs.data.test), min(self.eval_particles, MOST_PARTICLES)
        needs_few = few < self.eval_particles
        work = self.eval_particles + few * (1 + needs_few)

        def share_of(before: int, own: int) -> OnProgress:
            return lambda share: on_progress(runs.num_runs * (before + share * own) / work)

        scores = _score(runs, "test", num, self.eval_particles, share_of(0, self.eval_particles))
        train = _score(runs, "train", num, few, share_of(self.eval_particles, few))
        test = _score(runs, "test", num, few, share_of(work - few, few)) if needs_few else scores
        for score, of_train, of_test in zip(scores, train, test, strict=True):
            yield score | _compared(of_train, of_test)


def _score(
    runs: Runs, split: Split, num_examples: int, num_particles: int, on_progress: OnProgress
) -> list[Row]:
    """Return the terms on the first examples of a split, see :func:`fixed_pixels`."""
    labels = runs.data.labels_of(split)
    return scoring.score_examples(
        runs.spec,
        runs.hparams,
        runs.state,
        fixed_pixels(runs.spec.binarize, split, runs.data)[:num_examples],
        None if labels is None else labels[:num_examples],
        split=split,
        num_particles=num_particles,
        layout=runs.layout,
        on_progress=on_progress,
    )


def _compared(train: Row, test: Row) -> Row:
    """Return the columns of the comparison, from scores with equal K."""
    train_nll, train_se = train["train_nll"], train["train_nll_se"]
    test_nll, test_se = test["test_nll"], test["test_nll_se"]
    is_known = None not in (train_nll, train_se, test_nll, test_se)
    count = f"train_nll{NOT_FINITE}"
    return ({count: train[count]} if count in train else {}) | {
        "train_nll": train_nll,
        "train_nll_se": train_se,
        "nll_gap": test_nll - train_nll if is_known else None,
        "nll_gap_se": float(np.hypot(test_se, train_se)) if is_known else None,
    }
