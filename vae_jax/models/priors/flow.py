"""Normalizing flow prior: RealNVP (Dinh et al. 2017)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, prepend_axes
from vae_jax.models.posteriors import Posterior
from vae_jax.models.priors.base import KL, Encode, PriorFamily, PriorInit
from vae_jax.models.priors.normal import UnitNormal
from vae_jax.models.soft_clamp import soft_clamp
from vae_jax.settings import MOST_LAYERS, setting, whole
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float

MAX_LOG_SCALE = 2.0
"""Bound of the abs of a log-scale of one coupling; the scales of several couplings multiply."""


class Coupling(NamedTuple):
    """Affine coupling: every second coordinate is scaled and shifted given the others (eqs. 7, 8).

    z becomes z * exp(log_scale) + shift, where both are functions of tanh features of the given
    coordinates. The couplings of a flow are stacked on a leading axis.

    Attributes:
        kernel: weights from z to the features.
        bias: bias of the features.
        scale_kernel: weights from the features to the log-scale.
        scale_bias: bias of the log-scale.
        shift_kernel: weights from the features to the shift.
        shift_bias: bias of the shift.
    """

    kernel: Float[Array, "*couplings latents features"]
    bias: Float[Array, "*couplings features"]
    scale_kernel: Float[Array, "*couplings features latents"]
    scale_bias: Float[Array, "*couplings latents"]
    shift_kernel: Float[Array, "*couplings features latents"]
    shift_bias: Float[Array, "*couplings latents"]

    def restrict(self, latent_mask: LatentMask, is_given: Bool[Array, " latents"]) -> "Coupling":
        """Return the coupling that reads the given coordinates and changes the other used ones.

        All other weights are set to zero, so other coordinates are neither read nor changed.
        """
        inputs, outputs = latent_mask & is_given, latent_mask & ~is_given
        return Coupling(
            apply_mask(inputs, self.kernel.T).T,
            self.bias,
            *(apply_mask(outputs, values) for values in self[2:]),
        )

    def terms(self, z: Latents) -> tuple[Latents, Latents]:
        """Return the log-scale, softly clamped, and the shift, for z before or after the coupling.

        Both are the same, since the coordinates that they depend on do not change.
        """
        features = jnp.tanh(z @ self.kernel + prepend_axes(self.bias, z.ndim))
        log_scale = features @ self.scale_kernel + prepend_axes(self.scale_bias, z.ndim)
        shift = features @ self.shift_kernel + prepend_axes(self.shift_bias, z.ndim)
        return soft_clamp(log_scale, MAX_LOG_SCALE), shift


class CouplingFlow(NamedTuple):
    """Distribution p(z) = N(f(z); 0, I) |det df/dz| for a chain f of couplings.

    Attributes:
        couplings: couplings of the chain, restricted, on a leading axis.
        latent_mask: mask of the used coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> shapes = (1, 2, 3), (1, 3), (1, 3, 2), (1, 2), (1, 3, 2), (1, 2)
        >>> identity = Coupling(*(jnp.zeros(shape) for shape in shapes))
        >>> p = CouplingFlow(identity, jnp.ones(2, bool))
        >>> round(float(p.log_prob(jnp.zeros((1, 2)))[0]), 3)  # N(0, I): -ln 2 pi nats
        -1.838
    """

    couplings: Coupling
    latent_mask: LatentMask

    def to_noise(self, z: Latents) -> tuple[Latents, Float[Array, "*batch"]]:
        """Return f(z), and log |det df/dz| over the used coordinates."""

        def step(
            carry: tuple[Array, Array], coupling: Coupling
        ) -> tuple[tuple[Array, Array], None]:
            z, log_det = carry
            log_scale, shift = coupling.terms(z)
            return (z * jnp.exp(log_scale) + shift, log_det + jnp.sum(log_scale, axis=-1)), None

        start = apply_mask(self.latent_mask, z), jnp.zeros(z.shape[:-1], z.dtype)
        return jax.lax.scan(step, start, self.couplings)[0]

    def from_noise(self, noise: Latents) -> Latents:
        """Return the z with f(z) = noise, in as many steps as :meth:`to_noise`."""

        def step(z: Latents, coupling: Coupling) -> tuple[Latents, None]:
            log_scale, shift = coupling.terms(z)
            return (z - shift) * jnp.exp(-log_scale), None

        return jax.lax.scan(
            step, apply_mask(self.latent_mask, noise), self.couplings, reverse=True
        )[0]

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Return log p(z) in nats over the used coordinates."""
        noise, log_det = self.to_noise(z)
        return UnitNormal(self.latent_mask).log_prob(noise) + log_det

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """Return the noise mapped through the inverse chain."""
        del key
        return self.from_noise(noise)

    def kl(self, q: Posterior) -> KL | None:
        """Return None: no closed form is known."""
        del q


@dataclass(frozen=True)
class FlowPrior(PriorFamily):
    """Family of flows of affine couplings that change the odd and the even coordinates in turn.

    The coordinates that a coupling reads and changes do not depend on the width of z, so a masked
    model equals the narrow one. A single latent has nothing to read: its prior is Gaussian. At the
    start the flow is the identity, and the prior N(0, I).

    Attributes:
        num_couplings: number of couplings; two change every coordinate once.
        coupling_size: number of hidden units of a coupling.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import HParams
        >>> family, hparams, mask = FlowPrior(), HParams.of(), jnp.ones(2, bool)
        >>> start = PriorInit(mask, jnp.zeros((0, 4, 4, 1)))
        >>> p = family(hparams, family.init(jax.random.key(0), hparams, start), mask, lambda x: x)
        >>> round(float(p.log_prob(jnp.zeros((1, 2)))[0]), 3)  # -ln 2 pi nats
        -1.838
    """

    num_couplings: int = setting(4, whole(1, MOST_LAYERS), "coupling layers of the prior (flow)")
    coupling_size: int = setting(64, whole(1), "hidden units of a coupling layer")

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Return random features of unit scale, drawn with latents leading, and zero outputs."""
        del hparams
        width, count, size = len(start.latent_mask), self.num_couplings, self.coupling_size
        drawn = jnp.moveaxis(jax.random.normal(key, (width, count, size), default_float()), 0, 1)
        fan_in = jnp.maximum(jnp.sum(start.latent_mask, dtype=drawn.dtype) / 2.0, 1.0)
        zeros: Any = jnp.zeros((count, size, width), drawn.dtype)
        coupling = Coupling(
            drawn * jax.lax.rsqrt(fan_in), zeros[:, :, 0], zeros, zeros[:, 0], zeros, zeros[:, 0]
        )
        return coupling._asdict()

    def __call__(
        self,
        hparams: HParams,
        params: Params,
        latent_mask: LatentMask,
        encode: Encode,
        y: Labels | None = None,
    ) -> CouplingFlow:
        """Return the flow over the used coordinates."""
        del hparams, encode, y
        columns, indices = jnp.arange(len(latent_mask)), jnp.arange(self.num_couplings)
        is_given = jax.vmap(lambda index: columns % 2 == index % 2)(indices)
        restrict = jax.vmap(Coupling.restrict, in_axes=(0, None, 0))
        return CouplingFlow(restrict(Coupling(**params), latent_mask, is_given), latent_mask)
