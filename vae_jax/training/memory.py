"""Where the runs of a study are computed, and what memory that takes."""

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
from vae_jax.training.step import BatchKeys, TrainSpec, TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Labels, Params, Pixels, Scalar, default_float


def layout_for(
    spec: TrainSpec,
    hparams: HParams,
    max_parallel_runs: int = 0,
    asked: Devices = mesh.AUTOMATIC,
) -> Layout:
    """The devices as asked or as :func:`vae_jax.runtime.mesh.arrange` has it, and runs at a time.

    For 0 these are 1 on a CPU, whose cores one run already fills, and elsewhere what the memory
    of a device allows.

    Raises:
        InputError: there are no such devices.
    """
    num_runs = len(hparams.as_study().seed)
    devices = mesh.arrange(num_runs, spec.batch_size, asked)
    if refusal := mesh.refusal(devices):
        raise InputError(
            f"--run_devices={asked.run} --batch_devices={asked.batch}: {refusal}; give numbers "
            "whose product fits, or leave them out"
        )
    share = -(-num_runs // devices.run)
    fitting = max_parallel_runs or mesh.runs_that_fit(lambda: bytes_per_run(spec))
    return Layout(min(share, fitting), *devices)


def bytes_per_run(spec: TrainSpec) -> int:
    """Estimate the memory that one more run at a time needs.

    Its state, a quarter more for the tiles in which a TPU lays arrays out, and a gradient, which is
    a third of it; and the larger of what the backward pass of an update keeps of its batch and of
    twice the largest array, one that is read and one that is written, in the forward pass of an
    evaluation. A TPU's compiler needs less (``benchmarks/README.md``).
    """
    kept = _bytes_kept(spec)
    examples = spec.batch_size * spec.objective.num_draws
    evaluation = 2 * max(kept) * batches.EVAL_BATCH_SIZE / examples
    return int((1.25 + 1 / 3) * _bytes_of_state(spec) + max(sum(kept), evaluation))


def least_bytes(spec: TrainSpec, num_runs: int, num_examples: int, intervals: Intervals) -> int:
    """What a device with so many runs needs in any case.

    The states of all runs, two copies of one batch (seen and decoded for each particle), and the
    order of the examples between two visits.
    """
    num_epochs = batches.epochs_touched(intervals.longest, spec.batch_size, num_examples)
    order = 4 * num_epochs * num_examples
    return num_runs * _bytes_of_state(spec) + 2 * _bytes_of_batch(spec) + order


def _bytes_of_state(spec: TrainSpec) -> int:
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(_state(spec)))


def _bytes_kept(spec: TrainSpec) -> list[int]:
    """Bytes of each array that the backward pass of an update keeps, parameters left out."""
    num, hparams, state = spec.batch_size, _hparams(spec), _state(spec)
    labels = jax.ShapeDtypeStruct((num,), jnp.int32) if spec.model.num_classes else None
    pixels = jax.ShapeDtypeStruct((num, *spec.model.image_shape), jnp.uint8)

    def backward(state: TrainState, pixels: Pixels, labels: Labels | None) -> Any:
        drawn_with = BatchKeys.at(hparams, state.step)
        batch = step.draw_batch(spec, drawn_with, Examples(pixels, labels))

        def objective(params: Params) -> Scalar:
            return step.regularized(spec, hparams, state.step, params, batch, num)[0]

        return jax.vjp(objective, state.params)[1]

    known = {leaf.shape for leaf in jax.tree.leaves(state.params)}
    kept = jax.tree.leaves(jax.eval_shape(backward, state, pixels, labels))
    return [_bytes(leaf) for leaf in kept if leaf.shape not in known]


def _state(spec: TrainSpec) -> TrainState:
    """Shapes of the state of a run."""
    mean = jax.ShapeDtypeStruct(spec.model.image_shape, default_float())
    return jax.eval_shape(functools.partial(step.init, spec), _hparams(spec), mean)


def _hparams(spec: TrainSpec) -> HParams:
    return HParams.of(latent_size=spec.model.max_latents)


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    return leaf.size * leaf.dtype.itemsize


def _bytes_of_batch(spec: TrainSpec) -> int:
    pixels = spec.batch_size * spec.objective.num_draws * math.prod(spec.model.image_shape)
    return pixels * default_float().itemsize
