r"""Samples of q(z|x) with their log-densities; every objective is a reduction of them.

Three log-densities of z ~ q(z|x), in nats, are all that is needed:

.. math::
    \log w = \log p(x|z) + \log p(z) - \log q(z|x), \qquad
    E[\log w] = \mathrm{ELBO}(x) \le \log p(x) = \log E[w]

The mean of log w over samples is an ELBO, the log of the mean of K weights a tighter bound. Higher
is better; the sign is changed once, in ``vae_jax/training/step.py``.
"""

import functools
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.models.likelihoods import Distribution
from vae_jax.models.posteriors import Posterior
from vae_jax.models.priors import Prior
from vae_jax.models.vae import VAE
from vae_jax.objectives.gradient_estimators import ESTIMATORS, Estimator, with_token
from vae_jax.settings import one_of, real, setting, whole
from vae_jax.types import Images, Labels, Params, Scalar, default_float

Noise = Float[Array, "particles batch latents"]
"""Noise of which samples of z are made, as ``VAE.noise`` draws it: mostly standard normal."""
PerExample = Float[Array, "*batch"]
"""One value per example, in nats."""

KL_WEIGHT = (
    HParam("beta", 1.0, real(0.0), "weight of the KL term", source="Higgins et al. 2017, eq. 4"),
    HParam(
        "kl_warmup_steps",
        0,
        whole(0),
        "updates over which the weight of the KL term rises to beta",
        unit="updates",
        source="Bowman et al. 2016; Sonderby et al. 2016",
    ),
)
"""Hyperparameters of :func:`kl_weight`."""
num_particles_setting = functools.partial(
    setting, 1, whole(1), "samples of z per example in a bound"
)
"""Field of an objective: samples of z per example."""
estimator_setting = functools.partial(
    setting, "standard", one_of(*ESTIMATORS), "estimator of the gradient"
)
"""Field of an objective: name of a gradient estimator."""


class ElboTerms(NamedTuple):
    """Two terms of the ELBO, one value per example, in nats.

    Attributes:
        log_likelihood: E_q[log p(x|z)], minus the distortion.
        kl: KL(q(z|x) || p(z)), the rate.
    """

    log_likelihood: PerExample
    kl: PerExample

    @property
    def elbo(self) -> PerExample:
        """ELBO = log_likelihood - kl, whatever objective was trained."""
        return self.log_likelihood - self.kl


