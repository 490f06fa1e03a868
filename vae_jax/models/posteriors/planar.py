"""Planar flow (Rezende & Mohamed 2015): each step contracts or expands z about a hyperplane."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Head, PosteriorFamily
from vae_jax.models.posteriors.flows import Flow, num_flows_setting
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.types import LatentMask, Latents, Params

SOFTPLUS_INVERSE_OF_ONE = math.log(math.e - 1)
"""Argument at which softplus is 1."""

Vectors = Float[Array, "*examples latents"]
Offsets = Float[Array, "*examples"]


@dataclass(frozen=True)
class Planar(PosteriorFamily):
    """Planar flow on a mean-field Gaussian; at the start it is the identity.

    The encoder gives all of its parameters.

    Attributes:
        num_flows: number of steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, mask = Planar(num_flows=1), jnp.ones(2, bool)
        >>> heads = {head.name: jnp.zeros((5, *head.shape)) for head in family.heads(2)}
        >>> q = family(HParams.of(latent_size=2), {}, heads, mask)
        >>> q.sample(jnp.ones((5, 2)))[0].tolist()
        [1.0, 1.0]
    """

    distribution: ClassVar[type] = Flow

    num_flows: int = num_flows_setting()

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads: mean and log-variance of the base; u, w and b of every step."""
        return (
            Head("mean", (width,)),
            Head("log_var", (width,)),
            Head("planar_u", (width, self.num_flows), starts_at_zero=True),
            Head("planar_w", (width, self.num_flows)),
            Head("planar_b", (self.num_flows,)),
        )

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Flow:
        """Return the flow with the given heads; w is divided by the root of ``latent_size``."""
        del hparams, params
        base = Gaussian(heads["mean"], heads["log_var"]).restrict(latent_mask)
        u, w = (
            apply_mask(latent_mask, jnp.moveaxis(heads[f"planar_{name}"], -1, 0)) for name in "uw"
        )
        w *= jax.lax.rsqrt(jnp.sum(latent_mask, dtype=w.dtype))
        b = jnp.moveaxis(heads["planar_b"], -1, 0)
        return Flow(base, jax.tree_util.Partial(_transform, u, w, b))


def _transform(
    u: Vectors, w: Vectors, b: Offsets, z: Latents
) -> tuple[Latents, Float[Array, "*batch"]]:
    """Return z after the steps along the first axis of u, w and b, and their log-determinants."""
    z, log_dets = jax.lax.scan(lambda z, layer: _step(z, *layer), z, (u, w, b))
    return z, jnp.sum(log_dets, axis=0)


def _step(z: Latents, u: Vectors, w: Vectors, b: Offsets) -> tuple[Latents, Float[Array, "*batch"]]:
    """Return z + u' tanh(w.z + b) and log det = log(1 + (1 - tanh^2) w.u') (eqs. 10 to 12).

    The inverse exists if w.u' > -1. So u' is u moved along w until w.u' = softplus(w.u + c) - 1
    (appendix A.1), with the shift c for which u = 0 gives u' = 0.
    """
    along, square = jnp.sum(w * u, axis=-1), jnp.sum(w**2, axis=-1)
    growth = jax.nn.softplus(along + SOFTPLUS_INVERSE_OF_ONE)
    # At w = 0 both w.u and its correction vanish; only the direction w / w.w would be 0/0.
    missing = (growth - 1.0 - along) / jnp.where(square > 0, square, 1.0)
    push = u + missing[..., None] * w
    position = jnp.sum(prepend_axes(w, z.ndim) * z, axis=-1) + prepend_axes(b, z.ndim - 1)
    h = jnp.tanh(position)
    log_det = _log_det(
        position, prepend_axes(_log_softplus(along + SOFTPLUS_INVERSE_OF_ONE), h.ndim)
    )
    return z + prepend_axes(push, z.ndim) * h[..., None], log_det


def _log_det(
    position: Float[Array, "*#batch"], log_growth: Float[Array, "*#batch"]
) -> Float[Array, "*batch"]:
    """Return log(1 + (1 - h^2)(growth - 1)) with h = tanh(position).

    Written as log(h^2 + (1 - h^2) growth) nothing cancels, and as a sum of logarithms nothing
    underflows: the growth may be as small as exp(-w.w).
    """
    distance = jnp.abs(position)
    log_sech = math.log(2.0) - distance - jnp.log1p(jnp.exp(-2.0 * distance))
    # Bounded away from zero, where log h^2 is -inf and has no weight in the sum.
    log_tanh = jnp.log(jnp.maximum(jnp.tanh(distance), jnp.finfo(position.dtype).tiny))
    return jnp.logaddexp(2.0 * log_tanh, 2.0 * log_sech + log_growth)


def _log_softplus(values: Offsets) -> Offsets:
    """Return log(log(1 + exp(v))), which is v to the last bit where the softplus underflows."""
    is_low = values < -40.0
    return jnp.where(is_low, values, jnp.log(jax.nn.softplus(jnp.where(is_low, 0.0, values))))
