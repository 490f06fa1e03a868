"""The model: where posterior, prior, likelihood and network meet.

A variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014) is three densities, the
encoder q(z|x), the prior p(z) and the decoder p(x|z). :class:`VAE` says which; it holds no arrays
and hashes by value, so it is a static argument that compiles once. With labels y all three may
depend on them: q(z|x, y), p(z|y), p(x|z, y).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vae_jax import rng
from vae_jax.hparams import HParams
from vae_jax.models import latents
from vae_jax.models.likelihoods import BernoulliLikelihood, Distribution, Likelihood
from vae_jax.models.networks import MLP, Decoder, Encoder, Network
from vae_jax.models.posteriors import DiagonalGaussian, Posterior, PosteriorFamily
from vae_jax.models.priors import Prior, PriorFamily, PriorInit, StandardNormal
from vae_jax.types import Images, Labels, LatentMask, Latents, Params, PRNGKey, default_float

SharedLabels = Int[Array, "..."]
"""Labels that lack leading axes of z, as where particles share an example's."""


@dataclass(frozen=True)
class VAE:
    """Static description of a latent variable model and its inference network.

    Attributes:
        image_shape: (height, width, channels) of x.
        max_latents: most coordinates of z that a run may use; it uses ``hparams.latent_size``.
        network: architecture of encoder and decoder.
        posterior: family of q(z|x).
        prior: family of p(z).
        likelihood: family of p(x|z).
        starts_at_mean: whether the output bias starts at the training mean rather than at zero.
        num_classes: of the labels given to encoder and decoder; 0 for none.
    """

    image_shape: tuple[int, int, int]
    max_latents: int
    network: Network = MLP()
    posterior: PosteriorFamily = DiagonalGaussian()
    prior: PriorFamily = StandardNormal()
    likelihood: Likelihood = BernoulliLikelihood()
    starts_at_mean: bool = True
    num_classes: int = 0

    @property
    def decoder_width(self) -> int:
        """Columns of z that the decoder sees: ``max_latents``, filled up with inactive ones."""
        return latents.padded_width(self.max_latents)

    @property
    def width(self) -> int:
        """Columns of z; behind those that the decoder sees lie those of an upper layer."""
        return self.decoder_width + self.posterior.extra_width

    def init(
        self,
        hparams: HParams,
        data_mean: Float[Array, "height width channels"],
        examples: Images | None = None,
    ) -> Params:
        """Initial parameters from the seed's stream ``params``.

        Args:
            hparams: of one run; seed and sizes are used.
            data_mean: each pixel's mean over the training images, in [0, 1].
            examples: training images from which a prior may start; None for the mean alone.
        """
        encoder_key, decoder_key, posterior_key, prior_key = (
            rng.stream(hparams.seed, "params", index) for index in range(4)
        )
        x = jnp.zeros((1, *self.image_shape), default_float())
        z = jnp.zeros((1, self.decoder_width), default_float())
        bias = self.likelihood.initial_bias(data_mean)
        latent_mask = self.latent_mask(hparams)
        start = PriorInit(
            latent_mask, data_mean[None] if examples is None else examples, self.num_classes
        )
        params = {
            "encoder": self._encoder().init(encoder_key, x, self._one_hot(jnp.zeros(1, int))),
            "decoder": self._decoder().init(
                decoder_key, z, self._decoder_mask(latent_mask), self._one_hot(jnp.zeros(1, int))
            ),
            "output_bias": bias if self.starts_at_mean else jnp.zeros_like(bias),
            "posterior": self.posterior.init(posterior_key, hparams, latent_mask),
            "prior": self.prior.init(prior_key, hparams, start),
            "likelihood": self.likelihood.init(hparams, self.image_shape),
        }
        params |= {part: params[part]["params"] for part in ("encoder", "decoder")}
        return {part: tree for part, tree in params.items() if jax.tree.leaves(tree)}

    def latent_mask(self, hparams: HParams) -> LatentMask:
        """Which columns of z this run uses: the first ``latent_size`` of each layer."""
        seen = latents.mask(self.decoder_width, hparams.latent_size)
        above = latents.mask(self.posterior.extra_width, hparams.top_latent_size)
        return jnp.concatenate([seen, above])

    def encode(
        self, hparams: HParams, params: Params, x: Images, y: Labels | None = None
    ) -> Posterior:
        """q(z|x), equal to the standard normal on inactive coordinates."""
        batch, shape = x.shape[:-3], x.shape[-3:]
        arguments = {"params": params["encoder"]}, x.reshape(-1, *shape), self._one_hot(y)
        values: Params = self._encoder().apply(*arguments)
        heads = {
            name: jnp.asarray(head, default_float()).reshape(*batch, *head.shape[1:])
            for name, head in values.items()
        }
        own = params.get("posterior", {})
        return self.posterior(hparams, own, heads, self.latent_mask(hparams))

    def prior_at(self, hparams: HParams, params: Params, y: Labels | None = None) -> Prior:
        """p(z), or p(z|y)."""

        def encode(x: Images) -> Posterior:
            """Of images without labels; where the encoder needs some, they take turns."""
            turns = jnp.arange(len(x)) % self.num_classes if self.num_classes else None
            return self.encode(hparams, params, x, turns)

        own = params.get("prior", {})
        return self.prior(hparams, own, self.latent_mask(hparams), encode, y)

    def decode(
        self, hparams: HParams, params: Params, z: Latents, y: SharedLabels | None = None
    ) -> Distribution:
        """p(x|z); z may have axes in front of y's and leave out inactive columns behind."""
        batch, z = z.shape[:-1], latents.widen(z[..., : self.decoder_width], self.decoder_width)
        labels = None if y is None else jnp.broadcast_to(y, batch).reshape(-1)
        arguments = {"params": params["decoder"]}, z.reshape(-1, self.decoder_width)
        outputs = self._decoder().apply(
            *arguments, self._decoder_mask(self.latent_mask(hparams)), self._one_hot(labels)
        )
        bias = params["output_bias"]
        flat = jnp.asarray(outputs, default_float()).reshape(len(outputs), -1)
        flat += jnp.broadcast_to(bias.reshape(-1), flat.shape)
        own = params.get("likelihood", {})
        return self.likelihood(hparams, own, flat.reshape(*batch, *bias.shape))

    def noise(self, key: PRNGKey, *shape: int) -> Latents:
        """Standard normal noise ``[*shape, width]``, zero where no run is active.

        Drawn with the latent axis leading: the first coordinates do not depend on ``max_latents``.
        """

        def draw(key: PRNGKey, size: int, width: int) -> Latents:
            drawn = jax.random.normal(key, (size, *shape), default_float())
            return latents.widen(jnp.moveaxis(drawn, 0, -1), width)

        seen, above = draw(key, self.max_latents, self.decoder_width), self.posterior.extra_width
        if not above:
            return seen
        return jnp.concatenate([seen, draw(jax.random.fold_in(key, 1), above, above)], axis=-1)

    def reconstruct(
        self, hparams: HParams, params: Params, x: Images, y: Labels | None = None
    ) -> Images:
        """E[x'|z] at the center of q(z|x)."""
        return self.generate(hparams, params, self.encode(hparams, params, x, y).center, y)

    def generate(
        self, hparams: HParams, params: Params, z: Latents, y: SharedLabels | None = None
    ) -> Images:
        """E[x|z] for given z; with z from the prior, the mean of a sample of the model."""
        return self.decode(hparams, params, z, y).mean()

    def sample_prior(
        self, hparams: HParams, params: Params, key: PRNGKey, num: int, y: Labels | None = None
    ) -> Latents:
        """``num`` draws of z from the model's own prior, one for each label if there are any."""
        noise = self.noise(key, num)
        return self.prior_at(hparams, params, y).sample(jax.random.fold_in(key, 2), noise)

    def _decoder_mask(self, latent_mask: LatentMask) -> Bool[Array, " seen"]:
        return latent_mask[: self.decoder_width]

    def _one_hot(self, y: Labels | None) -> Float[Array, "*batch classes"] | None:
        if not self.num_classes:
            return None
        if y is None:
            raise ValueError("a class-conditional model needs labels y")
        return jax.nn.one_hot(y.reshape(-1), self.num_classes, dtype=default_float())

    def _encoder(self) -> Encoder:
        heads = self.posterior.heads(self.decoder_width)
        return Encoder(self.network.encoder_body(), heads, self.network.dtype)

    def _decoder(self) -> Decoder:
        height, width, channels = self.image_shape
        return self.network.decoder((height, width, channels * self.likelihood.num_outputs))


class TrainedVAE(NamedTuple):
    """A model with its numbers, ready to be asked.

    Attributes:
        model: static spec.
        hparams: of one run.
        params: of one run.
    """

    model: VAE
    hparams: HParams
    params: Params

    def encode(self, x: Images, y: Labels | None = None) -> Posterior:
        """q(z|x)."""
        return self.model.encode(self.hparams, self.params, x, y)

    def generate(self, z: Latents, y: SharedLabels | None = None) -> Images:
        """E[x|z]."""
        return self.model.generate(self.hparams, self.params, z, y)

    def reconstruct(self, x: Images, y: Labels | None = None) -> Images:
        """E[x'|z] at the center of q(z|x)."""
        return self.model.reconstruct(self.hparams, self.params, x, y)

    def sample(self, key: PRNGKey, num: int, y: Labels | None = None) -> Images:
        """E[x|z] for ``num`` draws of z from the prior."""
        z = self.model.sample_prior(self.hparams, self.params, key, num, y)
        return self.generate(z, y)
