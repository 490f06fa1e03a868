"""Python interface of a study: ``fit`` trains, ``ablate`` trains a grid and scores it,
``load_run`` opens what was trained before, ``score`` measures, ``show_images`` draws.

The same functions serve one run and many: what is an array in :class:`vae_jax.HParams` may have a
leading axis of runs, and all runs train as one program. ``fit``, ``ablate`` and
``load_run`` return a :class:`vae_jax.Study`. What takes long shows a bar in a terminal or a
notebook; ``load`` and ``score`` are those of :mod:`vae_jax.data` and
:mod:`vae_jax.evaluation.scoring`, with it.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import data as data_sets
from vae_jax.data import Dataset
from vae_jax.evaluation import elbo, scoring
from vae_jax.hparams import HParams
from vae_jax.pipeline import loggers, origin, study
from vae_jax.pipeline.fitting import OnProgress
from vae_jax.pipeline.load import load_run
from vae_jax.pipeline.loggers import Logger
from vae_jax.pipeline.study import Study
from vae_jax.pipeline.study_plots import show_images
from vae_jax.pipeline.trained_run import TrainedRun
from vae_jax.settings import check_type
from vae_jax.training.spec import TrainSpec

__all__ = ["Study", "TrainedRun", "ablate", "fit", "load", "load_run", "score", "show_images"]

load = loggers.shown()(data_sets.load)
score = loggers.shown()(scoring.score)


def fit(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    num_steps: int,
    *,
    init_from: TrainedRun | str | Path | None = None,
    eval_every: int = 500,
    max_parallel_runs: int = 0,
    on_progress: OnProgress | None = None,
    loggers: Sequence[str | Logger] = (),
) -> Study:
    """Train all runs of a study, from their seeds or from the weights of another run.

    Args:
        spec: static specification of the model and its training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``, see
            :func:`vae_jax.grid`).
        data: data to train on.
        num_steps: number of updates.
        init_from: run whose weights all runs start from, or its ``WORKDIR`` or ``WORKDIR:RUN``;
            None for those of their seeds. Parameters that only one of the two has are a warning.
        eval_every: updates between evaluations on valid.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.
        on_progress: is called with the rows of each interval; None for a bar in a terminal or
            notebook, and nothing elsewhere.
        loggers: names as those of ``--loggers``, such as ``"wandb"``, or loggers; they get the rows
            of each interval and those of the table.

    Returns:
        The study, not yet scored on test. ``study.fit(data, num_steps)`` goes on,
        ``study.evaluate(data)`` scores, and in ``study.state`` every array leads with ``runs``.

    Raises:
        InputError: what the model, its hyperparameters and the data do not allow together.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2)
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> study = fit(spec, vae_jax.HParams.of(latent_size=2), data, num_steps=1)
        >>> study.state.step.tolist(), study.best.run
        ([1], 0)
    """
    given, record = _start(spec, hparams, data, init_from)
    return study.begin(spec, hparams, data, given, record).fit(
        data,
        num_steps,
        eval_every=eval_every,
        max_parallel_runs=max_parallel_runs,
        on_progress=on_progress,
        loggers=loggers,
    )


def ablate(
    spec: TrainSpec,
    grid: HParams,
    data: Dataset,
    num_steps: int,
    *,
    num_particles: int = elbo.NUM_PARTICLES,
    init_from: TrainedRun | str | Path | None = None,
    eval_every: int = 500,
    max_parallel_runs: int = 0,
    on_progress: OnProgress | None = None,
    loggers: Sequence[str | Logger] = (),
) -> Study:
    """Train all runs of a grid as one program and score them on the test split.

    Args:
        spec: static specification of the model and its training.
        grid: hyperparameters ``[runs]``, see :func:`vae_jax.grid`.
        data: data to train on.
        num_steps: number of updates.
        num_particles: K of the importance-weighted bound behind ``test_nll``.
        init_from: run whose weights all runs start from, see :func:`fit`.
        eval_every: updates between evaluations on valid.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.
        on_progress: is called with the rows of each interval; None for a bar in a terminal or
            notebook, and nothing elsewhere.
        loggers: names as those of ``--loggers``, such as ``"wandb"``, or loggers; they get the rows
            of each interval and those of the table.

    Returns:
        The study, whose table has a row per run in the order of the grid.

    Raises:
        InputError: what the model, its hyperparameters and the data do not allow together.

    Example:
        >>> import jax, vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2)
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> study = ablate(spec, vae_jax.grid(latent_size=[1, 2]), data, num_steps=1)
        >>> [(row["run"], row["latent_size"], row["step"]) for row in study.table]
        [(0, 1, 1), (1, 2, 1)]
        >>> study[1].sample(jax.random.key(0), 3).shape
        (3, 8, 8, 1)
    """
    return study.train_and_score(
        study.begin(spec, grid, data, *_start(spec, grid, data, init_from)),
        data,
        num_steps,
        num_particles=num_particles,
        eval_every=eval_every,
        max_parallel_runs=max_parallel_runs,
        on_progress=on_progress,
        loggers=loggers,
    )


def _start(
    spec: TrainSpec, hparams: HParams, data: Dataset, init_from: TrainedRun | str | Path | None
) -> tuple[Mapping[str, np.ndarray] | None, dict[str, Any] | None]:
    """Return the weights that runs start from, by name, and where they came from."""
    check_type("spec", spec, TrainSpec, "give a vae_jax.TrainSpec")
    check_type("hparams", hparams, HParams, "make them with HParams.of or grid")
    check_type("data", data, Dataset, "give a data set, as vae_jax.load returns one")
    if init_from is None:
        return None, None
    is_run = isinstance(init_from, TrainedRun)
    source = origin.of_run(init_from) if is_run else origin.opened(str(init_from))
    found = origin.fitted(source, spec.specialized(hparams.as_study()), data.encoding)
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    return found.params, source.record(found.fresh, found.left_over)
