"""When the host looks at a training; no number that is trained depends on it."""

from collections.abc import Iterator
from dataclasses import dataclass

SHARED_STEPS = 500
"""Trainings of up to so many updates share one compiled program."""


@dataclass(frozen=True)
class Intervals:
    """When the host looks.

    Attributes:
        num_steps: updates in all.
        chunk_steps: most updates between two visits.
        eval_every: updates between evaluations on valid; the last update is always one.
        checkpoint_every: updates between checkpoints; the last update is always one.
        most_steps: a bound on ``chunk_steps`` where updates are slow.
    """

    num_steps: int
    chunk_steps: int = 500
    eval_every: int = 500
    checkpoint_every: int = 1000
    most_steps: int = 2**31 - 1

    def after(self, start: int) -> Iterator[int]:
        """Steps to stop at: all multiples of the intervals, and the end."""
        step = start
        while step < self.num_steps:
            chunk_steps = min(self.chunk_steps, self.most_steps)
            intervals = (chunk_steps, self.eval_every, self.checkpoint_every)
            step = min(self.num_steps, *(step - step % n + n for n in intervals))
            yield step

    @property
    def longest(self) -> int:
        """Updates for which the program is built: no fewer than can lie between two visits.

        Short trainings share the program of a chunk, however often the host looks.
        """
        widest = min(self.eval_every, self.checkpoint_every)
        return min(self.chunk_steps, max(widest, SHARED_STEPS))

    def is_due(self, step: int, interval: int) -> bool:
        """Whether a multiple of the interval, or the end, is reached."""
        return step % interval == 0 or step == self.num_steps
