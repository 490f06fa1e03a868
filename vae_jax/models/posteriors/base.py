"""Interfaces of approximate posteriors: the family, and the distribution that it makes.

Noise is always an argument: a sample is a deterministic function of the parameters and of noise,
and therefore differentiable (the reparameterization trick, Kingma & Welling 2014, section 2.4). The
noise is the family's own (:meth:`PosteriorFamily.noise`), by default standard normal.

A family inherits from :class:`PosteriorFamily` and gets the default bodies given there. It must
define ``heads`` and ``__call__``. A distribution is matched by structure: a ``NamedTuple`` with the
methods of :class:`Posterior`, which it does not inherit from.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParam, HParams
from vae_jax.models import latents
from vae_jax.types import LatentMask, Latents, Params, PRNGKey


class Head(NamedTuple):
    """One linear output of the encoder.

    Attributes:
        name: name of the parameter of q(z|x) that it gives.
        shape: shape of its value for one x; an axis over the latents comes first.
        starts_at_zero: flag; its weights start at zero if set, else random and prefix-stable (the
            weights of the first latents do not depend on how many follow).

    Example:
        >>> from vae_jax.models.posteriors import DiagonalGaussian
        >>> [head.name for head in DiagonalGaussian().heads(48)]
        ['mean', 'log_var']
    """

    name: str
    shape: tuple[int, ...]
    starts_at_zero: bool = False


class SampleAndLogProb(NamedTuple):
    """Sample z ~ q(z|x) with its log-density.

    Attributes:
        z: sample from q(z|x).
        log_prob: log q(z|x) in nats, summed over the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax.models.posteriors import Gaussian
        >>> z, log_prob = Gaussian(jnp.zeros((5, 2)), jnp.zeros((5, 2))).draw(jnp.ones((5, 2)))
        >>> z.shape, log_prob.shape
        ((5, 2), (5,))
    """

    z: Latents
    log_prob: Float[Array, "*batch"]


@runtime_checkable
class Posterior(Protocol):
    """Distribution q(z|x) for given x: a ``NamedTuple`` of arrays that carries its latent mask.

    On coordinates that are masked out it is the prior (standard normal where the support is
    ``reals``), and they add nothing to any density.
    """

    @property
    def center(self) -> Latents:
        """Code that represents x, a point of the support: the mean, or z at zero noise."""
        ...

    def sample(self, noise: Latents) -> Latents:
        """Return z ~ q(z|x) as a function of the noise that the family draws.

        Args:
            noise: noise ``[*particles, *batch, size]``; it may have more leading axes than x. The
                size is that of z where the noise is standard normal.
        """
        ...

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return the sample with its log-density, which is computed from the noise and not from z.

        The noise cannot be recovered from z: where q is narrower than the spacing of floats about
        its mean, every sample equals the mean, and (z - mean) / scale is 0 / 0.
        """
        ...

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats of ``z = sample(noise)``, differentiable through z alone.

        The value is that of ``draw(noise)``. The parameters are held constant, as the path
        derivatives of sticking the landing (Roeder et al. 2017) and DReG (Tucker et al. 2019) need.
        """
        ...

    def component(self) -> "Posterior":
        """Return a distribution with ``log_prob`` at any z: this one or, for flows, the base.

        The VampPrior is a mixture of these.
        """
        ...

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats at any z, summed over the used coordinates.

        Raises:
            NotImplementedError: only the density of samples of ``draw`` is known, as for a flow.
        """
        ...


@runtime_checkable
class LatentDensities(Posterior, Protocol):
    """Distribution q(z|x) that is a product of densities of single latents with two moments.

    Its fields are arrays ``[*batch, latents]``, beside the ``latent_mask``.
    """

    @property
    def mean(self) -> Latents:
        """Mean of each latent."""
        ...

    @property
    def log_var(self) -> Latents:
        """Logarithm of the variance of each latent."""
        ...

    def restrict(self, latent_mask: LatentMask) -> "LatentDensities":
        """Return the q that is unchanged on used coordinates and standard normal elsewhere."""
        ...

    def first(self, num_latents: int) -> "LatentDensities":
        """Return q of the first latents alone, its marginal, without a mask."""
        ...

    def deviation(self, noise: Latents) -> Latents:
        """Return sample(noise) - mean, exact also where it is small beside the mean."""
        ...

    def pairwise_log_density(
        self,
        mean: Float[Array, "samples latents"],
        deviation: Float[Array, "samples latents"],
    ) -> Float[Array, "samples examples latents"]:
        """Return log q(z_j|x) of each sample z = mean + deviation for each x, in nats.

        The means are subtracted first, so that exactly the deviation is left under the q that z was
        drawn from.
        """
        ...


