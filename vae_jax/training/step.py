"""Training of one run as pure functions; the only room with a gradient.

``train_step`` is one update, ``train_chunk`` many of them in one device loop. Both know a single
run; ``sweep.py`` maps them over a study.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from vae_jax import rng
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, Objective, ObjectiveOutput
from vae_jax.objectives.base import Noise
from vae_jax.objectives.regularizers import Context, Regularizer
from vae_jax.runtime import mesh
from vae_jax.training import batches
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.optimizers import Adam
from vae_jax.types import Images, Labels, Params, Pixels, PRNGKey, Scalar, default_float


@dataclass(frozen=True)
class TrainSpec:
    """Everything about training that changes shapes or code.

    Attributes:
        model: what is trained.
        objective: what is maximised.
        regularizers: penalties that it loses.
        optimizer: how.
        batch_size: examples per update.
        binarize: how gray pixels become binary, one of ``batches.BINARIZATIONS``.
    """

    model: VAE
    objective: Objective = Elbo()
    regularizers: tuple[Regularizer, ...] = ()
    optimizer: Adam = Adam()
    batch_size: int = 128
    binarize: str = "none"


class Batch(NamedTuple):
    """What one update sees.

    Attributes:
        x: images in [0, 1].
        noise: of the reparameterization.
        key: of the regularisers.
        y: labels of a conditional model.
    """

    x: Images
    noise: Noise
    key: PRNGKey
    y: Labels | None = None

    def split(self) -> "Batch":
        """The same, its examples split over the devices that share the batch, if there are any."""
        x, y = mesh.split_batch((self.x, self.y))
        return Batch(x, mesh.split_batch(self.noise, axis=1), self.key, y)


class BatchKeys(NamedTuple):
    """Keys of one update.

    Attributes:
        binarize: draws the pixels.
        posterior: draws the noise of the reparameterization.
        regularizer: is left to the penalties.
    """

    binarize: PRNGKey
    posterior: PRNGKey
    regularizer: PRNGKey

    @classmethod
    def at(cls, hparams: HParams, step: Int[Array, ""]) -> "BatchKeys":
        """Those of update number ``step``."""
        return cls(
            binarize=rng.stream(hparams.seed, "binarize", step),
            posterior=rng.stream(hparams.seed, "posterior", step),
            regularizer=rng.stream(hparams.seed, "regularizer", step),
        )


class TrainTerms(NamedTuple):
    """Means over a batch, in nats per example.

    Attributes:
        objective: what was maximised, regularisers included.
        log_likelihood: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)).
    """

    objective: Float[Array, "*runs"]
    log_likelihood: Float[Array, "*runs"]
    kl: Float[Array, "*runs"]


class TrainState(NamedTuple):
    """All that changes while training; arrays only.

    Attributes:
        step: updates done.
        params: of the model.
        opt_state: of the optimizer.
        diverged: first update whose objective or gradient was not finite; -1 while there is none.
    """

    step: Int[Array, "*runs"]
    params: Params
    opt_state: optax.OptState
    diverged: Int[Array, "*runs"]


def init(
    spec: TrainSpec,
    hparams: HParams,
    data_mean: Float[Array, "height width channels"],
    examples: Images | None = None,
) -> TrainState:
    """State before the first update."""
    zero = jnp.zeros((), jnp.int32)
    params = spec.model.init(hparams, data_mean, examples)
    latent_mask = spec.model.latent_mask(hparams)
    for regularizer in spec.regularizers:
        learned = regularizer.init(rng.stream(hparams.seed, "params", 4), latent_mask)
        params |= {type(regularizer).__name__: learned} if learned else {}
    opt_state = spec.optimizer.transformation(hparams, zero).init(params)
    return TrainState(zero, params, opt_state, zero - 1)


def train_step(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> tuple[TrainState, TrainTerms]:
    """One update on one batch; the terms are its means, before the update.

    From the first objective or gradient on that is not finite, parameters and optimizer stay as
    they were before it.
    """

    def loss_fn(params: Params) -> tuple[Scalar, tuple[TrainTerms, ObjectiveOutput]]:
        objective, value = regularized(spec, hparams, state.step, params, batch, num_examples)
        terms = TrainTerms(objective, *jax.tree.map(jnp.mean, value.terms))
        return -objective, (terms, value)

    (loss, (terms, value)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    # Without the barrier XLA sums a bias's gradient over the batch again to look at its sum.
    gradient = jax.lax.optimization_barrier(gradient)
    is_first = (state.diverged < 0) & ~_are_finite((loss, gradient))
    diverged = jnp.where(is_first, state.step, state.diverged)
    transformation = spec.optimizer.transformation(hparams, state.step, diverged >= 0)
    updates, opt_state = transformation.update(gradient, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    params = _tracked(spec, params, value, batch.x, diverged)
    return TrainState(state.step + 1, params, opt_state, diverged), terms


def regularized(
    spec: TrainSpec,
    hparams: HParams,
    step: Int[Array, ""],
    params: Params,
    batch: Batch,
    num_examples: int,
) -> tuple[Scalar, ObjectiveOutput]:
    """The objective's mean over a batch less all penalties, and what it was made of."""
    value = spec.objective(spec.model, hparams, params, batch.x, batch.noise, step, batch.y)
    objective = jnp.mean(value.objective)
    context = Context(spec.model.latent_mask(hparams), num_examples, batch.key)
    for regularizer in spec.regularizers:
        own = params.get(type(regularizer).__name__, {})
        objective -= regularizer(hparams, own, value.samples, context)
    return objective, value


