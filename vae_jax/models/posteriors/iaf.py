"""Inverse autoregressive flow (Kingma et al. 2016): all coordinates in one pass per step.

Each step is z <- exp(s(z, c)) z + m(z, c), where the j-th entries of s and m depend only on
coordinates that come before j in some order, and c is the encoder's context. A masked network with
one hidden layer gives both (Germain et al. 2015). The order is reversed from one step to the next.

The order and the masks depend on the number of latents that the run uses, and the initial weights
are prefix-stable. A run therefore does not depend on the padding that wider runs of its study need.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors.base import Head, PosteriorFamily
from vae_jax.models.posteriors.flows import Flow, num_flows_setting
from vae_jax.models.posteriors.gaussian import Gaussian
from vae_jax.models.soft_clamp import soft_clamp
from vae_jax.settings import setting, whole
from vae_jax.types import LatentMask, Latents, Params, PRNGKey, default_float

MAX_LOG_SCALE = 2.0
"""Bound of abs(s): one step scales a coordinate by at most e^2."""

Connections = Bool[Array, "latents hidden"]
"""Mask of a weight matrix: true where a latent and a hidden unit are connected."""
Context = Float[Array, "*examples latents"]


@dataclass(frozen=True)
class InverseAutoregressive(PosteriorFamily):
    """Inverse autoregressive flow on a mean-field Gaussian; at the start it is the identity.

    Attributes:
        num_flows: number of steps.
        flow_hidden_size: number of hidden units of a step; with fewer than the used latents, some
            coordinates do not influence all that come after them.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams, mask = InverseAutoregressive(), HParams.of(), jnp.ones(3, bool)
        >>> params = family.init(jax.random.key(0), hparams, mask)
        >>> heads = {head.name: jnp.zeros((5, *head.shape)) for head in family.heads(3)}
        >>> family(hparams, params, heads, mask).sample(jnp.ones((5, 3)))[0].tolist()
        [1.0, 1.0, 1.0]
    """

    distribution: ClassVar[type] = Flow

    num_flows: int = num_flows_setting()
    flow_hidden_size: int = setting(64, whole(1), "hidden units of a step of the posterior's flow")

    def heads(self, width: int) -> tuple[Head, ...]:
        """Return the heads: mean and log-variance of the base, and a context of the same size."""
        return Head("mean", (width,)), Head("log_var", (width,)), Head("context", (width,))

    def init(self, key: PRNGKey, hparams: HParams, latent_mask: LatentMask) -> Params:
        """Return the weights of all steps, ``[num_flows, ...]``; the output layers are zero."""
        del hparams
        width, size, num = len(latent_mask), self.flow_hidden_size, self.num_flows
        drawn = jax.random.normal(key, (width, 2, num, size), default_float())
        drawn *= jax.lax.rsqrt(jnp.sum(latent_mask, dtype=drawn.dtype))
        from_z, from_context = jnp.moveaxis(drawn, 0, -2)
        zeros = jnp.zeros((num, width, size), drawn.dtype)
        return {
            "from_z": from_z,
            "from_context": from_context,
            "bias": zeros[:, 0],
            "to_shift": zeros,
            "to_log_scale": zeros,
            "shift": zeros[..., 0],
            "log_scale": zeros[..., 0],
        }

    def __call__(
        self, hparams: HParams, params: Params, heads: dict[str, Array], latent_mask: LatentMask
    ) -> Flow:
        """Return the flow with the given heads and weights."""
        del hparams
        base = Gaussian(heads["mean"], heads["log_var"]).restrict(latent_mask)
        context = apply_mask(latent_mask, heads["context"])
        return Flow(base, jax.tree_util.Partial(_transform, params, context, latent_mask))


def _transform(
    params: Params, context: Context, latent_mask: LatentMask, z: Latents
) -> tuple[Latents, Float[Array, "*batch"]]:
    """Return z after all steps, and the sum of their log-determinants."""

    def step(z: Latents, layer: tuple[Int[Array, ""], Params]) -> tuple[Latents, Array]:
        index, weights = layer
        shift, log_scale = _shift_and_log_scale(weights, index % 2 == 1, context, latent_mask, z)
        return z * jnp.exp(log_scale) + shift, jnp.sum(log_scale, axis=-1)

    z, log_dets = jax.lax.scan(step, z, (jnp.arange(len(params["bias"])), params))
    return z, jnp.sum(log_dets, axis=0)


def _shift_and_log_scale(
    weights: Params,
    is_reversed: Bool[Array, ""],
    context: Context,
    latent_mask: LatentMask,
    z: Latents,
) -> tuple[Latents, Latents]:
    """Return m and s of one step; coordinates masked out are not read, and m = s = 0 there."""
    reads, writes = _masks(is_reversed, latent_mask, weights["bias"].shape[-1])
    h = apply_mask(latent_mask, z) @ jnp.where(reads, weights["from_z"], 0.0)
    h += prepend_axes(context @ weights["from_context"], z.ndim) + prepend_axes(
        weights["bias"], z.ndim
    )
    h = jax.nn.elu(h)
    shift, raw = (
        apply_mask(
            latent_mask,
            h @ jnp.where(writes, weights[f"to_{name}"], 0.0).T + prepend_axes(bias, z.ndim),
        )
        for name, bias in (("shift", weights["shift"]), ("log_scale", weights["log_scale"]))
    )
    return shift, soft_clamp(raw, MAX_LOG_SCALE)


def _masks(
    is_reversed: Bool[Array, ""], latent_mask: LatentMask, size: int
) -> tuple[Connections, Connections]:
    """Return the input and the output connections of the hidden units.

    The n used coordinates have the ranks 1 to n, or n to 1. A unit of degree d reads ranks up to d
    and writes to ranks above d (Germain et al. 2015). The units have the degrees 0 to n - 1 in
    turn; units of degree 0 read the context alone.
    """
    num, column = jnp.sum(latent_mask), jnp.arange(len(latent_mask))
    rank = jnp.where(is_reversed, num - column, column + 1)[:, None]
    degree = (jnp.arange(size) % num)[None]
    return (rank <= degree) & latent_mask[:, None], (rank > degree) & latent_mask[:, None]
