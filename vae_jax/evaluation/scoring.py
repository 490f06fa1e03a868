"""Scores of trained runs: the terms of a split as one row per run.

:func:`score` is the public function, :func:`score_examples` scores any examples block by block and
reports its progress, and :func:`valid_scorer` scores the valid split during training. All three
put blocks of examples on the devices (:func:`place_block`) and evaluate them with one compiled
program (:func:`evaluate_runs`).
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS, Split
from vae_jax.evaluation import columns, elbo
from vae_jax.evaluation.elbo import EvalSpec, Evaluation, in_batches, join, summarize
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import OnPhase, phase, watched_by
from vae_jax.settings import check_type, check_value, one_of, whole
from vae_jax.training import batches, compatibility, divergence, memory, vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.input_pipeline import labels_given
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Params, Row, default_float


def score(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Dataset,
    split: Split = "test",
    *,
    num_particles: int = elbo.NUM_PARTICLES,
    layout: Layout | None = None,
    on_progress: OnPhase | None = None,
) -> list[Row]:
    """Return a row per run: its terms on a split with their standard errors.

    The keys are columns of ``results.csv`` (:mod:`vae_jax.evaluation.columns`): ``test_elbo``,
    ``test_nll``, ``eval_particles``, ``active_units``, ...; of another split ``valid_elbo`` and so
    on. The terms of a diverged run are None.

    Args:
        spec: static description of the training, as the runs were trained with.
        hparams: of one run (scalars) or of a study (``[runs]``), as trained.
        state: state of all runs; every array leads with ``runs``.
        data: data set.
        split: ``train``, ``valid`` or ``test``.
        num_particles: K of the importance-weighted bound behind ``test_nll``.
        layout: where the runs are computed; None for the best of the device.
        on_progress: is called with a :class:`vae_jax.runtime.progress.Progress` when it begins and
            ends; None for a bar in a terminal or notebook, and nothing elsewhere.

    Returns:
        Rows in the order of the runs, in nats per example.

    Raises:
        InputError: an unknown split, no particle, or data or hyperparameters of another model.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
        >>> spec = vae_jax.TrainSpec(model, binarize="static")
        >>> hparams = vae_jax.HParams.of(latent_size=2)
        >>> study = vae_jax.fit(spec, hparams, data, num_steps=2)
        >>> (row,) = vae_jax.score(spec, hparams, study.state, data, num_particles=3)
        >>> row["eval_particles"], row["test_kl"] >= 0
        (3, True)
        >>> bool(abs(row["test_elbo"] - row["test_log_likelihood"] + row["test_kl"]) < 1e-9)
        True
    """
    check_type("hparams", hparams, HParams, "make them with HParams.of or grid")
    check_type("state", state, TrainState, "give study.state")
    hparams = hparams.as_study()
    check_value("split", split, one_of(*SPLITS))
    check_value("num_particles", num_particles, whole(1))
    compatibility.check_data(spec, data, is_trained=True)
    spec.specialized(hparams)  # refuses what the model cannot have
    if np.ndim(state.step) != 1:
        raise InputError(
            setting="state",
            value="that of one run",
            problem="every array of a state leads with the runs",
            advice="give study.state",
        )
    if len(hparams.seed) != len(state.step):
        raise InputError(
            setting="hparams",
            value=f"those of {len(hparams.seed)} runs",
            problem=f"the state is of {len(state.step)}",
            advice="give those that the runs were trained with",
        )
    check_type("layout", layout, Layout | None, "give a Layout, or None for the best")
    _refuse_other_weights(spec, hparams, state)
    pixels = batches.stored_pixels(spec.binarize, split, getattr(data, split))
    watched = watched_by(on_progress) if on_progress else contextlib.nullcontext()
    with watched, phase(f"evaluating {split}, {len(pixels):,} examples"):
        return score_examples(
            spec,
            hparams,
            state,
            pixels,
            data.labels_of(split),
            split=split,
            num_particles=num_particles,
            layout=layout or memory.layout_for(spec, hparams),
            block_size=len(pixels),
        )


def _refuse_other_weights(spec: TrainSpec, hparams: HParams, state: TrainState) -> None:
    """Refuse weights of another model than the specification's, by their names and shapes."""
    mean = jax.ShapeDtypeStruct(spec.model.event_shape, default_float())
    wanted = jax.eval_shape(spec.model.init, vectorized.take(hparams, 0), mean)
    found = {path: np.shape(a)[1:] for path, a in jax.tree.leaves_with_path(state.eval_params)}
    for path, leaf in jax.tree.leaves_with_path(wanted):
        if found.get(path) != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise InputError(
                setting="state",
                value=f"weights with {name} of shape {found.get(path, 'none')}",
                problem=f"the model has {name} of shape {leaf.shape}",
                advice="give the specification that the runs were trained with",
            )


