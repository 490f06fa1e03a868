"""Training of one run as pure functions; the only room with a gradient.

``train_step`` is one update, ``train_chunk`` many of them in one device loop. Both know a single
run; ``sweep.py`` maps them over a study.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from vae_jax import batches, keys
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.objectives import Elbo, Noise, Terms
from vae_jax.optimizers import Adam
from vae_jax.types import Images, Params, Pixels, Scalar, default_float


@dataclass(frozen=True)
class TrainSpec:
    """Everything about training that changes shapes or code.

    Attributes:
        model: what is trained.
        objective: what is maximised.
        optimizer: how.
        batch_size: examples per update.
        binarize: how gray pixels become binary, one of ``batches.BINARIZATIONS``.
    """

    model: VAE
    objective: Elbo = Elbo()
    optimizer: Adam = Adam()
    batch_size: int = 128
    binarize: str = "none"


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
    spec: TrainSpec, hparams: HParams, data_mean: Float[Array, "height width channels"]
) -> TrainState:
    """State before the first update."""
    zero = jnp.zeros((), jnp.int32)
    params = spec.model.init(hparams, data_mean)
    opt_state = spec.optimizer.transformation(hparams, zero).init(params)
    return TrainState(zero, params, opt_state, zero - 1)


def train_step(
    spec: TrainSpec, hparams: HParams, state: TrainState, x: Images, noise: Noise
) -> tuple[TrainState, Terms]:
    """One update on one batch; the terms are its means, before the update.

    From the first objective or gradient on that is not finite, parameters and optimizer stay as
    they were before it.
    """

    def loss_fn(params: Params) -> tuple[Scalar, Terms]:
        objective, terms = spec.objective(spec.model, hparams, params, x, noise)
        return -jnp.mean(objective), terms

    (loss, terms), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    is_first = (state.diverged < 0) & ~_are_finite((loss, gradient))
    diverged = jnp.where(is_first, state.step, state.diverged)
    transformation = spec.optimizer.transformation(hparams, state.step, diverged >= 0)
    updates, opt_state = transformation.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state, diverged), jax.tree.map(jnp.mean, terms)


def _are_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every number is finite: then so is their sum, unless it overflows."""
    return jnp.isfinite(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree)))


def train_chunk(
    spec: TrainSpec,
    hparams: HParams,
    state: TrainState,
    pixels: Pixels,
    num_steps: Int[Array, ""],
    *,
    max_steps: int,
) -> tuple[TrainState, Terms]:
    """``num_steps`` updates in one device loop; the terms are means over them.

    The number of updates is an array, so that chunks of any length up to ``max_steps`` share one
    compiled program (a ``scan`` would need one for each length).
    """
    num_examples = pixels.shape[0]
    first_epoch = state.step * spec.batch_size // num_examples
    num_epochs = batches.epochs_touched(max_steps, spec.batch_size, num_examples)
    orders = batches.epoch_orders(hparams, first_epoch, num_epochs, num_examples)

    def body(_: Int[Array, ""], carry: tuple[TrainState, Terms]) -> tuple[TrainState, Terms]:
        state, sums = carry
        indices = batches.batch_indices(orders, first_epoch, state.step, spec.batch_size)
        x = draw_images(spec, hparams, state.step, pixels.at[indices].get(mode="promise_in_bounds"))
        noise = draw_noise(spec, hparams, state.step)
        # Without the barrier XLA draws the batch anew in each of the five loops that read it.
        x, noise = jax.lax.optimization_barrier((x, noise))
        state, terms = train_step(spec, hparams, state, x, noise)
        return state, jax.tree.map(jnp.add, sums, terms)

    zero = jnp.zeros((), default_float())
    state, sums = jax.lax.fori_loop(0, num_steps, body, (state, Terms(zero, zero)))
    return state, jax.tree.map(lambda total: total / num_steps, sums)


def draw_images(spec: TrainSpec, hparams: HParams, step: Int[Array, ""], pixels: Pixels) -> Images:
    """The batch as the model sees it at this update."""
    if spec.binarize != "dynamic":
        return batches.as_images(pixels)
    drawn = batches.binarize(keys.stream(hparams.seed, "binarize", step), pixels)
    return drawn.astype(default_float())


def draw_noise(spec: TrainSpec, hparams: HParams, step: Int[Array, ""]) -> Noise:
    """Standard normal noise of one update."""
    key = keys.stream(hparams.seed, "posterior", step)
    return spec.model.noise(key, spec.objective.num_particles, spec.batch_size)


def first_not_finite(spec: TrainSpec, hparams: HParams, state: TrainState, pixels: Pixels) -> str:
    """Name of the first array that is not finite at the update where a run diverged.

    Looks, in the order of computation, at parameters, posterior, z, outputs, terms and gradients
    of the state that was kept.
    """
    step, num_examples = state.diverged, pixels.shape[0]
    epoch = step * spec.batch_size // num_examples
    orders = batches.epoch_orders(hparams, epoch, 2, num_examples)
    indices = batches.batch_indices(orders, epoch, step, spec.batch_size)
    x = draw_images(spec, hparams, step, pixels[indices])
    noise = draw_noise(spec, hparams, step)
    for name, tree in _stages(spec, hparams, state.params, x, noise):
        for path, leaf in jax.tree.leaves_with_path(tree):
            if not jnp.isfinite(leaf).all():
                return f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}".strip("/")
    return "objective"


def _stages(
    spec: TrainSpec, hparams: HParams, params: Params, x: Images, noise: Noise
) -> Iterator[tuple[str, Any]]:
    """Named intermediate values of one update, in the order in which they are computed."""
    model = spec.model
    yield "params", params
    q = model.encode(hparams, params, x)
    yield "posterior", q
    z = q.sample(noise[0])
    yield "z", z
    yield "outputs", model.decode(hparams, params, z)
    yield "terms", spec.objective(model, hparams, params, x, noise)[1]
    yield (
        "gradient",
        jax.grad(lambda p: spec.objective(model, hparams, p, x, noise)[0].mean())(params),
    )
