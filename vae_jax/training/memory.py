"""Memory that runs take, and the layout of a study that follows from it."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import batches, step
from vae_jax.training.batches import Examples
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import BatchKeys, TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Labels, Params, Pixels, Scalar, default_float


def layout_for(
    spec: TrainSpec,
    hparams: HParams,
    max_parallel_runs: int = 0,
    requested: Devices = mesh.AUTOMATIC,
) -> Layout:
    """Return the devices for a study, and the number of runs that each trains at a time.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``).
        max_parallel_runs: upper bound of the runs that one device trains at a time. 0 for 1 on a
            CPU, whose cores one run already fills, and elsewhere for what the memory of a device
            holds.
        requested: shape of the mesh; 0 for a number that
            :func:`vae_jax.runtime.mesh.choose_devices` chooses.

    Raises:
        InputError: there are not enough devices.

    Example:
        >>> import vae_jax
        >>> spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, vae_jax.MLP((8,))))
        >>> layout_for(spec, vae_jax.grid(beta=[1.0, 4.0]), 2, requested=Devices(1, 1))
        Layout(max_parallel_runs=2, run_devices=1, batch_devices=1)
    """
    num_runs = len(hparams.as_study().seed)
    devices = mesh.choose_devices(num_runs, spec.batch_size, requested)
    if problem := mesh.problem_with(devices):
        raise InputError(
            f"run_devices={requested.run}, batch_devices={requested.batch}: {problem}; give "
            "numbers whose product fits, or leave them out"
        )
    share = -(-num_runs // devices.run)
    fitting = max_parallel_runs or mesh.runs_that_fit(lambda: bytes_per_run(spec))
    return Layout(min(share, fitting), *devices)


def bytes_per_run(spec: TrainSpec) -> int:
    """Estimate the memory in bytes that one more run at a time needs.

    ``(1.25 + 1/3) * state + max(update, evaluation)``: the state, a quarter more for the tiles in
    which a TPU lays out arrays, and a gradient, which is a third of the state; ``update`` is what
    the backward pass keeps of its batch, and ``evaluation`` twice the largest array of the forward
    pass of an evaluation, one that is read and one that is written. A TPU's compiler needs less
    (``benchmarks/README.md``).
    """
    kept = _bytes_kept(spec)
    examples = spec.batch_size * spec.objective.num_draws
    evaluation = 2 * max(kept) * batches.EVAL_BATCH_SIZE / examples
    return int((1.25 + 1 / 3) * _bytes_of_state(spec) + max(sum(kept), evaluation))


def least_bytes(spec: TrainSpec, num_runs: int, num_examples: int, intervals: Intervals) -> int:
    """Return the bytes that a device with so many runs needs in any case.

    The states of all runs, one batch as given and as decoded for each particle, and the orders of
    the epochs that a chunk touches.
    """
    num_epochs = batches.epochs_touched(intervals.longest_chunk, spec.batch_size, num_examples)
    order = 4 * num_epochs * num_examples
    return num_runs * _bytes_of_state(spec) + 2 * _bytes_of_batch(spec) + order


def _bytes_of_state(spec: TrainSpec) -> int:
    """Return the bytes of the state of a run."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(state_shapes(spec)))


def _bytes_kept(spec: TrainSpec) -> list[int]:
    """Return the bytes of each array that the backward pass keeps, parameters left out."""
    num, hparams, state = spec.batch_size, _hparams(spec), state_shapes(spec)
    labels = jax.ShapeDtypeStruct((num,), jnp.int32) if spec.model.num_classes else None
    pixels = jax.ShapeDtypeStruct((num, *spec.model.event_shape), jnp.uint8)

    def backward(state: TrainState, pixels: Pixels, labels: Labels | None) -> Any:
        keys = BatchKeys.at(hparams, state.step)
        batch = step.draw_batch(spec, keys, Examples(pixels, labels))

        def objective(params: Params) -> Scalar:
            return step.regularized_objective(spec, hparams, state.step, params, batch, num)[0]

        return jax.vjp(objective, state.params)[1]

    known = {leaf.shape for leaf in jax.tree.leaves(state.params)}
    kept = jax.tree.leaves(jax.eval_shape(backward, state, pixels, labels))
    return [_bytes(leaf) for leaf in kept if leaf.shape not in known]


def state_shapes(spec: TrainSpec, encoding: str = "pixels") -> TrainState:
    """Return the shapes of the state of a run.

    Args:
        spec: model and training.
        encoding: encoding of the data, by which a prior names its pseudo-inputs.
    """
    mean = jax.ShapeDtypeStruct(spec.model.event_shape, default_float())
    init = functools.partial(step.init, spec, encoding=encoding)
    return jax.eval_shape(init, _hparams(spec), mean)


def _hparams(spec: TrainSpec) -> HParams:
    return HParams.of(spec, latent_size=spec.model.max_latents)


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    return leaf.size * leaf.dtype.itemsize


def _bytes_of_batch(spec: TrainSpec) -> int:
    """Return the bytes of one batch for each particle, as floats."""
    pixels = spec.batch_size * spec.objective.num_draws * math.prod(spec.model.event_shape)
    return pixels * default_float().itemsize