class PosteriorFamily(ABC):
    """Family of q(z|x): a frozen dataclass that hashes by value and holds no arrays.

    The default bodies are those of a family that learns nothing beside the encoder and whose z
    enters the decoder as a whole.
    """

    hparams: ClassVar[tuple[HParam, ...]] = ()
    """Hyperparameters that the family reads."""
    support: ClassVar[str] = "reals"
    """Set in which z lies: ``reals`` for R^n, or the name of another set, as ``sphere`` or
    ``grid``; a prior of another support is refused, and what walks in R^n is left out."""
    distribution: ClassVar[type] = object
    """Class of q(z|x); a prior names in ``closed_form_kl`` those from which it knows the KL."""
    has_density: ClassVar[bool] = True
    """Flag: q(z|x) has a density, or a probability where the support is discrete. A deterministic
    code in R^n has none: no KL, no ELBO and no NLL."""
    is_reparameterized: ClassVar[bool] = True
    """Flag: the gradient through ``sample(noise)`` is that of the expectation, so estimators that
    use the path derivative (STL, DReG) apply. A straight-through estimate is none."""
    has_own_noise: ClassVar[bool] = False
    """Flag: :meth:`noise` draws something other than standard normal noise of the shape of z."""
    has_latent_densities: ClassVar[bool] = False
    """Flag: q(z|x) is a product of densities of single latents, each with a mean and a variance:
    its distribution is a :class:`LatentDensities`."""
    has_coordinates: ClassVar[bool] = True
    """Flag: each latent can vary whatever the others are, so that a traversal of one, its
    dependence on the others and its match with a factor of variation have a meaning."""
    is_local: ClassVar[bool] = False
    """Flag: all parameters of q(z|x) are heads, so each x has its own, and its density and path
    derivative are cheap enough that the best ones for each x can be sought."""
    fewest_latents: ClassVar[int] = 1
    """Smallest ``latent_size`` for which q(z|x) exists: a sphere needs a plane to lie in."""
    can_be_stacked: ClassVar[bool] = False
    """Flag: an upper stochastic layer is supported (``Stacked``)."""

    @property
    def extra_width(self) -> int:
        """Number of columns at the end of z that do not enter the decoder (an upper layer)."""
        return 0

    @abstractmethod
    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the outputs that the encoder must give for ``width`` columns of z."""
        ...

    def init(self, key: PRNGKey, hparams: HParams, latent_mask: LatentMask) -> Params:
        """Return the initial parameters learned beside the encoder; ``{}`` if there are none."""
        del key, hparams, latent_mask
        return {}

    def noise(
        self, key: PRNGKey, shape: tuple[int, ...], max_latents: int
    ) -> Float[Array, "*shape size"]:
        """Draw the noise of which samples of z are made, by default standard normal.

        A family that draws something else sets ``has_own_noise``. Draw with the latent axis
        leading and move it back: a run's noise then does not depend on ``max_latents``.

        Args:
            key: key of the noise.
            shape: leading axes: particles and examples.
            max_latents: largest number of latents of a run.

        Returns:
            One array ``[*shape, size]`` of any size; that of z where it is standard normal.
        """
        return latents.standard_noise(key, shape, max_latents, self.extra_width)

    def loss(
        self, hparams: HParams, params: Params, q: Posterior, z: Latents
    ) -> Float[Array, "*batch"] | None:
        """Return a loss of the family itself, as a codebook's commitment, or None for none.

        It is subtracted from the objective in training alone, as a mean over particles and
        examples; the terms of the ELBO that are reported are without it.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`.
            q: posterior q(z|x) of each example of the batch.
            z: its samples, ``[particles, batch, latents]``.
        """
        del hparams, params, q, z
        return None

    def update(self, hparams: HParams, params: Params, q: Posterior, z: Latents) -> Params:
        """Return the parameters with those that follow the batch instead of a gradient moved.

        A codebook's moving average, for example. Such a parameter must have no gradient:
        ``__call__`` takes it through ``jax.lax.stop_gradient``. A run that diverged keeps its own.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`, after the optimizer's update, which leaves alone
                what this method moves; return what is not moved as it is given.
            q: posterior of each example of the batch, with the parameters before that update.
            z: its samples, ``[particles, batch, latents]``.
        """
        del hparams, q, z
        return params

    @abstractmethod
    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Posterior:
        """Return q(z|x) with the given values of the heads.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`.
            heads: values of the heads by name, ``[*batch, *head.shape]``.
            latent_mask: mask of the columns of z that the run uses.
        """
        ...


@jax.custom_jvp
def with_score(
    log_prob: Float[Array, "*batch"], z: Latents, score: Latents
) -> Float[Array, "*batch"]:
    """Return ``log_prob`` with the gradient ``score`` by z, and zero by everything else.

    For the density of a sample whose noise is known: the value does not need z, the gradient does.
    Written as ``log_prob + score * (z - stop_gradient(z))`` it would be NaN where the score
    overflows.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> score = jnp.array([3.0])
        >>> jax.grad(lambda z: with_score(jnp.float32(-1.0), z, score))(jnp.zeros(1)).tolist()
        [3.0]
    """
    del z, score
    return log_prob


@with_score.defjvp
def _with_score_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (log_prob, _, score), (_, z_dot, _) = primals, tangents
    return log_prob, jnp.sum(score * z_dot, axis=-1)
