"""A study from Python, in one call: train every run, score every run, take any of them."""

from typing import NamedTuple

from vae_jax import capacity, loop, sweep
from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.model import Trained
from vae_jax.scoring import Row, score
from vae_jax.train import TrainSpec, TrainState
from vae_jax.visits import Visits


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
    layout = capacity.layout_for(spec, hparams, max_parallel_runs)
    state = loop.initial_state(spec, hparams, data, layout)
    visits = Visits(num_steps, eval_every=num_steps, checkpoint_every=num_steps)
    for visit in loop.train(spec, hparams, data, visits, state, layout=layout):
        state = visit.state
    return state


class Ablation(NamedTuple):
    """A finished study.

    Attributes:
        spec: of all runs.
        hparams: ``[runs]``.
        state: of all runs; every array leads with ``runs``.
        table: one row per run, terms in nats per example with their standard errors.
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    table: list[Row]

    def take(self, run: int) -> Trained:
        """One run's model, for encoding, decoding and sampling."""
        hparams, params = sweep.take((self.hparams, self.state.params), run)
        return Trained(self.spec.model, hparams, params)


def ablate(
    spec: TrainSpec,
    grid: HParams,
    data: Dataset,
    num_steps: int,
    *,
    num_particles: int = 1,
    max_parallel_runs: int = 0,
) -> Ablation:
    """Train all runs of a grid as one program and score them on the test split.

    Args:
        spec: what is trained and how.
        grid: hyperparameters ``[runs]``, see :func:`vae_jax.grid`.
        data: images.
        num_steps: updates.
        num_particles: K of the importance-weighted bound behind ``nll``.
        max_parallel_runs: runs that advance together; 0 for the best of the device.
    """
    hparams = grid.as_study()
    state = fit(spec, hparams, data, num_steps, max_parallel_runs=max_parallel_runs)
    scores = score(spec, hparams, state, data, num_particles=num_particles)
    settings = [sweep.take(hparams, run)._asdict() for run in range(len(scores))]
    table = [
        {"run": run} | {name: value.item() for name, value in own.items()} | row
        for run, (own, row) in enumerate(zip(settings, scores, strict=True))
    ]
    return Ablation(spec, hparams, state, table)
