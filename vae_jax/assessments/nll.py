"""Bounds on log p(x): of test in the fixed columns, and of train to hold against them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax import loop
from vae_jax.assessments.base import Part, Row, Runs, Tell, fixed_pixels, with_errors

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
    columns: ClassVar[Mapping[str, str]] = with_errors(
        {
            "train_nll": "minus the importance-weighted bound on as many training examples as "
            "test, K = eval_particles or 100 if that is less",
            "nll_gap": "NLL of test minus that of train, both with that K",
        }
    )

    def rows(self, runs: Runs, tell: Tell) -> Iterator[Row]:
        """Terms of test under their names in :func:`vae_jax.evaluate.summarize`, and of train."""
        at_once = runs.layout.max_parallel_runs * runs.layout.num_devices
        for start in range(0, runs.num_runs, at_once):
            some = runs.take(slice(start, start + at_once))
            yield from self._scores(some, lambda share, done=start: tell(done + share))
            tell(start + some.num_runs)

    def _scores(self, runs: Runs, tell: Tell) -> Iterator[Row]:
        test = _part(runs, "test")
        scores, few = self._score(runs, test, self.eval_particles), MOST_PARTICLES
        tell(0.5 * runs.num_runs)
        train = self._score(runs, _part(runs, "train").take(slice(len(test.pixels))), few)
        again = scores
        if self.eval_particles > few:
            again = self._score(runs, test, few)
        for score, seen, unseen in zip(scores, train, again, strict=True):
            yield score | _compared(seen, unseen)

    def _score(self, runs: Runs, part: Part, most_particles: int) -> list[Row]:
        num_particles = min(self.eval_particles, most_particles)
        return loop.score_examples(
            runs.spec,
            runs.hparams,
            runs.state,
            part.pixels,
            part.labels,
            num_particles=num_particles,
            layout=runs.layout,
        )


def _part(runs: Runs, split: loop.batches.Split) -> Part:
    pixels = fixed_pixels(runs.spec.binarize, split, runs.data)
    return Part(pixels, runs.data.labels_of(split))


def _compared(train: Row, test: Row) -> Row:
    """The columns of this evaluation from scores with equal K."""
    names = ("nll", "nll_se")
    if any(row[name] is None for row in (train, test) for name in names):
        return {}
    return {
        "train_nll": train["nll"],
        "train_nll_se": train["nll_se"],
        "nll_gap": test["nll"] - train["nll"],
        "nll_gap_se": float(np.hypot(test["nll_se"], train["nll_se"])),
    }