def score_examples(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    *,
    split: Split,
    num_particles: int,
    layout: Layout,
    block_size: int = EvalSpec.batch_size,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Row]:
    """Return a row per run of its terms on the given examples, computed block by block.

    Args:
        spec: static description of the training, as the runs were trained with.
        hparams: ``[runs]``.
        state: state of all runs.
        pixels: examples as they are stored, binarized as the model sees them.
        labels: one each; only conditional models are given them.
        split: split that the examples are from, after which the columns are named.
        num_particles: K of the importance-weighted bound behind the NLL.
        layout: where the runs are computed.
        block_size: examples that are put on the devices at once; progress is reported after each
            block.
        on_progress: is called with the share of the examples that is done.
    """
    eval_spec, evaluations = EvalSpec(spec.model, num_particles), []
    labels = labels if spec.model.num_classes else None
    padded, params = mesh.pad_runs((hparams, state.eval_params), layout.devices)
    for start in range(0, len(pixels), block_size):
        rows = slice(start, start + block_size)
        block = place_block(pixels[rows], None if labels is None else labels[rows], start, layout)
        evaluations.append(_evaluate_block(eval_spec, padded, params, block, layout))
        on_progress((start + block.num_examples) / len(pixels))
    rows = _rows(eval_spec, join(evaluations), hparams.latent_size, split)
    divergence.blank(rows, state)
    return [_without_empty_counts(row) | {"eval_particles": num_particles} for row in rows]


def valid_scorer(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout
) -> Callable[[Params], list[Row]]:
    """Return a function from the parameters of all runs to their ``valid_*`` columns.

    The valid split is put on the devices once. Columns that a model does not have, such as the KL
    of a deterministic code, are left out.

    Args:
        spec: static description of the training.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: data set.
        layout: where the runs are computed; the parameters may be padded for its devices.
    """
    hparams, eval_spec = hparams.as_study(), EvalSpec(spec.model)
    padded = mesh.pad_runs(hparams, layout.devices)
    pixels = batches.stored_pixels(spec.binarize, "valid", data.valid)
    block = place_block(pixels, labels_given(spec, data, "valid"), 0, layout)
    names = [columns.name_on("valid", term) for term in columns.LOGGED]

    def score_valid(params: Params) -> list[Row]:
        evaluation = _evaluate_block(eval_spec, padded, params, block, layout)
        rows = _rows(eval_spec, evaluation, hparams.latent_size, "valid")
        return [{name: row[name] for name in names if row[name] is not None} for row in rows]

    return score_valid


class Block(NamedTuple):
    """Consecutive examples of a split on the devices.

    Attributes:
        examples: padded batches ``[batches, batch, ...]``, on each device.
        num_examples: number of examples without the padding.
        first_example: index of the first one in its split, on each device.
    """

    examples: Examples
    num_examples: int
    first_example: Any


def place_block(
    pixels: np.ndarray, labels: np.ndarray | None, first_example: int, layout: Layout
) -> Block:
    """Return examples in padded batches on each device of the layout."""
    examples = in_batches(pixels, EvalSpec.batch_size, labels)
    placed, first = mesh.replicate((examples, np.int32(first_example)), layout.devices)
    return Block(placed, len(pixels), first)


def _evaluate_block(
    eval_spec: EvalSpec, hparams: HParams, params: Params, block: Block, layout: Layout
) -> Evaluation:
    """Return the evaluation of all runs on a block, on the host; the runs may be padded."""
    return mesh.to_host(
        evaluate_runs(
            eval_spec,
            hparams,
            params,
            block.examples,
            num_examples=block.num_examples,
            first_example=block.first_example,
            layout=layout,
        )
    )


def _rows(
    eval_spec: EvalSpec, evaluation: Evaluation, latent_sizes: Any, split: Split
) -> list[Row]:
    """Return a row for each latent size; runs beyond them only fill the devices."""
    return [
        summarize(eval_spec, vectorized.take(evaluation, run), latent_size, split)
        for run, latent_size in enumerate(mesh.to_host(latent_sizes).tolist())
    ]


def _without_empty_counts(row: Row) -> Row:
    """Return the row without counts of examples that are empty, as of a run that diverged."""
    return {
        name: value
        for name, value in row.items()
        if value is not None or not name.endswith(columns.NOT_FINITE)
    }


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
    """Evaluate every run on the given examples; terms ``[runs, examples]``, in nats.

    Args:
        spec: static description of the evaluation.
        hparams: ``[runs]``, padded for the devices.
        params: parameters of all runs, padded likewise.
        data: padded batches from :func:`vae_jax.evaluation.elbo.in_batches`.
        num_examples: number of examples without the padding.
        first_example: index of the first one in its split, on which its noise depends.
        layout: where the runs are computed.
    """

    def measure(
        shared: tuple[Examples, Array | int], hparams: HParams, params: Params
    ) -> Evaluation:
        data, first = shared
        split = mesh.split_batch(data, axis=1)
        return elbo.evaluate(spec, hparams, params, split, num_examples, first)

    return vectorized.over_runs(measure, layout)((data, first_example), hparams, params)
