"""Why a run diverged: the first array that was not finite, and the operation that made it."""

import traceback
from pathlib import Path

import jax
import jax.numpy as jnp

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.training import input_pipeline, vectorized
from vae_jax.training.step import Batch, TrainSpec, TrainState, first_not_finite, train_step
from vae_jax.types import Row

_PACKAGE = Path(__file__).parents[1]


def blank(rows: list[Row], state: TrainState) -> None:
    """Set every value in the rows of diverged runs to None; the rows hold terms alone."""
    for row, diverged in zip(rows, mesh.to_host(state.diverged).tolist(), strict=False):
        if diverged >= 0:
            row.update(dict.fromkeys(row))


def explain(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    dataset: Dataset,
    place: int,
    *,
    by_operation: bool = False,
) -> str:
    """At which update a run of a study diverged, and the first array there that was not finite.

    Args:
        spec: as trained.
        hparams: of all runs.
        state: of all runs; that of a diverged run is the one before the update.
        dataset: as trained on.
        place: of the run in the study.
        by_operation: whether to repeat the update operation by operation and name the first that
            gave NaN or, if none did, infinity.
    """
    own_hparams, own_state = vectorized.take((hparams, state), place)
    step, num_examples = int(own_state.diverged), len(dataset.train)
    seen = input_pipeline.batch_at(spec, own_hparams, dataset, step), num_examples
    words = f"{first_not_finite(spec, own_hparams, own_state, *seen)} was not finite at"
    words += f" update {step}"
    return (
        f"{words}; {first_bad_operation(spec, own_hparams, own_state, *seen)}"
        if by_operation
        else words
    )


def first_bad_operation(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> str:
    """The first operation of the update of a diverged run whose result is NaN, or infinite."""
    step = state.diverged
    before = state._replace(step=step, diverged=jnp.full_like(step, -1))
    for looks_for in (jax.debug_nans, jax.debug_infs):
        try:
            with looks_for(True), jax.disable_jit():
                train_step(spec, hparams, before, batch, num_examples)
        except FloatingPointError as error:
            return f"{str(error).splitlines()[0].rstrip('.')} at {_line(error)}"
    return "no operation gave NaN or infinity when the update was repeated by itself"


def _line(error: FloatingPointError) -> str:
    """File, line and code of this package where an exception came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    name = Path(own[-1].filename).relative_to(_PACKAGE.parent).as_posix()
    return f"{name}:{own[-1].lineno}: {own[-1].line}"
