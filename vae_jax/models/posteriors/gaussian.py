"""Mean-field (diagonal) Gaussian posterior, on which the other posteriors are built."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import LatentMask, Latents, Params

LOG_2PI = 1.8378770664093453
"""Natural logarithm of 2 pi."""


def normal_log_density(
    z: Float[Array, "*#shape"], mean: Float[Array, "*#shape"], log_var: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Return log N(z; mean, exp(log_var)) for each coordinate, in nats, constants included.

    The square is taken last: ``exp(-log_var)`` alone overflows float32 at a log-variance of -88.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(normal_log_density(jnp.float32(0), jnp.float32(0), jnp.float32(0))), 3)
        -0.919
    """
    return log_density_of_noise(log_var, (z - mean) * finite_exp(-0.5 * log_var))


def log_density_of_noise(
    log_var: Float[Array, "*#shape"], noise: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Return log N(z; mean, exp(log_var)) at z = mean + exp(log_var / 2) noise, per coordinate.

    It needs neither z nor the mean, in nats: -(ln 2 pi + log_var + noise^2) / 2.
    """
    return -0.5 * (LOG_2PI + log_var + noise**2)


@jax.custom_jvp
def _log_density_at_sample(
    z: Float[Array, "*shape"],
    mean: Float[Array, "*#shape"],
    log_var: Float[Array, "*#shape"],
    noise: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Return :func:`normal_log_density` at z = mean + exp(log_var / 2) noise, from its noise.

    The gradients are the partial derivatives by z, mean and log_var.
    """
    del z, mean
    return log_density_of_noise(log_var, noise)


@_log_density_at_sample.defjvp
def _log_density_at_sample_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    (z, mean, log_var, noise), (z_dot, mean_dot, log_var_dot, _) = primals, tangents
    score = -noise * finite_exp(-0.5 * log_var)
    slope = score * (z_dot - mean_dot) + 0.5 * (noise**2 - 1.0) * log_var_dot
    return _log_density_at_sample(z, mean, log_var, noise), slope


class Gaussian(NamedTuple):
    """Diagonal Gaussian q(z|x) = prod_j N(z_j; mean_j, exp(log_var_j)).

    Kingma & Welling 2014, eq. 9.

    Attributes:
        mean: mean, ``[*batch, latents]``.
        log_var: log-variance, ``[*batch, latents]``.
        latent_mask: mask of the used coordinates; None for all.

    Example:
        >>> import jax.numpy as jnp
        >>> q = Gaussian(mean=jnp.array([1.0, -1.0]), log_var=jnp.zeros(2))
        >>> z, log_q = q.draw(jnp.array([0.5, 0.0]))
        >>> z.tolist(), round(float(log_q), 3)  # -ln 2 pi - 0.5^2 / 2 nats
        ([1.5, -1.0], -1.963)
    """

    mean: Latents
    log_var: Latents
    latent_mask: LatentMask | None = None

    def restrict(self, latent_mask: LatentMask) -> "Gaussian":
        """Return the q that is unchanged on used coordinates and N(0, 1) elsewhere.

        Elsewhere q equals the standard normal prior, so every KL and log-ratio is zero. The mask is
        applied before any ``exp``: a log-variance that overflows on a coordinate that is masked out
        can then put no NaN into the gradients of the used ones.
        """
        return Gaussian(
            apply_mask(latent_mask, self.mean), apply_mask(latent_mask, self.log_var), latent_mask
        )

    def first(self, num_latents: int) -> "Gaussian":
        """Return q of the first latents alone, its marginal."""
        return Gaussian(self.mean[..., :num_latents], self.log_var[..., :num_latents])

    @property
    def center(self) -> Latents:
        """Mean of q(z|x)."""
        return self.mean

    def sample(self, noise: Latents) -> Latents:
        """Return z = mean + exp(log_var / 2) * noise: the reparameterization with noise ~ N(0, I).

        Kingma & Welling 2014, section 2.4. The noise may have more leading axes (particles).
        """
        return prepend_axes(self.mean, noise.ndim) + self.deviation(noise)

    def deviation(self, noise: Latents) -> Latents:
        """Return z - mean of the sample, exact also where the rounding of z would lose it."""
        return prepend_axes(jnp.exp(0.5 * self.log_var), noise.ndim) * noise

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the sample and its log-density -1/2 sum_j (ln 2 pi + log_var_j + noise_j^2)."""
        terms = log_density_of_noise(prepend_axes(self.log_var, noise.ndim), noise)
        return SampleAndLogProb(
            self.sample(noise), jnp.sum(apply_mask(self.latent_mask, terms), axis=-1)
        )

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats, summed over the used coordinates."""
        mean, log_var = prepend_axes(self.mean, z.ndim), prepend_axes(self.log_var, z.ndim)
        return jnp.sum(apply_mask(self.latent_mask, normal_log_density(z, mean, log_var)), axis=-1)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats of ``z = sample(noise)``, differentiable through z alone."""
        return jax.lax.stop_gradient(self).log_prob_at_sample(z, noise)

    def log_prob_at_sample(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) of ``z = sample(noise)``, differentiable by z and the parameters.

        The value is computed from the noise. The gradients are those of :meth:`log_prob`: z is held
        constant for the derivative by the parameters.
        """
        mean, log_var = prepend_axes(self.mean, z.ndim), prepend_axes(self.log_var, z.ndim)
        return jnp.sum(
            apply_mask(self.latent_mask, _log_density_at_sample(z, mean, log_var, noise)), axis=-1
        )

    def component(self) -> Posterior:
        """Return the distribution itself."""
        return self

    def pairwise_log_density(
        self,
        mean: Float[Array, "samples latents"],
        deviation: Float[Array, "samples latents"],
    ) -> Float[Array, "samples examples latents"]:
        """Return :func:`pairwise_log_density` of samples under these posteriors."""
        return pairwise_log_density(mean, deviation, self)


def pairwise_log_density(
    mean: Float[Array, "samples latents"], deviation: Float[Array, "samples latents"], q: Gaussian
) -> Float[Array, "samples examples latents"]:
    """Return the log-density of each sample under each posterior, per coordinate, in nats.

    A sample is z = mean + deviation. The means are subtracted first: under the posterior that z was
    drawn from, and under all with the same mean, exactly the deviation is left, however small it is
    beside the mean.

    Args:
        mean: means of the posteriors that the samples were drawn from.
        deviation: deviations of the samples from these means, see :meth:`Gaussian.deviation`.
        q: posteriors to evaluate, with arrays ``[examples, latents]``.

    Example:
        >>> import jax.numpy as jnp
        >>> q = Gaussian(jnp.zeros((3, 2)), jnp.zeros((3, 2)))
        >>> pairwise_log_density(q.mean[:1], jnp.ones((1, 2)), q).shape
        (1, 3, 2)
    """
    shape = (len(mean), *q.mean.shape)
    sample_mean, sample_deviation, means, log_vars = (
        jnp.broadcast_to(a, shape)
        for a in (mean[:, None], deviation[:, None], q.mean[None], q.log_var[None])
    )
    return normal_log_density(
        (sample_mean - means) + sample_deviation, jnp.zeros_like(means), log_vars
    )


@dataclass(frozen=True)
class DiagonalGaussian(PosteriorFamily):
    """Mean-field Gaussian family: the encoder gives a mean and a log-variance for each latent.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> heads = {"mean": jnp.ones((5, 2)), "log_var": jnp.zeros((5, 2))}
        >>> mask = jnp.array([True, False])
        >>> DiagonalGaussian()(HParams.of(latent_size=1), {}, heads, mask).mean[0].tolist()
        [1.0, 0.0]
    """

    distribution: ClassVar[type] = Gaussian
    has_latent_densities: ClassVar[bool] = True
    is_local: ClassVar[bool] = True
    can_be_stacked: ClassVar[bool] = True

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads: mean and log-variance."""
        return Head("mean", (width,)), Head("log_var", (width,))

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Gaussian:
        """Return the Gaussian with the given heads."""
        del hparams, params
        return Gaussian(heads["mean"], heads["log_var"]).restrict(latent_mask)
