"""From flags to values of the package: the static spec, the hyperparameters, the visits."""

from collections.abc import Sequence

from vae_jax.config import Config
from vae_jax.hparams import HParams
from vae_jax.likelihoods import Bernoulli
from vae_jax.loop import Visits
from vae_jax.model import VAE
from vae_jax.networks import MLP, Conv, Network
from vae_jax.objectives import Elbo
from vae_jax.optimizers import Adam
from vae_jax.posteriors import DiagonalGaussian
from vae_jax.priors import StandardNormal
from vae_jax.train import TrainSpec

LIKELIHOODS = {"bernoulli": Bernoulli()}
POSTERIORS = {"gaussian": DiagonalGaussian()}
PRIORS = {"normal": StandardNormal()}


def train_spec(config: Config, image_shape: tuple[int, int, int]) -> TrainSpec:
    """The static half of the flags."""
    model = VAE(
        image_shape=image_shape,
        max_latents=config.latent_size,
        network=network(config),
        posterior=POSTERIORS[config.posterior],
        prior=PRIORS[config.prior],
        likelihood=LIKELIHOODS[config.likelihood],
        starts_at_mean=config.output_bias == "data_mean",
    )
    optimizer = Adam(config.schedule, config.num_steps, is_clipped=config.clip_norm < float("inf"))
    objective = Elbo(config.num_particles)
    return TrainSpec(model, objective, optimizer, config.batch_size, config.binarize)


def network(config: Config) -> Network:
    """The architecture that the flags name."""
    dtype = "bfloat16" if config.compute_dtype == "bfloat16" else None
    if config.network == "conv":
        return Conv(config.channels, config.hidden_sizes, config.activation, dtype)
    return MLP(config.hidden_sizes, config.activation, dtype)


def hparams(configs: Sequence[Config]) -> HParams:
    """The array half of the flags, ``[runs]``."""
    return HParams.of(
        **{name: [getattr(config, name) for config in configs] for name in HParams._fields}
    )


def visits(config: Config) -> Visits:
    """When the host looks."""
    return Visits(config.num_steps, config.chunk_steps, config.eval_every, config.checkpoint_every)
