"""Hyperparameters that are arrays: new values need no compilation, and a study vmaps over them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt32

from vae_jax.types import default_float

Values = ArrayLike | Sequence[float | int]
"""Value of a hyperparameter: a number, or a list with one entry per run."""


class HParams(NamedTuple):
    """Hyperparameters that may differ between the runs of one compiled program.

    Scalars for one run, ``[runs]`` for a study. Build it with :meth:`of`, which gives every field
    its dtype: a Python number of another type would compile a second program.

    Attributes:
        beta: weight of the KL term (Higgins et al. 2017, eq. 4); 1 is the ELBO.
        kl_warmup_steps: updates over which this weight rises linearly from 0 to beta.
        free_bits: nats of each latent's mean KL that cost nothing (Kingma et al. 2016, eq. 15).
        capacity: target of the mean KL at the end, in nats (Burgess et al. 2018, eq. 8).
        capacity_steps: updates over which this target rises linearly from 0.
        tc_weight: weight of the total correlation beyond that in the KL (Chen et al. 2018, eq. 4).
        dip_offdiagonal: weight of the squared covariances (Kumar et al. 2018, eqs. 6 and 7).
        dip_diagonal: weight of the squared deviations of the variances from 1.
        mmd_weight: weight of the maximum mean discrepancy between q(z) and p(z).
        factor_weight: weight of the discriminator's total correlation (Kim & Mnih 2018, eq. 2).
        latent_size: coordinates of z in use; at most the model's ``max_latents``.
        top_latent_size: coordinates in use of the upper stochastic layer, where there is one.
        scale: scale of p(x|z) where the likelihood has one: fixed, or where a learned one starts.
        learning_rate: Adam's step size at the peak of the schedule.
        warmup_steps: updates over which the learning rate rises linearly to its peak.
        clip_norm: largest global norm of the gradient; infinite for none.
        seed: seed of every random stream of the run.

    Example:
        >>> import vae_jax
        >>> hparams = vae_jax.HParams.of(latent_size=[2, 8, 32], seed=1)
        >>> hparams.latent_size.tolist(), hparams.seed.tolist()
        ([2, 8, 32], [1, 1, 1])
        >>> vae_jax.HParams.of(beta=0.5).beta.shape
        ()
    """

    beta: Float[Array, "*runs"]
    kl_warmup_steps: Int[Array, "*runs"]
    free_bits: Float[Array, "*runs"]
    capacity: Float[Array, "*runs"]
    capacity_steps: Int[Array, "*runs"]
    tc_weight: Float[Array, "*runs"]
    dip_offdiagonal: Float[Array, "*runs"]
    dip_diagonal: Float[Array, "*runs"]
    mmd_weight: Float[Array, "*runs"]
    factor_weight: Float[Array, "*runs"]
    latent_size: Int[Array, "*runs"]
    top_latent_size: Int[Array, "*runs"]
    scale: Float[Array, "*runs"]
    learning_rate: Float[Array, "*runs"]
    warmup_steps: Int[Array, "*runs"]
    clip_norm: Float[Array, "*runs"]
    seed: UInt32[Array, "*runs"]

    @classmethod
    def of(
        cls,
        *,
        beta: Values = 1.0,
        kl_warmup_steps: Values = 0,
        free_bits: Values = 0.0,
        capacity: Values = 0.0,
        capacity_steps: Values = 0,
        tc_weight: Values = 0.0,
        dip_offdiagonal: Values = 0.0,
        dip_diagonal: Values = 0.0,
        mmd_weight: Values = 0.0,
        factor_weight: Values = 0.0,
        latent_size: Values = 20,
        top_latent_size: Values = 0,
        scale: Values = 1.0,
        learning_rate: Values = 1e-3,
        warmup_steps: Values = 0,
        clip_norm: Values = float("inf"),
        seed: Values = 0,
    ) -> "HParams":
        """Build hyperparameters from numbers, or from equally long lists with an entry per run."""
        real, whole = default_float(), jnp.int32
        fields = cls(
            jnp.asarray(beta, real),
            jnp.asarray(kl_warmup_steps, whole),
            jnp.asarray(free_bits, real),
            jnp.asarray(capacity, real),
            jnp.asarray(capacity_steps, whole),
            jnp.asarray(tc_weight, real),
            jnp.asarray(dip_offdiagonal, real),
            jnp.asarray(dip_diagonal, real),
            jnp.asarray(mmd_weight, real),
            jnp.asarray(factor_weight, real),
            jnp.asarray(latent_size, whole),
            jnp.asarray(top_latent_size, whole),
            jnp.asarray(scale, real),
            jnp.asarray(learning_rate, real),
            jnp.asarray(warmup_steps, whole),
            jnp.asarray(clip_norm, real),
            jnp.asarray(seed, jnp.uint32),
        )
        return cls(*jnp.broadcast_arrays(*fields))

    def as_study(self) -> "HParams":
        """Return the same values with every field ``[runs]``: a single run is a study of one."""
        return jax.tree.map(jnp.atleast_1d, self)
