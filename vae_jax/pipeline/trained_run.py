"""One trained run to be asked: codes, images, bounds on log p(x), and files to take away.

Everything here reads; a run is the same before and after. x is one example or any batch, as the
data hold them or as the model takes them: uint8 pixels or floats in [0, 1], for example.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax import rng
from vae_jax.data import Dataset
from vae_jax.data.split_names import SPLITS, Split
from vae_jax.evaluation import elbo
from vae_jax.evaluation.elbo import NUM_PARTICLES, EncodedBatch, EvalSpec, ExampleTerms
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.evaluation.evaluators.base import concatenate_batches, fixed_pixels, index_batches
from vae_jax.hparams import HParams
from vae_jax.models import inputs, paths
from vae_jax.models.likelihoods import Distribution
from vae_jax.models.posteriors import LatentDensities, Posterior
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.pipeline import export, loggers
from vae_jax.pipeline.fitting import check_numbers
from vae_jax.runtime import files
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import OnPhase, phase
from vae_jax.settings import (
    BOOLEAN,
    LARGEST_REAL,
    as_path,
    check_type,
    check_value,
    is_whole,
    one_of,
    whole,
)
from vae_jax.training import batches
from vae_jax.training.batches import EVAL_BATCH_SIZE
from vae_jax.types import Labels, Latents, Observations, Params, PRNGKey, Row

T = TypeVar("T")

TRAVERSED = tuple(np.linspace(-2.5, 2.5, 11).tolist())
"""Values of a latent along which a traversal moves it."""


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """One trained run of a study: its model, its row and its flags.

    Attributes:
        run: number of the run in its study.
        trained: model with its hyperparameters and parameters, for pure functions of your own.
        binarize: binarization of the pixels that it was trained on.
        encoding: encoding of the data, which says what x may be (:mod:`vae_jax.models.inputs`).
        row: row of the study's table.
        flags: flags that decided what was trained; empty where they are not known.
        step: number of updates of these weights.
        diverged: update from which on the weights are frozen, -1 for a run that did not diverge.
        workdir: folder that it was opened from; empty for one trained here.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> run = vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), data, num_steps=1)[0]
        >>> run.codes(data, "test").shape, run.reconstruct(data.test[0]).shape
        ((180, 2), (8, 8, 1))
        >>> run.interpolate(data.test[0], data.test[1], 5).shape
        (5, 8, 8, 1)
    """

    run: int
    trained: TrainedVAE
    binarize: str = "none"
    encoding: str = "pixels"
    row: Row = field(default_factory=dict, repr=False)
    flags: dict[str, Any] = field(default_factory=dict, repr=False)
    step: int = 0
    diverged: int = -1
    workdir: str = field(default="", repr=False)

    def __repr__(self) -> str:
        model, state = self.model, f"diverged at update {self.diverged:,}, " * (self.diverged >= 0)
        return (
            f"TrainedRun(run={self.run}, {state}{self.step:,} updates, {self.latent_size} latents, "
            f"x of shape {model.event_shape})"
        )

    @property
    def model(self) -> VAE:
        """Static description of the model."""
        return self.trained.model

    @property
    def hparams(self) -> HParams:
        """Hyperparameters of the run."""
        return self.trained.hparams

    @property
    def params(self) -> Params:
        """Parameters of the run, nested by part."""
        return self.trained.params

    @property
    def latent_size(self) -> int:
        """Number of latents that the run uses."""
        return int(self.hparams.latent_size)

    def encode(self, x: Any, y: Any = None) -> Posterior:
        """Return q(z|x), without the columns that the run does not use where q is a product.

        Args:
            x: uint8 pixels or floats in [0, 1], ``[*batch, *event]``.
            y: labels of a conditional model.

        Raises:
            InputError: another shape, scale or dtype.
        """
        q = self.trained.encode(self._x(x), y)
        return q.first(self.latent_size) if isinstance(q, LatentDensities) else q

    def decode(self, z: Any, y: Any = None) -> Distribution:
        """Return p(x|z); ``.mean()`` are the images, ``.sample(key)`` has their pixel noise.

        Args:
            z: latents ``[*batch, latent_size]``.
            y: labels of a conditional model.

        Raises:
            InputError: another number of columns.
        """
        return self.trained.decode(z, y)

    def generate(self, z: Any, y: Any = None) -> Observations:
        """Return the mean images E[x|z]."""
        return self.trained.generate(z, y)

    def reconstruct(self, x: Any, y: Any = None) -> Observations:
        """Return the mean images E[x'|z] at z = the center of q(z|x)."""
        return self.trained.reconstruct(self._x(x), y)

    def sample(self, key: PRNGKey, num: int, y: Any = None) -> Observations:
        """Return the mean images E[x|z] of ``num`` latents drawn from the prior.

        Args:
            key: key of the draws.
            num: number of images.
            y: class of all images, or one for each, of a conditional model.
        """
        return self.trained.sample(key, num, y)

    def interpolate(
        self, x0: Any, x1: Any, num: int = 9, *, is_spherical: bool = False, y: Any = None
    ) -> Observations:
        """Return the mean images along a path between the codes of two images, both included.

        Args:
            x0: image or images at the start.
            x1: as many at the end.
            num: number of images of each path.
            is_spherical: follow a great circle instead of a straight line, which for a normal
                prior of many dimensions passes where few codes lie.
            y: labels of a conditional model.
        """
        check_value("num", num, whole(2))
        check_value("is_spherical", is_spherical, BOOLEAN)
        walk = self._of_support(paths.PATHS)
        walk = paths.spherical if is_spherical else walk
        start, end = self._center(x0, y), self._center(x1, y)
        if start.shape != end.shape and 1 not in (start.ndim, end.ndim):
            raise InputError(
                setting="x1",
                value=f"{end.shape[:-1]} examples",
                problem=f"x0 has {start.shape[:-1]}",
                advice="give as many ends as starts, or a single one",
            )
        z = walk(start, end, num)
        return self.generate(z, y if np.ndim(y) == 0 else np.asarray(y)[..., None])

    def traverse(
        self,
        x: Any = None,
        latents: Sequence[int] | None = None,
        values: Sequence[float] = TRAVERSED,
        y: Any = None,
    ) -> Observations:
        """Return the mean images with one latent at a time moved, the others as in the code of x.

        Args:
            x: one image; None to start from z = 0.
            latents: indices of the latents, from 0; None for all, those of the largest KL first
                where that is known.
            values: values that each takes.
            y: label of a conditional model.

        Raises:
            InputError: there is no such latent, or several images.
        """
        move = self._of_support(paths.TRAVERSALS)
        chosen = self.informative_latents if latents is None else self._checked(latents)
        if x is None and move is not paths.along_axes:
            raise InputError(
                setting="x", value=None, problem="z = 0 is no code", advice="give an example"
            )
        moved = _checked_values(values)
        origin = jnp.zeros(self.latent_size)
        center = origin if x is None else self._center(x, y)
        if center.ndim > 1:
            shape = self.model.event_shape
            raise InputError(
                setting="x",
                value=f"{center.shape[:-1]} examples",
                problem="a traversal starts from one example",
                advice=f"give one of shape {shape}",
            )
        z = move(center, chosen, moved)
        return self.generate(z, y)

    def _of_support(self, known: Mapping[str, T]) -> T:
        """Return what is known for the set in which z lies."""
        support = self.model.posterior.support
        if support not in known:
            raise InputError(
                setting="posterior",
                value=type(self.model.posterior).__name__,
                problem=f"its z is on a {support}, where there is no path between two codes",
                advice="use decode and sample",
            )
        return known[support]

    @property
    def informative_latents(self) -> list[int]:
        """Indices of the latents, those of the largest KL first where that is known."""
        kl = self.row.get("kl_per_latent") or [None] * self.latent_size
        return sorted(range(self.latent_size), key=lambda latent: -(kl[latent] or 0.0))

    def _checked(self, latents: Sequence[int]) -> list[int]:
        """Return the latents to be moved, all of which the run has."""
        known = f"the run has the latents 0 to {self.latent_size - 1}"
        try:
            given = list(np.asarray(latents) if hasattr(latents, "__array__") else latents)
        except TypeError:
            raise InputError(
                setting="latents", value=latents, problem=known, advice="give a list of them"
            ) from None
        wrong = [each for each in given if not is_whole(each) or not 0 <= each < self.latent_size]
        if wrong or not given:
            raise InputError(
                setting="latents",
                value=given,
                problem=known,
                advice=f"leave out {wrong[0]!r}" if wrong else "give at least one, or None for all",
            )
        return [int(each) for each in given]

    def elbo(
        self, x: Any, key: PRNGKey, y: Any = None, *, num_particles: int = 1
    ) -> Float[np.ndarray, "*batch"]:
        """Return the ELBO of each example, in nats: beta is 1, whatever was trained.

        ``E_q[log p(x|z)] - KL(q(z|x) || p(z))``, the first term as a mean over samples of z, the
        second in closed form where there is one. With ``key=run.evaluation_key`` and the x of
        :meth:`inputs` its mean is ``test_elbo`` of ``results.csv`` for ``num_particles`` = K.

        Args:
            x: examples.
            key: key of the samples; each example has noise of its own.
            y: labels of a conditional model.
            num_particles: samples of z for each example.

        Raises:
            InputError: the posterior has no density, or the run was trained on binary pixels and
                these are not.
        """
        terms = self._terms(x, key, y, num_particles)
        return np.asarray(terms.log_likelihood - terms.kl)

    def log_evidence(
        self, x: Any, key: PRNGKey, y: Any = None, *, num_particles: int = NUM_PARTICLES
    ) -> Float[np.ndarray, "*batch"]:
        """Return the importance-weighted bound on log p(x) of each example, in nats.

        ``log 1/K sum_k p(x, z_k) / q(z_k|x)`` (Burda et al. 2016, eq. 8), a lower bound in the
        mean over ``key`` that rises with K.

        Args:
            x: examples.
            key: key of the samples.
            y: labels of a conditional model.
            num_particles: K, samples of z for each example.

        Raises:
            InputError: see :meth:`elbo`.
        """
        return np.asarray(self._terms(x, key, y, num_particles).bound)

    @property
    def evaluation_key(self) -> PRNGKey:
        """Key with which the numbers of ``results.csv`` were computed."""
        return rng.stream(self.hparams.seed, "evaluate")

    def inputs(self, data: Dataset, split: Split = "test") -> Observations:
        """Return a split as the run is evaluated on it: binary where it was trained on binary.

        Where training drew the pixels anew at each update, they are drawn once.

        Raises:
            InputError: no such split, or data of another shape or encoding.
        """
        self._check_data(data, split)
        return batches.as_observations(jnp.asarray(fixed_pixels(self.binarize, split, data)))

    def codes(
        self, data: Any, split: Split = "test", y: Any = None
    ) -> Float[np.ndarray, "*n latents"]:
        """Return the centers of q(z|x), ``[n, latent_size]``: no column that the run does not use.

        Args:
            data: a data set, of which the split is encoded as it is evaluated (:meth:`inputs`), or
                examples themselves.
            split: ``train``, ``valid`` or ``test`` of a data set.
            y: labels, where examples are given to a conditional model.
        """
        if isinstance(data, Dataset):
            self._check_data(data, split)
            if y is not None:
                raise InputError(
                    setting="y",
                    value="labels",
                    problem="those of the data set are read",
                    advice="leave them out",
                )
            context = EvalContext(self.trained, data, self.binarize)
            return context.codes(context.subset(split))
        center = self._center(data, y)
        return np.asarray(center)[..., np.asarray(self.model.latent_mask(self.hparams))]

    def save(self, path: str | Path) -> Path:
        """Write the weights as a ``.safetensors`` file, with the flags and the row as texts.

        Names are those of the parameter tree, joined by dots: ``encoder.mean.kernel``.

        Returns:
            The path.

        Raises:
            InputError: the path is that of a file of others, or cannot be written.
        """
        target = as_path("path", path)
        with files.replacing("path", target, export.is_weights):
            return export.write_weights(target, self.trained, self.flags, self.row)

    def export(
        self, path: str | Path, function: export.Function, *, on_progress: OnPhase | None = None
    ) -> Path:
        """Write one function of the run, for use without this package: see ``export.FUNCTIONS``.

        Args:
            path: file to write.
            function: ``encode``, ``decode`` or ``sample``.
            on_progress: is called with a :class:`vae_jax.runtime.progress.Progress` when it begins
                and ends; None for a bar in a terminal or notebook, and nothing elsewhere.

        Returns:
            The path.

        Raises:
            InputError: no such function, or the path is that of a file of others.
        """
        check_value("function", function, one_of(*export.FUNCTIONS))
        target = as_path("path", path)
        with (
            files.replacing("path", target, export.is_function),
            loggers.shown(on_progress),
            phase(f"exporting {function}"),
        ):
            return export.write_function(target, self.trained, function)

    def _check_data(self, data: Dataset, split: str) -> None:
        """Refuse data of another kind than those that the run was trained on."""
        check_type("data", data, Dataset, "give a data set, as vae_jax.load returns one")
        check_value("split", split, one_of(*SPLITS))
        own = f"{self.model.event_shape}, {self.encoding}"
        given = f"{data.event_shape}, {data.encoding}"
        if own != given:
            raise InputError(
                setting="data",
                value=f"examples of {given}",
                problem=f"the run was trained on {own}",
                advice="give such data",
            )

    def _x(self, x: Any) -> Observations:
        """Return x as the model takes it, checked."""
        return inputs.as_x(x, self.model.event_shape, self.encoding)

    def _center(self, x: Any, y: Any) -> Latents:
        """Return the centers of q(z|x), with the columns that the run does not use."""
        return self.trained.encode(self._x(x), y).center

    def _terms(self, x: Any, key: PRNGKey, y: Any, num_particles: int) -> ExampleTerms:
        """Return the terms of each example, computed in batches."""
        model = self.model
        inputs.check_key(key)
        check_numbers(num_particles=num_particles)
        if not model.posterior.has_density:
            raise InputError(
                setting="posterior",
                value=type(model.posterior).__name__,
                problem="has no density, so there is no bound on log p(x)",
                advice="train with another posterior",
            )
        x = self._x(x)
        batch = x.shape[: -len(model.event_shape)]
        y = inputs.as_y(y, model.num_classes, batch)
        self._refuse_gray(x)
        x, y = x.reshape(-1, *model.event_shape), None if y is None else y.reshape(-1)
        spec = EvalSpec(model, num_particles)
        parts = [
            _example_terms(
                spec, self.hparams, self.params, x[i], None if y is None else y[i], key, i
            )
            for i in index_batches(len(x), EVAL_BATCH_SIZE)
        ]
        found = concatenate_batches(parts, len(x))
        return ExampleTerms(*(jnp.asarray(values.reshape(batch)) for values in found))

    def _refuse_gray(self, x: Observations) -> None:
        """Refuse gray pixels where the run models binary ones: the result would be no bound."""
        if self.binarize != "none" and not bool(((x == 0) | (x == 1)).all()):
            raise InputError(
                setting="x",
                value="gray pixels",
                problem=f"the run was trained on binary ones (binarize={self.binarize})",
                advice="give run.inputs(data, split), or x > 0.5",
            )


def _checked_values(values: Any) -> Float[np.ndarray, " values"]:
    """Return the values that a latent takes, a list of finite numbers."""
    try:
        array = np.asarray(values)
        found = array.astype(np.float64) if array.dtype.kind in "iuf" else None
    except ValueError:
        found = None
    is_list = found is not None and found.ndim == 1 and found.size > 0
    if found is None or not is_list or not (np.abs(found) <= LARGEST_REAL).all():  # NaN fails too
        raise InputError(
            setting="values",
            value=values,
            problem="no values that a latent can take",
            advice="give a list of finite numbers",
        )
    return found


@functools.partial(jax.jit, static_argnames="spec")
def _example_terms(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    x: Observations,
    y: Labels | None,
    key: PRNGKey,
    examples: Int[Array, " batch"],
) -> ExampleTerms:
    encoded = EncodedBatch.of(spec.model, hparams, params, x, y)
    return elbo.example_terms(spec, encoded, key, examples)
