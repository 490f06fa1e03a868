"""What every regulariser can do, and what it may know."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from vae_jax.hparams import HParams
from vae_jax.models.posteriors import Gaussian
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.types import LatentMask, Params, PRNGKey, Scalar


class Context(NamedTuple):
    """What a penalty may know beside the draws.

    Attributes:
        latent_mask: which columns of z the run uses.
        num_examples: of the training set.
        key: for what is drawn.
    """

    latent_mask: LatentMask
    num_examples: int
    key: PRNGKey


class Regularizer:
    """A penalty on a batch: a frozen dataclass that hashes by value.

    The bodies given here are those of a penalty that learns nothing.
    """

    strengths: ClassVar[tuple[str, ...]]
    """Its fields of ``HParams``; a run with all of them zero goes without it."""
    needs_gaussian: ClassVar[bool]
    """Whether it asks for the mean and the variance of a diagonal Gaussian posterior."""

    def init(self, key: PRNGKey, latent_mask: LatentMask) -> Params:
        """What it learns, before the first update; {} for nothing."""
        del key, latent_mask
        return {}

    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """The penalty times its strength, in nats per example; the objective loses it.

        Args:
            hparams: of one run.
            params: from :meth:`init`, learned together with the model's.
            samples: of the batch.
            context: of the update.
        """
        raise NotImplementedError


def gaussian(samples: PosteriorSamples, latent_mask: LatentMask) -> Gaussian:
    """The diagonal Gaussian posterior, standard normal on inactive coordinates.

    Raises:
        TypeError: of another posterior.
    """
    if not isinstance(samples.q, Gaussian):
        raise TypeError(
            f"needs the variances of a diagonal Gaussian, not {type(samples.q).__name__}"
        )
    return samples.q.restrict(latent_mask)


def column_keys(key: PRNGKey, latent_mask: LatentMask) -> Key[Array, " latents"]:
    """A key for each column of z, which depends on its rank among the active ones alone.

    So what is drawn for a run does not depend on how many inactive columns lie between and behind.
    """
    return jax.vmap(lambda rank: jax.random.fold_in(key, rank))(jnp.cumsum(latent_mask))
