r"""Bounds on log p(x), and the objectives trained with them.

Everything is a reduction of three per-example terms, in nats:

.. math::
    \mathrm{ELBO}(x) = E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) \,\|\, p(z)) \le \log p(x)

The first expectation is a mean over ``particles`` samples; the KL is closed-form. Higher is
better; the sign is turned once, in ``train.py``. This is the only room with a beta.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.posteriors import Gaussian
from vae_jax.types import Images, Latents, Params

Noise = Float[Array, "particles batch latents"]


class Terms(NamedTuple):
    """The two halves of the ELBO, one value per example, in nats.

    Attributes:
        log_likelihood: E_q[log p(x|z)], minus the distortion.
        kl: KL(q(z|x) || p(z)), the rate.
    """

    log_likelihood: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]

    @property
    def elbo(self) -> Float[Array, "*batch"]:
        """log_likelihood - kl, whatever beta was trained with."""
        return self.log_likelihood - self.kl


def elbo_terms(model: VAE, hparams: HParams, params: Params, x: Images, noise: Noise) -> Terms:
    """Terms of the ELBO for each example (Kingma & Welling 2014, eq. 7).

    Args:
        model: static spec.
        hparams: of one run.
        params: of the model.
        x: ``[batch, height, width, channels]`` in [0, 1].
        noise: standard normal; the expectation is a mean over its leading axis.
    """
    q = model.encode(hparams, params, x)
    z = Gaussian(q.mean[None], q.log_var[None]).sample(noise)
    outputs = model.decode(hparams, params, z)
    seen = jnp.broadcast_to(x, (len(noise), *x.shape))
    expectation = jnp.mean(model.likelihood.log_prob(outputs, seen), axis=0)
    return Terms(expectation, jnp.sum(model.prior.kl(q), axis=-1))


def log_weights(
    model: VAE, hparams: HParams, params: Params, x: Images, noise: Noise
) -> Float[Array, "particles batch"]:
    """Log w = log p(x|z) + log p(z) - log q(z|x) with z ~ q(z|x) made from the noise.

    E[w] = p(x), so the mean of log w is an ELBO and the log of the mean of w a tighter bound.
    """
    q = model.encode(hparams, params, x)

    def one(noise: Latents) -> Float[Array, " batch"]:
        return weigh(model, hparams, params, x, q, q.sample(noise)).log_weight

    return jax.vmap(one)(noise)


class Weighed(NamedTuple):
    """One particle of each example.

    Attributes:
        log_likelihood: log p(x|z), in nats.
        log_weight: log p(x|z) + log p(z) - log q(z|x), in nats.
    """

    log_likelihood: Float[Array, "*batch"]
    log_weight: Float[Array, "*batch"]


def weigh(
    model: VAE, hparams: HParams, params: Params, x: Images, q: Gaussian, z: Latents
) -> Weighed:
    """Likelihood and importance weight of latents z drawn from q."""
    active = model.active(hparams)
    log_likelihood = model.likelihood.log_prob(model.decode(hparams, params, z), x)
    log_ratio = model.prior.log_prob(z, active) - q.log_prob(z, active)
    return Weighed(log_likelihood, log_likelihood + log_ratio)


def importance_weighted_bound(
    log_w: Float[Array, "particles *batch"],
) -> Float[Array, "*batch"]:
    """Log (1/K sum_k w_k) <= log p(x) in expectation, in nats; K = 1 is an ELBO.

    Rises with K to log p(x) (Burda et al. 2016, eq. 8 and theorem 1).
    """
    return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])


@dataclass(frozen=True)
class Elbo:
    """E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    The ELBO for beta = 1, the beta-VAE's objective otherwise (Higgins et al. 2017, eq. 4).

    Attributes:
        num_particles: samples of z over which the expectation is averaged.
    """

    num_particles: int = 1

    def __call__(
        self, model: VAE, hparams: HParams, params: Params, x: Images, noise: Noise
    ) -> tuple[Float[Array, " batch"], Terms]:
        """Value to be maximised and the terms to be reported, per example."""
        terms = elbo_terms(model, hparams, params, x, noise)
        return terms.log_likelihood - hparams.beta * terms.kl, terms
