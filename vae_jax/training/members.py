"""Members that are shipped, by the choice that each kind of them is, and the specs that join them.

What a member reads is declared by itself (:func:`vae_jax.hparams.declarations`); here is only who
there is. ``vae_jax.config.members`` adds the evaluators.
"""

from collections.abc import Mapping

from vae_jax.models.likelihoods import LIKELIHOODS, Likelihood
from vae_jax.models.networks import NETWORKS, Network
from vae_jax.models.posteriors import POSTERIORS, PosteriorFamily, Stacked
from vae_jax.models.priors import PRIORS, PriorFamily
from vae_jax.models.vae import VAE
from vae_jax.objectives import OBJECTIVES, Objective
from vae_jax.objectives.regularizers import REGULARIZERS, Regularizer
from vae_jax.training.optimizers import OPTIMIZERS, Optimizer
from vae_jax.training.spec import TrainSpec

REGISTRIES: dict[str, Mapping[str, type]] = {
    "objective": OBJECTIVES,
    "regularizer": REGULARIZERS,
    "network": NETWORKS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS,
    "optimizer": OPTIMIZERS,
}
"""Members of a training by kind and name."""

BASES: dict[str, type] = {
    "objective": Objective,
    "regularizer": Regularizer,
    "network": Network,
    "posterior": PosteriorFamily,
    "prior": PriorFamily,
    "likelihood": Likelihood,
    "optimizer": Optimizer,
}
"""Base class of the members of each kind: the contract of one from outside."""

SPECS: tuple[type, ...] = (VAE, Stacked, TrainSpec)
"""Specs with settings of their own, which no choice names."""

READERS: tuple[type, ...] = (
    *OBJECTIVES.values(),
    *REGULARIZERS.values(),
    *(VAE, Stacked),
    *NETWORKS.values(),
    *POSTERIORS.values(),
    *PRIORS.values(),
    *LIKELIHOODS.values(),
    *OPTIMIZERS.values(),
    TrainSpec,
)
"""All that declare hyperparameters, in the order that ``HParams`` has their arrays in."""
