"""Many runs in one program: ``step.py`` mapped over a leading axis ``runs``.

This is the only module that maps over runs. A single run is a study of one. ``jax.lax.map`` takes
the runs ``Layout.max_parallel_runs`` at a time inside one compiled program, and
:func:`vae_jax.runtime.mesh.over_devices` splits them over devices.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import step
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState, TrainTerms
from vae_jax.types import Observations

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """Distribution of a study's runs over devices, and over time on each of them.

    Results agree for all layouts to float64 rounding, and in float32 for the first updates, until
    another order of summation shows.

    Attributes:
        max_parallel_runs: runs that one device trains together. With 1 the program of a run is that
            of the run alone, to the bit; more are faster where one run cannot fill the device.
        run_devices: number of devices over which the runs are split.
        batch_devices: number of devices over which the batch of each run is split.
    """

    max_parallel_runs: int = 1
    run_devices: int = 1
    batch_devices: int = 1

    @property
    def devices(self) -> Devices:
        """Shape of the mesh, ``[run_devices, batch_devices]``."""
        return Devices(self.run_devices, self.batch_devices)


def grid(*readers: Any, **values: Any) -> HParams:
    """Return hyperparameters ``[runs]`` of all combinations; the last name varies fastest.

    Args:
        *readers: members from outside of the package, as in ``HParams.of``.
        **values: a list, or a number for a list of one, for each name of
            :class:`vae_jax.hparams.HParams` whose default is not wanted.

    Example:
        >>> runs = grid(beta=[0.5, 1.0], seed=range(3), latent_size=8)
        >>> runs.beta.tolist(), runs.seed.tolist()
        ([0.5, 0.5, 0.5, 1.0, 1.0, 1.0], [0, 1, 2, 0, 1, 2])
    """
    lists = [list(v) if hasattr(v, "__iter__") else [v] for v in values.values()]
    for name, several in zip(values, lists, strict=True):
        if not several:
            raise InputError(
                setting=name, value="[]", problem="gives no run", advice="give at least one value"
            )
    columns = zip(*itertools.product(*lists), strict=True)
    return HParams.of(*readers, **dict(zip(values, map(list, columns), strict=True)))


def over_runs(fn: Callable[..., T], layout: Layout) -> Callable[..., T]:
    """Return ``fn(shared, *mapped)`` of one run as a function of many runs.

    Args:
        fn: function of one run, from ``shared`` and the run's ``mapped`` to arrays ``[...]``.
        layout: distribution of the runs.

    Returns:
        Function from the same ``shared``, and ``mapped`` whose arrays are ``[runs, ...]``, to
        arrays ``[runs, ...]``.

    Example:
        >>> import jax.numpy as jnp
        >>> add = over_runs(lambda shared, value: shared + value, Layout())
        >>> add(10, jnp.arange(3)).tolist()
        [10, 11, 12]
    """
    batch_size = None if layout.max_parallel_runs == 1 else layout.max_parallel_runs

    def on_one_device(shared: Any, mapped: tuple[Any, ...]) -> T:
        return jax.lax.map(lambda run: fn(shared, *run), mapped, batch_size=batch_size)

    on_all = mesh.over_devices(on_one_device, layout.devices)
    return lambda shared, *mapped: on_all(shared, mapped)


@functools.partial(jax.jit, static_argnames=("spec", "encoding", "layout"))
def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "*event"],
    examples: Observations | None = None,
    encoding: str = "pixels",
    *,
    layout: Layout = Layout(),
) -> TrainState:
    """Return :func:`vae_jax.training.step.init` of all runs; every array is ``[runs, ...]``."""

    def start(shared: tuple[Array, Observations | None], hparams: HParams) -> TrainState:
        return step.init(spec, hparams, *shared, encoding)

    return over_runs(start, layout)((data_mean, examples), hparams)


@functools.partial(
    jax.jit,
    static_argnames=("spec", "max_steps", "num_examples", "layout"),
    donate_argnames="state",
)
def train_chunk(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Examples | PrefetchedBatches,
    num_steps: Int[Array, ""],
    *,
    max_steps: int,
    num_examples: int = 0,
    layout: Layout = Layout(),
) -> tuple[TrainState, TrainTerms]:
    """Train all runs for ``num_steps`` updates: :func:`vae_jax.training.step.train_chunk`, mapped.

    Args:
        spec: model and training.
        hparams: hyperparameters ``[runs]``.
        state: state ``[runs, ...]``; its memory is donated, so it cannot be used afterwards.
        data: the training set, or the prefetched batches of these updates.
        num_steps: number of updates.
        max_steps: upper bound of ``num_steps``.
        num_examples: examples of the training set, given with prefetched batches.
        layout: distribution of the runs.

    Returns:
        The state after the updates, and terms ``[runs]``, which are means over these updates.
    """

    def train_run(
        shared: tuple[Examples | PrefetchedBatches, Array], hparams: HParams, state: TrainState
    ) -> tuple[TrainState, TrainTerms]:
        return step.train_chunk(
            spec, hparams, state, *shared, max_steps=max_steps, num_examples=num_examples
        )

    return over_runs(train_run, layout)((data, num_steps), hparams, state)


def take(tree: Any, run: int) -> Any:
    """Return one run of a study's pytree ``[runs, ...]``: hyperparameters, a state, parameters.

    Example:
        >>> float(take(grid(beta=[0.5, 4.0]), 1).beta)
        4.0
    """
    return jax.tree.map(lambda a: a[run], tree)
