"""Gaussian posterior with a full covariance matrix, given by its Cholesky factor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import (
    Head,
    Posterior,
    PosteriorFamily,
    SampleAndLogProb,
    with_score,
)
from vae_jax.models.posteriors.gaussian import log_density_of_noise
from vae_jax.types import LatentMask, Latents, Params

Square = Float[Array, "*batch latents latents"]


class CholeskyGaussian(NamedTuple):
    r"""Gaussian q(z|x) = N(z; mean, L L') with L = diag(exp(log_var / 2)) + strictly lower part.

    ``exp(log_var)`` is the variance of a coordinate given those before it (Kingma & Welling 2019,
    section 2.5.1).

    Attributes:
        mean: mean, ``[*batch, latents]``.
        log_var: log of each squared diagonal entry of L, ``[*batch, latents]``.
        lower: off-diagonal entries of L, ``[*batch, latents, latents]``; only those below the
            diagonal are read.
        latent_mask: mask of the used coordinates; None for all.

    Example:
        >>> import jax.numpy as jnp
        >>> lower = jnp.array([[0.0, 0.0], [3.0, 0.0]])
        >>> q = CholeskyGaussian(jnp.zeros(2), jnp.zeros(2), lower)
        >>> q.factor.tolist()
        [[1.0, 0.0], [3.0, 1.0]]
        >>> q.sample(jnp.array([1.0, 0.5])).tolist()
        [1.0, 3.5]
    """

    mean: Latents
    log_var: Latents
    lower: Square
    latent_mask: LatentMask | None = None

    def restrict(self, latent_mask: LatentMask) -> "CholeskyGaussian":
        """Return the q that is unchanged on used coordinates and N(0, 1), independent, elsewhere.

        The mask is applied before any ``exp`` or product, as in ``Gaussian.restrict``.
        """
        lower = apply_mask(latent_mask, jnp.where(latent_mask[:, None], self.lower, 0.0))
        return CholeskyGaussian(
            apply_mask(latent_mask, self.mean),
            apply_mask(latent_mask, self.log_var),
            lower,
            latent_mask,
        )

    @property
    def factor(self) -> Square:
        """Cholesky factor L, with covariance L L'."""
        scale = jnp.broadcast_to(jnp.exp(0.5 * self.log_var)[..., None], self.lower.shape)
        on_diagonal = jnp.broadcast_to(jnp.eye(scale.shape[-1], dtype=bool), scale.shape)
        return jnp.where(on_diagonal, scale, jnp.tril(self.lower, -1))

    @property
    def center(self) -> Latents:
        """Mean of q(z|x)."""
        return self.mean

    def sample(self, noise: Latents) -> Latents:
        """Return z = mean + L noise."""
        return prepend_axes(self.mean, noise.ndim) + jnp.einsum(
            "...ij,...j->...i", self.factor, noise
        )

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the sample with its log-density in nats, for which no linear system is solved."""
        return SampleAndLogProb(self.sample(noise), self._log_density(noise))

    def log_prob(self, z: Float[Array, "*#batch latents"]) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats over the used coordinates; examples may share one z."""
        z = jnp.broadcast_to(z, jnp.broadcast_shapes(z.shape, self.mean.shape))
        log_density = self._log_density(self._noise_of(z))
        # inf - inf in the system: z is so far out that the density underflows.
        return jnp.where(jnp.isnan(log_density), -jnp.inf, log_density)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats of ``z = sample(noise)``, differentiable through z alone."""
        fixed, noise = jax.lax.stop_gradient((self, noise))
        score = apply_mask(fixed.latent_mask, -_solved(_solve_transposed, fixed.factor, noise))
        return with_score(fixed._log_density(noise), z, score)

    def component(self) -> Posterior:
        """Return the distribution itself."""
        return self

    def _log_density(self, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q at mean + L noise in nats: log N(noise; 0, I) - log det L."""
        terms = log_density_of_noise(prepend_axes(self.log_var, noise.ndim), noise)
        return jnp.sum(apply_mask(self.latent_mask, terms), axis=-1)

    def _noise_of(self, z: Latents) -> Latents:
        """Return L^-1 (z - mean)."""
        return _solved(_solve, self.factor, z - prepend_axes(self.mean, z.ndim))


def _solved(
    solve: Callable[[Array, Array], Array],
    factor: Square,
    values: Float[Array, "*particles latents"],
) -> Float[Array, "*particles latents"]:
    """Solve one triangular system per example, with its particles as columns."""
    columns = jnp.moveaxis(values.reshape(-1, *factor.shape[:-1]), 0, -1)
    return jnp.moveaxis(solve(factor, columns), -1, 0).reshape(values.shape)


def _solve_transposed(factor: Square, columns: Array) -> Array:
    """Return L'^-1 columns."""
    return jax.scipy.linalg.solve_triangular(factor, columns, trans=1, lower=True)


@jax.custom_jvp
def _solve(factor: Square, columns: Array) -> Array:
    """Return L^-1 columns, with a gradient of zero where the solution is not finite.

    There the density of z is zero, and its weight in any mixture is zero. Without this rule the
    gradient would be that zero times infinity, which is NaN.
    """
    return jax.scipy.linalg.solve_triangular(factor, columns, lower=True)


@_solve.defjvp
def _solve_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (factor, columns), (factor_dot, columns_dot) = primals, tangents
    solved = _solve(factor, columns)
    is_near = jnp.all(jnp.isfinite(solved), axis=-2, keepdims=True)
    moved = jnp.matmul(factor_dot, jnp.where(is_near, solved, 0.0))
    slope = jax.scipy.linalg.solve_triangular(factor, columns_dot - moved, lower=True)
    return solved, jnp.where(is_near, slope, 0.0)


@dataclass(frozen=True)
class FullGaussian(PosteriorFamily):
    """Family of Gaussians with a full covariance; at the start all correlations are zero.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family = FullGaussian()
        >>> heads = {head.name: jnp.ones((5, *head.shape)) for head in family.heads(2)}
        >>> q = family(HParams.of(latent_size=2), {}, heads, jnp.array([True, True]))
        >>> q.draw(jnp.zeros((5, 2))).log_prob.shape  # nats per example
        (5,)
    """

    distribution: ClassVar[type] = CholeskyGaussian
    is_local: ClassVar[bool] = True

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads: mean, log-variance and the part of L below its diagonal."""
        lower = Head("lower", (width, width), starts_at_zero=True)
        return Head("mean", (width,)), Head("log_var", (width,)), lower

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> CholeskyGaussian:
        """Return the Gaussian with the given heads."""
        del hparams, params
        return CholeskyGaussian(heads["mean"], heads["log_var"], heads["lower"]).restrict(
            latent_mask
        )
