"""Differences between the versions of JAX that this project supports, from 0.7.2 to the newest.

Each name says from which version on JAX needs no help. It can be removed once
``requirements.txt`` asks for that version.
"""

import inspect
import signal
from typing import Any

import jax

if hasattr(jax, "enable_x64"):
    enable_x64 = jax.enable_x64
else:  # until jax 0.8
    from jax.experimental import (
        enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
    )

TAKES_MANUAL_AXES = jax.__version_info__ >= (0, 8)
"""True where a sharding inside of a ``shard_map`` takes its mesh, which has manual axes.

JAX 0.7 wants the same mesh with automatic axes, and JAX 0.10 refuses that.
"""


def join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None, seconds: int
) -> None:
    """Connect the processes as ``jax.distributed.initialize`` does, and leave signals to Python.

    JAX takes SIGTERM for itself, a notice of preemption. Where it has no setting against that,
    Python's handler is put back in its place. Needed until jax 0.10 (0.7.2 has neither that setting
    nor a limit for the shutdown).

    Args:
        coordinator: HOST:PORT of the first process, or None where JAX finds all three by itself.
        num_processes: number of processes of the program.
        process_id: number of this process, from 0.
        seconds: silence after which a process counts as lost, also at the shutdown where JAX
            has a setting for that.
    """
    initialize = jax.distributed.initialize
    limits = ("heartbeat_timeout_seconds", "shutdown_timeout_seconds")
    known = inspect.signature(initialize).parameters
    has_setting = hasattr(jax.config, "jax_enable_preemption_service")
    if has_setting:
        jax.config.update("jax_enable_preemption_service", False)
    known_limits: dict[str, Any] = {name: seconds for name in limits if name in known}
    initialize(coordinator, num_processes, process_id, **known_limits)
    if not has_setting:
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


__all__ = ["TAKES_MANUAL_AXES", "enable_x64", "join_processes"]
