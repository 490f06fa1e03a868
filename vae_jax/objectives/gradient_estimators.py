r"""Gradient estimators of a bound that change no value: the path derivative and DReG.

With log w(z) = log p(x, z) - log q(z|x) and z = z(noise), the gradient by the posterior's
parameters has two parts: through z, and through q's own parameters at fixed z (the score). The
score's mean is zero for an ELBO, so *sticking the landing* (Roeder et al. 2017) leaves it out. For
K importance samples it is not; DReG (Tucker et al. 2019, eq. 8) reparameterizes it a second time:

.. math::
    \nabla_\phi = \sum_k \tilde w_k \left(1 - \beta + \beta \tilde w_k\right)
        \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi}, \qquad
    \tilde w_k = w_k / \sum_j w_j

with log w(z) = log p(x|z) + beta (log p(z) - log q(z|x)). For beta = 1 the factor is the square of
eq. 8. For another beta the score is that of beta log q, so that :math:`-\beta \tilde w_k` times it
is what is reparameterized, and its derivative by z_k is
:math:`-\beta \tilde w_k (1 - \tilde w_k) \, \partial \log w_k / \partial z_k`; the rest is the
path derivative. Without this the encoder's gradient would be biased at every update of a KL
warm-up.

Backpropagation through the bound gives the first factor :math:`\tilde w_k`. The second one reaches
z through a token: an array of zeros whose cotangent is defined to be that factor.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.types import Latents, Scalar

Estimator = Literal["standard", "stl", "dreg"]
"""Name of a gradient estimator: reparameterized, path derivative (STL), doubly reparameterized."""
ESTIMATORS: tuple[str, ...] = get_args(Estimator)
"""Names of the gradient estimators that ``--estimator`` takes."""

Token = Float[Array, "*batch"]
"""Zeros, one per sample, whose cotangent is the weight of that sample."""


@jax.custom_vjp
def with_token(z: Latents) -> tuple[Latents, Token]:
    """Return z unchanged and a token, whose cotangent multiplies the cotangent of z."""
    return z, jnp.zeros(z.shape[:-1], z.dtype)


def _with_token_fwd(z: Latents) -> tuple[tuple[Latents, Token], None]:
    return with_token(z), None


def _with_token_bwd(_: None, cotangents: tuple[Latents, Token]) -> tuple[Latents]:
    z, weight = cotangents
    return (z * weight[..., None],)


with_token.defvjp(_with_token_fwd, _with_token_bwd)


@jax.custom_vjp
def weigh_tokens(
    log_w: Float[Array, "particles *batch"], token: Float[Array, "particles *batch"], beta: Scalar
) -> Float[Array, "particles *batch"]:
    """Return log w unchanged; the token's cotangent is ``1 - beta + beta share`` per particle.

    The share is each particle's part of the cotangent of log w: in front of a logsumexp over
    particles, its normalised weight.

    Args:
        log_w: log-weights, with log p(z) - log q(z|x) times beta in them.
        token: token of each particle, from :func:`with_token`.
        beta: weight of the KL in force at the update, warm-up included.
    """
    del token, beta
    return log_w


def _weigh_tokens_fwd(log_w: Array, token: Array, beta: Array) -> tuple[Array, Array]:
    return weigh_tokens(log_w, token, beta), beta


def _weigh_tokens_bwd(beta: Array, cotangent: Array) -> tuple[Array, Array, Array]:
    total = jnp.sum(cotangent, axis=0, keepdims=True)
    share = jnp.where(total == 0, 0.0, cotangent / jnp.where(total == 0, 1.0, total))
    return cotangent, (1.0 - beta) + beta * share, jnp.zeros_like(beta)


weigh_tokens.defvjp(_weigh_tokens_fwd, _weigh_tokens_bwd)