def _tracked(
    spec: TrainSpec, params: Params, value: ObjectiveOutput, x: Images, diverged: Int[Array, ""]
) -> Params:
    """Parameters, those of the likelihood moved that follow the batch instead of a gradient."""
    if "likelihood" not in params:
        return params
    many = jnp.broadcast_to(x, (*value.samples.z.shape[:-1], *x.shape[1:]))
    moved = spec.model.likelihood.update(params["likelihood"], value.samples.decoder_dist, many)
    kept = jax.tree.map(
        lambda new, old: jnp.where(diverged < 0, new, old), moved, params["likelihood"]
    )
    return params | {"likelihood": kept}


def _are_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every number is finite: then so is their sum, unless it overflows."""
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
) -> tuple[TrainState, TrainTerms]:
    """``num_steps`` updates in one device loop; the terms are means over them.

    The number of updates is an array, so that chunks of any length up to ``max_steps`` share one
    compiled program (a ``scan`` would need one for each length).

    Args:
        spec: what is trained and how.
        hparams: of the run.
        state: to go on from.
        data: the training set, or the batches of these updates.
        num_steps: updates.
        max_steps: the most that they can be.
        num_examples: in the training set, where only the batches of these updates are given.
    """
    num_examples = len(data.pixels) if isinstance(data, Examples) else num_examples
    pick = _picker(spec, hparams, state.step, data, num_steps, max_steps, num_examples)
    # All keys at once: a key takes as long to derive in the loop as thousands before it.
    steps = state.step + jnp.arange(max_steps)
    coming = jax.vmap(lambda step: BatchKeys.at(hparams, step))(steps)

    def body(
        place: Int[Array, ""], carry: tuple[TrainState, TrainTerms]
    ) -> tuple[TrainState, TrainTerms]:
        state, sums = carry
        drawn_with = jax.tree.map(lambda keys: keys[place], coming)
        batch = draw_batch(spec, drawn_with, *pick(place, state.step))
        # Without the barrier XLA draws the batch anew in each of the five loops that read it.
        x, noise = jax.lax.optimization_barrier((batch.x, batch.noise))
        batch = batch._replace(x=x, noise=noise).split()
        state, terms = train_step(spec, hparams, state, batch, num_examples)
        return state, jax.tree.map(jnp.add, sums, terms)

    zero = jnp.zeros((), default_float())
    start = (state, TrainTerms(zero, zero, zero))
    state, sums = jax.lax.fori_loop(0, num_steps, body, start)
    return state, jax.tree.map(lambda total: total / num_steps, sums)


def _picker(
    spec: TrainSpec,
    hparams: HParams,
    start: Int[Array, ""],
    data: Examples | PrefetchedBatches,
    num_steps: Int[Array, ""],
    max_steps: int,
    num_examples: int,
) -> Callable[[Int[Array, ""], Int[Array, ""]], tuple[Examples, Int[Array, " batch"] | None]]:
    """From an update's place in the chunk, and its step, to examples and which of them it sees."""
    if isinstance(data, PrefetchedBatches):
        return lambda place, step: (data.at(hparams.seed, place), None)
    first_epoch = start * spec.batch_size // num_examples
    last_epoch = ((start + num_steps) * spec.batch_size - 1) // num_examples
    max_epochs = batches.epochs_touched(max_steps, spec.batch_size, num_examples)
    num_epochs = last_epoch - first_epoch + 1
    orders = batches.epoch_orders(hparams, first_epoch, num_epochs, num_examples, max_epochs)
    return lambda place, step: (
        data,
        batches.batch_indices(orders, first_epoch, step, spec.batch_size),
    )


def draw_batch(
    spec: TrainSpec,
    keys: BatchKeys,
    data: Examples,
    indices: Int[Array, " batch"] | None = None,
) -> Batch:
    """What an update sees of the given examples: those of the indices, or all."""

    def take(values: Array) -> Array:
        return values if indices is None else values.at[indices].get(mode="promise_in_bounds")

    noise = spec.model.noise(keys.posterior, spec.objective.num_draws, spec.batch_size)
    x = draw_images(spec, keys.binarize, take(data.pixels))
    y = None if data.labels is None else take(data.labels)
    return Batch(x, noise, keys.regularizer, y)


def draw_images(spec: TrainSpec, key: PRNGKey, pixels: Pixels) -> Images:
    """The batch as the model sees it: binary ones are drawn with the key."""
    if spec.binarize != "dynamic":
        return batches.as_images(pixels)
    return batches.binarize(key, pixels).astype(default_float())


def first_not_finite(
    spec: TrainSpec, hparams: HParams, state: TrainState, batch: Batch, num_examples: int
) -> str:
    """Name of the first array that is not finite at the update where a run diverged.

    Looks, in the order of computation, at parameters, posterior, prior, z, densities, objective and
    gradients of the state that was kept; the batch is that of the update.
    """
    for name, tree in _stages(spec, hparams, state.diverged, state.params, batch, num_examples):
        for path, leaf in jax.tree.leaves_with_path(tree):
            if not jnp.isfinite(leaf).all():
                return f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}".strip("/")
    return "objective"


def _stages(
    spec: TrainSpec,
    hparams: HParams,
    step: Int[Array, ""],
    params: Params,
    batch: Batch,
    num_examples: int,
) -> Iterator[tuple[str, Any]]:
    """Named intermediate values of one update, in the order in which they are computed."""

    def objective(params: Params) -> tuple[Scalar, ObjectiveOutput]:
        return regularized(spec, hparams, step, params, batch, num_examples)

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
