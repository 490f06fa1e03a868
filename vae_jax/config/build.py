"""From flags to values of the package: the static spec, the hyperparameters, the visits."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from vae_jax.config.schema import Config
from vae_jax.config.validation import penalties
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS
from vae_jax.hparams import HParams
from vae_jax.models.latents import padded_width
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.models.networks import NETWORKS, Network
from vae_jax.models.posteriors import POSTERIORS, PosteriorFamily, Stacked
from vae_jax.models.priors import PRIORS, PriorFamily, StackedPrior
from vae_jax.models.vae import VAE
from vae_jax.objectives import OBJECTIVES
from vae_jax.objectives.regularizers import Regularizer
from vae_jax.training.intervals import Intervals
from vae_jax.training.optimizers import Adam
from vae_jax.training.step import TrainSpec

T = TypeVar("T")


def train_spec(
    config: Config, image_shape: tuple[int, int, int], num_classes: int = 0
) -> TrainSpec:
    """The static half of the flags."""
    posterior, prior = posterior_and_prior(config)
    model = VAE(
        image_shape=image_shape,
        max_latents=config.latent_size,
        network=network(config),
        posterior=posterior,
        prior=prior,
        likelihood=member(LIKELIHOODS[config.likelihood], config),
        starts_at_mean=config.output_bias == "data_mean",
        num_classes=num_classes if config.conditional else 0,
    )
    return TrainSpec(
        model,
        member(OBJECTIVES[config.objective], config),
        regularizers(config),
        Adam(config.schedule, config.num_steps, is_clipped=config.clip_norm < float("inf")),
        config.batch_size,
        config.binarize,
    )


def posterior_and_prior(config: Config) -> tuple[PosteriorFamily, PriorFamily]:
    """The families of q(z|x) and p(z), with a second stochastic layer where there is one."""
    posterior = member(POSTERIORS[config.posterior], config)
    prior = member(PRIORS[config.prior], config)
    if not config.top_latent_size:
        return posterior, prior
    layer = padded_width(config.top_latent_size), config.top_hidden_sizes
    return Stacked(posterior, *layer), StackedPrior(prior, *layer)


def member(family: type[T], config: Config, **more: object) -> T:
    """A member of a registry; its dataclass fields are the flags of the same names."""
    fields = {field.name for field in dataclasses.fields(family)}  # pyright: ignore[reportArgumentType]
    own = {name: getattr(config, name) for name in fields - more.keys()}
    return family(**own, **more)


def network(config: Config) -> Network:
    """The architecture that the flags name."""
    dtype = "bfloat16" if config.compute_dtype == "bfloat16" else None
    return member(NETWORKS[config.network], config, dtype=dtype)


def matmul_precision(config: Config, platform: str) -> str:
    """How float32 matrices are multiplied, in JAX's words.

    ``default`` is whatever is fastest: on a TPU one pass in bfloat16, which gives away about one
    per cent of an ELBO, on recent GPUs TensorFloat-32, on a CPU float32 itself. ``high`` takes
    three bfloat16 passes or TensorFloat-32, ``highest`` is float32 everywhere.
    """
    automatic = "highest" if platform == "tpu" else "default"
    return automatic if config.matmul_precision == "auto" else config.matmul_precision


def regularizers(config: Config) -> tuple[Regularizer, ...]:
    """The penalties that have some strength."""
    return tuple(member(kind, config) for kind in penalties(config).values())


def hparams(configs: Sequence[Config]) -> HParams:
    """The array half of the flags, ``[runs]``."""
    return HParams.of(
        **{name: [getattr(config, name) for config in configs] for name in HParams._fields}
    )


def intervals(config: Config) -> Intervals:
    """When the host looks."""
    return Intervals(
        config.num_steps, config.chunk_steps, config.eval_every, config.checkpoint_every
    )


def evaluations(config: Config) -> list[str]:
    """Return the names of the evaluations to be made, in the order of their columns."""
    return [name for name in EVALUATORS if name in (*ALWAYS, *config.evaluate)]
