"""Mesh of devices: its shape, and how arrays are laid out on it.

The mesh ``[run, batch]`` has two axes. The runs of a study are split over ``run``: they are
independent, so every device carries out the same program on its share of them, and nothing is sent.
The examples of an update are split over ``batch``: each device computes the gradient of its share,
and the shares are added up by one all-reduce per update.

``run`` is a manual axis (``shard_map``), so the compiler cannot send anything along it. ``batch``
is an automatic axis (GSPMD): a program computes on any number of devices what it computes on one,
statistics of a whole batch included, and random bits are the same; only the order of summation
differs. Neighbouring devices, such as those of one host, share their runs.

This is the only module that names meshes and shardings; it knows no model. Below, ``d_run`` and
``d_batch`` are the two sizes of the mesh, :class:`Devices`.
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

from vae_jax.runtime import jax_versions

T = TypeVar("T")


class Devices(NamedTuple):
    """Shape of the mesh: ``d_run * d_batch`` devices.

    Attributes:
        run: number of devices over which the runs are split, d_run.
        batch: number of devices over which each run's batch is split, d_batch.
    """

    run: int = 1
    batch: int = 1


AUTOMATIC = Devices(0, 0)
"""Request that leaves both numbers to :func:`choose_devices`."""


def choose_devices(num_runs: int, batch_size: int, requested: Devices = AUTOMATIC) -> Devices:
    """Return the shape of the mesh for a study: runs first, then the batch over the rest.

    With n devices and no request, ``d_run = min(num_runs, n)`` and ``d_batch`` is the largest
    divisor of the batch size that is at most ``n // d_run``. On the CPUs of one host ``d_batch`` is
    1, because its "devices" share the same cores. The mesh of several hosts takes all devices,
    which pads the runs where the batch cannot be divided.

    Args:
        num_runs: number of runs of the study.
        batch_size: examples per update.
        requested: shape to choose, 0 for a number that is left open.

    Example:
        >>> choose_devices(num_runs=3, batch_size=128, requested=Devices(1, 1))
        Devices(run=1, batch=1)
    """
    available = jax.device_count()
    if jax.process_count() > 1:
        return _devices_of_all_hosts(num_runs, batch_size, requested, available)
    run = requested.run or max(1, min(num_runs, available // (requested.batch or 1)))
    rest = available // run if jax.default_backend() != "cpu" else 1
    return Devices(run, requested.batch or _divisors(batch_size, rest)[-1])


def _devices_of_all_hosts(
    num_runs: int, batch_size: int, requested: Devices, available: int
) -> Devices:
    """Return the shape that takes all devices and has the largest d_run <= num_runs.

    Where there is none, the one with the smallest d_run, which pads the runs.
    """
    shapes = [Devices(available // n, n) for n in _divisors(available, available)]
    fitting = [
        shape
        for shape in shapes
        if requested.run in (0, shape.run)
        and (
            shape.batch == requested.batch
            or (not requested.batch and batch_size % shape.batch == 0)
        )
    ]
    not_padded = [shape for shape in fitting if shape.run <= num_runs]
    return not_padded[0] if not_padded else (fitting or [requested])[-1]


def _divisors(number: int, limit: int) -> list[int]:
    """Return the divisors of a number that are at most ``limit``, in ascending order from 1."""
    return [n for n in range(1, max(1, limit) + 1) if number % n == 0]


def problem_with(devices: Devices) -> str:
    """Return the reason why there can be no such mesh; "" if there can.

    Example:
        >>> problem_with(Devices(1, 1))
        ''
    """
    available, needed = jax.device_count(), devices.run * devices.batch
    if jax.process_count() > 1 and needed != available:
        return f"takes {needed} of the {available} devices of all hosts, and must take all"
    return f"takes {needed} devices, and there are {available}" if needed > available else ""


def over_devices(fn: Callable[..., T], devices: Devices) -> Callable[..., T]:
    """Return ``fn(shared, mapped)`` as a function that each device calls on its share of the runs.

    Args:
        fn: from ``shared``, whole on each device, and ``mapped`` ``[runs / d_run, ...]`` to a
            result ``[runs / d_run, ...]``. Inside, :func:`split_batch` names the arrays that are
            split over ``batch``.
        devices: shape of the mesh; d_run must divide the runs (:func:`pad_runs`).

    Returns:
        The function from ``shared`` and ``mapped`` ``[runs, ...]`` to a result ``[runs, ...]``.
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
    """Constrain arrays ``[..., examples, ...]`` to be split over ``batch`` along one axis.

    For use while a program is traced. Values do not change, only the devices that hold them. Arrays
    stay whole where ``d_batch`` is 1 or does not divide the examples.

    Args:
        tree: arrays.
        axis: number of the axis of examples.
    """
    context = jax.sharding.get_abstract_mesh()
    if "batch" not in context.auto_axes or context.shape["batch"] == 1:
        return tree
    automatic = AbstractMesh(context.axis_sizes, context.axis_names, (AxisType.Auto,) * 2)
    mesh = context if jax_versions.TAKES_MANUAL_AXES else automatic
    # Names its mesh: jax 0.7 does not find that of shard_map for a bare spec.
    sharding = NamedSharding(mesh, P(*[None] * axis, "batch"))

    def split(array: jax.Array) -> jax.Array:
        if array.shape[axis] % mesh.shape["batch"]:
            return array
        return jax.lax.with_sharding_constraint(array, sharding)

    return jax.tree.map(split, tree)


def replicate(tree: Any, devices: Devices) -> Any:
    """Return the arrays, whole on each device."""
    return _put(tree, _sharding(devices, P()))


