"""What every approximate posterior can do: the family, and the distribution that it makes.

Noise is always an argument: a sample is a deterministic function of the parameters and of standard
normal noise, which is what makes it differentiable (the reparameterization trick, Kingma & Welling
2014, section 2.4).
"""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.types import LatentMask, Latents, Params, PRNGKey


class Head(NamedTuple):
    """One linear output of the encoder.

    Attributes:
        name: of the parameter of q(z|x) that it gives.
        shape: of its value for one x; an axis over the latents is the first.
        starts_at_zero: whether its weights do; the others start prefix-stable and random.
    """

    name: str
    shape: tuple[int, ...]
    starts_at_zero: bool = False


class SampleAndLogProb(NamedTuple):
    """Latents and their own density.

    Attributes:
        z: drawn from q(z|x).
        log_prob: log q(z|x) in nats, summed over the active coordinates.
    """

    z: Latents
    log_prob: Float[Array, "*batch"]


@runtime_checkable
class Posterior(Protocol):
    """q(z|x) for given x: a ``NamedTuple`` of arrays, the mask of active latents among them.

    On inactive coordinates it is standard normal, and counts for nothing.
    """

    @property
    def center(self) -> Latents:
        """The code that stands for x: the mean, or z at zero noise where there is no formula."""
        ...

    def sample(self, noise: Latents) -> Latents:
        """Z ~ q(z|x) as a function of standard normal noise, whose leading axes may be more."""
        ...

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """The sample and its log-density, which is a function of the noise and never of z.

        The noise cannot be had back from z: where q is narrower than the floats about its mean,
        every sample *is* the mean, and the ratio of a deviation to its scale is 0 / 0.
        """
        ...

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) of ``z = sample(noise)``, differentiable through z alone.

        Its value is that of ``draw(noise)``. Its parameters are held constant: what the path
        derivative of sticking the landing (Roeder et al. 2017) and DReG (Tucker et al. 2019) need.
        """
        ...

    def component(self) -> "Posterior":
        """A distribution over z that has ``log_prob`` at any z: this one or, for flows, its base.

        What the VampPrior mixes.
        """
        ...

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) in nats at any z, summed over the active coordinates.

        Raises:
            NotImplementedError: where only the density of an own sample is cheap.
        """
        ...


@runtime_checkable
class PosteriorFamily(Protocol):
    """The family of q(z|x): a frozen dataclass that hashes by value and holds no arrays.

    The bodies given here are those of a family that learns nothing beside the encoder and hides no
    column of z.
    """

    has_density: ClassVar[bool] = True
    """False for a deterministic code, which has no KL, no ELBO and no NLL."""
    is_gaussian: ClassVar[bool] = False
    """Whether a prior that knows the KL from Gaussians knows it from this one."""

    @property
    def extra_width(self) -> int:
        """Columns of z, the last ones, that the decoder does not see."""
        return 0

    def heads(self, width: int) -> tuple[Head, ...]:
        """What the encoder must give for ``width`` columns of z."""
        ...

    def init(self, key: PRNGKey, hparams: HParams, latent_mask: LatentMask) -> Params:
        """What is learned beside the encoder, before the first update; {} for nothing."""
        del key, hparams, latent_mask
        return {}

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Posterior:
        """q(z|x) with the given values of the heads.

        Args:
            hparams: of one run.
            params: from :meth:`init`.
            heads: by name.
            latent_mask: which columns of z the run uses.
        """
        ...


@jax.custom_jvp
def with_score(
    log_prob: Float[Array, "*batch"], z: Latents, score: Latents
) -> Float[Array, "*batch"]:
    """Return ``log_prob``, whose slope by z is made to be ``score`` and by all else zero.

    For a density of an own sample, known by its noise: the value needs no z, the slope does. As
    ``log_prob + score * (z - stop_gradient(z))`` it would be NaN for a score beyond the floats.
    """
    del z, score
    return log_prob


@with_score.defjvp
def _with_score_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (log_prob, _, score), (_, z_dot, _) = primals, tangents
    return log_prob, jnp.sum(score * z_dot, axis=-1)
