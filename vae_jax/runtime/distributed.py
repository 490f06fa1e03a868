"""Several processes that run one program: start, exchange of values, detection of a lost process.

All communication is by JAX's own runtime (``jax.distributed``). All processes carry out the same
program (SPMD). Only the first one, process 0, prints and writes files; what depends on the file
system or the clock it decides for all (:func:`from_first`). With a single process nothing is sent,
and every function returns what it was given or what its argument returns.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vae_jax.runtime import jax_versions, terminal
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.signals import Stop

HEARTBEAT_SECONDS = 30
"""Silence after which a process counts as lost."""
_COORDINATOR_DELAY_SECONDS = 1.0  # process 0 holds the coordinator, without which others abort

T = TypeVar("T")

_LOSS_MARKERS = ("Gloo", "NCCL", "UNAVAILABLE", "heartbeat", "CoordinationService", "Connection")


class LostProcessError(Exception):
    """Error raised when another process of the program has ended or cannot be reached."""


@contextlib.contextmanager
def initialized(coordinator: str, num_processes: int, process_id: int) -> Iterator[None]:
    """Be one process among several for as long as the block lasts; no array may exist before.

    All processes but the first print nothing to the standard output.

    Args:
        coordinator: HOST:PORT of the first process; empty where JAX finds all three by itself
            (SLURM, Cloud TPU, Kubernetes).
        num_processes: number of processes of the program.
        process_id: number of this process, from 0.

    Raises:
        InputError: the processes cannot connect.
        LostProcessError: one of them ended within the block.
    """
    _start(coordinator, num_processes, process_id)
    with contextlib.ExitStack() as stack:
        if not is_first():
            silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if not is_loss(error):
                raise
            raise LostProcessError(
                f"process {jax.process_index()} of {jax.process_count()}: another process of this "
                "run has ended or cannot be reached; start the same command on all hosts again, "
                "and it goes on from the last checkpoint"
            ) from error


def _start(coordinator: str, num_processes: int, process_id: int) -> None:
    """Connect this process to the others."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    is_given = bool(coordinator)
    try:
        jax_versions.join_processes(
            coordinator if is_given else None,
            num_processes if is_given else None,
            process_id if is_given else None,
            HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"distributed=true: the processes do not come together ({reason}); give coordinator="
            "HOST:PORT, num_processes=N and process_id=I, the same first two to all"
        ) from None


def is_loss(error: Exception) -> bool:
    """Return whether an error of the runtime means that another process is lost."""
    is_ours = isinstance(error, InputError) or not jax.distributed.is_initialized()
    return not is_ours and any(marker in str(error) for marker in _LOSS_MARKERS)


def is_first() -> bool:
    """Return whether this process is process 0, the one that prints and writes files.

    Example:
        >>> is_first()
        True
    """
    return jax.process_index() == 0


def leave(status: int) -> int:
    """Return an exit status, or end this process with it at once after an error.

    The process ends at once if the status is that of an error (1 or 2) and there are other
    processes: an orderly shutdown would wait for them, and they for this process.
    """
    if status in (1, 2) and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        terminal.give_up_after(terminal.PATIENCE_SECONDS)
        time.sleep(_COORDINATOR_DELAY_SECONDS if is_first() else 0.0)
        os._exit(status)
    return status


def leave_at_once(status: int) -> int:
    """Return an exit status, or end this process with it at once unless it is 0.

    All is saved and said then. The clean-up of libraries would take seconds, in which another
    signal would end the process with another status, and after an error of the disk it fails in its
    turn, with many lines. Several processes need it.
    """
    if status and not jax.distributed.is_initialized():
        os._exit(status)
    return status


def from_first(fn: Callable[[], T]) -> T:
    """Call ``fn`` in the first process and return its result in all of them.

    With several processes the result must consist of the types of JSON.

    Raises:
        InputError: ``fn`` raised it; then all processes raise it.

    Example:
        >>> from_first(lambda: 3)
        3
    """
    if jax.process_count() == 1:
        return fn()
    outcome = _broadcast(json.dumps(_outcome(fn)) if is_first() else "")
    if outcome["error"] is not None:
        error_class = LostError if outcome["is_lost"] else InputError
        raise error_class(outcome["error"], **outcome["fields"])
    return outcome["value"]


def first_then_all(fn: Callable[[], T]) -> T:
    """Call ``fn`` in the first process, then in the others, and return each one's own result.

    The others find the files that the first call may have written.
    """
    results: list[T] = []
    from_first(lambda: results.append(fn()))
    return results[0] if results else fn()


def largest(value: float) -> float:
    """Return the largest of the numbers that the processes give, as a float32 with several.

    Example:
        >>> largest(2.5)
        2.5
    """
    if jax.process_count() == 1:
        return value
    return float(np.max(multihost_utils.process_allgather(np.float32(value))))


def barrier() -> None:
    """Wait until all processes have called this function."""
    largest(0.0)


def sync_stop(stop: Stop) -> None:
    """Pass on to all processes the signal that any of them received."""
    if jax.process_count() > 1:
        stop.follow(int(largest(float(stop.signum))))


def _outcome(fn: Callable[[], Any]) -> dict[str, Any]:
    """Return the result of ``fn``, or the message and the fields of its InputError."""
    try:
        return {"error": None, "value": fn()}
    except InputError as error:
        fields = {name: str(value) for name, value in vars(error).items()}
        is_lost = isinstance(error, LostError)
        return {"error": str(error), "fields": fields, "is_lost": is_lost}


def _broadcast(text: str) -> dict[str, Any]:
    """Send the JSON text of the first process to all and return what it encodes.

    Two messages: the number of bytes, then the bytes.
    """
    data = np.frombuffer(text.encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    padded = np.zeros(length, np.uint8)
    padded[: len(data)] = data
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)))
