"""Checkpoints of a study's state; the only room with orbax."""

from pathlib import Path
from types import TracebackType
from typing import cast

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from vae_jax.train import TrainState


def newest_step(folder: Path) -> int | None:
    """Step of the newest whole checkpoint in a folder, None if there is none; changes nothing."""
    return max(ocp.utils.checkpoint_steps(folder), default=None) if folder.exists() else None


class Checkpoints:
    """Numbered checkpoints of a :class:`TrainState` in a folder; the newest two are kept.

    Saving is asynchronous: ``save`` returns when the state is copied, and writing goes on while
    the training does. A checkpoint gets its final name only when it is whole. A context manager
    that waits for the last write.
    """

    def __init__(self, folder: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState) -> None:
        """Start writing the state; a step that is already there is left alone.

        The arrays are copied on the device first, because the next chunk is given their memory.
        """
        if step != self.latest_step:
            args = ocp.args.StandardSave(jax.tree.map(jnp.copy, state))
            self._manager.save(step, args=args)

    def restore(self, like: TrainState) -> TrainState:
        """Newest state, with the shapes, dtypes and placement of ``like`` (abstract or not)."""
        args = ocp.args.StandardRestore(like)
        return cast(TrainState, self._manager.restore(self.latest_step, args=args))
