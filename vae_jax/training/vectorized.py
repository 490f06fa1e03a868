"""Many runs in one program: ``step.py`` mapped over a leading axis ``runs``.

This is the only module that maps over runs. A single run is a study of one. ``jax.lax.map`` takes
the runs ``Layout.max_parallel_runs`` at a time inside one compiled program, and
:func:`vae_jax.runtime.mesh.over_devices` splits them over devices.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.core
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.settings import is_whole
from vae_jax.training import selection, step
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.selection import ValidRecord
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState, TrainTerms
from vae_jax.types import Observations, Params

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
    lists = [_as_list(v) for v in values.values()]
    for name, several in zip(values, lists, strict=True):
        if not several:
            raise InputError(
                setting=name, value="[]", problem="gives no run", advice="give at least one value"
            )
        _refuse_repeated(name, several)
    columns = zip(*itertools.product(*lists), strict=True)
    return HParams.of(*readers, **dict(zip(values, map(list, columns), strict=True)))


def _as_list(values: Any) -> list[Any]:
    """Return the values of a hyperparameter; a single one is a list of one."""
    if isinstance(values, jax.Array) and not isinstance(values, jax.core.Tracer):
        values = np.asarray(values)
    return list(values) if np.iterable(values) else [values]


def _refuse_repeated(name: str, values: Sequence[Any]) -> None:
    """Refuse a value that occurs twice, which would train the same run again."""
    numbers = [v.item() if isinstance(v, np.generic) else v for v in values]
    counts = collections.Counter(v for v in numbers if isinstance(v, int | float))
    for value, count in counts.items():
        if count > 1:
            raise InputError(
                setting=name, value=value, problem="occurs twice", advice="give each value once"
            )


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


def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "*event"],
    examples: Observations | None = None,
    encoding: str = "pixels",
    given: Mapping[str, Array] | None = None,
    *,
    layout: Layout = Layout(),
) -> TrainState:
    """Return :func:`vae_jax.training.step.init` of all runs; every array is ``[runs, ...]``.

    What a run remembers of valid is added by a program of its own, because beside a copy XLA rounds
    initial parameters differently.
    """
    plain = dataclasses.replace(spec, keep=selection.LAST, is_patient=False)
    state = _init(plain, hparams, data_mean, examples, encoding, given, layout=layout)
    return _with_record(spec, state, layout=layout) if spec.has_record else state


@functools.partial(jax.jit, static_argnames=("spec", "layout"))
def _with_record(spec: TrainSpec, state: TrainState, *, layout: Layout) -> TrainState:
    return over_runs(lambda shared, state: step.with_record(spec, state), layout)((), state)


@functools.partial(jax.jit, static_argnames=("spec", "encoding", "layout"))
def _init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "*event"],
    examples: Observations | None,
    encoding: str,
    given: Mapping[str, Array] | None,
    *,
    layout: Layout,
) -> TrainState:
    def start(shared: tuple[Any, ...], hparams: HParams) -> TrainState:
        mean, examples, given = shared
        return step.init(spec, hparams, mean, examples, encoding, given)

    return over_runs(start, layout)((data_mean, examples, given), hparams)


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
            *(spec, hparams, state, *shared),
            max_steps=max_steps,
            num_examples=num_examples,
            is_alone=layout.max_parallel_runs == 1,
        )

    return over_runs(train_run, layout)((data, num_steps), hparams, state)


@functools.partial(jax.jit, static_argnames="layout", donate_argnames="record")
def look(
    record: ValidRecord,
    hparams: HParams,
    bounds: Float[Array, " runs"],
    params: Params,
    diverged: Int[Array, " runs"],
    step: Int[Array, ""],
    *,
    layout: Layout = Layout(),
) -> ValidRecord:
    """Return what all runs remember of valid after a look: ``selection.look``, mapped.

    Args:
        record: record of all runs; its memory is donated.
        hparams: hyperparameters ``[runs]``.
        bounds: mean bound of each run on valid.
        params: parameters that gave them; empty where the last are kept.
        diverged: update at which each run diverged, -1 for none.
        step: updates so far.
        layout: distribution of the runs.
    """

    def look_at_run(step: Array, record: ValidRecord, hparams: HParams, *own: Any) -> ValidRecord:
        bound, params, diverged = own
        return selection.look(record, hparams.patience, bound, step, params, diverged >= 0)

    return over_runs(look_at_run, layout)(step, record, hparams, bounds, params, diverged)


def take(tree: Any, run: int) -> Any:
    """Return one run of a study's pytree ``[runs, ...]``: hyperparameters, a state, parameters.

    Args:
        tree: pytree of arrays, all of which lead with ``runs``.
        run: index of the run; negative numbers count from the end.

    Raises:
        InputError: there is no such run.

    Example:
        >>> float(take(grid(beta=[0.5, 4.0]), 1).beta)
        4.0
        >>> take(grid(beta=[0.5, 4.0]), 7)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: run=7: the arrays are of 2 runs, 0 to 1; give the number
        of one
    """
    num_runs = min((len(a) if np.ndim(a) else 0 for a in jax.tree.leaves(tree)), default=0)
    if not is_whole(run) or not -num_runs <= run < num_runs:
        known = f"{num_runs} runs, 0 to {num_runs - 1}" if num_runs else "no study"
        raise InputError(
            setting="run",
            value=run,
            problem=f"the arrays are of {known}",
            advice="give the number of one" if num_runs else "give arrays that lead with the runs",
        )
    return jax.tree.map(lambda a: a[run], tree)
