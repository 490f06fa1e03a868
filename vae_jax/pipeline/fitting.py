"""Training from Python: the updates of one program, with its progress, nothing written."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.config.flags import FLAGS
from vae_jax.data import Dataset
from vae_jax.evaluation import scoring
from vae_jax.hparams import HParams
from vae_jax.pipeline.loggers import Logger, NotebookProgress, TrainingProgress, progress_bar
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase
from vae_jax.settings import check_value
from vae_jax.training import compatibility, loop, memory
from vae_jax.training.intervals import Intervals
from vae_jax.training.loop import TrainingProgram
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Params, Row

OnProgress: TypeAlias = Callable[[Sequence[Row]], None]
"""Callback with the rows of an interval: one per run, with ``step``, ``run``, ``seconds``,
``train_*`` and, where valid was evaluated, ``valid_*`` terms in nats per example."""


def check_numbers(**values: int) -> None:
    """Refuse numbers that the flags of the same names would refuse.

    Raises:
        InputError: naming the setting, its value and its range.

    Example:
        >>> check_numbers(num_steps=-1)
        Traceback (most recent call last):
        vae_jax.runtime.errors.InputError: num_steps=-1: must be a whole number from 1 to 2147483647
    """
    for name, value in values.items():
        check_value(name, value, FLAGS[name].type)


def check(
    spec: TrainSpec, hparams: HParams, data: Dataset, num_steps: int, eval_every: int
) -> None:
    """Refuse what cannot be trained, before anything is compiled.

    Args:
        spec: model and training.
        hparams: hyperparameters ``[runs]``.
        data: data to train on.
        num_steps: number of updates in all.
        eval_every: updates between evaluations on valid.

    Raises:
        InputError: naming the setting, its value and the remedy.
    """
    compatibility.check_data(spec, data)
    patience = int(mesh.to_host(hparams.patience).max())
    for problem in itertools.chain(
        compatibility.refused_length(num_steps, spec.batch_size),
        compatibility.refused_looks(num_steps, eval_every, spec.keep, patience),
    ):
        raise InputError(problem)
    optimizer = spec.optimizer
    if optimizer.schedule == "cosine" and 0 < optimizer.num_steps < num_steps:
        raise InputError(
            setting="num_steps",
            value=num_steps,
            problem=f"the optimizer's cosine falls to zero at num_steps={optimizer.num_steps}",
            advice="give the optimizer as many, and train from the start",
        )


def initial_state(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    given: Mapping[str, np.ndarray] | None = None,
) -> TrainState:
    """Return the state of all runs before the first update, with the parameters that are given."""
    return loop.initial_state(spec, hparams, data, memory.layout_for(spec, hparams), given)


def train(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    state: TrainState,
    num_steps: int,
    *,
    runs: Sequence[int],
    seconds: float = 0.0,
    eval_every: int = 500,
    max_parallel_runs: int = 0,
    on_progress: OnProgress | None = None,
    log: Sequence[Logger] = (),
) -> tuple[TrainState, list[Row]]:
    """Train a state to ``num_steps`` updates and return the new state and the rows on the way.

    Args:
        spec: model and training.
        hparams: hyperparameters ``[runs]``.
        data: data to train on.
        state: state to go on from; it is copied.
        num_steps: number of updates in all.
        runs: numbers of the runs in their study.
        seconds: training time so far.
        eval_every: updates between evaluations on valid.
        max_parallel_runs: number of runs that advance together; 0 for the best of the device.
        on_progress: is called with the rows of each interval; None for a bar where it can be seen.
        log: started loggers; nothing that they are given is taken back.
    """
    start = int(mesh.to_host(state.step)[0])
    if loop.is_finished(spec, state, num_steps):
        return state, []
    layout = memory.layout_for(spec, hparams, max_parallel_runs)
    intervals = Intervals(num_steps, eval_every=eval_every, checkpoint_every=num_steps)
    program = TrainingProgram(spec, hparams, data, intervals, layout)
    score_valid = valid_scorer(spec, hparams, data, layout)
    rows: list[Row] = []
    with _reporting(on_progress, num_steps, start) as report:
        with phase("compiling"):  # the loop is donated the memory of its state
            state, _ = program.compile(jax.tree.map(jnp.copy, state))
        for output in program.run(state, intervals, score_valid, seconds=seconds):
            new = [row | {"run": runs[row["run"]]} for row in output.rows]
            report(new, output.ms_per_step)
            for logger in log:
                logger.log(new)
                logger.saved(runs, output.step)
            state = output.state
            rows += new
    return state, rows


def valid_scorer(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout
) -> Callable[[Params], list[Row]]:
    """Return the function of :func:`vae_jax.evaluation.scoring.valid_scorer`, as a phase."""
    score = scoring.valid_scorer(spec, hparams, data, layout)

    def score_valid(params: Params) -> list[Row]:
        with phase("evaluating valid"):
            return score(params)

    return score_valid


@contextlib.contextmanager
def _reporting(
    on_progress: OnProgress | None, num_steps: int, start: int
) -> Iterator[Callable[[Sequence[Row], float], None]]:
    """Yield what reports an interval: the callback, or a bar where one can be seen."""
    if on_progress is not None:
        yield lambda rows, ms: on_progress(rows)
        return
    bar: TrainingProgress | NotebookProgress | None = progress_bar(num_steps, start)
    if bar is None:
        yield lambda rows, ms: None
        return
    with bar:

        def report(rows: Sequence[Row], ms_per_step: float) -> None:
            bar.advance(rows[0]["step"], ms_per_step)
            bar.log(rows)

        yield report