def pad_runs(tree: Any, devices: Devices) -> Any:
    """Return arrays ``[runs, ...]`` split over ``run`` and padded to a multiple of ``d_run``.

    Their leading axis becomes ``ceil(runs / d_run) * d_run``; the last run is repeated.

    Example:
        >>> pad_runs(np.arange(3), Devices()).shape
        (3,)
    """
    sharding = _sharding(devices, P("run"))
    num_runs = jax.tree.leaves(tree)[0].shape[0]
    if num_runs % devices.run == 0:
        return _put(tree, sharding)
    padded = -(-num_runs // devices.run) * devices.run
    return _resized(sharding)(_put(tree, _sharding(devices, P())), padded)


def to_devices(devices: Devices, mapped: Any, shared: Any) -> tuple[Any, Any]:
    """Return the arrays of the runs, split and padded, and the shared ones, whole on each device.

    These are the two arguments of a function that :func:`over_devices` made.
    """
    return pad_runs(mapped, devices), replicate(shared, devices)


def drop_padding(tree: Any, num_runs: int, devices: Devices) -> Any:
    """Return the first ``num_runs`` rows of arrays that :func:`pad_runs` padded.

    Arrays ``[ceil(num_runs / d_run) * d_run, ...]`` become ``[num_runs, ...]``, whole on each
    device. Arrays that have no padding stay as they are, split over ``run``.
    """
    if num_runs % devices.run == 0:
        return tree
    return _resized(_sharding(devices, P()))(tree, num_runs)


def to_host(tree: Any) -> Any:
    """Return whole arrays as numpy arrays, on every host; all hosts must call this together.

    Example:
        >>> to_host(jnp.arange(3)).tolist()
        [0, 1, 2]
    """

    def fetch(array: Any) -> Any:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            whole = NamedSharding(array.sharding.mesh, P())  # pyright: ignore[reportAttributeAccessIssue]
            array = jax.jit(_identity, out_shardings=whole)(array).addressable_data(0)
        return jax.device_get(array)

    return jax.tree.map(fetch, tree)


def addressable(tree: Any) -> Any:
    """Return arrays that this process can read by itself.

    With one process these are the given arrays, with several those of :func:`to_host`.
    """
    return tree if jax.process_count() == 1 else to_host(tree)


def runs_that_fit(bytes_per_run: Callable[[], int]) -> int:
    """Return the number of runs that a device should train at a time.

    On a CPU this is 1, elsewhere as many as four fifths of the free memory hold, at least 1.

    Args:
        bytes_per_run: estimates the memory of one run; not called on a CPU.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return 1
    statistics = device.memory_stats() or {}
    free = statistics.get("bytes_limit", 8 * 2**30) - statistics.get("bytes_in_use", 0)
    return max(1, int(0.8 * free) // bytes_per_run())


def device_memory() -> int | None:
    """Return the bytes of a device's memory, of the machine's on a CPU; None where unknown."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (device.memory_stats() or {}).get("bytes_limit")


def fits(num_bytes: int) -> bool:
    """Return whether data of this size may stay on a device: at most half of its memory.

    Example:
        >>> fits(1000)
        True
    """
    return num_bytes <= (device_memory() or 8 * 2**30) // 2


def array_from_shares(
    shape: tuple[int, ...],
    read: Callable[[Any], np.ndarray],
    devices: Devices,
    axis: int | None = None,
) -> jax.Array:
    """Return an array on the devices, each of whose shares is read from the host.

    The array is whole on each device. Where an axis of examples is given and ``d_batch`` divides
    it, the array is split along this axis, and each host reads only what its devices hold.

    Args:
        shape: shape of the whole array.
        read: returns the numbers at a tuple of slices, one for each axis.
        devices: shape of the mesh.
        axis: number of the axis of examples; None for no split.
    """
    spec = P()
    if axis is not None and shape[axis] % devices.batch == 0:
        spec = P(*[None] * axis, "batch")
    sharding = _sharding(devices, spec)
    if sharding is None:
        return jax.device_put(read(tuple(slice(0, n) for n in shape)))
    with jax.transfer_guard("allow"):
        return jax.make_array_from_callback(shape, sharding, read)


def _mesh(devices: Devices) -> Mesh:
    """Return the mesh of the first ``d_run * d_batch`` devices."""
    chosen = jax.devices()[: devices.run * devices.batch]
    return jax.make_mesh(devices, ("run", "batch"), (AxisType.Auto,) * 2, devices=chosen)


def _sharding(devices: Devices, spec: P) -> Sharding | None:
    """Return a sharding on the mesh, or None for the default device: one device needs no mesh."""
    return None if devices == Devices() else NamedSharding(_mesh(devices), spec)


def _put(tree: Any, sharding: Sharding | None) -> Any:
    """Return arrays with a sharding; each host sends what its own devices hold."""
    if sharding is not None and jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(value: Any) -> jax.Array:
        if sharding is None:
            is_there = isinstance(value, jax.Array) and len(value.devices()) == 1
            return value if is_there else jax.device_put(jax.device_get(value))
        if isinstance(value, jax.Array) and not value.is_fully_addressable:
            return jax.jit(_identity, out_shardings=sharding)(value)
        host = np.asarray(jax.device_get(value))
        with jax.transfer_guard("allow"):  # intended, but the guard takes it for an accident
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


@functools.cache
def _resized(sharding: Sharding | None) -> Callable[[Any, int], Any]:
    """Return a function that cuts off rows, or repeats the last one, to a given number of rows."""

    def resize(tree: Any, num_rows: int) -> Any:
        def rows(array: jax.Array) -> jax.Array:
            return array[jnp.minimum(jnp.arange(num_rows), len(array) - 1)]

        return jax.tree.map(rows, tree)

    return jax.jit(resize, static_argnums=1, out_shardings=sharding)


def _identity(array: jax.Array) -> jax.Array:
    return array
