r"""Von Mises-Fisher posterior: a Gaussian's counterpart on the unit sphere.

Davidson et al. 2018, *Hyperspherical Variational Auto-Encoders*. With d used latents z lies on the
sphere of R^d,

.. math::
    q(z|x) = \frac{\exp(\kappa \, \mu \cdot z)}{S_{d-2} J_d(\kappa)}, \qquad
    J_d(\kappa) = \int_0^\pi e^{\kappa \cos\theta} \sin^{d-2}\theta \, d\theta,

a density with respect to area; S_k is the area of the k-sphere. Here d is an array, as every
``latent_size`` is, so J is integrated numerically and not by a Bessel function of a fixed order.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, pad_latents, prepend_axes
from vae_jax.models.posteriors.base import Head, Posterior, PosteriorFamily, SampleAndLogProb
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, Scalar, default_float

PROPOSALS = 16
"""Proposals of the rejection sampler; at least 0.65 of them are accepted, so 5e-8 samples have
none that is."""
NOT_AT_A_POLE = (1e-12, 2.0 * (1.0 - 1e-6))
"""Bounds of 1 - mu . z: at a pole its square root has no derivative. On a circle one of a million
samples comes so near to one."""
NODES = 353
"""Nodes of the trapezoidal rule for J, whose integrand decays exponentially on both sides."""
_LEGENDRE = np.polynomial.legendre.leggauss(32)


def log_area(dimension: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the logarithm of the area of the unit sphere of R^d, 2 pi^(d/2) / Gamma(d/2).

    Example:
        >>> import jax.numpy as jnp
        >>> [round(float(jnp.exp(log_area(jnp.float32(d)))), 3) for d in (2, 3)]  # 2 pi, 4 pi
        [6.283, 12.566]
    """
    half = 0.5 * dimension
    return jnp.log(2.0) + half * jnp.log(jnp.pi) - jax.scipy.special.gammaln(half)


class Angle(NamedTuple):
    """Distribution of the angle theta between z and the mean direction.

    Attributes:
        log_integral: log of J_d(kappa) exp(-kappa).
        mean_distance: E[1 - cos theta], exact where it is small.
    """

    log_integral: Float[Array, "*batch"]
    mean_distance: Float[Array, "*batch"]

    @classmethod
    def of(cls, concentration: Float[Array, "*batch"], dimension: Scalar) -> "Angle":
        """Integrate over s with cos theta = tanh s, where the integrand is smooth and decays.

        J exp(-kappa) is the integral of exp(-kappa (1 - tanh s)) / cosh(s)^(d-1), at whose two ends
        the trapezoidal rule converges exponentially.
        """
        order = dimension - 1.0
        margin = 26.0 / order + 1.5
        high = 0.5 * jnp.log1p(4.0 * jax.lax.stop_gradient(concentration) / order) + margin
        step = (high + margin) / (NODES - 1)
        nodes = prepend_axes(jnp.arange(NODES, dtype=step.dtype), step.ndim + 1)
        s = nodes * step[..., None] - margin
        distance = 2.0 * jax.nn.sigmoid(-2.0 * s)
        log_sech = jnp.log(2.0) - jnp.abs(s) - jnp.log1p(jnp.exp(-2.0 * jnp.abs(s)))
        terms = order * log_sech - concentration[..., None] * distance
        log_sum = jax.nn.logsumexp(terms, axis=-1)
        weights = jnp.exp(terms - log_sum[..., None])
        return cls(log_sum + jnp.log(step), jnp.sum(weights * distance, axis=-1))


@jax.custom_jvp
def sample_distance(
    concentration: Float[Array, "*batch"],
    dimension: Scalar,
    coordinates: Float[Array, "*batch proposals"],
    uniforms: Float[Array, "*batch proposals"],
) -> Float[Array, "*batch"]:
    """Return 1 - mu . z of a sample, by the rejection sampler of Wood (1994).

    The derivative by the concentration is that of the quantile at which the sample lies (implicit
    reparameterization, Figurnov et al. 2018), so it needs no correction for the rejections.

    Args:
        concentration: kappa of each sample.
        dimension: number d of used latents.
        coordinates: a coordinate of points that are uniform on the sphere, one for each proposal.
        uniforms: uniform numbers that accept or reject the proposals.
    """
    kappa, order = concentration[..., None], dimension - 1.0
    b = order / (2.0 * kappa + jnp.sqrt(4.0 * kappa**2 + order**2))
    beta = 0.5 * (1.0 + coordinates)
    distance = 2.0 * b * beta / (1.0 - (1.0 - b) * beta)
    gap = 2.0 * b / (1.0 + b)  # 1 - x0, and 1 - x0^2 is gap * (2 - gap)
    log_ratio = kappa * (gap - distance) + order * (
        jnp.log(distance + gap * (1.0 - distance)) - jnp.log(gap * (2.0 - gap))
    )
    first = jnp.argmax(log_ratio >= jnp.log(uniforms), axis=-1)
    accepted = jnp.take_along_axis(distance, first[..., None], axis=-1)[..., 0]
    return jnp.clip(accepted, *NOT_AT_A_POLE)


