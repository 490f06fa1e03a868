r"""Inference gap, the sum of approximation and amortization gap (Cremer et al. 2018).

With q* the member of the posterior's family that is best for one x,

.. math::
    \log p(x) - \mathrm{ELBO}(q)
    = \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation}}
    + \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortization}},

q being the encoder's. q* is found by gradient ascent for each example, started at q; where that
falls short, the approximation gap is too large. log p(x) is given: from AIS or a bound with many
particles.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vae_jax.evaluation.elbo import example_noise
from vae_jax.evaluation.metrics import sums
from vae_jax.evaluation.metrics.ais import EvalBatch
from vae_jax.evaluation.metrics.sums import Sum
from vae_jax.models.posteriors import (
    Posterior,
    PosteriorFamily,
)
from vae_jax.models.priors import Prior
from vae_jax.models.vae import VAE
from vae_jax.types import Scalar

Heads = dict[str, Array]
"""Parameters of q(z|x) for each x, as the encoder gives them."""
PerExample = Float[Array, " batch"]


@dataclass(frozen=True)
class RefineSpec:
    """Static description of the search for q*.

    Attributes:
        model: model that is evaluated.
        num_steps: updates of Adam, with a step size that falls linearly to zero.
        num_particles: samples of z for each gradient.
        learning_rate: step size at the start; the parameters are the heads: of a Gaussian its mean
            and its log-variance.
        eval_particles: fresh samples behind each of the two ELBOs, the same for both.
    """

    model: VAE
    num_steps: int = 500
    num_particles: int = 8
    learning_rate: float = 0.05
    eval_particles: int = 500


class Elbos(NamedTuple):
    """ELBO of each example, in nats.

    Attributes:
        amortized: ELBO with the encoder's q.
        optimal: ELBO with q*.

    Example:
        >>> elbos = Elbos(amortized=jnp.array([-90.0]), optimal=jnp.array([-88.0]))
        >>> float(elbos.amortization_gap[0]), float(elbos.approximation_gap(jnp.array([-85.0]))[0])
        (2.0, 3.0)
    """

    amortized: PerExample
    optimal: PerExample

    @property
    def amortization_gap(self) -> PerExample:
        """Amortization gap, by which a better encoder could raise the ELBO, in nats."""
        return self.optimal - self.amortized

    def approximation_gap(self, log_p: PerExample) -> PerExample:
        """Return KL(q* || p(z|x)), by which a richer family could raise the ELBO, in nats.

        Args:
            log_p: log p(x) of each example; with a lower bound on it the result is one as well.
        """
        return log_p - self.optimal


def unsupported(family: PosteriorFamily) -> str:
    """Return the reason why the gap cannot be split for a family; "" where it can.

    Example:
        >>> from vae_jax.models.posteriors import DiagonalGaussian
        >>> unsupported(DiagonalGaussian())
        ''
    """
    if not family.has_density:
        return "a deterministic code has no ELBO"
    return "" if family.is_local else "it has no parameters of its own for each example"


def refine(spec: RefineSpec, batch: EvalBatch) -> Elbos:
    """Return the ELBOs of the encoder's q and of the best member of its family.

    Args:
        spec: static description of the search.
        batch: examples with one run's parameters.

    Raises:
        ValueError: the family is :func:`unsupported`.
    """
    model, (hparams, params, x, y, _, _) = spec.model, batch
    if reason := unsupported(model.posterior):
        raise ValueError(reason)
    heads = model.heads(params, x, y)
    q = model.posterior_at(hparams, params, heads)
    p = model.prior_at(hparams, params, y)
    best = model.posterior_at(hparams, params, _ascend(spec, batch, p, heads))
    return Elbos(*(_evaluated(spec, batch, p, each) for each in (q, best)))


def _ascend(spec: RefineSpec, batch: EvalBatch, p: Prior, heads: Heads) -> Heads:
    """Return those of q*, by Adam on the sum of all examples' ELBOs, which share no parameter."""
    adam = optax.adam(optax.linear_schedule(spec.learning_rate, 0.0, spec.num_steps))

    def loss(learned: Heads, particles: Int[Array, " particles"]) -> Scalar:
        local = spec.model.posterior_at(batch.hparams, batch.params, learned)
        weigh = functools.partial(_log_weight, spec.model, batch, p, local)
        return -jnp.sum(jax.vmap(weigh)(particles)) / spec.num_particles

    def step(carry: tuple[Any, Any], index: Int[Array, ""]) -> tuple[tuple[Any, Any], None]:
        learned, state = carry
        first = spec.eval_particles + index * spec.num_particles
        gradient = jax.grad(loss)(learned, first + jnp.arange(spec.num_particles))
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(learned, updates), state), None

    start = (heads, adam.init(heads))
    (learned, _), _ = jax.lax.scan(step, start, jnp.arange(spec.num_steps))
    return learned


def _log_weight(
    model: VAE, batch: EvalBatch, p: Prior, q: Posterior, particle: Int[Array, ""]
) -> PerExample:
    """Return log p(x, z) - log q(z|x) at one z ~ q, in nats.

    Its gradient is the path derivative (Roeder et al. 2017). Where q is the posterior, both the
    value and the gradient are free of noise.
    """
    hparams, params, x, y, key, examples = batch
    noise = example_noise(model, key, examples, particle)
    z = q.sample(noise)
    log_likelihood = model.decode(hparams, params, z, y).log_prob(x)
    return log_likelihood + p.log_prob(z) - q.path_log_prob(z, noise)


def _evaluated(spec: RefineSpec, batch: EvalBatch, p: Prior, q: Posterior) -> PerExample:
    """Return the mean log-weight over fresh particles, computed one at a time."""

    def add(particle: Int[Array, ""], total: Sum) -> Sum:
        return sums.add(total, _log_weight(spec.model, batch, p, q, particle))

    empty = sums.zero_like(_log_weight(spec.model, batch, p, q, jnp.int32(0)))
    return jax.lax.fori_loop(0, spec.eval_particles, add, empty).total / spec.eval_particles
