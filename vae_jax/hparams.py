"""Hyperparameters that are arrays: new values never compile anew, and a study vmaps over them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt32

from vae_jax.types import default_float


class HParams(NamedTuple):
    """What may differ between the runs of one compiled program.

    Scalars for one run, ``[runs]`` for a study. Build it with :meth:`of`, which gives every field
    its dtype: a Python number of another type would compile a second program.

    Attributes:
        beta: weight of the KL term (Higgins et al. 2017, eq. 4); 1 is the ELBO.
        latent_size: active coordinates of z; at most the model's ``max_latents``.
        learning_rate: Adam's step size at the peak of the schedule.
        warmup_steps: updates over which the learning rate rises linearly to its peak.
        clip_norm: largest global norm of the gradient; infinite for none.
        seed: of every stream of randomness of the run.
    """

    beta: Float[Array, "*runs"]
    latent_size: Int[Array, "*runs"]
    learning_rate: Float[Array, "*runs"]
    warmup_steps: Int[Array, "*runs"]
    clip_norm: Float[Array, "*runs"]
    seed: UInt32[Array, "*runs"]

    @classmethod
    def of(
        cls,
        *,
        beta: ArrayLike | Sequence[float | int] = 1.0,
        latent_size: ArrayLike | Sequence[int] = 20,
        learning_rate: ArrayLike | Sequence[float | int] = 1e-3,
        warmup_steps: ArrayLike | Sequence[int] = 0,
        clip_norm: ArrayLike | Sequence[float | int] = float("inf"),
        seed: ArrayLike | Sequence[int] = 0,
    ) -> "HParams":
        """Hyperparameters from numbers or equally long lists, a list giving one run per entry."""
        real, whole = default_float(), jnp.int32
        fields = cls(
            jnp.asarray(beta, real),
            jnp.asarray(latent_size, whole),
            jnp.asarray(learning_rate, real),
            jnp.asarray(warmup_steps, whole),
            jnp.asarray(clip_norm, real),
            jnp.asarray(seed, jnp.uint32),
        )
        return cls(*jnp.broadcast_arrays(*fields))
