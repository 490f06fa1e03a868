"""Checkpoints of a study's state, written and read with orbax.

A checkpoint is a folder ``STEP`` with the arrays, ``STEP/state``, and their checksums and metadata,
``STEP/seal.json``. It is written under a temporary name that no other process uses and renamed to
``STEP`` when it is complete and on the disk. Of what is deleted, each file is one that was written
here. No other module imports orbax.
"""

import contextlib
import errno
import functools
import logging
import os
import re
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from vae_jax.runtime import checksums, distributed
from vae_jax.training.selection import ValidRecord
from vae_jax.training.step import TrainState

FORMAT = 3
"""Version of the format, which every checkpoint names."""
WRITER = f"vae_jax with orbax-checkpoint {ocp.__version__}"
"""Program that writes a checkpoint."""
NUM_KEPT = 2
"""Number of the newest checkpoints that are kept."""

_STEP = re.compile("0|[1-9][0-9]*")
_NO_RESERVATION = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENODEV)
_STATE = "state"
_PARTIAL, _DISCARDED = ".partial", ".discarded"
_UNFINISHED = re.compile(r"[0-9]+(\.[0-9a-f]+)?\.(partial|discarded)")


class _StateOfLast(NamedTuple):
    """Fields of a :class:`TrainState` that remembers nothing of valid, as they are stored.

    Without a record there is none in the files, which versions before it can read.
    """

    step: Any
    params: Any
    opt_state: Any
    diverged: Any
    average: Any


def _stored(state: TrainState) -> TrainState | _StateOfLast:
    """Return the fields of a state that are stored."""
    return state if state.valid else _StateOfLast(*state[:-1])


def steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, complete or damaged, in ascending order."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if _STEP.fullmatch(name))


def newest_described(folder: Path) -> int:
    """Return the newest step whose record can be read, without a look at its arrays; 0 for none."""
    for step in reversed(steps(folder)):
        with contextlib.suppress(checksums.DamagedError, OSError):
            checksums.names(folder / str(step))
            return step
    return 0


def is_unfinished(name: str) -> bool:
    """Return whether a name is that of a checkpoint which is being written or deleted.

    Example:
        >>> is_unfinished("12.partial"), is_unfinished("mine.partial"), is_unfinished("12")
        (True, False, False)
    """
    return _UNFINISHED.fullmatch(name) is not None


def unused(path: Path) -> Path:
    """Return a path, or the first of ``PATH.2``, ``PATH.3``, ... that does not exist.

    Example:
        >>> unused(Path("no such folder")).name
        'no such folder'
    """
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate


def restore_weights(folder: Path, step: int) -> TrainState:
    """Verify a checkpoint and return its state without that of the optimizer, on the host.

    Nothing is written, and neither a model nor the devices of the training are needed: names,
    shapes and dtypes are those that the checkpoint holds.

    Args:
        folder: folder of the checkpoints.
        step: name of the checkpoint.

    Returns:
        The state with NumPy arrays that lead with ``runs``, and ``opt_state`` empty.

    Raises:
        vae_jax.runtime.checksums.DamagedError: a file of this checkpoint is missing or not what was
            written.
    """
    checksums.verify(folder / str(step))
    path = (folder / str(step) / _STATE).absolute()
    names = ("step", "params", "diverged", "average", "valid")
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        stored = reader.metadata(path).item_metadata.tree
        wanted = {name: stored[name] for name in names if jax.tree.leaves(stored.get(name))}
        args = ocp.args.PyTreeRestore(
            item=jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), wanted),
            restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted),
            partial_restore=True,
        )
        found = reader.restore(path, args=args)
    state = TrainState(found["step"], found["params"], (), found["diverged"])
    record = {name: value for name, value in found.get("valid", {}).items() if value is not None}
    valid = ValidRecord(**{"params": (), **record}) if record else ()
    return state._replace(average=found.get("average", ()), valid=valid)


def event_shape(folder: Path, step: int) -> tuple[int, ...]:
    """Return the shape of one x, which is that of the decoder's bias without its outputs.

    Raises:
        vae_jax.runtime.checksums.DamagedError: the record of the checkpoint is damaged.
    """
    arrays = checksums.read(folder / str(step) / checksums.CHECKSUM_FILE)["arrays"]
    shape = arrays[".params['output_bias']"].partition("[")[2].rstrip("]")
    return tuple(int(size) for size in shape.split(",")[1:-1])


