r"""Annealed importance sampling of log p(x), and the two bounds of bidirectional Monte Carlo.

Chains move from a start p_0, the prior or q(z|x), to the posterior p(z|x) along the path of
:mod:`vae_jax.evaluation.metrics.hmc` at temperatures 0 = t_0 < t_1 < ... < t_T = 1. With

.. math::
    \log w = \sum_{i=1}^T (t_i - t_{i-1}) \log \frac{p(x, z_{i-1})}{p_0(z_{i-1})}, \qquad
    E[w] = p(x),

where a transition that leaves f_{t_i} invariant takes z_{i-1} to z_i, the log of a mean of weights
is a lower bound on log p(x) in expectation (Neal 2001; Wu et al. 2017). The same chain run
backwards from an *exact* posterior sample has E[1/w] = 1/p(x) and gives an upper bound (Grosse et
al. 2015). For x simulated from the model the z that it was decoded from is such a sample. Both
gaps fall as 1/T as long as the chains follow the path.

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

from vae_jax.evaluation.metrics import evidence, hmc, sums
from vae_jax.evaluation.metrics.hmc import ChainState, Path, TransitionNoise
from vae_jax.evaluation.metrics.sums import Sum
from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError
from vae_jax.types import Images, Labels, Latents, Params, PRNGKey, default_float

STARTS = ("prior", "posterior")
SCHEDULES = ("sigmoid", "linear")
STEEPNESS = 4.0
"""Steepness of the sigmoid schedule (Grosse et al. 2015, section 5)."""
PILOT_CHAINS = 2
"""Chains for each example on which step sizes are adapted."""
PILOT_TRANSITIONS = 200
"""Smallest number of transitions of a pilot chain, spread over the temperatures."""
PILOT_WARMUP = 20
"""Transitions of a pilot chain before these, at the first temperature."""
FIRST_STEP = 0.5
"""Step size before any adaptation."""

PILOT, FORWARD, REVERSE, SIMULATE = range(4)
"""Roles of noise, which is independent between them."""

ExampleIndices = Int[Array, " batch"]
PerExample = Float[Array, " batch"]
ChainKeys = Key[Array, "chains batch"]
NoiseFn = Callable[[Int[Array, ""]], TransitionNoise]
"""Function from the index of a transition to its random numbers."""
WeightedChains = tuple[ChainState, Sum, PerExample]
"""State of the chains, their log-weights so far, and a sum of acceptance probabilities."""
Transition = Callable[[Int[Array, ""], ChainState], tuple[ChainState, Float[Array, "chains batch"]]]
"""Function from the index of a temperature and a state to the next state and its acceptance."""


@dataclass(frozen=True)
class AnnealSpec:
    """Static description of annealing.

    Attributes:
        model: model that is evaluated.
        num_temperatures: T; the gaps of both bounds fall as 1/T.
        num_chains: number of chains for each example; the bound is the log of their mean weight.
        num_leapfrog: leapfrog steps of each transition, each with a gradient of the decoder.
        start: ``prior``, as is classical, or ``posterior``: q(z|x), of a flow its base, from which
            the path is short. Not for a deterministic code, which has no density.
        schedule: ``sigmoid``, slow at both ends, or ``linear``.
    """

    model: VAE
    num_temperatures: int = 1000
    num_chains: int = 16
    num_leapfrog: int = 10
    start: str = "prior"
    schedule: str = "sigmoid"

    def __post_init__(self) -> None:
        """Refuse latents that cannot move anywhere in R^n, as the chains do.

        Raises:
            InputError: the support of the posterior is another set.
        """
        if self.model.posterior.support != "reals":
            raise InputError(
                f"{self.model.spelling('posterior')}: annealing needs latents that may move "
                "anywhere in R^n, and its latents may not; use importance weights instead"
            )


class Annealed(NamedTuple):
    """Bound on log p(x) for each example.

    Attributes:
        bound: bound in nats; from below for forward chains, from above in reverse.
        effective_sample_size: effective number of the chains' weights, from 1 to all of them.
        acceptance: mean acceptance probability of the transitions; NaN where T = 1 leaves none.
    """

    bound: PerExample
    effective_sample_size: PerExample
    acceptance: PerExample


class Simulated(NamedTuple):
    """Examples drawn from the model.

    Attributes:
        z: sample of p(z), which is an exact sample of p(z|x).
        x: sample of p(x|z).
    """

    z: Float[Array, "batch latents"]
    x: Images


class Sandwich(NamedTuple):
    """Bounds on log p(x) from both sides, in expectation.

    Attributes:
        lower: bound from chains that run forward.
        upper: bound from chains that run in reverse.
    """

    lower: Annealed
    upper: Annealed


def temperatures(num: int, schedule: str) -> Float[Array, " levels"]:
    """Return t_0 = 0 to t_T = 1, evenly spaced or as a sigmoid cut at +-4 and rescaled.

    Example:
        >>> temperatures(4, "linear").tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> bool(temperatures(4, "sigmoid")[1] < 0.25)
        True
    """
    t = np.linspace(0.0, 1.0, num + 1)
    if schedule == "sigmoid":
        rising = 1.0 / (1.0 + np.exp(-STEEPNESS * (2.0 * t - 1.0)))
        t = (rising - rising[0]) / (rising[-1] - rising[0])
    return jnp.asarray(t, default_float())


def anneal(
    t: Float[Array, " levels"],
    state: ChainState,
    transition: Transition,
    *,
    is_reversed: bool = False,
) -> tuple[Float[Array, "chains batch"], PerExample]:
    """Return the log-weights of chains that move along the path, and their mean acceptance.

    Args:
        t: temperatures, rising from 0 to 1.
        state: initial chains: samples from the start of the path or, in reverse, from its end.
        transition: transition that leaves f_t at the temperature of the given index invariant.
        is_reversed: True from the target to the start; then E[exp(log-weight)] = 1/p(x).

    Example:
        Chains that never move, at a point where both densities are known:

        >>> at = jnp.zeros((2, 1))
        >>> state = ChainState(at[..., None], at, at - 3.0, at[..., None], at[..., None])
        >>> t = temperatures(4, "linear")
        >>> log_w, _ = anneal(t, state, lambda index, state: (state, at + 1.0))
        >>> log_w.ravel().tolist()  # log_target - log_start
        [-3.0, -3.0]
    """
    levels = jnp.arange(len(t))[:: -1 if is_reversed else 1]
    widths = jnp.diff(t[levels])

    def body(carry: WeightedChains, level: tuple[Array, Array]) -> tuple[WeightedChains, None]:
        state, log_w, accepted = carry
        index, width = level
        log_w = sums.add(log_w, width * (state.log_target - state.log_start))
        state, acceptance = transition(index, state)
        return (state, log_w, accepted + jnp.mean(acceptance, axis=0)), None

    empty = sums.zero_like(state.log_target)
    carry = (state, empty, empty.total[0])
    (state, log_w, accepted), _ = jax.lax.scan(body, carry, (levels[1:-1], widths[:-1]))
    log_w = sums.add(log_w, widths[-1] * (state.log_target - state.log_start)).total
    return log_w, accepted / (len(t) - 2) if len(t) > 2 else jnp.full_like(accepted, jnp.nan)


class EvalBatch(NamedTuple):
    """Batch of examples whose log p(x), or log p(x|y), is estimated for one run.

    Attributes:
        hparams: hyperparameters of the run.
        params: parameters of the model.
        x: images ``[batch, height, width, channels]`` in [0, 1].
        y: labels of a conditional model, otherwise None.
        key: key of all noise.
        examples: indices of the examples, on which their noise depends.
    """

    hparams: HParams
    params: Params
    x: Images
    y: Labels | None
    key: PRNGKey
    examples: ExampleIndices


def forward(spec: AnnealSpec, batch: EvalBatch) -> Annealed:
    """Return lower bounds on log p(x) in expectation.

    Example:
        >>> model, hparams = VAE((2, 2, 1), max_latents=1), HParams.of(latent_size=1)
        >>> x, key = jnp.full((3, 2, 2, 1), 0.5), jax.random.key(0)
        >>> params = jax.jit(model.init)(hparams, x[0])
        >>> batch = EvalBatch(hparams, params, x, None, key, jnp.arange(3))
        >>> spec = AnnealSpec(model, num_temperatures=2, num_chains=4)
        >>> jax.jit(forward, static_argnums=0)(spec, batch).bound.shape
        (3,)
    """
    return _annealed(spec, batch, tune(spec, batch), None)


def bidirectional(spec: AnnealSpec, batch: EvalBatch, z: Float[Array, "batch latents"]) -> Sandwich:
    """Return lower and upper bounds on log p(x) in expectation.

    Args:
        spec: static description of annealing.
        batch: batch of examples x from :func:`simulate`.
        z: their z, from the same call.
    """
    steps = tune(spec, batch)
    return Sandwich(*(_annealed(spec, batch, steps, end) for end in (None, z)))


def simulate(
    model: VAE,
    hparams: HParams,
    params: Params,
    y: Labels | None,
    key: PRNGKey,
    examples: ExampleIndices,
) -> Simulated:
    """Draw an example of the model for each index, given its label if there are any."""

    def one(example: Int[Array, ""], y: Labels | None) -> Simulated:
        z_key, x_key = jax.random.split(_key_of(key, SIMULATE, example))
        labels = None if y is None else y[None]
        z = model.sample_prior(hparams, params, z_key, 1, labels)
        return Simulated(z[0], model.decode(hparams, params, z, labels).sample(x_key)[0])

    return jax.vmap(one)(examples, y)


class InitialChains(NamedTuple):
    """Chains before their first transition.

    Attributes:
        path: path from the prior or q(z|x) to p(x, z).
        t: temperatures.
        state: state of the chains.
        noise_fn: function from the index of a transition to its random numbers.
    """

    path: Path
    t: Float[Array, " levels"]
    state: ChainState
    noise_fn: NoiseFn


def initial_chains(
    spec: AnnealSpec,
    batch: EvalBatch,
    role: int,
    num_chains: int,
    end: Float[Array, "batch latents"] | None = None,
) -> InitialChains:
    """Return chains at the start of the path or, given exact posterior samples, at its end.

    Args:
        spec: static description of annealing; its number of chains is not read.
        batch: batch of examples.
        role: ``PILOT``, ``FORWARD`` or ``REVERSE``, whose noise is independent.
        num_chains: number of chains for each example.
        end: an exact sample from each posterior, from which all its chains start.
    """
    keys = _chain_keys(batch, role, num_chains)
    path, t = _path(spec, batch), temperatures(spec.num_temperatures, spec.schedule)
    noise_fn = _noise_fn(spec.model, batch.hparams, keys)
    if end is not None:
        z = jnp.broadcast_to(end, (num_chains, *end.shape))
        return InitialChains(path, t, hmc.chain_state(path, z), noise_fn)
    z, log_start = _samples_of_start(spec, batch, keys)
    state = hmc.chain_state(path, z)
    if log_start is not None:
        state = state._replace(log_start=log_start)
    return InitialChains(path, t, state, noise_fn)


def tune(spec: AnnealSpec, batch: EvalBatch) -> Float[Array, "levels batch"]:
    """Return step sizes for each temperature and example, adapted on pilot chains.

    They depend on x and the pilot's noise alone, so they are constants to any other chain. The
    fewer temperatures there are, the more transitions the pilot makes at each.
    """
    path, t, state, noise_fn = initial_chains(spec, batch, PILOT, PILOT_CHAINS)
    per_level = -(-PILOT_TRANSITIONS // spec.num_temperatures)

    def body(
        carry: tuple[ChainState, PerExample], index: Int[Array, ""]
    ) -> tuple[tuple[ChainState, PerExample], PerExample]:
        state, log_step = carry
        at = t[jnp.maximum((index - PILOT_WARMUP) // per_level, 1)]
        step = _in_each_coordinate(jnp.exp(log_step), state.z)
        noise = noise_fn(index)
        state, acceptance = hmc.transition(path, at, step, spec.num_leapfrog, state, noise)
        return (state, hmc.adapt(log_step, jnp.mean(acceptance, axis=0))), log_step

    first = jnp.full(len(batch.examples), np.log(FIRST_STEP), default_float())
    indices = jnp.arange(PILOT_WARMUP + per_level * len(t))
    _, log_steps = jax.lax.scan(body, (state, first), indices)
    return jnp.exp(log_steps[PILOT_WARMUP + per_level - 1 :: per_level])


def _annealed(
    spec: AnnealSpec,
    batch: EvalBatch,
    steps: Float[Array, "levels batch"],
    end: Float[Array, "batch latents"] | None,
) -> Annealed:
    """Return the bound of forward chains or, given exact posterior samples, of reverse chains."""
    role = FORWARD if end is None else REVERSE
    path, t, state, noise_fn = initial_chains(spec, batch, role, spec.num_chains, end)

    def move(
        index: Int[Array, ""], state: ChainState
    ) -> tuple[ChainState, Float[Array, "chains batch"]]:
        step, noise = _in_each_coordinate(steps[index], state.z), noise_fn(index)
        return hmc.transition(path, t[index], step, spec.num_leapfrog, state, noise)

    log_w, acceptance = anneal(t, state, move, is_reversed=end is not None)
    weights = evidence.add_weights(evidence.no_weights(len(log_w), log_w.shape[1:]), log_w)
    bound = evidence.bound(weights, spec.num_chains)
    effective = evidence.effective_sample_size(weights, len(log_w))
    return Annealed(bound if end is None else -bound, effective, acceptance)


def _path(spec: AnnealSpec, batch: EvalBatch) -> Path:
    """Return the path from the prior or q(z|x) to p(x, z)."""
    model, (hparams, params, x, y, _, _) = spec.model, batch
    p = model.prior_at(hparams, params, y)

    def log_joint(z: Latents) -> Float[Array, "*batch"]:
        many = jnp.broadcast_to(x, (*z.shape[:-1], *x.shape[1:]))
        return model.decode(hparams, params, z, y).log_prob(many) + p.log_prob(z)

    if spec.start == "prior":
        return Path(p.log_prob, log_joint)
    return Path(model.encode(hparams, params, x, y).component().log_prob, log_joint)


def _samples_of_start(
    spec: AnnealSpec, batch: EvalBatch, keys: ChainKeys
) -> tuple[Float[Array, "chains batch latents"], Float[Array, "chains batch"] | None]:
    """Draw from the start of the path; return log-densities too where the noise gives them."""
    model, (hparams, params, x, y, _, _) = spec.model, batch
    own = _fold_in(keys, 0)

    def from_prior(key: PRNGKey, y: Labels | None) -> Latents:
        labels = None if y is None else y[None]
        return model.sample_prior(hparams, params, key, 1, labels)[0]

    if spec.start == "prior":
        return jax.vmap(jax.vmap(from_prior), (0, None))(own, y), None
    noise = jax.vmap(jax.vmap(model.noise))(own)
    z, log_prob = model.encode(hparams, params, x, y).component().draw(noise)
    return apply_mask(model.latent_mask(hparams), z), log_prob


def _noise_fn(model: VAE, hparams: HParams, keys: ChainKeys) -> NoiseFn:
    """Return a function from the index of a transition to its random numbers."""
    latent_mask = model.latent_mask(hparams)

    def one(key: PRNGKey) -> TransitionNoise:
        momentum, uniform = jax.random.split(key)
        return TransitionNoise(
            apply_mask(latent_mask, model.standard_noise(momentum)),
            jax.random.uniform(uniform, (), default_float()),
        )

    return lambda index: jax.vmap(jax.vmap(one))(_fold_in(keys, 1 + index))


def _chain_keys(batch: EvalBatch, role: int, num_chains: int) -> ChainKeys:
    def one(chain: Int[Array, ""], example: Int[Array, ""]) -> PRNGKey:
        return jax.random.fold_in(_key_of(batch.key, role, example), chain)

    chains = jnp.arange(num_chains)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(chains, batch.examples)


def _fold_in(keys: ChainKeys, index: Int[Array, ""] | int) -> ChainKeys:
    """Return a key of each chain: index 0 for its start, then one for each of its transitions."""
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, index)))(keys)


def _key_of(key: PRNGKey, role: int, example: Int[Array, ""]) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(key, role), example)


def _in_each_coordinate(step: PerExample, z: Latents) -> Latents:
    return jnp.broadcast_to(step[:, None], z.shape)
