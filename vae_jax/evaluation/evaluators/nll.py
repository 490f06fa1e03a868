"""Evaluator ``nll``: importance-weighted bounds on log p(x), of test and of train."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax.evaluation import scoring
from vae_jax.evaluation.columns import MEASURED, NATS, NOT_FINITE, TEST, Column
from vae_jax.evaluation.elbo import NUM_PARTICLES
from vae_jax.evaluation.evaluators.base import (
    Evaluator,
    ExampleSubset,
    OnProgress,
    Runs,
    fixed_pixels,
)
from vae_jax.settings import setting, whole
from vae_jax.training.batches import Split
from vae_jax.types import Row

_SPLITS: tuple[Split, ...] = ("test", "train")
MOST_PARTICLES = 100
"""Largest K at which train and test are compared, which would else take as long as the NLL.

Where the encoder overfits, the bound of test is looser than that of train, and less so for a larger
K (183 nats at 100, 164 at 5,000 in an extreme case)."""


@dataclass(frozen=True)
class ImportanceWeightedNLL(Evaluator):
    """Importance-weighted NLL (Burda et al. 2016) of test and, for comparison, of train.

    It always runs. As many of the first training examples as there are test ones are evaluated
    with the same K as test or, where that is larger, both with 100 particles: a bound is looser at
    smaller K, so only bounds of equal K compare.

    Attributes:
        eval_particles: K, importance samples for each example.
    """

    eval_particles: int = setting(NUM_PARTICLES, whole(1), "importance samples K of the test NLL")

    needs: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[tuple[Column, ...]] = (
        TEST["nll_bias"],
        MEASURED["train"]["nll"],
        Column(
            "nll_gap",
            "NLL of test minus that of train, both on as many examples and with K = eval_particles "
            "or 100 if that is less; where that K leaves the bounds loose, it counts what the "
            "encoder loses on new images too",
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
        subsets: dict[Split, ExampleSubset] = {split: _subset(runs, split) for split in _SPLITS}
        for start in range(0, runs.num_runs, at_once):
            some = runs.take(slice(start, start + at_once))
            yield from self._scored(
                some, subsets, lambda share, done=start: on_progress(done + share)
            )
            on_progress(start + some.num_runs)

    def _scored(
        self, runs: Runs, subsets: dict[Split, ExampleSubset], on_progress: OnProgress
    ) -> Iterator[Row]:
        few = min(self.eval_particles, MOST_PARTICLES)
        needs_few = few < self.eval_particles
        work = self.eval_particles + few * (1 + needs_few)

        def share_of(before: int, own: int) -> OnProgress:
            return lambda share: on_progress(runs.num_runs * (before + share * own) / work)

        def scored(split: Split, num_particles: int, before: int) -> list[Row]:
            progress = share_of(before, num_particles)
            return _score(runs, split, subsets[split], num_particles, progress)

        scores = scored("test", self.eval_particles, 0)
        train = scored("train", few, self.eval_particles)
        test = scored("test", few, work - few) if needs_few else scores
        for score, of_train, of_test in zip(scores, train, test, strict=True):
            yield score | _compared(of_train, of_test)


def _subset(runs: Runs, split: Split) -> ExampleSubset:
    """Return as many first examples of a split as there are test ones, see :func:`fixed_pixels`."""
    num, labels = len(runs.data.test), runs.data.labels_of(split)
    pixels = fixed_pixels(runs.spec.binarize, split, runs.data)
    return ExampleSubset(pixels, labels).take(slice(num))


def _score(
    runs: Runs,
    split: Split,
    subset: ExampleSubset,
    num_particles: int,
    on_progress: OnProgress,
) -> list[Row]:
    """Return the terms of each run on examples of a split."""
    return scoring.score_examples(
        *(runs.spec, runs.hparams, runs.state, subset.pixels, subset.labels),
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
