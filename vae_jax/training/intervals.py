"""Intervals after which the host takes over; no trained number depends on them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from vae_jax.settings import check_value, whole

SHARED_STEPS = 500
"""Least number of updates for which a program is built, so that short trainings share one."""


@dataclass(frozen=True)
class Intervals:
    """Length of a training, and its intervals in updates.

    Attributes:
        num_steps: updates of the whole training.
        chunk_steps: largest number of updates in one device loop.
        eval_every: updates between evaluations on valid; there is one after the last update.
        checkpoint_every: updates between checkpoints; there is one after the last update.
        most_steps: bound on ``chunk_steps`` where updates are slow.

    Example:
        >>> intervals = Intervals(num_steps=10, chunk_steps=4, eval_every=6)
        >>> list(intervals.after(0))
        [4, 6, 8, 10]
        >>> [step for step in intervals.after(0) if intervals.is_due(step, 6)]
        [6, 10]
    """

    num_steps: int
    chunk_steps: int = 500
    eval_every: int = 500
    checkpoint_every: int = 1000
    most_steps: int = 2**31 - 1

    def __post_init__(self) -> None:
        """Refuse what is no number of updates.

        Raises:
            InputError: a length or an interval that is not a whole number of at least 1.
        """
        for field in dataclasses.fields(self):
            check_value(field.name, getattr(self, field.name), whole(1))

    def after(self, start: int) -> Iterator[int]:
        """Yield the steps after ``start`` at which a chunk ends.

        These are the multiples of all intervals, and the last step.
        """
        step = start
        while step < self.num_steps:
            chunk_steps = min(self.chunk_steps, self.most_steps)
            intervals = (chunk_steps, self.eval_every, self.checkpoint_every)
            step = min(self.num_steps, *(step - step % n + n for n in intervals))
            yield step

    @property
    def longest_chunk(self) -> int:
        """Number of updates for which the program is built, at least those of any chunk.

        Short trainings share the program of a chunk, whatever their intervals are.
        """
        widest = min(self.eval_every, self.checkpoint_every)
        return min(self.chunk_steps, max(widest, SHARED_STEPS))

    def is_due(self, step: int, interval: int) -> bool:
        """Return whether a step is a multiple of the interval, or the last one."""
        return step % interval == 0 or step == self.num_steps
