"""Python interface of a study: ``fit`` trains, ``score`` measures, ``ablate`` does both on a grid.

The same functions serve one run and many: what is an array in :class:`vae_jax.HParams` may have a
leading axis of runs, and all runs train as one program.
"""

from typing import NamedTuple

from vae_jax.data import Dataset
from vae_jax.evaluation import scoring
from vae_jax.evaluation.evaluators import Runs
from vae_jax.evaluation.evaluators.nll import ImportanceWeightedNLL
from vae_jax.evaluation.scoring import score
from vae_jax.hparams import HParams
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import results
from vae_jax.runtime import mesh
from vae_jax.training import compatibility, loop, memory, vectorized
from vae_jax.training.intervals import Intervals
from vae_jax.training.step import TrainSpec, TrainState
from vae_jax.types import Row

__all__ = ["Study", "ablate", "fit", "score"]


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
        spec: static specification of the model and its training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``, see
            :func:`vae_jax.grid`).
        data: data set.
        num_steps: number of updates.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.

    Returns:
        The state of all runs; every array leads with ``runs``.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2)
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> state = fit(spec, vae_jax.HParams.of(latent_size=2), data, num_steps=1)
        >>> state.step.tolist()
        [1]
    """
    state, _ = _fit(spec, hparams, data, num_steps, max_parallel_runs)
    return state


def _fit(
    spec: TrainSpec, hparams: HParams, data: Dataset, num_steps: int, max_parallel_runs: int
) -> tuple[TrainState, list[Row]]:
    """Return the trained state and the rows of the last update."""
    spec = spec.specialized(hparams)
    compatibility.check_data(spec, data)
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
    """Finished study, as :func:`ablate` returns it.

    Attributes:
        spec: specification that all runs share.
        hparams: hyperparameters, ``[runs]``.
        state: state of all runs; every array leads with ``runs``.
        table: one row per run, with the columns of ``results.csv``
            (:mod:`vae_jax.evaluation.columns`).
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    table: list[Row]

    def take(self, run: int) -> TrainedVAE:
        """Return one run's model, for encoding, decoding and sampling.

        Args:
            run: number of the run, from 0.
        """
        hparams, params = vectorized.take((self.hparams, self.state.eval_params), run)
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
        spec: static specification of the model and its training.
        grid: hyperparameters ``[runs]``, see :func:`vae_jax.grid`.
        data: data set.
        num_steps: number of updates.
        num_particles: K of the importance-weighted bound behind ``test_nll``.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.

    Returns:
        The study, whose table has a row per run in the order of the grid.

    Example:
        >>> import jax, vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2)
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> study = ablate(spec, vae_jax.grid(latent_size=[1, 2]), data, num_steps=1)
        >>> [(row["run"], row["latent_size"], row["step"]) for row in study.table]
        [(0, 1, 1), (1, 2, 1)]
        >>> study.take(1).sample(jax.random.key(0), 3).shape
        (3, 8, 8, 1)
    """
    hparams = grid.as_study()
    state, last = _fit(spec, hparams, data, num_steps, max_parallel_runs)
    layout = memory.layout_for(spec, hparams, max_parallel_runs)
    runs = Runs(spec, hparams, state, data, layout)
    measured = ImportanceWeightedNLL(num_particles).rows(runs, lambda num_runs: None)
    arrays = [vectorized.take(hparams, run)._asdict() for run in range(len(last))]
    settings = [{name: value.item() for name, value in own.items()} for own in arrays]
    diverged = mesh.to_host(state.diverged).tolist()
    table = [
        results.table_row(own, row, numbers, step)
        for own, row, numbers, step in zip(settings, last, measured, diverged, strict=True)
    ]
    return Study(spec, hparams, state, table)
