"""Interface of regularizers, and functions that several of them share."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from vae_jax.hparams import HParam, HParams
from vae_jax.models.posteriors import LatentDensities
from vae_jax.objectives.base import PosteriorSamples
from vae_jax.types import LatentMask, Params, PRNGKey, Scalar


class Context(NamedTuple):
    """Inputs of a penalty beside the samples.

    Attributes:
        latent_mask: mask of the columns of z that the run uses.
        num_examples: size of the training set.
        key: key of the penalty's own random numbers at this update.
    """

    latent_mask: LatentMask
    num_examples: int
    key: PRNGKey


class Regularizer(ABC):
    """Penalty on a batch; subclasses are frozen dataclasses, which hash by value.

    A subclass defines ``hparams`` and ``__call__``, its traits where they are true, and ``init``
    where it has parameters of its own.
    """

    hparams: ClassVar[tuple[HParam, ...]] = ()
    """Hyperparameters that weigh the penalty; where all are zero, it is left out."""
    needs_latent_densities: ClassVar[bool] = False
    """Flag: it needs the mean and variance of each latent, so a posterior that has them."""
    needs_coordinates: ClassVar[bool] = False
    """Flag: it compares single latents, so a posterior whose latents can vary one by one."""
    is_of_prior: ClassVar[bool] = False
    """Flag: it draws the codes to the prior, so that samples of a deterministic code make sense."""

    @classmethod
    def strengths(cls) -> tuple[str, ...]:
        """Return the names of the hyperparameters that weigh the penalty."""
        return tuple(each.name for each in cls.hparams)

    def init(self, key: PRNGKey, latent_mask: LatentMask) -> Params:
        """Return the initial parameters of the penalty; {} where it learns nothing."""
        del key, latent_mask
        return {}

    @abstractmethod
    def __call__(
        self, hparams: HParams, params: Params, samples: PosteriorSamples, context: Context
    ) -> Scalar:
        """Return the penalty times its strength, in nats per example, to be subtracted.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init`, learned together with the model's.
            samples: samples of q(z|x) for the batch.
            context: mask, size of the training set and key of the update.
        """


def latent_densities(samples: PosteriorSamples, latent_mask: LatentMask) -> LatentDensities:
    """Return the posterior by the densities of single latents, standard normal on unused ones.

    Raises:
        TypeError: for a posterior that has none.
    """
    if not isinstance(samples.q, LatentDensities):
        raise TypeError(
            f"posterior: {type(samples.q).__name__} has no variances of single latents, which the "
            "regularizer needs; choose a posterior that has them, or leave the regularizer out"
        )
    return samples.q.restrict(latent_mask)


def column_keys(key: PRNGKey, latent_mask: LatentMask) -> Key[Array, " latents"]:
    """Return a key for each column of z, which depends on its rank among the used columns alone.

    Hence a run's random numbers do not depend on the number of unused columns between and behind.
    """
    return jax.vmap(lambda rank: jax.random.fold_in(key, rank))(jnp.cumsum(latent_mask))
