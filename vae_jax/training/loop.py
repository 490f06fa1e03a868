"""The host's side of training: the only room with a Python ``for`` over chunks.

Between chunks the host only looks (terms, valid) and hands the state to whoever asked to be
called. Which steps it visits changes no number that is trained.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data import Dataset
from vae_jax.evaluation.elbo import EvalSpec
from vae_jax.evaluation.scoring import blank_diverged, placed_split, score_placed, visited
from vae_jax.hparams import HParams
from vae_jax.runtime import distributed, mesh
from vae_jax.training import batches, input_pipeline, memory, vectorized
from vae_jax.training.batches import Examples, Gathered
from vae_jax.training.input_pipeline import Piece
from vae_jax.training.intervals import Visits
from vae_jax.training.step import TrainSpec, TrainState, TrainTerms
from vae_jax.training.vectorized import Layout
from vae_jax.types import Images, Row, default_float

_PROBE_SECONDS = 0.05


class Visit(NamedTuple):
    """What the host sees between two chunks.

    Attributes:
        step: updates done.
        state: of all runs; gone when the next chunk starts, so copy what is to be kept.
        rows: one mapping per run: step, run, seconds, ``train_*`` and, if due, ``valid_*`` terms.
        ms_per_step: of the chunk just done, all runs together.
        compile_seconds: spent before the first chunk on building its program.
    """

    step: int
    state: TrainState
    rows: list[Row]
    ms_per_step: float
    compile_seconds: float


def initial_state(
    spec: TrainSpec, hparams: HParams, data: Dataset, layout: Layout | None = None
) -> TrainState:
    """State of all runs before the first update; every array leads with ``runs``."""
    hparams = hparams.as_study()
    layout = layout or memory.layout_for(spec, hparams)
    mean = data.train.mean(axis=0, dtype=np.float64) / 255
    padded, shared = mesh.placed(
        layout.devices, hparams, (jnp.asarray(mean, default_float()), _starting_images(spec, data))
    )
    state = vectorized.init(spec, padded, *shared, layout=layout)
    return mesh.drop_padding(state, len(hparams.seed), layout.devices)


def _starting_images(spec: TrainSpec, data: Dataset) -> Images:
    """Training images, evenly spaced, for the priors that start from some."""
    num = min(spec.model.prior.num_examples, len(data.train))
    places = np.linspace(0, len(data.train), num, endpoint=False).astype(int)
    pixels = batches.stored_pixels(
        "static" if spec.binarize == "dynamic" else spec.binarize, "train", data.train[places]
    )
    return batches.as_images(jnp.asarray(pixels))


def train(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    visits: Visits,
    state: TrainState,
    *,
    layout: Layout | None = None,
    on_device: str = "auto",
    seconds: float = 0.0,
    bound: Callable[[float], int] | None = None,
    begun: Callable[[], None] | None = None,
) -> Iterator[Visit]:
    """Train from a state on, chunk by chunk; the caller looks in between.

    Args:
        spec: what is trained and how.
        hparams: of one run (scalars) or of a study (``[runs]``).
        data: images.
        visits: when the host looks.
        state: where to go on from; it is donated.
        layout: where the runs are computed; None for the best of the device.
        on_device: whether the images lie on the device, see :func:`vae_jax.training.input_pipeline.feed`.
        seconds: training time already spent, to which the rows' ``seconds`` add.
        bound: from the seconds that an update takes here to ``visits.most_steps``; asked once.
        begun: called once, when the device has begun with the updates.
    """
    hparams, start = hparams.as_study(), int(mesh.to_host(state.step)[0])
    if start >= visits.num_steps:
        return
    layout = layout or memory.layout_for(spec, hparams)
    num_runs = len(hparams.seed)
    padded, state = mesh.pad_runs((hparams, state), layout.devices)
    source = input_pipeline.feed(
        spec, hparams, data, visits.longest, layout.devices, on_device=on_device
    )
    chunks = _Chunks(spec, padded, layout, source.max_steps, len(data.train))
    valid = placed_split(spec, data, "valid", layout)
    sample = source.sample(start)
    state, compile_seconds = chunks.built(state, sample)
    if bound is not None:
        pace = chunks.seconds_per_step(state, sample)
        visits = dataclasses.replace(visits, most_steps=bound(pace))
    del sample
    pieces = source.along(start, visits.after(start))
    for stop in visits.after(start):
        with jax.transfer_guard("disallow"):
            began = time.perf_counter()
            state, terms = chunks.advance(state, pieces, stop - start, begun)
            begun, elapsed = None, time.perf_counter() - began
            seconds += elapsed
            measured = _train_terms(spec, terms, num_runs)
            if visits.is_due(stop, visits.eval_every):
                asked = EvalSpec(spec.model), padded, state.params, valid
                scores = visited(score_placed(*asked, layout, num_runs))
                measured = [own | more for own, more in zip(measured, scores, strict=True)]
            blank_diverged(measured, state)
            rows = [
                {"step": stop, "run": run, "seconds": round(seconds, 3)} | own
                for run, own in enumerate(measured)
            ]
            whole = mesh.drop_padding(state, num_runs, layout.devices)
        yield Visit(stop, whole, rows, 1e3 * elapsed / (stop - start), compile_seconds)
        start, compile_seconds = stop, 0.0


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """The program of a study's updates, on its devices.

    Attributes:
        spec: what is trained and how.
        hparams: ``[runs]``, padded for the devices.
        layout: where the runs are computed.
        max_steps: most updates of a call.
        num_examples: in the training set.
    """

    spec: TrainSpec
    hparams: HParams
    layout: Layout
    max_steps: int
    num_examples: int

    def __call__(self, state: TrainState, piece: Piece) -> tuple[TrainState, TrainTerms]:
        """The updates of one piece; the state is donated."""
        return vectorized.train_chunk(
            self.spec,
            self.hparams,
            state,
            piece.examples,
            mesh.replicate(np.int32(piece.num_steps), self.layout.devices),
            max_steps=self.max_steps,
            num_examples=self.num_examples,
            layout=self.layout,
        )

    def built(self, state: TrainState, examples: Examples | Gathered) -> tuple[TrainState, float]:
        """The state as it was, and the seconds that the program took to build."""
        began = time.perf_counter()
        state, _ = self(state, Piece(examples, 0))
        return state, time.perf_counter() - began

    def advance(
        self,
        state: TrainState,
        pieces: Iterator[Piece],
        num_steps: int,
        begun: Callable[[], None] | None = None,
    ) -> tuple[TrainState, TrainTerms]:
        """So many updates, piece by piece, and their mean terms on the host."""
        parts: list[tuple[TrainTerms, int]] = []
        while num_steps:
            piece = next(pieces)
            jax.block_until_ready(parts[-2:-1])  # or all pieces would pile up on the device
            state, terms = self(state, piece)
            if begun is not None and not parts:
                begun()
            parts.append((terms, piece.num_steps))
            num_steps -= piece.num_steps
        return state, _mean(mesh.to_host(parts))

    def seconds_per_step(self, state: TrainState, examples: Examples | Gathered) -> float:
        """Seconds of one update of all runs, tried on copies of the state.

        As many updates are tried as take a while, twice, so that a hiccup of the machine counts
        little. The slowest host counts.
        """

        def seconds(num_steps: int) -> float:
            copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
            began = time.perf_counter()
            jax.block_until_ready(self(copy, Piece(examples, num_steps)))
            return distributed.largest(time.perf_counter() - began)

        fixed, num_steps = seconds(0), 1
        while num_steps < self.max_steps and seconds(num_steps) - fixed < _PROBE_SECONDS:
            num_steps = min(4 * num_steps, self.max_steps)
        return max(0.0, min(seconds(num_steps), seconds(num_steps)) - fixed) / num_steps


def _mean(parts: list[tuple[TrainTerms, int]]) -> TrainTerms:
    """Means over all updates of a chunk, from those over its pieces."""
    (first, num_steps), *more = parts
    if not more:
        return first
    sums = jax.tree.map(lambda term: term * num_steps, first)
    for terms, length in more:
        sums = jax.tree.map(lambda total, term: total + term * length, sums, terms)  # noqa: B023
        num_steps += length
    return jax.tree.map(lambda total: total / num_steps, sums)


def _train_terms(spec: TrainSpec, terms: TrainTerms, num_runs: int) -> list[Row]:
    """Return the training terms of the last chunk, one row per run."""
    measured = {"train_objective": terms.objective, "train_log_likelihood": terms.log_likelihood}
    if spec.model.posterior.has_density:
        measured |= {"train_kl": terms.kl, "train_elbo": terms.log_likelihood - terms.kl}
    return [
        {name: float(values[run]) for name, values in measured.items()} for run in range(num_runs)
    ]