@sample_distance.defjvp
def _sample_distance_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    kappa, dimension, _, _ = primals
    distance = sample_distance(*primals)
    return distance, quantile_slope(kappa, dimension, distance) * tangents[0]


def quantile_slope(
    concentration: Float[Array, "*batch"], dimension: Scalar, distance: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return the derivative of a quantile of 1 - cos theta by the concentration.

    With the density f of theta it is -(dF/dkappa) / f times d(1 - cos theta)/dtheta; dF/dkappa is
    integrated by Gauss-Legendre from the nearer one of the two poles.
    """
    angle = 2.0 * jnp.arcsin(jnp.sqrt(0.5 * distance))
    is_far = angle > 0.5 * jnp.pi
    length = jnp.where(is_far, jnp.pi - angle, angle)
    mean = Angle.of(concentration, dimension).mean_distance

    def term(node: Array, weight: Array) -> Array:
        """Return a term of the integral of f(theta) / f(angle) (mean - (1 - cos theta))."""
        part = 0.5 * (1.0 + node) * length  # sine and distance are those from the nearer pole
        half, half_length = jnp.sin(0.5 * part) ** 2, jnp.sin(0.5 * length) ** 2
        nearness = jnp.where(is_far, half - half_length, half_length - half)
        log_sine = jnp.log(jnp.sin(part)) - jnp.log(jnp.sin(length))
        ratio = jnp.exp(2.0 * concentration * nearness + (dimension - 2.0) * log_sine)
        own = jnp.where(is_far, 2.0 - 2.0 * half, 2.0 * half)
        return weight * ratio * (mean - own)

    nodes, weights = (jnp.asarray(values, distance.dtype) for values in _LEGENDRE)
    integral = 0.5 * length * jnp.sum(jax.vmap(term)(nodes, weights), axis=0)
    return jnp.sin(length) * jnp.where(is_far, integral, -integral)


class VonMisesFisher(NamedTuple):
    """Distribution q(z|x) proportional to exp(kappa mu . z) on the unit sphere.

    Attributes:
        direction: mean direction mu, ``[*batch, latents]``, zero on latents that are masked out.
        concentration: kappa, ``[*batch]``; at 0 the distribution is uniform.
        latent_mask: mask of the used coordinates, whose number is the dimension d.

    Example:
        >>> import jax.numpy as jnp
        >>> q = VonMisesFisher(jnp.array([0.0, 0.0, 1.0]), jnp.float32(2.0), jnp.ones(3, bool))
        >>> round(float(q.log_prob(jnp.array([0.0, 0.0, 1.0]))), 3)  # 2 + ln(2 / 4 pi sinh 2)
        -1.126
    """

    direction: Latents
    concentration: Float[Array, "*batch"]
    latent_mask: LatentMask

    @property
    def dimension(self) -> Scalar:
        """Number d of used latents; z lies on the sphere of R^d."""
        return jnp.sum(self.latent_mask).astype(self.direction.dtype)

    @property
    def center(self) -> Latents:
        """Mean direction, a point of the sphere."""
        return self.direction

    @property
    def angle(self) -> Angle:
        """Distribution of the angle to the mean direction."""
        return Angle.of(self.concentration, self.dimension)

    @property
    def log_peak(self) -> Float[Array, "*batch"]:
        """Log-density at the mean direction, in nats."""
        return -log_area(self.dimension - 1.0) - self.angle.log_integral

    def sample(self, noise: Float[Array, "*shape size"]) -> Latents:
        """Return z = w mu + sqrt(1 - w^2) v with v uniform among the directions orthogonal to mu.

        Args:
            noise: noise that :meth:`VonMisesFisherFamily.noise` draws.
        """
        z, _ = self._sample(noise)
        return z

    def _sample(self, noise: Float[Array, "*shape size"]) -> tuple[Latents, Float[Array, "*shape"]]:
        """Return z and 1 - w = 1 - mu . z."""
        normals, uniforms = _split(noise)
        used = self.latent_mask[: normals.shape[-2], None]
        normals = jnp.where(jnp.broadcast_to(used, normals.shape), normals, 0.0)
        proposals = normals[..., :-1]
        first = proposals[..., 0, :] / jnp.sqrt(jnp.sum(proposals**2, axis=-2))
        shape = noise.shape[:-1]
        kappa = jnp.broadcast_to(self.concentration, shape)
        distance = sample_distance(kappa, self.dimension, first, uniforms)
        mu = jnp.broadcast_to(self.direction, (*shape, self.direction.shape[-1]))
        tangent = pad_latents(normals[..., -1], mu.shape[-1])
        for _ in range(2):  # once would leave the rounding of a v that is nearly parallel to mu
            tangent -= jnp.sum(tangent * mu, axis=-1, keepdims=True) * mu
            square = jnp.sum(tangent**2, axis=-1, keepdims=True)
            tangent /= jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny))
        sine = jnp.sqrt(distance * (2.0 - distance))
        return (1.0 - distance)[..., None] * mu + sine[..., None] * tangent, distance

    def draw(self, noise: Float[Array, "*shape size"]) -> SampleAndLogProb:
        """Return the sample and its log-density, exact also where z is close to mu."""
        z, distance = self._sample(noise)
        return SampleAndLogProb(z, self._log_density(distance))

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats at a point z of the sphere."""
        mu = prepend_axes(self.direction, z.ndim)
        distance = 0.5 * jnp.sum((z - mu) ** 2, axis=-1)  # 1 - mu . z of two unit vectors
        return self._log_density(distance)

    def _log_density(self, distance: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats at the points with this 1 - mu . z; particles come first."""
        peak, kappa = (
            prepend_axes(each, distance.ndim) for each in (self.log_peak, self.concentration)
        )
        return peak - kappa * distance

    def path_log_prob(
        self, z: Latents, noise: Float[Array, "*shape size"]
    ) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats, differentiable through z alone."""
        del noise
        return jax.lax.stop_gradient(self).log_prob(z)

    def component(self) -> Posterior:
        """Return the distribution itself."""
        return self

    def kl_to_uniform(self) -> Float[Array, "*batch"]:
        """Return the KL divergence to the uniform distribution on the sphere, in nats.

        It is E[log q] plus the logarithm of the sphere's area (Davidson et al. 2018, eq. 14).
        """
        entropy_term = self.log_peak - self.concentration * self.angle.mean_distance
        return entropy_term + log_area(self.dimension)


def _split(
    noise: Float[Array, "*shape size"],
) -> tuple[Float[Array, "*shape latents draws"], Float[Array, "*shape proposals"]]:
    """Return the normal numbers, one column for each proposal and one for v, and the uniform."""
    normals, uniforms = noise[..., :-PROPOSALS], noise[..., -PROPOSALS:]
    return normals.reshape(*normals.shape[:-1], -1, PROPOSALS + 1), uniforms


@dataclass(frozen=True)
class VonMisesFisherFamily(PosteriorFamily):
    """Von Mises-Fisher family: the encoder gives a direction and a concentration.

    The direction is the head divided by its norm, the concentration its softplus.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> heads = {"direction": jnp.ones((5, 4)), "concentration": jnp.zeros((5, 1))}
        >>> q = VonMisesFisherFamily()(HParams.of(), {}, heads, jnp.arange(4) < 3)
        >>> z = q.sample(VonMisesFisherFamily().noise(jax.random.key(0), (5,), 3))
        >>> jnp.linalg.norm(z, axis=-1).round(4).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    support: ClassVar[str] = "sphere"
    distribution: ClassVar[type] = VonMisesFisher
    has_own_noise: ClassVar[bool] = True
    has_coordinates: ClassVar[bool] = False
    is_local: ClassVar[bool] = True
    fewest_latents: ClassVar[int] = 2

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads: direction and concentration."""
        return Head("direction", (width,)), Head("concentration", (1,))

    def noise(
        self, key: PRNGKey, shape: tuple[int, ...], max_latents: int
    ) -> Float[Array, "*shape size"]:
        """Draw normal numbers for the proposals and the direction, and uniform ones to accept."""
        normals = jax.random.normal(key, (max_latents, PROPOSALS + 1, *shape), default_float())
        normals = jnp.moveaxis(normals, (0, 1), (-2, -1)).reshape(*shape, -1)
        own = jax.random.fold_in(key, 1)
        uniforms = jax.random.uniform(own, (*shape, PROPOSALS), default_float())
        return jnp.concatenate([normals, uniforms], axis=-1)

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> VonMisesFisher:
        """Return the distribution with the given heads."""
        del hparams, params
        vector = apply_mask(latent_mask, heads["direction"])
        square = jnp.sum(vector**2, axis=-1, keepdims=True)
        is_zero = square == 0  # no direction: any will do, and no gradient
        norm = jnp.sqrt(jnp.where(is_zero, 1.0, square))
        pole = jnp.zeros(vector.shape[-1], vector.dtype).at[0].set(1.0)
        direction = jnp.where(is_zero, pole, vector / norm)
        concentration = jax.nn.softplus(heads["concentration"][..., 0])
        return VonMisesFisher(direction, concentration, latent_mask)
