"""Base of the evaluators, and the types they are given.

* :class:`Runs`: trained runs of one program with their data; what :meth:`Evaluator.rows` takes.
* :class:`EvalContext`: one of these runs with its data; what a :class:`PerRunEvaluator` takes.
* :class:`ExampleSubset`: some examples of a split, on the host.
* :class:`vae_jax.evaluation.metrics.ais.EvalBatch`: a batch of examples with one run's parameters
  and the key of its noise, on the device; what metrics of log p(x) take.
* :class:`vae_jax.evaluation.elbo.EncodedBatch`: a batch with its q(z|x) and p(z).
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Shaped

from vae_jax import rng
from vae_jax.data import Dataset
from vae_jax.data.split_names import Split
from vae_jax.evaluation import elbo
from vae_jax.evaluation.columns import NOT_FINITE, Column
from vae_jax.evaluation.elbo import EvalSpec
from vae_jax.evaluation.evaluators import needs
from vae_jax.evaluation.metrics.ais import EvalBatch
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.runtime.errors import InputError
from vae_jax.training import batches, vectorized
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.training.vectorized import Layout
from vae_jax.types import Labels, Latents, Observations, Params, PRNGKey, Row, Stored

OnProgress = Callable[[float], None]
"""Callback with the number of runs that are done: 2.5 after two runs and half of the third; for a
:class:`PerRunEvaluator` the share of its one run."""

BATCH_SIZE = 1000
"""Examples that are encoded, decoded or compared at once."""


class Runs(NamedTuple):
    """Trained runs of one program, with the data that they were trained on.

    Attributes:
        spec: static description of the training that the runs share.
        hparams: hyperparameters ``[runs]``.
        state: state of all runs; every array leads with ``runs``.
        data: data set that they were trained on.
        layout: where they are computed.
    """

    spec: TrainSpec
    hparams: HParams
    state: TrainState
    data: Dataset
    layout: Layout

    @property
    def num_runs(self) -> int:
        """Number of runs."""
        return len(self.hparams.seed)

    def take(self, runs: slice | Integer[np.ndarray, " _"]) -> "Runs":
        """Return some of the runs, by their indices."""
        indices = np.arange(self.num_runs)[runs]
        if np.array_equal(indices, np.arange(len(self.state.step))):
            return self  # which may be half of a device's memory
        hparams, state = _gather((self.hparams, self.state), indices)
        return self._replace(hparams=hparams, state=state)

    def context(self, run: int) -> "EvalContext":
        """Return one run with its data."""
        hparams, params = vectorized.take((self.hparams, self.state.eval_params), run)
        return EvalContext(
            TrainedVAE(self.spec.model, hparams, params), self.data, self.spec.binarize
        )


@jax.jit
def _gather(tree: Any, indices: Int[np.ndarray, " _"] | Int[Array, " _"]) -> Any:
    return jax.tree.map(lambda a: a[indices], tree)


class ExampleSubset(NamedTuple):
    """Examples of a split, on the host.

    Attributes:
        pixels: examples as they are stored, binarized as the model sees them.
        labels: one each, where the data set has them.

    Example:
        >>> test = ExampleSubset(np.zeros((5, 2, 2, 1), np.uint8), np.arange(5))
        >>> test.take(slice(3)).labels.tolist()
        [0, 1, 2]
    """

    pixels: Shaped[np.ndarray, "n *event"]
    labels: Integer[np.ndarray, " n"] | None

    def take(self, rows: slice | Int[np.ndarray, " _"]) -> "ExampleSubset":
        """Return some of the examples, by their indices."""
        return ExampleSubset(self.pixels[rows], None if self.labels is None else self.labels[rows])


class EvalContext(NamedTuple):
    """One trained run with the data that it was trained on.

    Attributes:
        trained: model with its hyperparameters and parameters.
        data: data set that it was trained on.
        binarize: binarization of its pixels, one of ``batches.BINARIZATIONS``.
    """

    trained: TrainedVAE
    data: Dataset
    binarize: str

    def subset(self, split: Split, num_examples: int | None = None) -> ExampleSubset:
        """Return the first examples of a split, or all of them, as :func:`fixed_pixels`."""
        pixels, labels = fixed_pixels(self.binarize, split, self.data), self.data.labels_of(split)
        return ExampleSubset(pixels, labels).take(slice(num_examples))

    def model_labels(self, labels: np.ndarray | None) -> Labels | None:
        """Return labels as the model takes them: None if it is not conditional."""
        return jnp.asarray(labels) if self.trained.model.num_classes else None

    def eval_batch(
        self,
        x: Observations,
        labels: np.ndarray | None,
        key: PRNGKey,
        examples: Int[np.ndarray, " batch"],
    ) -> EvalBatch:
        """Return a batch of this run, for a metric of log p(x).

        Args:
            x: examples as the model takes them.
            labels: one each; only conditional models are given them.
            key: key of all noise.
            examples: indices of the examples, on which their noise depends.
        """
        _, hparams, params = self.trained
        return EvalBatch(hparams, params, x, self.model_labels(labels), key, jnp.asarray(examples))

    def eval_batches(
        self, subset: ExampleSubset, key: PRNGKey, batch_size: int
    ) -> Iterator[EvalBatch]:
        """Yield the examples of a subset in batches of equal size, see :func:`index_batches`."""
        for indices in index_batches(len(subset.pixels), batch_size):
            some = subset.take(indices)
            x = batches.as_observations(jnp.asarray(some.pixels))
            yield self.eval_batch(x, some.labels, key, indices)

    @property
    def latent_indices(self) -> np.ndarray:
        """Indices of the columns of z that the run uses."""
        return np.flatnonzero(self.trained.model.latent_mask(self.trained.hparams))

    def codes(
        self, subset: ExampleSubset, on_progress: OnProgress = lambda share: None
    ) -> Float[np.ndarray, "n latents"]:
        """Return the centers of q(z|x) of examples, in the latents that the run uses.

        Args:
            subset: examples.
            on_progress: is called with the share of them that is done.

        Raises:
            NotFiniteError: some codes are not finite.
        """
        centers = []
        for start in range(0, len(subset.pixels), BATCH_SIZE):
            batch = subset.take(slice(start, start + BATCH_SIZE))
            padded = _padded(batch.pixels, min(BATCH_SIZE, len(subset.pixels)))
            labels = None if batch.labels is None else _padded(batch.labels, len(padded))
            center = _centers(*self.trained, padded, self.model_labels(labels))
            centers.append(np.asarray(center)[: len(batch.pixels), self.latent_indices])
            on_progress((start + len(batch.pixels)) / len(subset.pixels))
        return check_finite("codes", np.concatenate(centers))


def fixed_pixels(binarize: str, split: Split, data: Dataset) -> Shaped[np.ndarray, "n *event"]:
    """Return the examples of a split as they are stored and evaluators see them.

    Training draws binary pixels anew at each update where ``binarize`` is ``dynamic``; here they
    are drawn once, as ``static`` does.
    """
    mode = "static" if binarize == "dynamic" else binarize
    return batches.stored_pixels(mode, split, getattr(data, split))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))


@functools.partial(jax.jit, static_argnames="model")
def _centers(
    model: VAE, hparams: HParams, params: Params, pixels: Stored, y: Labels | None
) -> Latents:
    return model.encode(hparams, params, batches.as_observations(pixels), y).center


@runtime_checkable
class Evaluator(Protocol):
    """Evaluation that ``--evaluate`` names: a frozen dataclass whose fields are flags.

    All fields decide its numbers. A new evaluator is a class, which declares its columns, a row in
    ``EVALUATORS``, a row in the table of ``tests/evaluation/test_evaluators.py`` and a line for
    each column in ``docs/reference/evaluators.md``. Most derive from :class:`PerRunEvaluator`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Subset of ``density``, ``latent_densities``, ``reals``, ``coordinates``, ``local``,
    ``prior``, ``unconditional`` (:mod:`vae_jax.evaluation.evaluators.needs`), ``labels``,
    ``factors`` and ``sklearn``. ``config.validation`` refuses an evaluator that the model does not
    allow, ``pipeline.checks`` one that the data or the installed libraries do not."""
    fewest_examples: ClassVar[int] = 1
    """Smallest number of examples of a split from which the numbers can be computed."""
    fewest_classes: ClassVar[int] = 0
    """Smallest number of classes among the training labels."""
    figures: ClassVar[frozenset[str]] = frozenset()
    """Figures of the best run that are drawn where this evaluator is chosen."""
    columns: ClassVar[tuple[Column, ...]]
    """Columns in the order of ``results.csv``, without those of standard errors."""

    @abstractmethod
    def rows(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        """Yield the numbers of each run by the names of their columns, as soon as they are known.

        A number that the data do not allow is left out, and its cell stays empty.
        """
        ...


class PerRunEvaluator(Evaluator):
    """Base of evaluators that evaluate one run after the other.

    Example:
        >>> class NumExamples(PerRunEvaluator):
        ...     def __call__(self, context, on_progress):
        ...         return {"num_examples": len(context.subset("test").pixels)}
    """

    @abstractmethod
    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return the numbers of one run by the names of their columns.

        Args:
            context: the run with its data.
            on_progress: is called with the share of the work that is done.

        Raises:
            NotFiniteError: codes or samples are not finite, so there are no numbers.
        """
        ...

    def rows(self, runs: Runs, on_progress: OnProgress) -> Iterator[Row]:
        """Yield the numbers of each run; of a run without any the count of examples behind that.

        Raises:
            InputError: the model does not meet a need of the evaluator.
        """
        for need, reason in needs.unmet_by(runs.spec).items():
            if need in self.needs:
                name = type(self).__name__
                raise InputError(f"{name}: needs {reason}; leave it out")
        for run in range(runs.num_runs):
            try:
                with np.errstate(invalid="ignore"):  # inf - inf, counted where means are taken
                    row = self(runs.context(run), lambda share, done=run: on_progress(done + share))
            except NotFiniteError as error:
                row = {f"{error.quantity}{NOT_FINITE}": error.num_examples}
            yield row
            on_progress(run + 1)


