"""Checkpoints of a study's state; the only room with orbax.

``NUMBER/state`` is what orbax wrote and ``NUMBER/seal.json`` its seal. A checkpoint is made under
another name and gets its number when it is whole, sealed and on the disk.
"""

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vae_jax.runtime import checksums, distributed
from vae_jax.training.step import TrainState

FORMAT = 2
WRITER = f"vae_jax with orbax-checkpoint {ocp.__version__}"
KEPT = 2

_STATE = "state"
_UNFINISHED = (".partial", ".discarded")


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, whole or damaged; changes nothing."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


class Checkpoints:
    """Numbered checkpoints of a :class:`TrainState` in a folder; the newest two are kept.

    Saving is asynchronous: ``save`` returns when the state is copied, and writing goes on while
    the training does. With several processes all of them save and restore together, each the
    shares on its own devices, and ``save`` returns when all is written: what they tell each other
    meanwhile must not meet what the training sends. A context manager that waits for the last
    write.
    """

    def __init__(self, folder: Path):
        self._folder = folder.absolute()
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        self._folder.mkdir(parents=True, exist_ok=True)
        if distributed.is_first():
            for path in list(self._folder.iterdir()):
                if path.suffix in _UNFINISHED:
                    shutil.rmtree(path)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, whole or damaged."""
        return steps(self._folder)

    def wait(self) -> None:
        """Return when nothing is being written.

        Raises:
            OSError: the last write failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def save(self, step: int, state: TrainState, facts: Mapping[str, Any]) -> None:
        """Start writing the state, and facts in the types of JSON.

        The arrays are copied to the host first, because the next chunk is given their memory. A
        step that is already there is left alone.

        Raises:
            OSError: this write or the one before cannot be made.
        """
        self.wait()
        if distributed.from_first(lambda: step in self.steps):
            return
        if jax.process_count() > 1:
            every = {"format": FORMAT, "written_by": WRITER, "arrays": _shapes(state), **facts}
            return _write_together(self._folder, step, state, every)
        host = jax.tree.map(np.array, jax.device_get(state))
        every = {"format": FORMAT, "written_by": WRITER, "arrays": _shapes(host), **facts}
        self._pending = self._writer.submit(_write, self._folder, step, host, every)

    def facts(self, step: int) -> dict[str, Any]:
        """What was saved with the state.

        Raises:
            seals.DamagedError: a file of this checkpoint is missing or not what was written.
        """
        return checksums.verify(self._folder / str(step))

    def set_aside(self, step: int) -> None:
        """Take the checkpoint of a step out of the numbered ones; its files stay."""
        aside = self._folder / f"{step}.damaged"
        if aside.exists():
            shutil.rmtree(aside)
        os.rename(self._folder / str(step), aside)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of a step, on the devices of ``like``, which gives its structure.

        Raises:
            seals.DamagedError: its arrays are not called and shaped like these.
        """
        if self.facts(step)["arrays"] != _shapes(like):
            raise checksums.DamagedError("its arrays are not those of this model")
        places = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like
        )
        path, args = self._folder / str(step) / _STATE, ocp.args.StandardRestore(places)
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            return reader.restore(path, args=args)


def _shapes(state: TrainState) -> dict[str, str]:
    """Path, dtype and shape of every array."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _write(folder: Path, step: int, state: TrainState, facts: Mapping[str, Any]) -> None:
    partial = _begin(folder, step, state)
    _write_arrays(partial / _STATE, state)
    _finish(partial, folder / str(step), facts)


def _write_together(folder: Path, step: int, state: TrainState, facts: Mapping[str, Any]) -> None:
    """Each process writes its shares; the first does everything else, before and after."""
    partial = folder / f"{step}.partial"
    if distributed.is_first():
        _begin(folder, step, state)
    distributed.barrier()
    _write_arrays(partial / _STATE, state)
    distributed.barrier()
    if distributed.is_first():
        _finish(partial, folder / str(step), facts)
    distributed.barrier()


def _begin(folder: Path, step: int, state: TrainState) -> Path:
    partial = folder / f"{step}.partial"
    partial.mkdir()
    _reserve(partial, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
    return partial


def _finish(partial: Path, final: Path, facts: Mapping[str, Any]) -> None:
    """Seal what is whole, give it its number, and let older ones go."""
    folder = final.parent
    checksums.write_checksums(partial, facts)
    os.rename(partial, final)
    for old in steps(folder)[:-KEPT]:
        discarded = folder / f"{old}.discarded"
        os.rename(folder / str(old), discarded)
        shutil.rmtree(discarded)


def _reserve(folder: Path, num_bytes: int) -> None:
    """Meet a full disk here, where it is one plain error, and not in orbax's threads."""
    if not hasattr(os, "posix_fallocate"):
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, num_bytes)


def _write_arrays(path: Path, state: TrainState) -> None:
    with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as writer:
        try:
            writer.save(path, args=ocp.args.StandardSave(state))
        except ValueError as error:  # how tensorstore tells of a failed write
            if distributed.is_loss(error):
                raise
            raise OSError(errno.EIO, " ".join(str(error).split())) from None


@contextlib.contextmanager
def _quiet():
    """Without orbax's own log, whose tracebacks say again what the exception says."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
