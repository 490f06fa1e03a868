"""Devices; the only room with a mesh. It knows no model.

Runs never talk to each other, so a study over several devices is the same program on each of them
with a share of the runs: ``shard_map`` over one axis, ``run``, and no collective.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

T = TypeVar("T")


def devices_for(num_runs: int) -> int:
    """How many local devices a study of so many runs is spread over."""
    return min(num_runs, jax.local_device_count())


def over_devices(fn: Callable[..., T], num_devices: int) -> Callable[..., T]:
    """``fn(shared, mapped)`` on each device with all of ``shared`` and its share of ``mapped``.

    The leading axis of ``mapped`` and of the result is split over the devices, which must divide
    it (:func:`pad_runs`).
    """
    if num_devices == 1:
        return fn
    specs = (P(), P("run"))
    return jax.shard_map(
        fn, mesh=_mesh(num_devices), in_specs=specs, out_specs=P("run"), check_vma=False
    )


def replicate(tree: Any, num_devices: int) -> Any:
    """The same arrays on each device."""
    if num_devices == 1:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(_mesh(num_devices), P()))


def pad_runs(tree: Any, num_devices: int) -> Any:
    """Arrays split over the devices, the last run repeated until these divide the runs."""
    if num_devices == 1:
        return tree
    num_runs = jax.tree.leaves(tree)[0].shape[0]
    padded = -(-num_runs // num_devices) * num_devices
    rows = jnp.minimum(jnp.arange(padded), num_runs - 1)
    return jax.device_put(
        jax.tree.map(lambda a: a[rows], tree), NamedSharding(_mesh(num_devices), P("run"))
    )


def drop_padding(tree: Any, num_runs: int) -> Any:
    """The first ``num_runs`` of arrays that :func:`pad_runs` lengthened."""
    return jax.tree.map(lambda a: a if a.shape[0] == num_runs else a[:num_runs], tree)


def runs_that_fit(bytes_per_run: int) -> int:
    """How many runs a device should advance at a time: 1 on a CPU, else what its memory holds."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return 1
    statistics = device.memory_stats() or {}
    free = statistics.get("bytes_limit", 8 * 2**30) - statistics.get("bytes_in_use", 0)
    return max(1, int(0.8 * free) // bytes_per_run)


def fits(num_bytes: int) -> bool:
    """Whether that much may lie on a device for good: half of what it has."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        memory = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
    return num_bytes <= memory // 2


def place(
    shape: tuple[int, ...],
    at: Callable[[Any], np.ndarray],
    num_devices: int,
) -> jax.Array:
    """An array on each device, made of what ``at`` gives for the indices of a device's share."""
    if num_devices == 1:
        return jax.device_put(at(tuple(slice(0, n) for n in shape)))
    sharding = NamedSharding(_mesh(num_devices), P())
    return jax.make_array_from_callback(shape, sharding, at)


def _mesh(num_devices: int) -> Mesh:
    devices = jax.local_devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("run",), (AxisType.Auto,), devices=devices)
