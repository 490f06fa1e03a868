"""What normalizing flows share: a mean-field Gaussian, and a map of its samples.

The density of an own sample follows from that of the noise and the map's Jacobian (Rezende &
Mohamed 2015, eq. 5). The maps themselves are in ``iaf`` and ``planar``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.models.latents import apply_mask, grow
from vae_jax.models.posteriors.base import Posterior, SampleAndLogProb, with_score
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.models.soft_clamp import finite_exp
from vae_jax.types import Latents


class Flow(NamedTuple):
    """q(z|x) of z = transform(z0) with z0 from a diagonal Gaussian.

    Attributes:
        base: q(z0|x).
        transform: from z0, whose leading axes may be more than those of the base, to z and the
            log-determinant of each example's Jacobian; it leaves inactive coordinates alone.
    """

    base: Gaussian
    transform: jax.tree_util.Partial

    @property
    def center(self) -> Latents:
        """Z at zero noise."""
        return self.sample(jnp.zeros_like(self.base.mean))

    def sample(self, noise: Latents) -> Latents:
        """Z = transform(mean + exp(log_var / 2) * noise)."""
        return self.draw(noise).z

    def draw(self, noise: Latents) -> SampleAndLogProb:
        """The sample and log q(z|x) = log q(z0|x) - log |det dz/dz0|."""
        start = self.base.draw(noise)
        z, log_det = self.transform(start.z)
        return SampleAndLogProb(z, start.log_prob - log_det)

    def path_log_prob(self, z: Latents, noise: Latents) -> Float[Array, "*batch"]:
        """Log q(z|x) of ``z = sample(noise)``, differentiable through z alone.

        The map need not be inverted: its value at the noise is known, and so is its slope there,
        the score of :meth:`_score`. That costs a forward pass per latent and a linear system.
        """
        fixed: Flow = jax.lax.stop_gradient(self)
        value, score = fixed._score(jax.lax.stop_gradient(noise))
        return with_score(value, z, score)

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """There is none that is cheap."""
        raise NotImplementedError("the density of a flow is known at its own samples only")

    def component(self) -> Posterior:
        """The base, before the flow."""
        return self.base

    def _score(self, noise: Latents) -> tuple[Float[Array, "*batch"], Latents]:
        """Log q and its gradient by z at z = sample(noise).

        With J the Jacobian of the map alone, J' score = d log q / d z0, the score of the base less
        the slope of log |det J|: its scale, which may be beyond the floats, is in no system.
        Examples do not touch one another, so one direction pushed through all of them at once is a
        column of every J.
        """
        start, log_prob = self.base.draw(noise)
        log_det, pull = jax.vjp(lambda z: self.transform(z)[1], start)
        (of_log_det,) = pull(jnp.ones_like(log_det))
        of_base = -noise * finite_exp(-0.5 * grow(self.base.log_var, noise.ndim))
        slope = apply_mask(self.base.latent_mask, of_base - of_log_det)
        _, push = jax.linearize(lambda z: self.transform(z)[0], start)
        directions = jnp.eye(noise.shape[-1], dtype=noise.dtype)
        columns = jax.vmap(lambda direction: push(jnp.broadcast_to(direction, noise.shape)))(
            directions
        )
        transposed_jacobian = jnp.moveaxis(columns, 0, -2)
        return log_prob - log_det, jnp.linalg.solve(transposed_jacobian, slope[..., None])[..., 0]