class NotFiniteError(Exception):
    """Error of an evaluation whose codes or samples are not finite, so that it has no numbers.

    Attributes:
        quantity: ``codes`` or ``samples``.
        num_examples: number of examples for which it is not finite.
    """

    def __init__(self, quantity: str, num_examples: int) -> None:
        super().__init__(f"{quantity} of {num_examples} examples are not finite")
        self.quantity, self.num_examples = quantity, num_examples


def check_finite(quantity: str, values: np.ndarray) -> np.ndarray:
    """Return the values, an example per row, after a check that all are finite.

    Raises:
        NotFiniteError: some are not finite.

    Example:
        >>> check_finite("codes", np.ones((3, 2))).shape
        (3, 2)
        >>> check_finite("codes", np.array([[1.0], [np.nan]]))
        Traceback (most recent call last):
        vae_jax.evaluation.evaluators.base.NotFiniteError: codes of 1 examples are not finite
    """
    is_finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not is_finite.all():
        raise NotFiniteError(quantity, int(np.sum(~is_finite)))
    return values


def index_batches(num: int, batch_size: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Yield the numbers below ``num`` in batches of equal size, the last filled from the first.

    Example:
        >>> [batch.tolist() for batch in index_batches(5, 3)]
        [[0, 1, 2], [3, 4, 0]]
    """
    size = min(num, batch_size)
    return (np.arange(start, start + size) % num for start in range(0, num, size))


def concatenate_batches(results: Sequence[Sequence[Any]], num: int) -> list[np.ndarray]:
    """Return each measure over all batches of :func:`index_batches`, without the filling.

    Example:
        >>> batches = [(np.array([1.0, 2.0]), np.array([5, 6])), (np.array([3.0, 1.0]), [7, 5])]
        >>> [values.tolist() for values in concatenate_batches(batches, 3)]
        [[1.0, 2.0, 3.0], [5, 6, 7]]
    """
    return [np.concatenate(parts)[:num] for parts in zip(*results, strict=True)]


def evidence_bound(model: VAE, batch: EvalBatch) -> Float[Array, " batch"]:
    """Return the bound on log p(x) with K = ``EVIDENCE_PARTICLES``, with the noise of the NLL."""
    spec = EvalSpec(model, EVIDENCE_PARTICLES, particles_at_once=50)
    return _evidence_bound(spec, batch)


@functools.partial(jax.jit, static_argnames="spec")
def _evidence_bound(spec: EvalSpec, batch: EvalBatch) -> Float[Array, " batch"]:
    hparams, params, x, y, _, examples = batch
    encoded = elbo.EncodedBatch.of(spec.model, hparams, params, x, y)
    key = rng.stream(hparams.seed, "evaluate")
    return elbo.example_terms(spec, encoded, key, examples).bound
