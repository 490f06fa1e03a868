"""Bounds on log p(x): of test in the fixed columns, and of train to hold against them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax import scoring
from vae_jax.assessments.base import Row, Runs, Tell, fixed_pixels, with_errors
from vae_jax.batches import Split
from vae_jax.evaluate import NOT_FINITE

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
    columns: ClassVar[Mapping[str, str]] = {
        **with_errors(
            {
                "test_nll_bias": "by how much test_nll exceeds -log p(x), by the jackknife "
                "(Quenouille 1956; Nowozin 2018)",
                "train_nll": "minus the importance-weighted bound on as many training examples as "
                "test, K = eval_particles or 100 if that is less",
                "nll_gap": "NLL of test minus that of train, both with that K",
            }
        ),
        "test_ess_median": "median over test of the effective sample size of the K weights (Kong "
        "1992)",
        "test_ess_min": "the smallest of these",
        "test_ess_low_share": "share of test examples in which it is below 10",
    }

    def rows(self, runs: Runs, tell: Tell) -> Iterator[Row]:
        """Terms of test under their names in :func:`vae_jax.evaluate.summarize`, and of train."""
        at_once = runs.layout.max_parallel_runs * runs.layout.run_devices
        for start in range(0, runs.num_runs, at_once):
            some = runs.take(slice(start, start + at_once))
            yield from self._scores(some, lambda share, done=start: tell(done + share))
            tell(start + some.num_runs)

    def _scores(self, runs: Runs, tell: Tell) -> Iterator[Row]:
        num, few = len(runs.data.test), min(self.eval_particles, MOST_PARTICLES)
        again = few < self.eval_particles
        work = self.eval_particles + few * (1 + again)

        def share_of(before: int, own: int) -> Tell:
            return lambda share: tell(runs.num_runs * (before + share * own) / work)

        scores = _score(runs, "test", num, self.eval_particles, share_of(0, self.eval_particles))
        train = _score(runs, "train", num, few, share_of(self.eval_particles, few))
        test = _score(runs, "test", num, few, share_of(work - few, few)) if again else scores
        for score, seen, unseen in zip(scores, train, test, strict=True):
            yield score | _compared(seen, unseen)


def _score(
    runs: Runs, split: Split, num_examples: int, num_particles: int, tell: Tell
) -> list[Row]:
    """Terms on the first examples of a split, its pixels fixed once."""
    labels = runs.data.labels_of(split)
    return scoring.score_by_parts(
        runs.spec,
        runs.hparams,
        runs.state,
        fixed_pixels(runs.spec.binarize, split, runs.data)[:num_examples],
        None if labels is None else labels[:num_examples],
        num_particles=num_particles,
        layout=runs.layout,
        tell=tell,
    )


def _compared(train: Row, test: Row) -> Row:
    """The columns of this evaluation from scores with equal K."""
    names, lost = ("nll", "nll_se"), f"nll{NOT_FINITE}"
    if any(row[name] is None for row in (train, test) for name in names):
        return {}
    counted = {f"train_{lost}": train[lost]} if lost in train else {}
    return counted | {
        "train_nll": train["nll"],
        "train_nll_se": train["nll_se"],
        "nll_gap": test["nll"] - train["nll"],
        "nll_gap_se": float(np.hypot(test["nll_se"], train["nll_se"])),
    }
