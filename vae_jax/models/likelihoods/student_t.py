"""Student's t: location-scale dimensions whose heavy tails forgive outliers."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models.likelihoods.base import IMAGE_AXES, BestScale, Outputs, flat
from vae_jax.models.likelihoods.location_scale import LocationScale, LogScales
from vae_jax.settings import one_of, real, setting
from vae_jax.types import EventAxes, Observations, Params, PRNGKey, Scalar

StudentScaleMode = Literal["fixed", "learned", "per_pixel"]
SMALLEST_SQUARE = 1e-37
"""Squared deviation that counts as zero: the logarithm of zero has no gradient."""


class IndependentStudentT(NamedTuple):
    """Distribution p(x|z) = prod_d t_nu((x_d - loc_d) / scale_d) / scale_d.

    Attributes:
        loc: median of each dimension of x, and for nu above 1 its mean.
        log_scale: log of the scale, per dimension or one for all.
        degrees_of_freedom: nu, of the shape of ``log_scale``; 1 is Cauchy's distribution, infinity
            the Gaussian.
        event: axes of x.

    Example:
        >>> import jax.numpy as jnp
        >>> zeros, one = jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1))
        >>> p = IndependentStudentT(zeros, one, jnp.ones_like(one))
        >>> round(float(p.log_prob(zeros)[0]), 3)  # -4 ln(pi) nats
        -4.579
    """

    loc: Observations
    log_scale: LogScales
    degrees_of_freedom: LogScales
    event: EventAxes = IMAGE_AXES

    def log_prob(self, x: Observations) -> Float[Array, "*batch"]:
        """Return log p(x|z) in nats, a density over all real x, which may exceed 1."""
        nu, log_scale = (flat(a, self.event) for a in (self.degrees_of_freedom, self.log_scale))
        deviation = flat(x, self.event) - flat(self.loc, self.event)
        # In logarithms, because the square of a deviation over its scale may overflow.
        log_square = jnp.log(jnp.maximum(deviation**2, SMALLEST_SQUARE)) - 2.0 * log_scale
        tail = 0.5 * (nu + 1.0) * jax.nn.softplus(log_square - jnp.log(nu))
        return jnp.sum(_log_constant(nu) - log_scale - tail, axis=-1)

    def mean(self) -> Observations:
        """Return loc: E[x|z] for nu above 1, the median otherwise."""
        return self.loc

    def sample(self, key: PRNGKey) -> Observations:
        """Draw x from p(x|z); pixels may lie outside [0, 1]."""
        noise = jax.random.t(key, self.degrees_of_freedom, self.loc.shape, self.loc.dtype)
        return self.loc + jnp.exp(self.log_scale) * noise

    def optimal_log_scale(self, x: Observations) -> Scalar:
        """Refuse: the scale under which the batch is most likely has no closed form."""
        raise NotImplementedError("Student's t: no closed form of the optimal scale is known")


def _log_constant(nu: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ln Gamma((nu + 1) / 2) - ln Gamma(nu / 2) - ln(nu pi) / 2."""
    gammas = jax.scipy.special.gammaln(0.5 * (nu + 1.0)) - jax.scipy.special.gammaln(0.5 * nu)
    return gammas - 0.5 * jnp.log(nu) - 0.5 * math.log(math.pi)


def _half_step_of_digamma(x: float) -> float:
    """Return psi(x + 1/2) - psi(x), by the recurrence of psi and its asymptotic series."""
    total = 0.0
    while x < 20:
        total += 0.5 / (x * (x + 0.5))
        x += 1
    return total + 1 / (2 * x) + 1 / (8 * x**2) - 1 / (64 * x**4)


@dataclass(frozen=True)
class StudentTLikelihood(LocationScale[IndependentStudentT]):
    """Student's t with ``hparams.degrees_of_freedom``, an array that a study sweeps.

    The scale of a batch has no closed-form optimum, so there is no mode ``optimal``.

    Attributes:
        scale_mode: source of the scale: ``fixed``, ``learned`` or ``per_pixel``, as for a Gaussian.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams = StudentTLikelihood(), HParams.of(degrees_of_freedom=3)
        >>> outputs = family.initial_bias(jnp.full((2, 2, 1), 0.25))[None]
        >>> float(family(hparams, {}, outputs).degrees_of_freedom[0, 0, 0, 0])
        3.0
    """

    scale_mode: StudentScaleMode = setting(
        "fixed", one_of(*get_args(StudentScaleMode)), "source of the scale of p(x|z)"
    )

    hparams: ClassVar[tuple[HParam, ...]] = (
        *LocationScale.hparams,
        HParam(
            "degrees_of_freedom",
            4.0,
            real(0.0, is_open=True),
            "degrees of freedom of Student's t: the smaller, the heavier its tails",
        ),
    )

    @classmethod
    def best_scale(
        cls, log_likelihood: float, scale: float, num_values: int, **settings: float
    ) -> BestScale:
        """Return the scale under which deviations that are t-distributed give the log-likelihood.

        With l the log-likelihood lost per dimension against a deviation of 0, E[log(1 + t^2 / nu)]
        = 2 l / (nu + 1) is psi((nu + 1) / 2) - psi(nu / 2) at the scale that fits. Elsewhere a
        single deviation stands for all, d^2 = nu s^2 (exp(2 l / (nu + 1)) - 1), as it may where the
        scale is far too wide or too narrow.

        Example:
            >>> wide = StudentTLikelihood.best_scale(-1.2, 1.0, 1, degrees_of_freedom=4.0)
            >>> round(wide.scale, 2), wide.log_likelihood > -1.2
            (0.53, True)
        """
        nu = settings.get("degrees_of_freedom", 4.0)
        gammas = math.lgamma(0.5 * (nu + 1)) - math.lgamma(0.5 * nu)
        constant = gammas - 0.5 * math.log(nu * math.pi)
        lost = max(constant - math.log(scale) - log_likelihood / num_values, 1e-12)
        exponent = min(2 * lost / (nu + 1), 700.0)  # beyond that the square is infinite
        fitting = _half_step_of_digamma(0.5 * nu)
        best = scale * math.sqrt(math.expm1(exponent) / math.expm1(fitting))
        log_likelihood = constant - math.log(best) - 0.5 * (nu + 1) * fitting
        return BestScale(best, num_values * log_likelihood, power=2.0)

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> IndependentStudentT:
        """Return p(x|z); outputs are locations and, in mode ``per_pixel``, log-ratios of scales."""
        distribution = super().__call__(hparams, params, outputs, event)
        degrees = jnp.broadcast_to(hparams.degrees_of_freedom, distribution.log_scale.shape)
        return distribution._replace(degrees_of_freedom=degrees)

    def make(
        self, loc: Observations, log_scale: LogScales, event: EventAxes = IMAGE_AXES
    ) -> IndependentStudentT:
        """Return the distribution with these locations and log-scales, as yet Cauchy's."""
        return IndependentStudentT(loc, log_scale, jnp.ones_like(log_scale), event)
