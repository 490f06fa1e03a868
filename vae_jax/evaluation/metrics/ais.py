r"""Annealed importance sampling of log p(x), and the sandwich of bidirectional Monte Carlo.

Chains are led from a start p_0, the prior or q(z|x), to the posterior p(z|x) along the path of
:mod:`vae_jax.evaluation.metrics.hmc` at temperatures 0 = t_0 < t_1 < ... < t_T = 1. With

.. math::
    \log w = \sum_{i=1}^T (t_i - t_{i-1}) \log \frac{p(x, z_{i-1})}{p_0(z_{i-1})}, \qquad
    E[w] = p(x),

where a transition that leaves f_{t_i} invariant makes z_i of z_{i-1}, the log of a mean of weights
is a lower bound on log p(x) in expectation (Neal 2001; Wu et al. 2017). The same chain run
backwards from an *exact* posterior sample has E[1/w] = 1/p(x) and gives an upper bound (Grosse et
al. 2015). Exact samples exist for x simulated from the model: there z came first. Both gaps
fall as 1/T while the chains keep up.

Step sizes are adapted on pilot chains and then fixed, one for each temperature and example. Were
they adapted on the weighted chains, as in Wu et al., the weights would not have these means. All
noise is a function of the key, the example, the chain and the temperature alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vae_jax.evaluation.metrics import evidence, hmc
from vae_jax.evaluation.metrics.hmc import Noise, Path, Place
from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.vae import VAE
from vae_jax.types import Images, Labels, Latents, Params, PRNGKey, default_float

STARTS = ("prior", "posterior")
SCHEDULES = ("sigmoid", "linear")
STEEPNESS = 4.0
"""Of the sigmoid schedule (Grosse et al. 2015, section 5)."""
PILOT_CHAINS = 2
PILOT_TRANSITIONS = 200
"""Fewest of the pilot, spread over the temperatures."""
PILOT_WARMUP = 20
"""Transitions before these, at the first temperature."""
FIRST_STEP = 0.5

PILOT, FORWARD, REVERSE, SIMULATE = range(4)

Examples = Int[Array, " batch"]
PerExample = Float[Array, " batch"]
ChainKeys = Key[Array, "chains batch"]
Draw = Callable[[Int[Array, ""]], Noise]
Chains = tuple[Place, Float[Array, "chains batch"], PerExample]
"""Where they are, their log-weights so far, and a sum of acceptance probabilities."""
Transition = Callable[[Int[Array, ""], Place], tuple[Place, Float[Array, "chains batch"]]]
"""From the number of a temperature and the place to the next place and how often it is accepted."""


@dataclass(frozen=True)
class AnnealSpec:
    """How log p(x) is annealed.

    Attributes:
        model: what is evaluated.
        num_temperatures: T; both bounds close as 1/T.
        num_chains: for each example; the bound is the log of their mean weight.
        num_leapfrog: slopes of the decoder for each transition.
        start: ``prior``, as is classical, or ``posterior``: q(z|x), of a flow its base, from which
            the way is short. Not for a deterministic code, which has no density.
        schedule: ``sigmoid``, slow at both ends, or ``linear``.
    """

    model: VAE
    num_temperatures: int = 1000
    num_chains: int = 16
    num_leapfrog: int = 10
    start: str = "prior"
    schedule: str = "sigmoid"


class Annealed(NamedTuple):
    """A bound on log p(x) for each example.

    Attributes:
        bound: in nats; from below going forward, from above in reverse.
        effective_sample_size: of the chains' weights, from 1 to their number.
        acceptance: mean acceptance probability of the transitions; NaN where T = 1 leaves none.
    """

    bound: PerExample
    effective_sample_size: PerExample
    acceptance: PerExample


class Simulated(NamedTuple):
    """Examples drawn from the model.

    Attributes:
        z: from p(z); an exact sample from p(z|x).
        x: from p(x|z).
    """

    z: Float[Array, "batch latents"]
    x: Images


class Sandwich(NamedTuple):
    """Bounds between which, in expectation, log p(x) lies."""

    lower: Annealed
    upper: Annealed


def temperatures(num: int, schedule: str) -> Float[Array, " levels"]:
    """t_0 = 0 to t_T = 1, evenly spaced or as a sigmoid cut at +-4 and stretched."""
    t = np.linspace(0.0, 1.0, num + 1)
    if schedule == "sigmoid":
        rising = 1.0 / (1.0 + np.exp(-STEEPNESS * (2.0 * t - 1.0)))
        t = (rising - rising[0]) / (rising[-1] - rising[0])
    return jnp.asarray(t, default_float())


def anneal(
    t: Float[Array, " levels"], place: Place, transition: Transition, *, is_reversed: bool = False
) -> tuple[Float[Array, "chains batch"], PerExample]:
    """Log-weights of chains that are led along the path, and their mean acceptance.

    Args:
        t: temperatures, rising from 0 to 1.
        place: where the chains begin: samples from the start of the path or, in reverse, its end.
        transition: leaves f_t at the temperature of the given number invariant.
        is_reversed: from the target to the start; then E[exp(log-weight)] = 1/p(x).
    """
    levels = jnp.arange(len(t))[:: -1 if is_reversed else 1]
    widths = jnp.diff(t[levels])

    def body(carry: Chains, level: tuple[Array, Array]) -> tuple[Chains, None]:
        place, log_w, accepted = carry
        number, width = level
        log_w += width * (place.log_target - place.log_start)
        place, acceptance = transition(number, place)
        return (place, log_w, accepted + jnp.mean(acceptance, axis=0)), None

    zeros = jnp.zeros_like(place.log_target)
    carry = (place, zeros, zeros[0])
    (place, log_w, accepted), _ = jax.lax.scan(body, carry, (levels[1:-1], widths[:-1]))
    log_w += widths[-1] * (place.log_target - place.log_start)
    return log_w, accepted / (len(t) - 2) if len(t) > 2 else jnp.full_like(accepted, jnp.nan)


class EvalBatch(NamedTuple):
    """What is asked for: log p(x), or log p(x|y), of each example of a batch.

    Attributes:
        hparams: of one run.
        params: of the model.
        x: ``[batch, height, width, channels]`` in [0, 1].
        y: labels of a conditional model.
        key: of all that is drawn.
        examples: numbers of the examples, which decide what each of them draws.
    """

    hparams: HParams
    params: Params
    x: Images
    y: Labels | None
    key: PRNGKey
    examples: Examples


def forward(spec: AnnealSpec, question: EvalBatch) -> Annealed:
    """Lower bounds on log p(x) in expectation."""
    return _annealed(spec, question, tune(spec, question), None)


def bidirectional(
    spec: AnnealSpec, question: EvalBatch, z: Float[Array, "batch latents"]
) -> Sandwich:
    """Lower and upper bounds on log p(x) in expectation.

    Args:
        spec: static.
        question: about x of :func:`simulate`.
        z: of the same.
    """
    steps = tune(spec, question)
    return Sandwich(*(_annealed(spec, question, steps, end) for end in (None, z)))


def simulate(
    model: VAE,
    hparams: HParams,
    params: Params,
    y: Labels | None,
    key: PRNGKey,
    examples: Examples,
) -> Simulated:
    """An example of the model for each number, and of its label if there are any."""

    def one(example: Int[Array, ""], y: Labels | None) -> Simulated:
        z_key, x_key = jax.random.split(_key_of(key, SIMULATE, example))
        labels = None if y is None else y[None]
        z = model.sample_prior(hparams, params, z_key, 1, labels)
        return Simulated(z[0], model.decode(hparams, params, z, labels).sample(x_key)[0])

    return jax.vmap(one)(examples, y)


class Begun(NamedTuple):
    """Chains before their first transition.

    Attributes:
        path: from the prior or q(z|x) to p(x, z).
        t: temperatures.
        place: where the chains are.
        draw: what each transition draws, by its number.
    """

    path: Path
    t: Float[Array, " levels"]
    place: Place
    draw: Draw


def begin(
    spec: AnnealSpec,
    question: EvalBatch,
    role: int,
    num_chains: int,
    end: Float[Array, "batch latents"] | None = None,
) -> Begun:
    """Chains at the start of the path or, given exact posterior samples, at its end.

    Args:
        spec: static; its number of chains is not read.
        question: what is asked for.
        role: :data:`PILOT`, :data:`FORWARD` or :data:`REVERSE`, whose noise is independent.
        num_chains: for each example.
        end: an exact sample from each posterior, from which all its chains begin.
    """
    keys = _chain_keys(question, role, num_chains)
    path, t = _path(spec, question), temperatures(spec.num_temperatures, spec.schedule)
    draws = _draws(spec.model, question.hparams, keys)
    if end is not None:
        z = jnp.broadcast_to(end, (num_chains, *end.shape))
        return Begun(path, t, hmc.arrive(path, z), draws)
    z, log_start = _first(spec, question, keys)
    place = hmc.arrive(path, z)
    if log_start is not None:
        place = place._replace(log_start=log_start)
    return Begun(path, t, place, draws)


def tune(spec: AnnealSpec, question: EvalBatch) -> Float[Array, "levels batch"]:
    """Step sizes for each temperature and example, adapted along one way of pilot chains.

    They depend on x and the pilot's noise alone, so they are constants to any other chain. Where
    there are few temperatures, the pilot stays longer at each.
    """
    path, t, place, draw = begin(spec, question, PILOT, PILOT_CHAINS)
    stay = -(-PILOT_TRANSITIONS // spec.num_temperatures)

    def body(
        carry: tuple[Place, PerExample], number: Int[Array, ""]
    ) -> tuple[tuple[Place, PerExample], PerExample]:
        place, log_step = carry
        at = t[jnp.maximum((number - PILOT_WARMUP) // stay, 1)]
        step = _in_each_coordinate(jnp.exp(log_step), place.z)
        place, acceptance = hmc.transition(path, at, step, spec.num_leapfrog, place, draw(number))
        return (place, hmc.adapt(log_step, jnp.mean(acceptance, axis=0))), log_step

    first = jnp.full(len(question.examples), np.log(FIRST_STEP), default_float())
    numbers = jnp.arange(PILOT_WARMUP + stay * len(t))
    _, log_steps = jax.lax.scan(body, (place, first), numbers)
    return jnp.exp(log_steps[PILOT_WARMUP + stay - 1 :: stay])


def _annealed(
    spec: AnnealSpec,
    question: EvalBatch,
    steps: Float[Array, "levels batch"],
    end: Float[Array, "batch latents"] | None,
) -> Annealed:
    """From the start of the path or, given an exact posterior sample, in reverse from there."""
    role = FORWARD if end is None else REVERSE
    path, t, place, draw = begin(spec, question, role, spec.num_chains, end)

    def move(number: Int[Array, ""], place: Place) -> tuple[Place, Float[Array, "chains batch"]]:
        step = _in_each_coordinate(steps[number], place.z)
        return hmc.transition(path, t[number], step, spec.num_leapfrog, place, draw(number))

    log_w, acceptance = anneal(t, place, move, is_reversed=end is not None)
    sums = evidence.add_weights(evidence.no_weights(len(log_w), log_w.shape[1:]), log_w)
    bound = evidence.bound(sums, spec.num_chains)
    effective = evidence.effective_sample_size(sums)
    return Annealed(bound if end is None else -bound, effective, acceptance)


def _path(spec: AnnealSpec, question: EvalBatch) -> Path:
    """From the prior or q(z|x) to p(x, z)."""
    model, (hparams, params, x, y, _, _) = spec.model, question
    p = model.prior_at(hparams, params, y)

    def log_joint(z: Latents) -> Float[Array, "*batch"]:
        many = jnp.broadcast_to(x, (*z.shape[:-1], *x.shape[1:]))
        return model.decode(hparams, params, z, y).log_prob(many) + p.log_prob(z)

    if spec.start == "prior":
        return Path(p.log_prob, log_joint)
    return Path(model.encode(hparams, params, x, y).component().log_prob, log_joint)


def _first(
    spec: AnnealSpec, question: EvalBatch, keys: ChainKeys
) -> tuple[Float[Array, "chains batch latents"], Float[Array, "chains batch"] | None]:
    """Samples from the start of the path, with their log-density there where noise gives it."""
    model, (hparams, params, x, y, _, _) = spec.model, question
    own = _at(keys, 0)

    def from_prior(key: PRNGKey, y: Labels | None) -> Latents:
        labels = None if y is None else y[None]
        return model.sample_prior(hparams, params, key, 1, labels)[0]

    if spec.start == "prior":
        return jax.vmap(jax.vmap(from_prior), (0, None))(own, y), None
    noise = jax.vmap(jax.vmap(model.noise))(own)
    z, log_prob = model.encode(hparams, params, x, y).component().draw(noise)
    return apply_mask(model.latent_mask(hparams), z), log_prob


def _draws(model: VAE, hparams: HParams, keys: ChainKeys) -> Draw:
    """What each transition draws, by its number."""
    latent_mask = model.latent_mask(hparams)

    def one(key: PRNGKey) -> Noise:
        momentum, uniform = jax.random.split(key)
        return Noise(
            apply_mask(latent_mask, model.noise(momentum)),
            jax.random.uniform(uniform, (), default_float()),
        )

    return lambda number: jax.vmap(jax.vmap(one))(_at(keys, 1 + number))


def _chain_keys(question: EvalBatch, role: int, num_chains: int) -> ChainKeys:
    def one(chain: Int[Array, ""], example: Int[Array, ""]) -> PRNGKey:
        return jax.random.fold_in(_key_of(question.key, role, example), chain)

    chains = jnp.arange(num_chains)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(chains, question.examples)


def _at(own: ChainKeys, number: Int[Array, ""] | int) -> ChainKeys:
    """A key of each chain: 0 for where it starts, then one for each of its transitions."""
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(own)


def _key_of(key: PRNGKey, role: int, example: Int[Array, ""]) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(key, role), example)


def _in_each_coordinate(step: PerExample, z: Latents) -> Latents:
    return jnp.broadcast_to(step[:, None], z.shape)
