"""A normalizing flow as prior: RealNVP (Dinh et al. 2017)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vae_jax.hparams import HParams
from vae_jax.models.latents import apply_mask, grow
from vae_jax.models.posteriors import Posterior
from vae_jax.models.priors.base import Encode, PriorFamily, PriorInit
from vae_jax.models.priors.normal import UnitNormal
from vae_jax.models.soft_clamp import soft_clamp
from vae_jax.types import Labels, LatentMask, Latents, Params, PRNGKey, default_float

LARGEST_LOG_SCALE = 2.0
"""Of one coupling; further ones multiply."""


class Coupling(NamedTuple):
    """z -> z * exp(log_scale) + shift on every second coordinate, given the others (eqs. 7, 8).

    The couplings of a flow lie on a leading axis.
    """

    kernel: Float[Array, "*couplings latents features"]
    bias: Float[Array, "*couplings features"]
    scale_kernel: Float[Array, "*couplings features latents"]
    scale_bias: Float[Array, "*couplings latents"]
    shift_kernel: Float[Array, "*couplings features latents"]
    shift_bias: Float[Array, "*couplings latents"]

    def restrict(self, latent_mask: LatentMask, is_given: Bool[Array, " latents"]) -> "Coupling":
        """Zeros for all but inputs that are given and outputs that are not, both active.

        The others are then neither read nor changed, whatever their parameters.
        """
        inputs, outputs = latent_mask & is_given, latent_mask & ~is_given
        return Coupling(
            apply_mask(inputs, self.kernel.T).T,
            self.bias,
            *(apply_mask(outputs, values) for values in self[2:]),
        )

    def terms(self, z: Latents) -> tuple[Latents, Latents]:
        """Log-scale, softly bounded, and shift; the same before and after the coupling."""
        features = jnp.tanh(z @ self.kernel + grow(self.bias, z.ndim))
        log_scale = features @ self.scale_kernel + grow(self.scale_bias, z.ndim)
        shift = features @ self.shift_kernel + grow(self.shift_bias, z.ndim)
        return soft_clamp(log_scale, LARGEST_LOG_SCALE), shift


class CouplingFlow(NamedTuple):
    """p(z) = N(f(z); 0, I) |det df/dz| for a chain f of couplings.

    Attributes:
        couplings: of the chain, restricted, on a leading axis.
        latent_mask: the coordinates that count.
    """

    couplings: Coupling
    latent_mask: LatentMask

    def to_noise(self, z: Latents) -> tuple[Latents, Float[Array, "*batch"]]:
        """f(z), and log |det df/dz| over the active coordinates."""

        def step(
            carry: tuple[Array, Array], coupling: Coupling
        ) -> tuple[tuple[Array, Array], None]:
            z, log_det = carry
            log_scale, shift = coupling.terms(z)
            return (z * jnp.exp(log_scale) + shift, log_det + jnp.sum(log_scale, axis=-1)), None

        start = apply_mask(self.latent_mask, z), jnp.zeros(z.shape[:-1], z.dtype)
        return jax.lax.scan(step, start, self.couplings)[0]

    def from_noise(self, noise: Latents) -> Latents:
        """The z with f(z) = noise, in as many steps."""

        def step(z: Latents, coupling: Coupling) -> tuple[Latents, None]:
            log_scale, shift = coupling.terms(z)
            return (z - shift) * jnp.exp(-log_scale), None

        return jax.lax.scan(
            step, apply_mask(self.latent_mask, noise), self.couplings, reverse=True
        )[0]

    def log_prob(self, z: Latents) -> Float[Array, "*batch"]:
        """Log p(z) in nats, summed over the active coordinates."""
        noise, log_det = self.to_noise(z)
        return UnitNormal(self.latent_mask).log_prob(noise) + log_det

    def sample(self, key: PRNGKey, noise: Latents) -> Latents:
        """The noise through the inverse chain."""
        del key
        return self.from_noise(noise)

    def kl(self, q: Posterior) -> Latents | None:
        """No closed form is known."""
        del q


@dataclass(frozen=True)
class FlowPrior(PriorFamily):
    """Affine couplings that change the odd and the even coordinates in turn.

    Which coordinates a coupling reads and changes does not depend on how wide z is, so a masked
    model is the narrow one. A lone latent has nothing to read: its prior is Gaussian. At the start
    the flow is the identity, and the prior N(0, I).

    Attributes:
        num_couplings: 2 change every coordinate once.
        coupling_size: hidden units of a coupling.
    """

    num_couplings: int = 4
    coupling_size: int = 64

    def init(self, key: PRNGKey, hparams: HParams, start: PriorInit) -> Params:
        """Random features of unit scale, drawn with the latent axis leading, and zero outputs."""
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
        """The flow over the active coordinates."""
        del hparams, encode, y
        places = jnp.arange(len(latent_mask))
        is_given = jax.vmap(lambda turn: places % 2 == turn % 2)(jnp.arange(self.num_couplings))
        restrict = jax.vmap(Coupling.restrict, in_axes=(0, None, 0))
        return CouplingFlow(restrict(Coupling(**params), latent_mask, is_given), latent_mask)
