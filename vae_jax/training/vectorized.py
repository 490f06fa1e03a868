"""Runs side by side; the only room that maps over them.

Every array here leads with a ``runs`` axis, and a single run is a study of one. ``jax.lax.map``
goes through the runs ``Layout.max_parallel_runs`` at a time inside one compiled program.
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
from vae_jax.runtime.mesh import Devices
from vae_jax.training import step
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.step import TrainSpec, TrainState, TrainTerms
from vae_jax.types import Images

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """Where the runs of a study are computed; in float64 no result depends on it.

    Attributes:
        max_parallel_runs: runs that one device advances together. With 1 the program of a run is
            that of the run alone, to the bit; more pay where a run cannot fill the device.
        run_devices: devices over which the runs are split.
        batch_devices: devices over which the batch of each run is split.
    """

    max_parallel_runs: int = 1
    run_devices: int = 1
    batch_devices: int = 1

    @property
    def devices(self) -> Devices:
        """Shape of the mesh."""
        return Devices(self.run_devices, self.batch_devices)


def grid(**values: Any) -> HParams:
    """Hyperparameters ``[runs]`` of all combinations; the last name varies fastest.

    ``grid(beta=[0.5, 1], seed=range(3))`` has six runs. A number stands for a list of one.
    """
    lists = [v if hasattr(v, "__iter__") else [v] for v in values.values()]
    columns = zip(*itertools.product(*lists), strict=True)
    return HParams.of(**dict(zip(values, map(list, columns), strict=True)))


def over_runs(fn: Callable[..., T], layout: Layout) -> Callable[..., T]:
    """``fn(shared, *mapped)`` over the leading axis of every array of ``mapped``."""
    batch_size = None if layout.max_parallel_runs == 1 else layout.max_parallel_runs

    def on_one_device(shared: Any, mapped: tuple[Any, ...]) -> T:
        return jax.lax.map(lambda run: fn(shared, *run), mapped, batch_size=batch_size)

    on_all = mesh.over_devices(on_one_device, layout.devices)
    return lambda shared, *mapped: on_all(shared, mapped)


@functools.partial(jax.jit, static_argnames=("spec", "layout"))
def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "height width channels"],
    examples: Images | None = None,
    *,
    layout: Layout = Layout(),
) -> TrainState:
    """States of all runs before the first update; every array ``[runs, ...]``."""

    def start(shared: tuple[Array, Images | None], hparams: HParams) -> TrainState:
        return step.init(spec, hparams, *shared)

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
    """``num_steps`` updates of every run; terms ``[runs]`` are means over these updates.

    The state is donated: the caller's is gone afterwards.
    """

    def advance(
        shared: tuple[Examples | PrefetchedBatches, Array], hparams: HParams, state: TrainState
    ) -> tuple[TrainState, TrainTerms]:
        return step.train_chunk(
            spec, hparams, state, *shared, max_steps=max_steps, num_examples=num_examples
        )

    return over_runs(advance, layout)((data, num_steps), hparams, state)


def take(tree: Any, run: int) -> Any:
    """One run's share of a study's pytree: ``hparams``, ``params``, a state or an evaluation."""
    return jax.tree.map(lambda a: a[run], tree)
