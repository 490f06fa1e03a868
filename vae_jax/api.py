"""A study from Python, in one call: train every run, score every run, take any of them."""

from typing import NamedTuple

from vae_jax.data import Dataset
from vae_jax.evaluation import scoring
from vae_jax.evaluation.evaluators import Runs
from vae_jax.evaluation.evaluators.nll import ImportanceWeightedNLL
from vae_jax.hparams import HParams
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import results
from vae_jax.runtime import mesh
from vae_jax.training import loop, memory, vectorized
from vae_jax.training.intervals import Intervals
from vae_jax.training.step import TrainSpec, TrainState
from vae_jax.types import Row


def fit(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    num_steps: int,
    *,
    max_parallel_runs: int = 0,
) -> TrainState:
    """Train all runs of a study from their seeds.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``, see :func:`vae_jax.grid`).
        data: images.
        num_steps: updates.
        max_parallel_runs: runs that advance together; 0 for the best of the device.

    Returns:
        The state of all runs; every array leads with ``runs``.
    """
    state, _ = _fit(spec, hparams, data, num_steps, max_parallel_runs)
    return state


def _fit(
    spec: TrainSpec, hparams: HParams, data: Dataset, num_steps: int, max_parallel_runs: int
) -> tuple[TrainState, list[Row]]:
    """Return the trained state and the rows of the last update."""
    layout = memory.layout_for(spec, hparams, max_parallel_runs)
    state, rows = loop.initial_state(spec, hparams, data, layout), []
    intervals = Intervals(num_steps, eval_every=num_steps, checkpoint_every=num_steps)
    score_valid = scoring.valid_scorer(spec, hparams, data, layout)
    for output in loop.train(
        spec, hparams, data, intervals, state, layout=layout, score_valid=score_valid
    ):
        state, rows = output.state, output.rows
    return state, rows


class Study(NamedTuple):
    """A finished study.

    Attributes:
        spec: of all runs.
        hparams: ``[runs]``.
        state: of all runs; every array leads with ``runs``.
        table: one row per run, with the columns of ``results.csv``
            (:mod:`vae_jax.evaluation.columns`).
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    table: list[Row]

    def take(self, run: int) -> TrainedVAE:
        """One run's model, for encoding, decoding and sampling."""
        hparams, params = vectorized.take((self.hparams, self.state.params), run)
        return TrainedVAE(self.spec.model, hparams, params)


def ablate(
    spec: TrainSpec,
    grid: HParams,
    data: Dataset,
    num_steps: int,
    *,
    num_particles: int = 1,
    max_parallel_runs: int = 0,
) -> Study:
    """Train all runs of a grid as one program and score them on the test split.

    Args:
        spec: what is trained and how.
        grid: hyperparameters ``[runs]``, see :func:`vae_jax.grid`.
        data: images.
        num_steps: updates.
        num_particles: K of the importance-weighted bound behind ``test_nll``.
        max_parallel_runs: runs that advance together; 0 for the best of the device.
    """
    hparams = grid.as_study()
    state, last = _fit(spec, hparams, data, num_steps, max_parallel_runs)
    layout = memory.layout_for(spec, hparams, max_parallel_runs)
    runs = Runs(spec, hparams, state, data, layout)
    measured = ImportanceWeightedNLL(num_particles).rows(runs, lambda done: None)
    settings = [vectorized.take(hparams, run)._asdict() for run in range(len(last))]
    diverged = mesh.to_host(state.diverged).tolist()
    table = [
        results.table_row({name: value.item() for name, value in own.items()}, row, numbers, step)
        for own, row, numbers, step in zip(settings, last, measured, diverged, strict=True)
    ]
    return Study(spec, hparams, state, table)
