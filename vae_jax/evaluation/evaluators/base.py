"""What every evaluation of trained runs can do, and what it is given to look at."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, UInt8

from vae_jax import rng
from vae_jax.data import Dataset
from vae_jax.evaluation import elbo
from vae_jax.evaluation.columns import NOT_FINITE, Column
from vae_jax.evaluation.elbo import EvalSpec
from vae_jax.evaluation.metrics.ais import EvalBatch
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.training import batches, vectorized
from vae_jax.training.batches import Split
from vae_jax.training.step import TrainSpec, TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Images, Labels, Latents, Params, Pixels, PRNGKey, Row

OnProgress = Callable[[float], None]
"""Is told how much is done, in runs: 2.5 after two runs and half of the third."""

BATCH_SIZE = 1000


class Runs(NamedTuple):
    """Trained runs of one program.

    Attributes:
        spec: as trained.
        hparams: ``[runs]``.
        state: of all of them; every array leads with ``runs``.
        data: that they were trained on.
        layout: where they are computed.
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    data: Dataset
    layout: Layout

    @property
    def num_runs(self) -> int:
        """How many there are."""
        return len(self.hparams.seed)

    def take(self, places: slice | Integer[np.ndarray, " _"]) -> "Runs":
        """Some of them."""
        hparams, state = jax.tree.map(lambda a: a[places], (self.hparams, self.state))
        return self._replace(hparams=hparams, state=state)

    def subject(self, place: int) -> "EvalContext":
        """One of them."""
        hparams, params = vectorized.take((self.hparams, self.state.params), place)
        return EvalContext(
            TrainedVAE(self.spec.model, hparams, params), self.data, self.spec.binarize
        )


class ExampleSubset(NamedTuple):
    """Examples of a split on the host.

    Attributes:
        pixels: as the model sees them, 0 to 255.
        labels: one each, where the source has them.
    """

    pixels: UInt8[np.ndarray, "n height width channels"]
    labels: Integer[np.ndarray, " n"] | None

    def take(self, rows: slice | Int[np.ndarray, " _"]) -> "ExampleSubset":
        """Some of them."""
        return ExampleSubset(self.pixels[rows], None if self.labels is None else self.labels[rows])


class EvalContext(NamedTuple):
    """One trained run and its data.

    Attributes:
        trained: model, hyperparameters and parameters.
        data: that it was trained on.
        binarize: how its pixels became binary.
    """

    trained: TrainedVAE
    data: Dataset
    binarize: str

    def part(self, split: Split, most: int | None = None) -> ExampleSubset:
        """The first ``most`` examples of a split, see :func:`fixed_pixels`."""
        pixels, labels = fixed_pixels(self.binarize, split, self.data), self.data.labels_of(split)
        return ExampleSubset(pixels, labels).take(slice(most))

    def given(self, labels: np.ndarray | None) -> Labels | None:
        """Labels as the model is given them: none if it is not conditional."""
        return jnp.asarray(labels) if self.trained.model.num_classes else None

    def asked(
        self,
        x: Images,
        labels: np.ndarray | None,
        key: PRNGKey,
        examples: Int[np.ndarray, " batch"],
    ) -> EvalBatch:
        """What is log p(x) of these images?"""
        _, hparams, params = self.trained
        return EvalBatch(hparams, params, x, self.given(labels), key, jnp.asarray(examples))

    def questions(self, part: ExampleSubset, key: PRNGKey, at_once: int) -> Iterator[EvalBatch]:
        """The same of the examples of a part, in batches of :func:`in_turn`."""
        for numbers in in_turn(len(part.pixels), at_once):
            some = part.take(numbers)
            x = batches.as_images(jnp.asarray(some.pixels))
            yield self.asked(x, some.labels, key, numbers)

    @property
    def latent_mask(self) -> np.ndarray:
        """Places of the columns of z that the run uses."""
        return np.flatnonzero(self.trained.model.latent_mask(self.trained.hparams))

    def codes(
        self, part: ExampleSubset, on_progress: OnProgress = lambda share: None
    ) -> Float[np.ndarray, "n latents"]:
        """Centers of the posteriors of images, active latents only.

        Raises:
            NotFiniteError: some are not finite.
        """
        centers = []
        for start in range(0, len(part.pixels), BATCH_SIZE):
            batch = part.take(slice(start, start + BATCH_SIZE))
            padded = _padded(batch.pixels, min(BATCH_SIZE, len(part.pixels)))
            labels = None if batch.labels is None else _padded(batch.labels, len(padded))
            center = _centers(*self.trained, padded, self.given(labels))
            centers.append(np.asarray(center)[: len(batch.pixels), self.latent_mask])
            on_progress((start + len(batch.pixels)) / len(part.pixels))
        return checked("codes", np.concatenate(centers))


