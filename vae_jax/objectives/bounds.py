r"""Bounds on log p(x), and the objectives trained with them.

Everything is a reduction of three log-densities of z ~ q(z|x), in nats:

.. math::
    \log w = \log p(x|z) + \log p(z) - \log q(z|x), \qquad
    E[\log w] = \mathrm{ELBO}(x) \le \log p(x) = \log E[w]

The mean of log w over samples is an ELBO, the log of the mean of K weights a tighter bound. Higher
is better; the sign is turned once, in ``train.py``. This is the only room with a beta. A new bound
is a class here and a row in ``OBJECTIVES``.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import Distribution
from vae_jax.models.posteriors import Posterior
from vae_jax.models.priors import Prior
from vae_jax.models.vae import VAE
from vae_jax.objectives.gradient_estimators import Estimator, weigh_tokens, with_token
from vae_jax.types import Images, Labels, Params, Scalar, default_float

KL_MODES = ("auto", "analytic", "monte_carlo")
KL_PENALTIES = ("beta", "free_bits", "capacity")

Noise = Float[Array, "particles batch latents"]
PerExample = Float[Array, "*batch"]


class Terms(NamedTuple):
    """The two halves of the ELBO, one value per example, in nats.

    Attributes:
        log_likelihood: E_q[log p(x|z)], minus the distortion.
        kl: KL(q(z|x) || p(z)), the rate.
    """

    log_likelihood: PerExample
    kl: PerExample

    @property
    def elbo(self) -> PerExample:
        """log_likelihood - kl, whatever was trained."""
        return self.log_likelihood - self.kl


class Draws(NamedTuple):
    """Samples of z for a batch, with all that a bound or a regulariser may ask about them.

    Attributes:
        q: q(z|x).
        p: p(z).
        noise: of which z was made, ``[particles, batch, latents]``.
        z: the samples.
        log_likelihood: log p(x|z) of each.
        log_prior: log p(z) of each.
        log_posterior: log q(z|x) of each.
        token: zeros, along which DReG sends weights back to z.
        seen: p(x|z) of all particles, as it is reported.
    """

    q: Posterior
    p: Prior
    noise: Noise
    z: Float[Array, "particles batch latents"]
    log_likelihood: Float[Array, "particles batch"]
    log_prior: Float[Array, "particles batch"]
    log_posterior: Float[Array, "particles batch"]
    token: Float[Array, "particles batch"]
    seen: Distribution

    @property
    def log_weight(self) -> Float[Array, "particles batch"]:
        """Log w = log p(x|z) + log p(z) - log q(z|x), whose exponential has the mean p(x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class Value(NamedTuple):
    """What an objective gives for a batch.

    Attributes:
        objective: to be maximised, per example, in nats.
        terms: of the true ELBO, per example.
        draws: behind them, for regularisers and for likelihoods that follow the batch.
    """

    objective: PerExample
    terms: Terms
    draws: Draws


def draw(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
    *,
    estimator: Estimator = "standard",
) -> Draws:
    """Sample z ~ q(z|x) from the noise and weigh it.

    Args:
        model: static spec.
        hparams: of one run.
        params: of the model.
        x: ``[batch, height, width, channels]`` in [0, 1].
        noise: standard normal.
        y: labels of a conditional model.
        estimator: how gradients are estimated; no value depends on it.
    """
    q, p = model.encode(hparams, params, x, y), model.prior_at(hparams, params, y)
    if estimator == "standard":
        z, log_posterior = q.draw(noise)
        used, token = z, jnp.zeros_like(log_posterior)
    else:
        z = q.sample(noise)
        used, token = with_token(z) if estimator == "dreg" else (z, jnp.zeros(z.shape[:-1]))
        log_posterior = q.path_log_prob(used, noise)
    seen = model.decode(hparams, params, used, y)
    many = jnp.broadcast_to(x, (len(noise), *x.shape))
    log_likelihood = model.likelihood.fit(seen, many).log_prob(many)
    log_prior = p.log_prob(used)
    return Draws(q, p, noise, z, log_likelihood, log_prior, log_posterior, token, seen)


def terms_of(draws: Draws, *, is_analytic: bool = True) -> Terms:
    """Terms of the ELBO (Kingma & Welling 2014, eqs. 7 and 10).

    The KL is a closed form where there is one, unless refused, and otherwise a mean over the
    particles.
    """
    per_latent = draws.p.kl(draws.q) if is_analytic else None
    if per_latent is None:
        kl = jnp.mean(draws.log_posterior - draws.log_prior, axis=0)
    else:
        kl = jnp.sum(per_latent, axis=-1)
    return Terms(jnp.mean(draws.log_likelihood, axis=0), kl)


def elbo_terms(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
) -> Terms:
    """Terms of the ELBO for each example; the expectation is a mean over the noise's first axis."""
    return terms_of(draw(model, hparams, params, x, noise, y))


def log_weights(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
) -> Float[Array, "particles batch"]:
    """Log w of each particle and example (Burda et al. 2016, eq. 8)."""
    return draw(model, hparams, params, x, noise, y).log_weight


def importance_weighted_bound(
    log_w: Float[Array, "particles *batch"],
) -> Float[Array, "*batch"]:
    """Log (1/K sum_k w_k) <= log p(x) in expectation, in nats; K = 1 is an ELBO.

    Rises with K to log p(x) (Burda et al. 2016, eq. 8 and theorem 1).
    """
    return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


def ramp(step: Int[Array, ""], num_steps: Int[Array, ""]) -> Scalar:
    """Rises linearly from 0 to 1 over ``num_steps`` updates; 1 for none."""
    done = step.astype(default_float()) / jnp.maximum(num_steps, 1).astype(default_float())
    return jnp.where(num_steps > 0, jnp.minimum(done, 1.0), 1.0)


def kl_weight(hparams: HParams, step: Int[Array, ""]) -> Scalar:
    """Beta, after the warm-up (Bowman et al. 2016; Sonderby et al. 2016)."""
    return hparams.beta * ramp(step, hparams.kl_warmup_steps)


@runtime_checkable
class Objective(Protocol):
    """What ``train.py`` maximises, before regularisers."""

    @property
    def num_draws(self) -> int:
        """Samples of z per example that it asks for."""
        ...

    def __call__(
        self,
        model: VAE,
        hparams: HParams,
        params: Params,
        x: Images,
        noise: Noise,
        step: Int[Array, ""],
        y: Labels | None = None,
    ) -> Value:
        """Value and terms for a batch.

        Args:
            model: static spec.
            hparams: of one run.
            params: of the model.
            x: ``[batch, height, width, channels]`` in [0, 1].
            noise: standard normal ``[num_draws, batch, latents]``.
            step: updates done, for warm-ups.
            y: labels of a conditional model.
        """
        ...


@dataclass(frozen=True)
class Elbo:
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    The ELBO for beta = 1, the beta-VAE's objective otherwise (Higgins et al. 2017, eq. 4). With a
    deterministic code only the first half is left: a plain autoencoder.

    Attributes:
        num_particles: samples of z over which the expectation is averaged.
        kl: ``analytic`` where there is a closed form, ``monte_carlo``, or ``auto``: analytic if
            possible. Estimators other than the standard one need Monte Carlo.
        estimator: of the gradient.
        kl_penalty: ``beta`` weighs the KL; ``free_bits`` forgives each latent its first nats, as a
            mean over the batch; ``capacity`` draws the mean KL to a target.
    """

    num_particles: int = 1
    kl: str = "auto"
    estimator: Estimator = "standard"
    kl_penalty: str = "beta"

    @property
    def num_draws(self) -> int:
        """One draw per particle."""
        return self.num_particles

    def __call__(
        self,
        model: VAE,
        hparams: HParams,
        params: Params,
        x: Images,
        noise: Noise,
        step: Int[Array, ""],
        y: Labels | None = None,
    ) -> Value:
        """Value to be maximised and the terms to be reported, per example."""
        draws = draw(model, hparams, params, x, noise, y, estimator=self.estimator)
        if not model.posterior.has_density:
            mean = jnp.mean(draws.log_likelihood, axis=0)
            return Value(mean, Terms(mean, jnp.zeros_like(mean)), draws)
        is_analytic = self.kl != "monte_carlo" and self.estimator == "standard"
        terms = terms_of(draws, is_analytic=is_analytic)
        penalty = kl_weight(hparams, step) * self._penalised(hparams, step, draws, terms.kl)
        return Value(terms.log_likelihood - penalty, terms, draws)

    def _penalised(
        self, hparams: HParams, step: Int[Array, ""], draws: Draws, kl: Float[Array, " batch"]
    ) -> Float[Array, " batch"]:
        """What beta multiplies: the KL, or what free bits or a capacity make of it."""
        if self.kl_penalty == "free_bits":
            per_latent = draws.p.kl(draws.q)
            groups = kl[:, None] if per_latent is None else per_latent
            free = jnp.sum(jnp.maximum(jnp.mean(groups, axis=0), hparams.free_bits))
            return jnp.broadcast_to(free, kl.shape)
        if self.kl_penalty == "capacity":
            target = hparams.capacity * ramp(step, hparams.capacity_steps)
            return jnp.broadcast_to(jnp.abs(jnp.mean(kl) - target), kl.shape)
        return kl


@dataclass(frozen=True)
class ImportanceWeighted:
    """Mean of M bounds log (1/K sum_k w_k), each of K particles.

    IWAE for M = 1 (Burda et al. 2016, eq. 8), MIWAE otherwise (Rainforth et al. 2018, eq. 9). For
    beta other than 1, log p(z) - log q(z|x) is multiplied by it within log w, and the value is no
    bound.

    Attributes:
        num_particles: K.
        num_bounds: M.
        estimator: ``standard``; ``stl``, the path derivative alone (Roeder et al. 2017), biased
            for K > 1; ``dreg``, doubly reparameterized (Tucker et al. 2019, eq. 8), unbiased.
    """

    num_particles: int = 1
    num_bounds: int = 1
    estimator: Estimator = "standard"

    @property
    def num_draws(self) -> int:
        """K draws for each of M bounds."""
        return self.num_particles * self.num_bounds

    def __call__(
        self,
        model: VAE,
        hparams: HParams,
        params: Params,
        x: Images,
        noise: Noise,
        step: Int[Array, ""],
        y: Labels | None = None,
    ) -> Value:
        """Value to be maximised and the terms of the ELBO, per example."""
        draws = draw(model, hparams, params, x, noise, y, estimator=self.estimator)
        log_ratio = draws.log_prior - draws.log_posterior
        log_w = draws.log_likelihood + kl_weight(hparams, step) * log_ratio
        groups, token = (
            values.reshape(self.num_particles, self.num_bounds, -1)
            for values in (log_w, draws.token)
        )
        bounds = importance_weighted_bound(weigh_tokens(groups, token))
        bound = jnp.mean(bounds, axis=0)
        return Value(bound, terms_of(draws), draws)


OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": ImportanceWeighted,
    "miwae": ImportanceWeighted,
}
"""Bounds by the name that ``--objective`` knows them by."""
