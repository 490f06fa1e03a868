"""Training of one run as pure functions: the objective's gradient and the update.

``train_step`` is one update, ``train_chunk`` many of them in one device loop. Both are for a single
run; ``vectorized.py`` maps them over a study.

A run whose objective or gradient is not finite diverges: ``train_step`` stores the number of that
update and freezes the run, so that its state stays the one before it (``divergence.py`` explains).
The same freezes a run that has stopped early (``selection.py``).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from vae_jax import rng
from vae_jax.hparams import HParams
from vae_jax.objectives import ObjectiveOutput
from vae_jax.objectives.base import Noise
from vae_jax.objectives.regularizers import Context
from vae_jax.runtime import mesh
from vae_jax.training import batches, selection
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.selection import ValidRecord
from vae_jax.training.spec import TrainSpec
from vae_jax.types import Labels, Observations, Params, PRNGKey, Scalar, Stored, default_float


class Batch(NamedTuple):
    """Examples and randomness of one update.

    Attributes:
        x: examples as the model takes them; pixels are in [0, 1].
        noise: the posterior's noise, of which samples of z are made.
        key: key of the regularisers.
        y: labels, for a conditional model only.
    """

    x: Observations
    noise: Noise
    key: PRNGKey
    y: Labels | None = None

    def split(self) -> "Batch":
        """Return the batch split over the devices that share it, inside a traced program.

        See :func:`vae_jax.runtime.mesh.split_batch`; no value changes.
        """
        x, y = mesh.split_batch((self.x, self.y))
        return Batch(x, mesh.split_batch(self.noise, axis=1), self.key, y)


class BatchKeys(NamedTuple):
    """Keys of one update.

    Attributes:
        binarize: key of the binary pixels.
        posterior: key of the noise of the reparameterization.
        regularizer: key of what the penalties draw.
    """

    binarize: PRNGKey
    posterior: PRNGKey
    regularizer: PRNGKey

    @classmethod
    def at(cls, hparams: HParams, step: Int[Array, ""]) -> "BatchKeys":
        """Return the keys of update number ``step``: each a function of (seed, name, step)."""
        return cls(
            binarize=rng.stream(hparams.seed, "binarize", step),
            posterior=rng.stream(hparams.seed, "posterior", step),
            regularizer=rng.stream(hparams.seed, "regularizer", step),
        )


class TrainTerms(NamedTuple):
    """Means over a batch, or over the batches of a chunk, in nats per example.

    Attributes:
        objective: objective that is maximised, penalties subtracted.
        log_likelihood: reconstruction term E_q[log p(x|z)].
        kl: divergence KL(q(z|x) || p(z)).
        skipped: share of the updates that were left out; None where the optimizer skips none.
    """

    objective: Float[Array, "*runs"]
    log_likelihood: Float[Array, "*runs"]
    kl: Float[Array, "*runs"]
    skipped: Float[Array, "*runs"] | None = None


class TrainState(NamedTuple):
    """State of a training: the arrays that updates change.

    Attributes:
        step: number of updates so far.
        params: parameters of the model, and of regularisers that learn.
        opt_state: state of the optimizer.
        diverged: first update whose objective or gradient was not finite; -1 while there is none.
        average: moving average of the parameters, where ``TrainSpec.is_averaged``; else empty.
        valid: what the run remembers of valid, where ``TrainSpec.has_record``; else empty.

    Example:
        >>> import vae_jax
        >>> spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, vae_jax.MLP((3,))))
        >>> state = init(spec, vae_jax.HParams.of(latent_size=2), jnp.full((4, 4, 1), 0.5))
        >>> int(state.step), int(state.diverged), sorted(state.params)[:2]
        (0, -1, ['decoder', 'encoder'])
    """

    step: Int[Array, "*runs"]
    params: Params
    opt_state: optax.OptState
    diverged: Int[Array, "*runs"]
    average: Params = ()
    valid: ValidRecord | tuple[()] = ()

    @property
    def record(self) -> ValidRecord | None:
        """Record of what the run remembers of valid; None where nothing is chosen by it."""
        return self.valid if isinstance(self.valid, ValidRecord) else None

    @property
    def last_params(self) -> Params:
        """Parameters that a look at valid uses: the average, or those themselves without one."""
        return self.average or self.params

    @property
    def eval_params(self) -> Params:
        """Parameters that evaluation uses: the kept ones of the best look, or the last ones."""
        return (self.record.params if self.record else {}) or self.last_params

    @property
    def eval_step(self) -> Int[np.ndarray, "*runs"]:
        """Numbers of updates of the parameters that evaluation uses, on the host."""
        if self.record is None:
            return mesh.to_host(self.step)
        if self.record.params:
            return mesh.to_host(self.record.step)
        step, stopped = mesh.to_host((self.step, self.record.stopped))
        return np.where(stopped >= 0, stopped, step)


def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "*event"],
    examples: Observations | None = None,
    encoding: str = "pixels",
    given: Mapping[str, Array] | None = None,
) -> TrainState:
    """Return the state before the first update.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run.
        data_mean: mean of each dimension of x, from which the decoder's bias starts.
        examples: examples from which a prior with pseudo-inputs starts, where there is one.
        encoding: encoding of the data.
        given: parameters by their names (:func:`named`) that replace the initial ones; everything
            else of the state starts as it would from them.
    """
    zero = jnp.zeros((), jnp.int32)
    params = spec.model.init(hparams, data_mean, examples, encoding)
    latent_mask = spec.model.latent_mask(hparams)
    for regularizer in spec.regularizers:
        learned = regularizer.init(rng.stream(hparams.seed, "params", 4), latent_mask)
        params |= {type(regularizer).__name__: learned} if learned else {}
    if given:
        params = jax.tree.map_with_path(lambda path, own: given.get(_name(path), own), params)
    opt_state = spec.optimizer.transformation(hparams, zero).init(params)
    average = jax.tree.map(jnp.copy, params) if spec.is_averaged else ()
    state = TrainState(zero, params, opt_state, zero - 1, average)
    return with_record(spec, state) if spec.has_record else state


def named(params: Params) -> dict[str, Any]:
    """Return parameters by their names in the tree.

    Example:
        >>> named({"encoder": {"kernel": 1.0}})
        {'encoder/kernel': 1.0}
    """
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def with_record(spec: TrainSpec, state: TrainState) -> TrainState:
    """Return the state with what a run remembers of valid before its first look."""
    record = selection.start(state.params, is_best_kept=spec.keep == selection.BEST)
    return state._replace(valid=record)


def train_step(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> tuple[TrainState, TrainTerms]:
    """Update the parameters once on one batch.

    Gradient ascent: ``loss = -objective``. From the first objective or gradient on that is not
    finite, parameters and optimizer stay as they were before it. So do those of a run that stopped,
    which cannot diverge any more.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run.
        state: state before the update.
        batch: examples and randomness of the update.
        num_examples: examples of the training set.

    Returns:
        The state after the update, and the batch's mean terms before it, in nats per example.

    Example:
        >>> import vae_jax
        >>> spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, vae_jax.MLP((3,))), batch_size=5)
        >>> hparams = vae_jax.HParams.of(latent_size=2)
        >>> state = init(spec, hparams, jnp.full((4, 4, 1), 0.5))
        >>> data = Examples(jnp.zeros((5, 4, 4, 1), jnp.uint8))
        >>> batch = draw_batch(spec, BatchKeys.at(hparams, state.step), data)
        >>> state, terms = train_step(spec, hparams, state, batch, num_examples=5)
        >>> int(state.step), bool(terms.kl >= 0)
        (1, True)
    """

    def loss_fn(params: Params) -> tuple[Scalar, tuple[TrainTerms, ObjectiveOutput]]:
        objective, value = regularized_objective(
            spec, hparams, state.step, params, batch, num_examples
        )
        terms = TrainTerms(objective, *jax.tree.map(jnp.mean, value.terms))
        return -objective, (terms, value)

    (loss, (terms, value)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    # Without the barrier XLA sums a bias's gradient over the batch again for the check below.
    gradient = jax.lax.optimization_barrier(gradient)
    is_first = (state.diverged < 0) & ~_are_finite((loss, gradient))
    is_stopped = _is_stopped(spec, state)
    if is_stopped is not None:
        is_first &= ~is_stopped
    diverged = jnp.where(is_first, state.step, state.diverged)
    is_frozen = diverged >= 0 if is_stopped is None else (diverged >= 0) | is_stopped
    is_held = is_frozen
    if spec.optimizer.skips:
        is_skipped = spec.optimizer.is_skipped(hparams, gradient)
        is_held |= is_skipped
        terms = terms._replace(skipped=is_skipped.astype(default_float()))
    transformation = spec.optimizer.transformation(hparams, state.step, is_held)
    updates, opt_state = transformation.update(gradient, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    params = _update_likelihood(spec, state, params, value, batch.x, is_frozen)
    params = _update_posterior(spec, hparams, state, params, value, is_held)
    average = _update_average(spec, hparams, state, params, is_frozen)
    return TrainState(state.step + 1, params, opt_state, diverged, average, state.valid), terms


def _is_stopped(spec: TrainSpec, state: TrainState) -> Bool[Array, ""] | None:
    """Return whether a run has stopped; None where none does."""
    return state.record.stopped >= 0 if spec.is_patient and state.record else None


def regularized_objective(
    spec: TrainSpec,
    hparams: HParams,
    step: Int[Array, ""],
    params: Params,
    batch: Batch,
    num_examples: int,
) -> tuple[Scalar, ObjectiveOutput]:
    """Return the objective less all penalties, and the objective's output for each example.

    ``mean_n(objective(x_n)) - mean_n(loss_n) - sum_r penalty_r``, in nats per example, with the
    posterior's own loss where it has one.

    Args:
        spec: model and training.
        hparams: hyperparameters of one run.
        step: number of updates before this one.
        params: parameters of model and regularisers.
        batch: examples and randomness of the update.
        num_examples: examples of the training set, to which some penalties refer.
    """
    value = spec.objective(spec.model, hparams, params, batch.x, batch.noise, step, batch.y)
    objective = jnp.mean(value.objective)
    context = Context(spec.model.latent_mask(hparams), num_examples, batch.key)
    own = spec.model.posterior.loss(
        hparams, params.get("posterior", {}), value.samples.q, value.samples.z
    )
    if own is not None:
        objective -= jnp.mean(own)
    for regularizer in spec.regularizers:
        learned = params.get(type(regularizer).__name__, {})
        objective -= regularizer(hparams, learned, value.samples, context)
    return objective, value


def _update_likelihood(
    spec: TrainSpec,
    state: TrainState,
    params: Params,
    value: ObjectiveOutput,
    x: Observations,
    is_frozen: Bool[Array, ""],
) -> Params:
    """Return the parameters after the update of those that the likelihood computes by itself.

    Such a parameter, a scale with a closed form for example, follows the batch instead of a
    gradient. So it does at an update that is skipped for the norm of its gradient: a running
    average is corrected for its start by the number of updates, all of which must be in it. A run
    that diverged or stopped keeps its own.
    """
    if "likelihood" not in params:
        return params
    repeated = jnp.broadcast_to(x, (*value.samples.z.shape[:-1], *x.shape[1:]))
    decoder_dist = value.samples.decoder_dist

    def update(own: Params) -> Params:
        return spec.model.likelihood.update(own, decoder_dist, repeated, state.step)

    old, moved = _moved_by(update, state.params["likelihood"], params["likelihood"])
    return params | {"likelihood": _unless_held(is_frozen, moved, old)}


def _update_posterior(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    params: Params,
    value: ObjectiveOutput,
    is_held: Bool[Array, ""],
) -> Params:
    """Return the parameters after the update of those that the posterior computes by itself.

    A codebook's moving average for example. A run whose update is held keeps its own; a family that
    moves nothing adds nothing to the program.
    """

    def update(own: Params) -> Params:
        return spec.model.posterior.update(hparams, own, value.samples.q, value.samples.z)

    after = params.get("posterior", {})
    old, moved = _moved_by(update, state.params.get("posterior", {}), after)
    if moved is after:
        return params
    return params | {"posterior": _unless_held(is_held, moved, old)}


def _moved_by(
    update: Callable[[Params], Params], before: Params, after: Params
) -> tuple[Params, Params]:
    """Return parameters before and after an update of a member's own.

    Those that it moves are none of the optimizer's, whatever that does to parameters without a
    gradient, as a decay does: the update is given them as they were before the optimizer's.

    Args:
        update: update of the member's own, which returns what it does not move as it is.
        before: parameters before the optimizer's update.
        after: parameters after it.
    """
    moved = update(after)
    if moved is after:
        return after, after

    def untouched(new: Array, old: Array, first: Array) -> Array:
        return old if new is old else first

    kept = jax.tree.map(untouched, moved, after, before)
    return kept, update(kept)


def _unless_held(is_held: Bool[Array, ""], new: Params, old: Params) -> Params:
    """Return the new parameters, or the old ones where the update is held."""
    return jax.tree.map(lambda new, old: jnp.where(is_held, old, new), new, old)


def _update_average(
    spec: TrainSpec, hparams: HParams, state: TrainState, params: Params, is_frozen: Bool[Array, ""]
) -> Params:
    """Return the moving average of the parameters after an update, empty where none is kept.

    a' = d a + (1 - d) p with d = min(ema, (1 + t) / (10 + t)) after t updates: while there are few,
    the average covers about a tenth of them and forgets the initial parameters. With ``ema`` 0 it
    is p itself. A run that diverged or stopped keeps its own.
    """
    if not spec.is_averaged:
        return ()
    done = state.step.astype(default_float())
    share = 1.0 - jnp.minimum(hparams.ema, (1.0 + done) / (10.0 + done))

    def moved(old: Array, new: Array) -> Array:
        mean = jnp.where(hparams.ema > 0, old + share * (new - old), new)
        return jnp.where(is_frozen, old, mean)

    return jax.tree.map(moved, state.average, params)


def _are_finite(tree: Any) -> Bool[Array, ""]:
    """Return whether every number is finite: then so is their sum, unless it overflows."""
    return jnp.isfinite(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree)))


def train_chunk(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    data: Examples | PrefetchedBatches,
    num_steps: Int[Array, ""],
    *,
    max_steps: int,
    num_examples: int = 0,
    is_alone: bool = False,
) -> tuple[TrainState, TrainTerms]:
    """Do ``num_steps`` updates in one device loop.

    The number of updates is an array, so that chunks of any length up to ``max_steps`` share one
    compiled program (a ``scan`` would need one for each length).

    Args:
        spec: model and training.
        hparams: hyperparameters of one run.
        state: state to go on from.
        data: the training set, or the prefetched batches of these updates.
        num_steps: number of updates.
        max_steps: upper bound of ``num_steps``.
        num_examples: examples of the training set, given with prefetched batches.
        is_alone: whether the loop is of this run alone, so that one that has stopped may leave it
            out; beside other runs its updates are held instead. The state is the same.

    Returns:
        The state after the updates, and the terms, which are means over these updates.
    """
    num_examples = len(data.pixels) if isinstance(data, Examples) else num_examples
    is_skipped = is_alone and spec.is_patient
    if is_skipped:  # where nothing is held an update is that of a run that never stops, to the bit
        spec = dataclasses.replace(spec, is_patient=False)
    examples_of = _example_picker(
        spec, hparams, state.step, data, num_steps, max_steps, num_examples
    )
    # All keys at once: in the loop one key takes as long to derive as thousands take here.
    steps = state.step + jnp.arange(max_steps)
    all_keys = jax.vmap(lambda step: BatchKeys.at(hparams, step))(steps)

    def body(
        index: Int[Array, ""], carry: tuple[TrainState, TrainTerms]
    ) -> tuple[TrainState, TrainTerms]:
        state, sums = carry
        keys = jax.tree.map(lambda key: key[index], all_keys)
        batch = draw_batch(spec, keys, *examples_of(index, state.step))
        # Without the barrier XLA draws the batch again in each of the five loops that read it.
        x, noise = jax.lax.optimization_barrier((batch.x, batch.noise))
        batch = batch._replace(x=x, noise=noise).split()
        state, terms = train_step(spec, hparams, state, batch, num_examples)
        return state, jax.tree.map(jnp.add, sums, terms)

    zero = jnp.zeros((), default_float())
    start = (state, TrainTerms(zero, zero, zero, zero if spec.optimizer.skips else None))
    num_done, end = num_steps, state.step + num_steps
    if is_skipped and state.record:
        num_done = jnp.where(state.record.stopped >= 0, 0, num_steps)
    state, sums = jax.lax.fori_loop(0, num_done, body, start)
    if is_skipped:
        state = state._replace(step=end)
    return state, jax.tree.map(lambda total: total / num_steps, sums)


def _example_picker(
    spec: TrainSpec,
    hparams: HParams,
    start: Int[Array, ""],
    data: Examples | PrefetchedBatches,
    num_steps: Int[Array, ""],
    max_steps: int,
    num_examples: int,
) -> Callable[[Int[Array, ""], Int[Array, ""]], tuple[Examples, Int[Array, " batch"] | None]]:
    """Return a function from an update's index in the chunk, and its step, to its examples.

    The function returns examples and the indices of those in the batch, None for all of them.
    """
    if isinstance(data, PrefetchedBatches):
        return lambda index, step: (data.at(hparams.seed, index), None)
    first_epoch = start * spec.batch_size // num_examples
    last_epoch = ((start + num_steps) * spec.batch_size - 1) // num_examples
    max_epochs = batches.epochs_touched(max_steps, spec.batch_size, num_examples)
    num_epochs = last_epoch - first_epoch + 1
    orders = batches.epoch_orders(hparams, first_epoch, num_epochs, num_examples, max_epochs)
    return lambda index, step: (
        data,
        batches.batch_indices(orders, first_epoch, step, spec.batch_size),
    )


def draw_batch(
    spec: TrainSpec,
    keys: BatchKeys,
    data: Examples,
    indices: Int[Array, " batch"] | None = None,
) -> Batch:
    """Return the batch of an update: binary pixels and noise are drawn with its keys.

    Args:
        spec: model and training.
        keys: keys of the update.
        data: stored examples.
        indices: examples of the batch; None for all.
    """

    def take(values: Array) -> Array:
        return values if indices is None else values.at[indices].get(mode="promise_in_bounds")

    noise = spec.model.noise(keys.posterior, spec.objective.num_draws, spec.batch_size)
    x = draw_observations(spec, keys.binarize, take(data.pixels))
    y = None if data.labels is None else take(data.labels)
    return Batch(x, noise, keys.regularizer, y)


def draw_observations(spec: TrainSpec, key: PRNGKey, stored: Stored) -> Observations:
    """Return the x that the model is given; ``dynamic`` draws binary pixels."""
    if spec.binarize != "dynamic":
        return batches.as_observations(stored)
    rank = len(spec.model.event_shape)
    return batches.binarize(key, stored, rank).astype(default_float())


def first_not_finite(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> str:
    """Return the name of the first array that is not finite at the update where a run diverged.

    In the order of computation: parameters, posterior, prior, z, the decoder's outputs, densities,
    terms, objective and gradient.

    Args:
        spec: model and training.
        hparams: hyperparameters of the run.
        state: frozen state, the one before that update.
        batch: batch of that update.
        num_examples: examples of the training set.
    """
    for name, tree in _stages(spec, hparams, state.diverged, state.params, batch, num_examples):
        for path, leaf in jax.tree.leaves_with_path(tree):
            if not jnp.isfinite(leaf).all():
                return f"{name}/{_name(path)}".strip("/")
    return "objective"


def _stages(
    spec: TrainSpec,
    hparams: HParams,
    step: Int[Array, ""],
    params: Params,
    batch: Batch,
    num_examples: int,
) -> Iterator[tuple[str, Any]]:
    """Yield the named intermediate values of one update in the order of computation."""

    def objective(params: Params) -> tuple[Scalar, ObjectiveOutput]:
        return regularized_objective(spec, hparams, step, params, batch, num_examples)

    yield "params", params
    total, value = objective(params)
    samples = value.samples
    yield "posterior", samples.q
    yield "prior", samples.p
    yield "z", samples.z
    yield "outputs", samples.decoder_dist
    yield "densities", (samples.log_likelihood, samples.log_prior, samples.log_posterior)
    yield "terms", value.terms
    yield "objective", total
    yield "gradient", jax.grad(lambda params: objective(params)[0])(params)
