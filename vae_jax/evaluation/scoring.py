"""The terms of trained runs on a split, as rows; evaluation seen from the host."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from vae_jax.data import Dataset
from vae_jax.evaluation import columns, elbo
from vae_jax.evaluation.elbo import EvalSpec, Evaluation, in_batches, join, summarize
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.training import batches, divergence, memory, vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.input_pipeline import labels_given
from vae_jax.training.step import TrainSpec, TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Params, Row


def score(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Dataset,
    split: batches.Split = "test",
    *,
    num_particles: int = 1,
    layout: Layout | None = None,
) -> list[Row]:
    """Return a row per run: its terms on a split with their standard errors.

    The keys are columns of ``results.csv`` (:mod:`vae_jax.evaluation.columns`): ``test_elbo``,
    ``test_nll``, ``eval_particles``, ``active_units``, ...; of another split ``valid_elbo`` and so
    on. The terms of a diverged run are None.

    Args:
        spec: as trained.
        hparams: as trained.
        state: of all runs.
        data: images.
        split: ``train``, ``valid`` or ``test``.
        num_particles: K of the importance-weighted bound behind ``test_nll``.
        layout: where the runs are computed; None for the best of the device.
    """
    hparams = hparams.as_study()
    layout = layout or memory.layout_for(spec, hparams)
    eval_spec, num_runs = EvalSpec(spec.model, num_particles), len(hparams.seed)
    padded, params = mesh.pad_runs((hparams, state.params), layout.devices)
    shared = placed_split(spec, data, split, layout)
    rows = score_placed(eval_spec, padded, params, shared, layout, num_runs)
    return _finished(eval_spec, rows, state)


class PlacedSplit(NamedTuple):
    """A split on the devices, in padded batches."""

    examples: Examples
    num_examples: int
    name: batches.Split


def placed_split(
    spec: TrainSpec, data: Dataset, split: batches.Split, layout: Layout
) -> PlacedSplit:
    """A split as it is evaluated, on each device."""
    images = getattr(data, split)
    pixels = batches.stored_pixels(spec.binarize, split, images)
    examples = in_batches(pixels, EvalSpec.batch_size, labels_given(spec, data, split))
    return PlacedSplit(mesh.replicate(examples, layout.devices), len(images), split)


def score_placed(
    eval_spec: EvalSpec,
    hparams: HParams,
    params: Params,
    split: PlacedSplit,
    layout: Layout,
    num_runs: int,
) -> list[Row]:
    """Terms of the runs, whose arrays are placed already and may be padded."""
    examples, num_examples, name = split
    evaluation, latent_sizes = mesh.to_host(
        (
            evaluate_runs(
                eval_spec, hparams, params, examples, num_examples=num_examples, layout=layout
            ),
            hparams.latent_size,
        )
    )
    return _summaries(eval_spec, evaluation, latent_sizes[:num_runs], name)


def _summaries(
    eval_spec: EvalSpec, evaluation: Evaluation, latent_sizes: Any, split: batches.Split
) -> list[Row]:
    """Return a row for each run that has a latent size; what fills up the devices has none."""
    return [
        summarize(eval_spec, vectorized.take(evaluation, run), int(latent_size), split)
        for run, latent_size in enumerate(latent_sizes)
    ]


def score_by_parts(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    *,
    split: batches.Split,
    num_particles: int,
    layout: Layout,
    on_progress: Callable[[float], None],
) -> list[Row]:
    """What :func:`score` gives, of any examples, a part of them after the other.

    Args:
        spec: as trained.
        hparams: ``[runs]``.
        state: of all runs.
        pixels: as the model sees them, 0 to 255.
        labels: one each; only conditional models look at them.
        split: whose examples they are, after which the columns are named.
        num_particles: K of the importance-weighted bound behind the NLL.
        layout: where the runs are computed.
        on_progress: is told the share that is done.
    """
    eval_spec, found = EvalSpec(spec.model, num_particles), []
    given = labels if spec.model.num_classes else None
    padded, params = mesh.pad_runs((hparams, state.params), layout.devices)
    for first in range(0, len(pixels), eval_spec.batch_size):
        rows = slice(first, first + eval_spec.batch_size)
        known, num = None if given is None else given[rows], len(pixels[rows])
        shared = in_batches(pixels[rows], eval_spec.batch_size, known), np.int32(first)
        part, start = mesh.replicate(shared, layout.devices)
        evaluation = evaluate_runs(
            eval_spec, padded, params, part, num_examples=num, first_example=start, layout=layout
        )
        found.append(mesh.to_host(evaluation))
        on_progress((first + num) / len(pixels))
    return _finished(
        eval_spec, _summaries(eval_spec, join(found), hparams.latent_size, split), state
    )


def _finished(eval_spec: EvalSpec, rows: list[Row], state: TrainState) -> list[Row]:
    """Return the rows without the terms of diverged runs, and with the K of their bounds."""
    divergence.blank(rows, state)
    return [row | {"eval_particles": eval_spec.num_particles} for row in rows]


@functools.partial(jax.jit, static_argnames=("spec", "num_examples", "layout"))
def evaluate_runs(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    data: Examples,
    *,
    num_examples: int,
    first_example: Int[Array, ""] | int = 0,
    layout: Layout,
) -> Evaluation:
    """Evaluate every run on a split, or on a part of it; terms ``[runs, examples]``."""

    def measure(
        shared: tuple[Examples, Array | int], hparams: HParams, params: Params
    ) -> Evaluation:
        data, first = shared
        split = mesh.split_batch(data, axis=1)
        return elbo.evaluate(spec, hparams, params, split, num_examples, first)

    return vectorized.over_runs(measure, layout)((data, first_example), hparams, params)


def valid_scorer(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout
) -> Callable[[Params], list[Row]]:
    """Return a function from the parameters of all runs to their ``valid_*`` columns.

    The valid split is put on the devices once. What a model has not, such as the KL of a
    deterministic code, is left out.

    Args:
        spec: as trained.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        layout: where the runs are computed; the parameters may be padded for its devices.
    """
    hparams, eval_spec = hparams.as_study(), EvalSpec(spec.model)
    padded = mesh.pad_runs(hparams, layout.devices)
    valid = placed_split(spec, data, "valid", layout)
    names = [columns.name_on("valid", term) for term in columns.VISITED]

    def score_valid(params: Params) -> list[Row]:
        rows = score_placed(eval_spec, padded, params, valid, layout, len(hparams.seed))
        return [{name: row[name] for name in names if row[name] is not None} for row in rows]

    return score_valid
