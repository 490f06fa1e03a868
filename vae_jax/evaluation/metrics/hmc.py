r"""Hamiltonian Monte Carlo on the geometric path between two densities (Neal 2011).

The path leads from a normalised density, the start, to a target that need not be normalised,

.. math::
    \log f_t(z) = (1 - t) \log p_\text{start}(z) + t \log f_\text{target}(z), \qquad t \in [0, 1].

Everything is a pure function ``(noise, state) -> (state, info)``, for any number of chains and
examples at once: each z is a chain of its own. A coordinate whose momentum is zero and on which no
density depends stays where it is and counts for nothing; inactive latents are such coordinates.
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
"""Of the controller of the step size: its logarithm moves by at most this in one transition."""


class Path(NamedTuple):
    """The two ends of a path; functions of z, in nats.

    Attributes:
        log_start: log-density at t = 0, normalised.
        log_target: log-density at t = 1, up to the constant that is sought.
    """

    log_start: LogDensity
    log_target: LogDensity


class Place(NamedTuple):
    """Chains, and what both densities and their slopes are there.

    Attributes:
        z: ``[*chains, latents]``.
        log_start: at z, in nats.
        log_target: at z, in nats.
        start_slope: gradient of ``log_start`` by z.
        target_slope: gradient of ``log_target`` by z.
    """

    z: Latents
    log_start: PerChain
    log_target: PerChain
    start_slope: Latents
    target_slope: Latents

    def log_density(self, t: Scalar) -> PerChain:
        """Log f_t, in nats."""
        return (1.0 - t) * self.log_start + t * self.log_target

    def slope(self, t: Scalar) -> Latents:
        """Gradient of log f_t by z."""
        return (1.0 - t) * self.start_slope + t * self.target_slope


class Noise(NamedTuple):
    """What one transition draws.

    Attributes:
        momentum: standard normal, zero on inactive coordinates.
        uniform: in [0, 1), against which the acceptance probability is held.
    """

    momentum: Latents
    uniform: PerChain


def arrive(path: Path, z: Latents) -> Place:
    """The place at z; chains do not touch one another, so one backward pass serves all."""

    def with_slope(log_density: LogDensity) -> tuple[PerChain, Latents]:
        value, pull = jax.vjp(log_density, z)
        return value, pull(jnp.ones_like(value))[0]

    (log_start, start_slope), (log_target, target_slope) = map(with_slope, path)
    return Place(z, log_start, log_target, start_slope, target_slope)


def leapfrog(
    path: Path, t: Scalar, step: Latents, num_steps: int, place: Place, momentum: Latents
) -> tuple[Place, Latents]:
    """``num_steps`` steps along Hamilton's equations for -log f_t (Neal 2011, eqs. 2.28 to 2.30).

    Reversible and volume-preserving; the energy is off by O(step^2). A slope per step: the last
    one is kept in the place, for the next transition.

    Args:
        path: its ends.
        t: where on the path.
        step: size of a step in each coordinate, of z's shape.
        num_steps: L.
        place: where the chains are.
        momentum: of unit mass.
    """

    def body(_: Array, carry: tuple[Place, Latents]) -> tuple[Place, Latents]:
        place, momentum = carry
        place = arrive(path, place.z + step * momentum)
        return place, momentum + step * place.slope(t)

    half = 0.5 * step
    carry = (place, momentum + half * place.slope(t))
    place, momentum = jax.lax.fori_loop(0, num_steps, body, carry)
    return place, momentum - half * place.slope(t)


def transition(
    path: Path, t: Scalar, step: Latents, num_steps: int, place: Place, noise: Noise
) -> tuple[Place, PerChain]:
    """One HMC transition, which leaves f_t invariant, and its acceptance probability.

    Metropolis & Hastings's rule min(1, exp(-dH)), H = |momentum|^2 / 2 - log f_t (Neal 2011, eq.
    2.32). A proposal whose energy is not finite is rejected.

    Args:
        path: its ends.
        t: where on the path.
        step: size of a leapfrog step in each coordinate, of z's shape; must not depend on where
            these chains have been.
        num_steps: leapfrog steps.
        place: where the chains are.
        noise: of this transition.
    """
    proposal, momentum = leapfrog(path, t, step, num_steps, place, noise.momentum)
    gain = proposal.log_density(t) - place.log_density(t)
    drop = 0.5 * jnp.sum(noise.momentum**2 - momentum**2, axis=-1)
    acceptance = jnp.exp(jnp.minimum(gain + drop, 0.0))
    acceptance = jnp.where(jnp.isfinite(gain + drop), acceptance, 0.0)
    is_accepted = noise.uniform < acceptance
    chosen = jax.tree.map(functools.partial(_choose, is_accepted), proposal, place)
    return chosen, acceptance


def _choose(
    is_new: Bool[Array, "*chains"], new: Float[Array, "*shape"], old: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    return jnp.where(is_new.reshape(*is_new.shape, *(1,) * (new.ndim - is_new.ndim)), new, old)


def adapt(log_step: PerChain, acceptance: PerChain) -> PerChain:
    """Log step size, moved towards :data:`TARGET_ACCEPTANCE`.

    A chain whose steps are adapted while it is weighed has no exact weights; adapt on others.
    """
    return log_step + GAIN * (acceptance - TARGET_ACCEPTANCE)