class Checkpoints:
    """Checkpoints of a :class:`TrainState` in a folder, by step; the newest two are kept.

    A context manager, which waits for the last write at its end.

    Saving is asynchronous: ``save`` returns when the state is copied to the host, and a thread
    writes it while the training goes on. With several processes all of them save and restore
    together, each the shares on its own devices, and ``save`` returns when all is written, because
    its barriers must not interleave with the communication of the training.

    Example:
        >>> import pathlib, tempfile
        >>> import jax.numpy as jnp
        >>> state = TrainState(jnp.array([7]), {"w": jnp.ones((1, 2))}, (), jnp.array([-1]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Checkpoints(pathlib.Path(folder)) as checkpoints:
        ...         checkpoints.save(7, state, {"lines": 1})
        ...     checkpoints.steps, checkpoints.metadata(7)["lines"]
        ...     bool((checkpoints.restore(7, state).params["w"] == 1).all())
        ([7], 1)
        True
    """

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None):
        """Name the folder; entering the context makes it.

        Args:
            folder: folder of the checkpoints.
            check: raises where the folder is not this process's any more; called before anything
                is renamed or deleted there.
        """
        self._folder, self._check = folder.absolute(), check
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        self._folder.mkdir(parents=True, exist_ok=True)
        if distributed.is_first():
            self._check()
            for path in list(self._folder.iterdir()):
                if is_unfinished(path.name) and path.is_dir():
                    _remove(path)
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
        """Steps of the checkpoints in the folder, complete or damaged, in ascending order."""
        return steps(self._folder)

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            OSError: the last write failed.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def save(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
        """Start writing the state and its metadata; a step that exists is not written again.

        The arrays are copied to the host first, because the next chunk is donated their memory.

        Args:
            step: number of updates, the name of the checkpoint.
            state: state of all runs.
            metadata: values in the types of JSON, which :meth:`metadata` gives back.

        Raises:
            OSError: this write or the one before failed.
        """
        self.wait()
        if distributed.from_first(lambda: step in self.steps):
            return
        content = {"format": FORMAT, "written_by": WRITER, "arrays": _shapes(state), **metadata}
        if jax.process_count() > 1:
            return self._write_together(step, state, content)
        host = jax.tree.map(np.array, jax.device_get(state))
        self._pending = self._writer.submit(self._write, step, host, content)

    def metadata(self, step: int) -> dict[str, Any]:
        """Verify a checkpoint and return the metadata that were saved with the state.

        Raises:
            vae_jax.runtime.checksums.DamagedError: a file of this checkpoint is missing or not what
                was written.
        """
        return checksums.verify(self._folder / str(step))

    def set_aside(self, step: int) -> None:
        """Rename a damaged checkpoint, so that it is no longer listed; its files stay."""
        os.rename(self._folder / str(step), unused(self._folder / f"{step}.damaged"))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Verify a checkpoint and return its state.

        Args:
            step: name of the checkpoint.
            like: state with the same structure, shapes and dtypes, whose devices are used.

        Raises:
            vae_jax.runtime.checksums.DamagedError: a file of this checkpoint is missing or not what
                was written, or its arrays differ from those of ``like`` in name, dtype or shape.
        """
        if self.metadata(step)["arrays"] != _shapes(like):
            raise checksums.DamagedError("its arrays are not those of this model")
        targets = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), _stored(like)
        )
        path, args = self._folder / str(step) / _STATE, ocp.args.StandardRestore(targets)
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            return TrainState(*reader.restore(path, args=args))

    def _write(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint by a single process."""
        partial = self._folder / f"{step}.{uuid.uuid4().hex}{_PARTIAL}"
        self._begin(partial, state)
        _write_arrays(partial / _STATE, state)
        self._finish(partial, step, metadata)

    def _write_together(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
        """Write the shares of each process; the first process does everything else."""
        partial = self._folder / f"{step}{_PARTIAL}"
        if distributed.is_first():
            self._begin(partial, state)
        distributed.barrier()
        _write_arrays(partial / _STATE, state)
        distributed.barrier()
        if distributed.is_first():
            self._finish(partial, step, metadata)
        distributed.barrier()

    def _begin(self, partial: Path, state: TrainState) -> None:
        """Make the temporary folder of a checkpoint, on a disk with room for the state."""
        self._check()
        partial.mkdir()
        _reserve(partial, sum(leaf.nbytes for leaf in jax.tree.leaves(state)))

    def _finish(self, partial: Path, step: int, metadata: Mapping[str, Any]) -> None:
        """Write the checksums, rename the complete checkpoint and delete older ones."""
        checksums.write_checksums(partial, metadata)
        self._check()
        os.rename(partial, self._folder / str(step))
        for old in self.steps[:-NUM_KEPT]:
            if not (self._folder / str(old)).is_dir():
                continue  # a file was put there by somebody else
            discarded = self._folder / f"{old}.{uuid.uuid4().hex}{_DISCARDED}"
            os.rename(self._folder / str(old), discarded)
            _remove(discarded)


def _shapes(state: TrainState) -> dict[str, str]:
    """Return dtype and shape of every array by its path in the pytree."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _remove(folder: Path) -> None:
    """Delete the files of a checkpoint, complete or not, and its folder if nothing else is in it.

    A complete one names its files. Of one that is not, the arrays' folder was written here.
    """
    try:
        written = checksums.names(folder)
    except checksums.DamagedError:
        for path in folder.glob(f"{_STATE}*"):
            shutil.rmtree(path)
        written = []
    for name in (*written, checksums.CHECKSUM_FILE, f".{checksums.CHECKSUM_FILE}.tmp"):
        (folder / name).unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _reserve(folder: Path, num_bytes: int) -> None:
    """Raise OSError if the disk is too full, as one plain error before orbax's threads meet it."""
    if not hasattr(os, "posix_fallocate"):
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in _NO_RESERVATION:  # then orbax finds out
                raise


def _write_arrays(path: Path, state: TrainState) -> None:
    """Write the arrays that this process can address.

    Raises:
        OSError: the write failed.
    """
    _silence_callbacks()
    try:
        with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as writer:
            writer.save(path, args=ocp.args.StandardSave(_stored(state)))
    except ValueError as error:  # what tensorstore raises when a write fails
        _silence_log()
        if distributed.is_loss(error):
            raise
        raise _error_of_disk(error, path) from None
    except BaseException:
        _silence_log()
        raise


def _error_of_disk(error: ValueError, path: Path) -> OSError:
    """Return the error of the operating system behind one of tensorstore, whose text is a page."""
    found = re.search(r"os_error_code='([0-9]+)'", str(error))
    if found is None:
        return OSError(errno.EIO, " ".join(str(error).split()))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(path))


def _silence_log() -> None:
    """Silence what orbax's threads say of a write that failed, some of it long after that.

    They log and give up coroutines. The error itself is raised, and says enough.
    """
    logging.getLogger("absl").addFilter(_is_not_of_orbax)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


@functools.cache
def _silence_callbacks() -> None:
    """Silence what tensorstore's threads answer, when a write fails, to a loop that is closed.

    These tracebacks, a hundred of them, have frames of asyncio alone, as no other error has.
    """
    show, show_ignored = sys.excepthook, sys.unraisablehook

    def is_answer(error: BaseException | None, frames: Any) -> bool:
        names = [frame.f_code.co_filename for frame, _ in walk_tb(frames)]
        return "Event loop is closed" in str(error) and {Path(n).parent.name for n in names} == {
            "asyncio"
        }

    def show_others(kind: type[BaseException], error: BaseException, frames: Any) -> None:
        if not is_answer(error, frames):
            show(kind, error, frames)

    def show_others_ignored(ignored: Any) -> None:
        is_loop = "EventLoop" in repr(ignored.object)
        if not is_loop and not is_answer(ignored.exc_value, ignored.exc_traceback):
            show_ignored(ignored)

    sys.excepthook, sys.unraisablehook = show_others, show_others_ignored


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence orbax's own log, whose tracebacks repeat the exception."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
