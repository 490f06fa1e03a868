"""Several processes as one computer: starting together, agreeing, noticing that one is gone.

Everything is JAX's own runtime (``jax.distributed``). All processes carry out the same program;
the first alone speaks and writes, and what it decides from the file system or the clock it tells
the others. With a single process every function here does nothing but the obvious.
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

from vae_jax.runtime import jax_versions
from vae_jax.runtime.errors import InputError, LostError
from vae_jax.runtime.signals import Stop

HEARTBEAT_SECONDS = 30  # after which a host that is silent is given up
PARTING_SECONDS = 1.0  # the first process holds the coordinator, without which the others abort

T = TypeVar("T")

_SIGNS_OF_LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "heartbeat", "CoordinationService", "Connection")


class LostProcessError(Exception):
    """Another process of the run has ended or cannot be reached."""


@contextlib.contextmanager
def initialized(coordinator: str, num_processes: int, process_id: int) -> Iterator[None]:
    """One process among several for as long as the block lasts; must come before any array.

    Args:
        coordinator: HOST:PORT of the first process; empty where JAX finds all three by itself
            (SLURM, Cloud TPU, Kubernetes).
        num_processes: of the run.
        process_id: of this one, from 0.

    Raises:
        InputError: the processes do not come together.
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
        words = str(error).splitlines()[0]
        raise InputError(
            f"--distributed: the processes do not come together ({words}); give --coordinator="
            "HOST:PORT, --num_processes and --process_id, the same first two to all"
        ) from None


def is_loss(error: Exception) -> bool:
    """Whether an error of the runtime says that another process is gone."""
    is_ours = isinstance(error, InputError) or not jax.distributed.is_initialized()
    return not is_ours and any(sign in str(error) for sign in _SIGNS_OF_LOSS)


def is_first() -> bool:
    """Whether this process speaks and writes."""
    return jax.process_index() == 0


def leave(status: int) -> int:
    """An exit status; one of an error ends this process at once, if there are others.

    An orderly end would wait for them, and they for this process.
    """
    if status in (1, 2) and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(PARTING_SECONDS if is_first() else 0.0)
        os._exit(status)
    return status


def from_first(fn: Callable[[], T]) -> T:
    """What ``fn`` gives in the first process (in the types of JSON), and its InputError, to all."""
    if jax.process_count() == 1:
        return fn()
    told = _told(json.dumps(_outcome(fn)) if is_first() else "")
    if told["error"] is not None:
        kind = LostError if told["is_lost"] else InputError
        raise kind(told["error"])
    return told["value"]


def first_then_all(fn: Callable[[], T]) -> T:
    """``fn`` in every process, in the others when the first is done: it may leave files behind."""
    results: list[T] = []
    from_first(lambda: results.append(fn()))
    return results[0] if results else fn()


def largest(value: float) -> float:
    """The largest of the numbers that the processes give."""
    if jax.process_count() == 1:
        return value
    return float(np.max(multihost_utils.process_allgather(np.float32(value))))


def barrier() -> None:
    """Return when all processes have come here."""
    largest(0.0)


def sync_stop(stop: Stop) -> None:
    """Make a signal to any process one to all of them."""
    if jax.process_count() > 1:
        stop.follow(int(largest(float(stop.signum))))


def _outcome(fn: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"error": None, "value": fn()}
    except InputError as error:
        return {"error": str(error), "is_lost": isinstance(error, LostError)}


def _told(text: str) -> dict[str, Any]:
    """What the first process says, in two messages: its length and itself."""
    data = np.frombuffer(text.encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    padded = np.zeros(length, np.uint8)
    padded[: len(data)] = data
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)))