class PosteriorSamples(NamedTuple):
    """Samples of z for a batch with their log-densities, which bounds and regularizers reduce.

    Attributes:
        q: posterior q(z|x) of each example.
        p: prior p(z).
        noise: noise of which z is made, ``[particles, batch, size]``.
        z: samples of q(z|x), ``[particles, batch, latents]``.
        log_likelihood: log p(x|z) of each sample, in nats.
        log_prior: log p(z) of each sample, in nats.
        log_posterior: log q(z|x) of each sample, in nats.
        token: zeros, whose cotangent carries the weights of DReG back to z.
        decoder_dist: p(x|z) of all samples.
    """

    q: Posterior
    p: Prior
    noise: Noise
    z: Float[Array, "particles batch latents"]
    log_likelihood: Float[Array, "particles batch"]
    log_prior: Float[Array, "particles batch"]
    log_posterior: Float[Array, "particles batch"]
    token: Float[Array, "particles batch"]
    decoder_dist: Distribution

    @property
    def log_weight(self) -> Float[Array, "particles batch"]:
        """Log-weight log w = log p(x|z) + log p(z) - log q(z|x); w has the mean p(x)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class ObjectiveOutput(NamedTuple):
    """Output of an objective for a batch.

    Attributes:
        objective: value to be maximised, per example, in nats.
        terms: terms of the true ELBO (beta = 1), per example.
        samples: samples behind both, for regularizers and for likelihoods that follow the batch.
    """

    objective: PerExample
    terms: ElboTerms
    samples: PosteriorSamples


def sample_posterior(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
    *,
    estimator: Estimator = "standard",
) -> PosteriorSamples:
    """Sample z ~ q(z|x) from the noise and compute its log-densities.

    Args:
        model: static spec.
        hparams: hyperparameters of one run.
        params: parameters of the model.
        x: images ``[batch, height, width, channels]`` in [0, 1].
        noise: noise from ``VAE.noise``, ``[particles, batch, size]``.
        y: labels of a conditional model.
        estimator: estimator of gradients; no value depends on it.
    """
    q, p = model.encode(hparams, params, x, y), model.prior_at(hparams, params, y)
    if estimator == "standard":
        z, log_posterior = q.draw(noise)
        used, token = z, jnp.zeros_like(log_posterior)
    else:
        z = q.sample(noise)
        used, token = with_token(z) if estimator == "dreg" else (z, jnp.zeros(z.shape[:-1]))
        log_posterior = q.path_log_prob(used, noise)
    decoder_dist = model.decode(hparams, params, used, y)
    many = jnp.broadcast_to(x, (len(noise), *x.shape))
    log_likelihood = model.likelihood.with_optimal_scale(decoder_dist, many).log_prob(many)
    log_prior = p.log_prob(used)
    return PosteriorSamples(
        q, p, noise, z, log_likelihood, log_prior, log_posterior, token, decoder_dist
    )


def terms_from_samples(samples: PosteriorSamples, *, is_analytic: bool = True) -> ElboTerms:
    """Return the terms of the ELBO (Kingma & Welling 2014, eqs. 7 and 10).

    Args:
        samples: samples of q(z|x) for a batch.
        is_analytic: whether the KL is taken in closed form if there is one; otherwise it is the
            mean of log q(z|x) - log p(z) over the particles.
    """
    closed = samples.p.kl(samples.q) if is_analytic else None
    if closed is None:
        kl = jnp.mean(samples.log_posterior - samples.log_prior, axis=0)
    else:
        kl = closed.total
    return ElboTerms(jnp.mean(samples.log_likelihood, axis=0), kl)


def elbo_terms(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
) -> ElboTerms:
    """Return the terms of each example's ELBO, a mean over the particles of the noise."""
    return terms_from_samples(sample_posterior(model, hparams, params, x, noise, y))


def log_weights(
    model: VAE,
    hparams: HParams,
    params: Params,
    x: Images,
    noise: Noise,
    y: Labels | None = None,
) -> Float[Array, "particles batch"]:
    """Return log w of each particle and example, in nats (Burda et al. 2016, eq. 8)."""
    return sample_posterior(model, hparams, params, x, noise, y).log_weight


def ramp(step: Int[Array, ""], num_steps: Int[Array, ""]) -> Scalar:
    """Return min(step / num_steps, 1), a linear rise; 1 where ``num_steps`` is 0."""
    done = step.astype(default_float()) / jnp.maximum(num_steps, 1).astype(default_float())
    return jnp.where(num_steps > 0, jnp.minimum(done, 1.0), 1.0)


def kl_weight(hparams: HParams, step: Int[Array, ""]) -> Scalar:
    """Return beta times its warm-up (Bowman et al. 2016; Sonderby et al. 2016)."""
    return hparams.beta * ramp(step, hparams.kl_warmup_steps)


class Objective(ABC):
    """Objective that training maximises, before regularizers are subtracted.

    A frozen dataclass that inherits from this class.
    """

    needs_density: ClassVar[bool] = False
    """Flag: it weighs samples by their densities, so the posterior must have one."""
    is_elbo: ClassVar[bool] = False
    """Flag: it is the ELBO where beta is 1 and nothing else is added."""
    has_weights: ClassVar[bool] = False
    """Flag: its particles have weights, so that DReG differs from the path derivative alone."""

    @property
    @abstractmethod
    def num_draws(self) -> int:
        """Number of samples of z per example: the first axis of the noise."""
        ...

    @abstractmethod
    def __call__(
        self,
        model: VAE,
        hparams: HParams,
        params: Params,
        x: Images,
        noise: Noise,
        step: Int[Array, ""],
        y: Labels | None,
    ) -> ObjectiveOutput:
        """Return the value to be maximised and the terms of the ELBO for a batch.

        Args:
            model: static spec.
            hparams: hyperparameters of one run.
            params: parameters of the model.
            x: images ``[batch, height, width, channels]`` in [0, 1].
            noise: noise from ``VAE.noise``, ``[num_draws, batch, size]``.
            step: number of updates done, for warm-ups.
            y: labels of a conditional model.
        """
        ...
