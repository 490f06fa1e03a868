r"""The inference gap, split into what the family and what the encoder costs (Cremer et al. 2018).

With q* the member of the posterior's family that is best for one x,

.. math::
    \log p(x) - \mathrm{ELBO}(q)
    = \underbrace{\log p(x) - \mathrm{ELBO}(q^*)}_{\text{approximation}}
    + \underbrace{\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q)}_{\text{amortization}},

q being the encoder's. q* is found by gradient ascent for each example from q on; what is not found
counts as approximation. log p(x) comes from outside, of AIS or a bound with many particles.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from vae_jax.evaluation.elbo import example_noise
from vae_jax.evaluation.metrics.ais import EvalBatch
from vae_jax.models.posteriors import (
    CholeskyGaussian,
    DiagonalGaussian,
    FullGaussian,
    Gaussian,
    Posterior,
    PosteriorFamily,
)
from vae_jax.models.priors import Prior
from vae_jax.models.vae import VAE
from vae_jax.types import Scalar

LocalGaussian = Gaussian | CholeskyGaussian
PerExample = Float[Array, " batch"]


@dataclass(frozen=True)
class RefineSpec:
    """How q* is sought.

    Attributes:
        model: what is evaluated.
        num_steps: of Adam, with a step size that falls linearly to zero.
        num_particles: samples of z for each gradient.
        learning_rate: at the start; the parameters are means and log standard deviations.
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
        amortized: with the encoder's q.
        optimal: with q*.
    """

    amortized: PerExample
    optimal: PerExample

    @property
    def amortization_gap(self) -> PerExample:
        """What a better encoder could give."""
        return self.optimal - self.amortized

    def approximation_gap(self, log_p: PerExample) -> PerExample:
        """What a richer family could give, KL(q* || p(z|x)).

        Args:
            log_p: log p(x) of each example; for a lower bound on it this is one as well.
        """
        return log_p - self.optimal


def unsupported(family: PosteriorFamily) -> str:
    """Why the gap cannot be split for a family, in words; nothing where it can."""
    if isinstance(family, DiagonalGaussian | FullGaussian):
        return ""
    if not family.has_density:
        return "a deterministic code has no ELBO"
    return "only Gaussian posteriors have parameters of their own for each example"


def refine(spec: RefineSpec, question: EvalBatch) -> Elbos:
    """ELBOs of the encoder's q and of the best of its family.

    Raises:
        ValueError: the family is :func:`unsupported`.
    """
    model, (hparams, params, x, y, _, _) = spec.model, question
    if why_not := unsupported(model.posterior):
        raise ValueError(why_not)
    q = model.encode(hparams, params, x, y)
    assert isinstance(q, LocalGaussian)
    p = model.prior_at(hparams, params, y)
    best = _ascend(spec, question, p, q)
    return Elbos(*(_evaluated(spec, question, p, each) for each in (q, best)))


def _ascend(spec: RefineSpec, question: EvalBatch, p: Prior, q: LocalGaussian) -> LocalGaussian:
    """q*: Adam on the sum of all examples' ELBOs, which share no parameter."""
    adam = optax.adam(optax.linear_schedule(spec.learning_rate, 0.0, spec.num_steps))

    def loss(learned: LocalGaussian, particles: Int[Array, " particles"]) -> Scalar:
        local = _restricted(learned, q)
        weigh = functools.partial(_log_weight, spec.model, question, p, local)
        return -jnp.sum(jax.vmap(weigh)(particles)) / spec.num_particles

    def step(carry: tuple[Any, Any], index: Int[Array, ""]) -> tuple[tuple[Any, Any], None]:
        learned, state = carry
        first = spec.eval_particles + index * spec.num_particles
        slope = jax.grad(loss)(learned, first + jnp.arange(spec.num_particles))
        updates, state = adam.update(slope, state)
        return (optax.apply_updates(learned, updates), state), None

    start: Any = q._replace(latent_mask=None)
    (learned, _), _ = jax.lax.scan(step, (start, adam.init(start)), jnp.arange(spec.num_steps))
    return _restricted(learned, q)


def _restricted(learned: LocalGaussian, q: LocalGaussian) -> LocalGaussian:
    return learned if q.latent_mask is None else learned.restrict(q.latent_mask)


def _log_weight(
    model: VAE, question: EvalBatch, p: Prior, q: Posterior, particle: Int[Array, ""]
) -> PerExample:
    """Log p(x, z) - log q(z|x) at one z ~ q; its slope is the path derivative (Roeder et al. 2017).

    Where q is the posterior, both the value and the slope are free of noise.
    """
    hparams, params, x, y, key, examples = question
    noise = example_noise(model, key, examples, particle)
    z = q.sample(noise)
    log_likelihood = model.decode(hparams, params, z, y).log_prob(x)
    return log_likelihood + p.log_prob(z) - q.path_log_prob(z, noise)


def _evaluated(spec: RefineSpec, question: EvalBatch, p: Prior, q: Posterior) -> PerExample:
    """Mean log-weight over fresh particles, one at a time."""

    def add(particle: Int[Array, ""], total: PerExample) -> PerExample:
        return total + _log_weight(spec.model, question, p, q, particle)

    zeros = jnp.zeros_like(_log_weight(spec.model, question, p, q, jnp.int32(0)))
    return jax.lax.fori_loop(0, spec.eval_particles, add, zeros) / spec.eval_particles
