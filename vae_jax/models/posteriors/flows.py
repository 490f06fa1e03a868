"""Normalizing flow posteriors: a mean-field Gaussian whose samples are mapped.

The density of a sample follows from that of its noise and the map's Jacobian (Rezende & Mohamed
2015, eq. 5). The maps themselves are in ``iaf`` and ``planar``.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Posterior, SampleAndLogProb, with_score
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.settings import MOST_LAYERS, setting, whole
from vae_jax.types import Latents

num_flows_setting = functools.partial(
    setting, 2, whole(1, MOST_LAYERS), "steps of the posterior's flow"
)
"""Field of a flow: its number of steps."""


class Flow(NamedTuple):
    """Distribution q(z|x) of z = transform(z0) with z0 ~ q(z0|x), a diagonal Gaussian.

    Attributes:
        base: diagonal Gaussian q(z0|x).
        transform: map from z0, which may have more leading axes than the base, to z and the
            log-determinant of each example's Jacobian; coordinates masked out are left unchanged.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax.models.posteriors import Gaussian
        >>> def double(z):
        ...     return 2.0 * z, jnp.full(z.shape[:-1], jnp.log(4.0))  # two latents
        >>> q = Flow(Gaussian(jnp.ones(2), jnp.zeros(2)), jax.tree_util.Partial(double))
        >>> z, log_q = q.draw(jnp.zeros(2))
        >>> z.tolist(), round(float(log_q), 2)  # -ln 2 pi - ln 4
        ([2.0, 2.0], -3.22)
    """

    base: Gaussian
    transform: jax.tree_util.Partial

    @property
    def center(self) -> Latents:
        """Sample z at zero noise."""
        return self.sample(jnp.zeros_like(self.base.mean))

    def sample(self, noise: Latents) -> Latents:
        """Return z = transform(mean + exp(log_var / 2) * noise)."""
        return self.draw(noise).z

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """Return z and log q(z|x) = log q(z0|x) - log |det dz/dz0| in nats."""
        start = self.base.draw(noise)
        z, log_det = self.transform(start.z)
        return SampleAndLogProb(z, start.log_prob - log_det)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Return log q(z|x) in nats of ``z = sample(noise)``, differentiable through z alone.

        The map need not be inverted: at the noise both the value and the gradient by z (the score,
        :meth:`_score`) are known. That costs a forward pass per latent and a linear system.
        """
        fixed: Flow = jax.lax.stop_gradient(self)
        value, score = fixed._score(jax.lax.stop_gradient(noise))
        return with_score(value, z, score)

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Raise: at an arbitrary z the density would need the inverse of the map.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "the density of a flow is known at its own samples only; take it from draw(noise)"
        )

    def component(self) -> Posterior:
        """Return the base q(z0|x), whose density is known at any z."""
        return self.base

    def _score(self, noise: Latents) -> tuple[Float[Array, "*batch"], Latents]:
        """Return log q and its gradient by z at z = sample(noise).

        With J the Jacobian of the map alone, J' score = d log q / d z0, which is the score of the
        base less the gradient of log |det J|. The scale of the base, which may overflow, is not a
        part of J. Examples are independent, so one direction pushed through all of them at once
        gives a column of every J.
        """
        start, log_prob = self.base.draw(noise)
        log_det, pull = jax.vjp(lambda z: self.transform(z)[1], start)
        (log_det_slope,) = pull(jnp.ones_like(log_det))
        base_score = -noise * finite_exp(-0.5 * prepend_axes(self.base.log_var, noise.ndim))
        slope = apply_mask(self.base.latent_mask, base_score - log_det_slope)
        _, push = jax.linearize(lambda z: self.transform(z)[0], start)
        directions = jnp.eye(noise.shape[-1], dtype=noise.dtype)
        columns = jax.vmap(lambda direction: push(jnp.broadcast_to(direction, noise.shape)))(
            directions
        )
        transposed_jacobian = jnp.moveaxis(columns, 0, -2)
        return log_prob - log_det, jnp.linalg.solve(transposed_jacobian, slope[..., None])[..., 0]
