"""Devices; the only room with a mesh. It knows no model.

The mesh has two axes. Over ``run`` the runs of a study are split: they never talk to each other, so
every device carries out the same program on its share of them, and nothing is sent. Over ``batch``
the examples of an update are split: each device computes the gradient of its share, and the shares
are added up, one all-reduce an update.

``run`` is a manual axis (``shard_map``), so that no compiler can think of sending anything along
it. ``batch`` is an automatic one (GSPMD): a program means on any number of devices what it means
on one, statistics of a whole batch included, and random bits are the same; only sums are made in
another order. Devices that lie side by side, such as those of one host, share their runs.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

T = TypeVar("T")


class Devices(NamedTuple):
    """Shape of the mesh.

    Attributes:
        run: devices over which the runs are split.
        batch: devices over which each run's batch is split.
    """

    run: int = 1
    batch: int = 1


AUTOMATIC = Devices(0, 0)
"""As many as :func:`arrange` thinks best."""


def arrange(num_runs: int, batch_size: int, asked: Devices = AUTOMATIC) -> Devices:
    """The mesh for a study: runs first, then the batch over what is left.

    Without being asked a batch is split only where that pays, on accelerators and over several
    hosts: the "devices" of one CPU share its cores. The mesh of several hosts takes all devices,
    which pads the runs where the batch cannot be divided.

    Args:
        num_runs: of the study.
        batch_size: examples per update.
        asked: numbers of devices that are given, 0 for none.
    """
    available = jax.device_count()
    if jax.process_count() > 1:
        return _over_hosts(num_runs, batch_size, asked, available)
    run = asked.run or max(1, min(num_runs, available // (asked.batch or 1)))
    left = available // run if jax.default_backend() != "cpu" else 1
    return Devices(run, asked.batch or _divisors(batch_size, left)[-1])


def _over_hosts(num_runs: int, batch_size: int, asked: Devices, available: int) -> Devices:
    """All devices: as many runs at a time as there are, or as few more as can be."""
    shapes = [Devices(available // n, n) for n in _divisors(available, available)]
    fitting = [
        shape
        for shape in shapes
        if asked.run in (0, shape.run)
        and (shape.batch == asked.batch or (not asked.batch and batch_size % shape.batch == 0))
    ]
    not_padded = [shape for shape in fitting if shape.run <= num_runs]
    return not_padded[0] if not_padded else (fitting or [asked])[-1]


def _divisors(number: int, most: int) -> list[int]:
    """Divisors of a number that are at most ``most``, at least 1 among them."""
    return [n for n in range(1, max(1, most) + 1) if number % n == 0]


def refusal(devices: Devices) -> str:
    """Why there can be no such mesh, in words; empty if there can."""
    available, wanted = jax.device_count(), devices.run * devices.batch
    if jax.process_count() > 1 and wanted != available:
        return f"takes {wanted} of the {available} devices of all hosts, and must take all"
    return f"takes {wanted} devices, and there are {available}" if wanted > available else ""


def over_devices(fn: Callable[..., T], devices: Devices) -> Callable[..., T]:
    """``fn(shared, mapped)`` on each device with all of ``shared`` and its share of ``mapped``.

    The leading axis of ``mapped`` and of the result is split over ``run``, which must divide it
    (:func:`pad_runs`). Inside, :func:`split_batch` says what is split over ``batch``.
    """
    if devices == Devices():
        return fn
    manual = {"run"} if devices.batch > 1 else {"run", "batch"}
    return jax.shard_map(
        fn,
        mesh=_mesh(devices),
        in_specs=(P(), P("run")),
        out_specs=P("run"),
        axis_names=manual,
        check_vma=False,
    )


def split_batch(tree: T, axis: int = 0) -> T:
    """Arrays whose given axis, of examples, is split over ``batch`` where there is such an axis.

    For use while a program is traced. Values do not change, only where they lie; an axis that the
    devices do not divide stays whole.
    """
    context = jax.sharding.get_abstract_mesh()
    if "batch" not in context.auto_axes or context.shape["batch"] == 1:
        return tree
    # Names its mesh: jax 0.7 does not find that of shard_map for a bare spec.
    mesh = AbstractMesh(context.axis_sizes, context.axis_names, (AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, P(*[None] * axis, "batch"))

    def split(array: jax.Array) -> jax.Array:
        if array.shape[axis] % mesh.shape["batch"]:
            return array
        return jax.lax.with_sharding_constraint(array, sharding)

    return jax.tree.map(split, tree)


def replicate(tree: Any, devices: Devices) -> Any:
    """The same arrays on each device."""
    return _put(tree, _sharding(devices, P()))


def pad_runs(tree: Any, devices: Devices) -> Any:
    """Arrays split over ``run``, the last run repeated until the devices divide the runs."""
    sharding = _sharding(devices, P("run"))
    num_runs = jax.tree.leaves(tree)[0].shape[0]
    if num_runs % devices.run == 0:
        return _put(tree, sharding)
    padded = -(-num_runs // devices.run) * devices.run
    return _resized(sharding)(_put(tree, _sharding(devices, P())), padded)


def placed(devices: Devices, mapped: Any, shared: Any) -> tuple[Any, Any]:
    """Arrays of the runs split over the devices (padded), and the others on each of them."""
    return pad_runs(mapped, devices), replicate(shared, devices)


def drop_padding(tree: Any, num_runs: int, devices: Devices) -> Any:
    """The first ``num_runs`` of arrays that :func:`pad_runs` lengthened, on each device."""
    if num_runs % devices.run == 0:
        return tree
    return _resized(_sharding(devices, P()))(tree, num_runs)


def to_host(tree: Any) -> Any:
    """All numbers as numpy arrays, on every host; with several, all must ask at the same time."""

    def fetch(array: Any) -> Any:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            whole = NamedSharding(array.sharding.mesh, P())  # pyright: ignore[reportAttributeAccessIssue]
            array = jax.jit(_same, out_shardings=whole)(array).addressable_data(0)
        return jax.device_get(array)

    return jax.tree.map(fetch, tree)


def at_hand(tree: Any) -> Any:
    """Arrays that this host can read by itself: as they are, or with several hosts all numbers."""
    return tree if jax.process_count() == 1 else to_host(tree)


def runs_that_fit(bytes_per_run: Callable[[], int]) -> int:
    """How many runs a device should advance at a time: 1 on a CPU, else what its memory holds."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return 1
    statistics = device.memory_stats() or {}
    free = statistics.get("bytes_limit", 8 * 2**30) - statistics.get("bytes_in_use", 0)
    return max(1, int(0.8 * free) // bytes_per_run())


def memory() -> int | None:
    """Bytes that a device can hold, if that is known; on a CPU the memory of the machine."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (device.memory_stats() or {}).get("bytes_limit")


def fits(num_bytes: int) -> bool:
    """Whether that much may lie on a device for good: half of what it has."""
    return num_bytes <= (memory() or 8 * 2**30) // 2


def place(
    shape: tuple[int, ...],
    at: Callable[[Any], np.ndarray],
    devices: Devices,
    axis: int | None = None,
) -> jax.Array:
    """An array made of what ``at`` gives for the indices of a device's share.

    That is all of it, or where an axis of examples is named and the devices of ``batch`` divide it,
    a part: then each host reads no more than its devices need.
    """
    spec = P()
    if axis is not None and shape[axis] % devices.batch == 0:
        spec = P(*[None] * axis, "batch")
    sharding = _sharding(devices, spec)
    if sharding is None:
        return jax.device_put(at(tuple(slice(0, n) for n in shape)))
    with jax.transfer_guard("allow"):
        return jax.make_array_from_callback(shape, sharding, at)


def _mesh(devices: Devices) -> Mesh:
    chosen = jax.devices()[: devices.run * devices.batch]
    return jax.make_mesh(devices, ("run", "batch"), (AxisType.Auto,) * 2, devices=chosen)


def _sharding(devices: Devices, spec: P) -> Sharding | None:
    """None stands for the default device: one device needs no mesh."""
    return None if devices == Devices() else NamedSharding(_mesh(devices), spec)


def _put(tree: Any, sharding: Sharding | None) -> Any:
    """Arrays of the host or of devices, laid out anew; each host puts what its devices hold."""
    if sharding is not None and jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(value: Any) -> jax.Array:
        if sharding is None:
            is_there = isinstance(value, jax.Array) and len(value.devices()) == 1
            return value if is_there else jax.device_put(jax.device_get(value))
        if isinstance(value, jax.Array) and not value.is_fully_addressable:
            return jax.jit(_same, out_shardings=sharding)(value)
        host = np.asarray(jax.device_get(value))
        with jax.transfer_guard("allow"):  # it is asked for, and JAX takes it for an accident
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


@functools.cache
def _resized(sharding: Sharding | None) -> Callable[[Any, int], Any]:
    """Function that cuts off rows, or repeats the last, until there are so many."""

    def resize(tree: Any, num_rows: int) -> Any:
        def rows(array: jax.Array) -> jax.Array:
            return array[jnp.minimum(jnp.arange(num_rows), len(array) - 1)]

        return jax.tree.map(rows, tree)

    return jax.jit(resize, static_argnums=1, out_shardings=sharding)


def _same(array: jax.Array) -> jax.Array:
    return array