def fixed_pixels(binarize: str, split: Split, data: Dataset) -> UInt8[np.ndarray, "n h w c"]:
    """Pixels of a split as they are evaluated: what training draws anew is drawn once."""
    mode = "static" if binarize == "dynamic" else binarize
    return batches.stored_pixels(mode, split, getattr(data, split))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))


@functools.partial(jax.jit, static_argnames="model")
def _centers(
    model: VAE, hparams: HParams, params: Params, pixels: Pixels, y: Labels | None
) -> Latents:
    return model.encode(hparams, params, batches.as_images(pixels), y).center


@runtime_checkable
class Evaluator(Protocol):
    """An evaluation: a frozen dataclass whose fields are flags, all of which decide its numbers.

    A new one is a class, which declares its columns, a row in ``ASSESSMENTS``, one in the table of
    ``tests/evaluation/test_evaluators.py`` and a line for each column in
    ``docs/reference/evaluators.md``.
    """

    needs: ClassVar[frozenset[str]]
    """Of ``density``, ``gaussian``, ``local``, ``prior``, ``labels``, ``unconditional``,
    ``factors`` and ``sklearn``; what is refused without them stands in ``config`` and
    ``assessor``."""
    columns: ClassVar[tuple[Column, ...]]
    """Its columns, in the order of ``results.csv``; those of standard errors are not named."""

    def rows(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        """Numbers of each run by the names of their columns, as soon as they are known.

        A number that the data do not allow is left out, and so stays empty.
        """
        ...


class PerRunEvaluator:
    """The part of an evaluation that looks at one run after the other."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, subject: EvalContext, on_progress: OnProgress) -> Row:
        """Numbers of one run; ``on_progress`` is told the share that is done."""
        raise NotImplementedError

    def rows(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        """Numbers of each run."""
        for place in range(runs.num_runs):
            try:
                with np.errstate(invalid="ignore"):  # inf - inf, counted where means are taken
                    row = self(
                        runs.subject(place), lambda share, done=place: on_progress(done + share)
                    )
            except NotFiniteError as error:
                row = {f"{error.what}{NOT_FINITE}": error.count}
            yield row
            on_progress(place + 1)


class NotFiniteError(Exception):
    """What an evaluation works on is not finite, so that it has nothing to say of this run.

    Attributes:
        what: ``codes`` or ``samples``.
        count: examples of which it is not finite.
    """

    def __init__(self, what: str, count: int) -> None:
        super().__init__(f"{what} of {count} examples are not finite")
        self.what, self.count = what, count


def checked(what: str, values: np.ndarray) -> np.ndarray:
    """Return the values, an example per row.

    Raises:
        NotFiniteError: some are not finite.
    """
    is_finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not is_finite.all():
        raise NotFiniteError(what, int(np.sum(~is_finite)))
    return values


def in_turn(num: int, most: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Numbers below ``num`` in batches of equal size, the last filled up from the first."""
    size = min(num, most)
    return (np.arange(start, start + size) % num for start in range(0, num, size))


def joined(found: Sequence[Sequence[Any]], num: int) -> list[np.ndarray]:
    """Each measure of all batches of :func:`in_turn`, without what filled up the last."""
    return [np.concatenate(parts)[:num] for parts in zip(*found, strict=True)]


def importance_weighted(model: VAE, question: EvalBatch) -> Float[Array, " batch"]:
    """The bound with K = ``EVIDENCE_PARTICLES`` on what is asked, with the noise of the NLL."""
    spec = EvalSpec(model, EVIDENCE_PARTICLES, particles_at_once=50)
    return _importance_weighted(spec, question)


@functools.partial(jax.jit, static_argnames="spec")
def _importance_weighted(spec: EvalSpec, question: EvalBatch) -> Float[Array, " batch"]:
    hparams, params, x, y, _, examples = question
    asked = elbo.EncodedBatch.of(spec.model, hparams, params, x, y)
    key = rng.stream(hparams.seed, "evaluate")
    return elbo.example_terms(spec, asked, key, examples).bound
