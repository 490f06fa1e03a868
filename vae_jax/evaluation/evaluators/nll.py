"""Bounds on log p(x): of test in the fixed columns, and of train to hold against them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax.evaluation import scoring
from vae_jax.evaluation.columns import MEASURED, NATS, NOT_FINITE, TEST, Column
from vae_jax.evaluation.evaluators.base import OnProgress, Runs, fixed_pixels
from vae_jax.training.batches import Split
from vae_jax.types import Row

MOST_PARTICLES = 100
"""K at which train and test are compared: there a bound's gap to log p(x) is much the same."""


@dataclass(frozen=True)
class Evidence:
    """The importance-weighted NLL (Burda et al. 2016), always among the evaluations.

    As many of the first training examples as there are test ones are evaluated with the same K as
    test or, where that is large, both with 100 particles: a bound is looser at smaller K, so only
    equal K compare.
    """

    eval_particles: int = 100

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
        """The columns of test from :func:`vae_jax.evaluation.elbo.summarize`, and these."""
        at_once = runs.layout.max_parallel_runs * runs.layout.run_devices
        for start in range(0, runs.num_runs, at_once):
            some = runs.take(slice(start, start + at_once))
            yield from self._scores(some, lambda share, done=start: on_progress(done + share))
            on_progress(start + some.num_runs)

    def _scores(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        num, few = len(runs.data.test), min(self.eval_particles, MOST_PARTICLES)
        again = few < self.eval_particles
        work = self.eval_particles + few * (1 + again)

        def share_of(before: int, own: int) -> OnProgress:
            return lambda share: on_progress(runs.num_runs * (before + share * own) / work)

        scores = _score(runs, "test", num, self.eval_particles, share_of(0, self.eval_particles))
        train = _score(runs, "train", num, few, share_of(self.eval_particles, few))
        test = _score(runs, "test", num, few, share_of(work - few, few)) if again else scores
        for score, seen, unseen in zip(scores, train, test, strict=True):
            yield score | _compared(seen, unseen)


def _score(
    runs: Runs, split: Split, num_examples: int, num_particles: int, on_progress: OnProgress
) -> list[Row]:
    """Terms on the first examples of a split, its pixels fixed once."""
    labels = runs.data.labels_of(split)
    return scoring.score_by_parts(
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
    """The columns of this evaluation from scores with equal K."""
    seen, seen_se = train["train_nll"], train["train_nll_se"]
    unseen, unseen_se = test["test_nll"], test["test_nll_se"]
    is_known = None not in (seen, seen_se, unseen, unseen_se)
    lost = f"train_nll{NOT_FINITE}"
    return ({lost: train[lost]} if lost in train else {}) | {
        "train_nll": seen,
        "train_nll_se": seen_se,
        "nll_gap": unseen - seen if is_known else None,
        "nll_gap_se": float(np.hypot(unseen_se, seen_se)) if is_known else None,
    }
