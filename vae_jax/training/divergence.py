"""Divergence: updates whose objective or gradient is not finite, and the reason for the first one.

Three things happen to a run that diverges, in three places:

* *Detect.* :func:`vae_jax.training.step.train_step` checks objective and gradient at each update
  and stores the number of the first one that is not finite in ``TrainState.diverged``.
* *Freeze.* From that update on ``train_step`` holds parameters and moments as they were before it,
  whatever the optimizer (:class:`vae_jax.training.optimizers.Optimizer`), so the other runs of the
  program go on undisturbed.
* *Explain.* This module, on the host: :func:`explain` repeats that one update from the frozen state
  and names the first array that is not finite and, on request, the operation that made it.
  :func:`blank` removes the terms of diverged runs from their rows.
"""

import traceback
from pathlib import Path

import jax
import jax.numpy as jnp

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.training import input_pipeline, vectorized
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import Batch, TrainState, first_not_finite, train_step
from vae_jax.types import Row

_PACKAGE = Path(__file__).parents[1]


def blank(rows: list[Row], state: TrainState) -> None:
    """Set all values to None in the rows of diverged runs; the rows hold only terms.

    Args:
        rows: one row per run; changed in place.
        state: state of all runs, possibly with padding at the end.

    Example:
        >>> rows = [{"valid_elbo": -98.1}, {"valid_elbo": -99.2}]
        >>> zero = jnp.zeros(2, int)
        >>> blank(rows, TrainState(zero, {}, (), diverged=jnp.array([-1, 40])))
        >>> rows
        [{'valid_elbo': -98.1}, {'valid_elbo': None}]
    """
    for row, diverged in zip(rows, mesh.to_host(state.diverged).tolist(), strict=False):
        if diverged >= 0:
            row.update(dict.fromkeys(row))


def explain(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    dataset: Dataset,
    run: int,
    *,
    by_operation: bool = False,
) -> str:
    """Return at which update a run diverged, and the first array there that was not finite.

    Args:
        spec: model and training.
        hparams: hyperparameters of all runs, ``[runs]``.
        state: state of all runs; that of a diverged run is the one before the update.
        dataset: data that the run was trained on.
        run: index of the run in the study.
        by_operation: True to repeat the update operation by operation and name the first one that
            gave NaN or, if none did, infinity.
    """
    own_hparams, own_state = vectorized.take((hparams, state), run)
    step, num_examples = int(own_state.diverged), len(dataset.train)
    batch = input_pipeline.batch_at(spec, own_hparams, dataset, step)
    arguments = spec, own_hparams, own_state, batch, num_examples
    reason = f"{first_not_finite(*arguments)} was not finite at update {step}"
    return f"{reason}; {first_bad_operation(*arguments)}" if by_operation else reason


def first_bad_operation(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> str:
    """Return the first operation of a diverged run's update whose result is NaN, or infinite.

    The update is repeated without compilation, under :func:`jax.debug_nans` and then under
    :func:`jax.debug_infs`.

    Args:
        spec: model and training.
        hparams: hyperparameters of the run.
        state: state before the update, with its number in ``diverged``.
        batch: batch of the update.
        num_examples: examples of the training set.

    Returns:
        The operation, and the file, line number and code that called it.
    """
    step = state.diverged
    before = state._replace(step=step, diverged=jnp.full_like(step, -1))
    for debug_mode in (jax.debug_nans, jax.debug_infs):
        try:
            with debug_mode(True), jax.disable_jit():
                train_step(spec, hparams, before, batch, num_examples)
        except FloatingPointError as error:
            return f"{str(error).splitlines()[0].rstrip('.')} at {_line(error)}"
    return "no operation gave NaN or infinity when the update was repeated by itself"


def _line(error: FloatingPointError) -> str:
    """Return file, number and code of the last line of this package in an exception's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    name = Path(own[-1].filename).relative_to(_PACKAGE.parent).as_posix()
    return f"{name}:{own[-1].lineno}: {own[-1].line}"
