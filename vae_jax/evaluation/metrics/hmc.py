r"""Hamiltonian Monte Carlo on the geometric path between two densities (Neal 2011).

The path leads from a normalised density, the start, to a target that need not be normalised,

.. math::
    \log f_t(z) = (1 - t) \log p_\text{start}(z) + t \log f_\text{target}(z), \qquad t \in [0, 1].

All functions are pure, ``(noise, state) -> (state, info)``, for any number of chains and examples
at once: each z is a chain of its own. A coordinate whose momentum is zero and on which no density
depends does not move and changes no number; inactive latents are such coordinates.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vae_jax.types import Latents, Scalar

PerChain = Float[Array, "*chains"]
LogDensity = Callable[[Latents], PerChain]

TARGET_ACCEPTANCE = 0.65
"""Share of proposals accepted at the best step size (Beskos et al. 2013; Wu et al. 2017)."""
GAIN = 0.2
"""Gain of the step size's controller: its logarithm moves by at most this in one transition."""


class Path(NamedTuple):
    """Ends of a path, as functions of z, in nats.

    Attributes:
        log_start: log-density at t = 0, normalised.
        log_target: log-density at t = 1, up to its normalising constant, which is sought.
    """

    log_start: LogDensity
    log_target: LogDensity


class ChainState(NamedTuple):
    """Positions of chains, with both log-densities and their gradients there.

    Attributes:
        z: positions ``[*chains, latents]``.
        log_start: log-density of the start at z, in nats.
        log_target: log-density of the target at z, in nats.
        start_grad: gradient of ``log_start`` by z.
        target_grad: gradient of ``log_target`` by z.
    """

    z: Latents
    log_start: PerChain
    log_target: PerChain
    start_grad: Latents
    target_grad: Latents

    def log_density(self, t: Scalar) -> PerChain:
        """Return log f_t at z, in nats."""
        return (1.0 - t) * self.log_start + t * self.log_target

    def grad(self, t: Scalar) -> Latents:
        """Return the gradient of log f_t by z."""
        return (1.0 - t) * self.start_grad + t * self.target_grad


class TransitionNoise(NamedTuple):
    """Random numbers of one transition.

    Attributes:
        momentum: standard normal momentum, zero on inactive coordinates.
        uniform: uniform numbers in [0, 1), with which the acceptance probability is compared.
    """

    momentum: Latents
    uniform: PerChain


def chain_state(path: Path, z: Latents) -> ChainState:
    """Return the state of chains at z.

    Chains do not depend on one another, so one backward pass gives the gradients of all.

    Example:
        >>> path = Path(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -2.0 * jnp.sum(z**2, -1))
        >>> state = chain_state(path, jnp.ones((3, 1)))
        >>> half, one = jnp.float32(0.5), jnp.float32(1.0)
        >>> state.log_density(half).tolist(), state.grad(one).ravel().tolist()
        ([-1.25, -1.25, -1.25], [-4.0, -4.0, -4.0])
    """

    def with_grad(log_density: LogDensity) -> tuple[PerChain, Latents]:
        value, pullback = jax.vjp(log_density, z)
        return value, pullback(jnp.ones_like(value))[0]

    (log_start, start_grad), (log_target, target_grad) = map(with_grad, path)
    return ChainState(z, log_start, log_target, start_grad, target_grad)


def leapfrog(
    path: Path, t: Scalar, step: Latents, num_steps: int, state: ChainState, momentum: Latents
) -> tuple[ChainState, Latents]:
    """Return the state and momentum after L leapfrog steps for -log f_t (Neal 2011, eqs. 2.28-30).

    Reversible and volume-preserving; the error of the energy is O(step^2). One gradient per step:
    the last one is kept in the state, for the next transition.

    Args:
        path: ends of the path.
        t: temperature, the position on the path.
        step: step size in each coordinate, of z's shape.
        num_steps: L.
        state: state of the chains.
        momentum: momentum of unit mass.

    Example:
        >>> path = Path(lambda z: -0.5 * jnp.sum(z**2, -1), lambda z: -0.5 * jnp.sum(z**2, -1))
        >>> z, one = jnp.ones((1, 1)), jnp.float32(1.0)
        >>> state, momentum = leapfrog(path, one, 0.1 * z, 10, chain_state(path, z), 0 * z)
        >>> back, _ = leapfrog(path, one, 0.1 * z, 10, state, -momentum)
        >>> bool(jnp.allclose(back.z, z, atol=1e-5))
        True
    """

    def body(_: Array, carry: tuple[ChainState, Latents]) -> tuple[ChainState, Latents]:
        state, momentum = carry
        state = chain_state(path, state.z + step * momentum)
        return state, momentum + step * state.grad(t)

    half = 0.5 * step
    carry = (state, momentum + half * state.grad(t))
    state, momentum = jax.lax.fori_loop(0, num_steps, body, carry)
    return state, momentum - half * state.grad(t)


def transition(
    path: Path, t: Scalar, step: Latents, num_steps: int, state: ChainState, noise: TransitionNoise
) -> tuple[ChainState, PerChain]:
    """Return the state after an HMC transition, which leaves f_t invariant, and its acceptance.

    Metropolis & Hastings's rule min(1, exp(-dH)), H = |momentum|^2 / 2 - log f_t (Neal 2011, eq.
    2.32), is the acceptance probability. A proposal whose energy is not finite is rejected.

    Args:
        path: ends of the path.
        t: temperature, the position on the path.
        step: size of a leapfrog step in each coordinate, of z's shape; must not depend on earlier
            states of these chains.
        num_steps: leapfrog steps.
        state: state of the chains.
        noise: random numbers of this transition.
    """
    proposal, momentum = leapfrog(path, t, step, num_steps, state, noise.momentum)
    gain = proposal.log_density(t) - state.log_density(t)
    drop = 0.5 * jnp.sum(noise.momentum**2 - momentum**2, axis=-1)
    acceptance = jnp.exp(jnp.minimum(gain + drop, 0.0))
    acceptance = jnp.where(jnp.isfinite(gain + drop), acceptance, 0.0)
    is_accepted = noise.uniform < acceptance
    chosen = jax.tree.map(functools.partial(_choose, is_accepted), proposal, state)
    return chosen, acceptance


def _choose(
    is_new: Bool[Array, "*chains"], new: Float[Array, "*shape"], old: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    return jnp.where(is_new.reshape(*is_new.shape, *(1,) * (new.ndim - is_new.ndim)), new, old)


def adapt(log_step: PerChain, acceptance: PerChain) -> PerChain:
    """Return the log step size after a move towards :data:`TARGET_ACCEPTANCE`.

    A chain whose own steps are adapted has no exact weights: adapt on pilot chains.

    Example:
        >>> float(adapt(jnp.zeros(()), jnp.float32(TARGET_ACCEPTANCE)))
        0.0
    """
    return log_step + GAIN * (acceptance - TARGET_ACCEPTANCE)
