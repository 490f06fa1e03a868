"""Where the runs of a study are computed, and what memory that takes."""

import functools
import math

import jax

from vae_jax import batches, parallel, train
from vae_jax.errors import InputError
from vae_jax.hparams import HParams
from vae_jax.parallel import Devices
from vae_jax.sweep import Layout
from vae_jax.train import TrainSpec
from vae_jax.types import default_float
from vae_jax.visits import Visits


def layout_for(
    spec: TrainSpec,
    hparams: HParams,
    max_parallel_runs: int = 0,
    asked: Devices = parallel.AUTOMATIC,
) -> Layout:
    """The devices as asked or as :func:`vae_jax.parallel.arrange` has it, and runs at a time.

    For 0 these are 1 on a CPU, whose cores one run already fills, and elsewhere what the memory
    of a device allows.

    Raises:
        InputError: there are no such devices.
    """
    num_runs = len(hparams.as_study().seed)
    devices = parallel.arrange(num_runs, spec.batch_size, asked)
    if refusal := parallel.refusal(devices):
        raise InputError(
            f"--run_devices={asked.run} --batch_devices={asked.batch}: {refusal}; give numbers "
            "whose product fits, or leave them out"
        )
    share = -(-num_runs // devices.run)
    fitting = max_parallel_runs or parallel.runs_that_fit(bytes_per_run(spec))
    return Layout(min(share, fitting), *devices)


def bytes_per_run(spec: TrainSpec) -> int:
    """A generous estimate of the memory that one more run at a time needs.

    Six copies of its state (old, new, gradients, temporaries) and forty numbers per pixel of a
    batch for each particle.
    """
    return 6 * _bytes_of_state(spec) + 40 * _bytes_of_batch(spec)


def least_bytes(spec: TrainSpec, num_runs: int, num_examples: int, visits: Visits) -> int:
    """What a device with so many runs needs in any case.

    The states of all runs, two copies of one batch (seen and decoded for each particle), and the
    order of the examples between two visits.
    """
    num_epochs = batches.epochs_touched(visits.longest, spec.batch_size, num_examples)
    order = 4 * num_epochs * num_examples
    return num_runs * _bytes_of_state(spec) + 2 * _bytes_of_batch(spec) + order


def _bytes_of_state(spec: TrainSpec) -> int:
    shape = jax.ShapeDtypeStruct(spec.model.image_shape, default_float())
    one = jax.eval_shape(functools.partial(train.init, spec), HParams.of(), shape)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one))


def _bytes_of_batch(spec: TrainSpec) -> int:
    pixels = spec.batch_size * spec.objective.num_draws * math.prod(spec.model.image_shape)
    return pixels * default_float().itemsize
