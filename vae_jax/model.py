"""The model: where posterior, prior, likelihood and network meet.

A variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014) is three densities, the
encoder q(z|x), the prior p(z) and the decoder p(x|z). :class:`VAE` says which; it holds no arrays
and hashes by value, so it is a static argument that compiles once.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax import keys, latents
from vae_jax.hparams import HParams
from vae_jax.likelihoods import Bernoulli, Likelihood, Outputs
from vae_jax.networks import MLP, Decoder, Encoder, Network
from vae_jax.posteriors import DiagonalGaussian, Gaussian
from vae_jax.priors import StandardNormal
from vae_jax.types import Active, Images, Latents, Params, PRNGKey, default_float


@dataclass(frozen=True)
class VAE:
    """Static description of a latent variable model and its inference network.

    Attributes:
        image_shape: (height, width, channels) of x.
        max_latents: most coordinates of z that a run may use; it uses ``hparams.latent_size``.
        network: architecture of encoder and decoder.
        posterior: family of q(z|x).
        prior: p(z).
        likelihood: p(x|z).
        starts_at_mean: whether the output bias starts at the training mean rather than at zero.
    """

    image_shape: tuple[int, int, int]
    max_latents: int
    network: Network = MLP()
    posterior: DiagonalGaussian = DiagonalGaussian()
    prior: StandardNormal = StandardNormal()
    likelihood: Likelihood = Bernoulli()
    starts_at_mean: bool = True

    @property
    def width(self) -> int:
        """Columns of z and of q(z|x): ``max_latents``, filled up with inactive ones."""
        return latents.padded_width(self.max_latents)

    def init(self, hparams: HParams, data_mean: Float[Array, "height width channels"]) -> Params:
        """Initial parameters from the seed's stream ``params``.

        Args:
            hparams: of one run; seed and latent_size are used.
            data_mean: each pixel's mean over the training images, in [0, 1].
        """
        encoder_key = keys.stream(hparams.seed, "params", 0)
        decoder_key = keys.stream(hparams.seed, "params", 1)
        x = jnp.zeros((1, *self.image_shape), default_float())
        z = jnp.zeros((1, self.width), default_float())
        bias = self.likelihood.initial_bias(data_mean)
        return {
            "encoder": self._encoder().init(encoder_key, x)["params"],
            "decoder": self._decoder().init(decoder_key, z, self.active(hparams))["params"],
            "output_bias": bias if self.starts_at_mean else jnp.zeros_like(bias),
        }

    def active(self, hparams: HParams) -> Active:
        """Which coordinates of z this run uses: the first ``latent_size``."""
        return latents.active(self.width, hparams.latent_size)

    def encode(self, hparams: HParams, params: Params, x: Images) -> Gaussian:
        """q(z|x), equal to the prior on inactive coordinates."""
        heads = self._encoder().apply({"params": params["encoder"]}, x)
        heads = (jnp.asarray(head, default_float()) for head in heads)
        return self.posterior(*heads).restrict(self.active(hparams))

    def decode(self, hparams: HParams, params: Params, z: Latents) -> Outputs:
        """Parameters of p(x|z), as ``likelihood`` reads them; z may leave out inactive columns."""
        batch, z = z.shape[:-1], latents.widen(z, self.width)
        arguments = {"params": params["decoder"]}, z.reshape(-1, self.width), self.active(hparams)
        outputs = self._decoder().apply(*arguments)
        bias = params["output_bias"]
        flat = jnp.asarray(outputs, default_float()).reshape(len(outputs), -1)
        flat += jnp.broadcast_to(bias.reshape(-1), flat.shape)
        return flat.reshape(*batch, *bias.shape)

    def noise(self, key: PRNGKey, *shape: int) -> Latents:
        """Standard normal noise ``[*shape, width]``, zero from ``max_latents`` on.

        Drawn with the latent axis leading: the first coordinates do not depend on ``max_latents``.
        """
        drawn = jax.random.normal(key, (self.max_latents, *shape), default_float())
        return latents.widen(jnp.moveaxis(drawn, 0, -1), self.width)

    def reconstruct(self, hparams: HParams, params: Params, x: Images) -> Images:
        """E[x'|z] at the mean of q(z|x)."""
        return self.generate(hparams, params, self.encode(hparams, params, x).mean)

    def generate(self, hparams: HParams, params: Params, z: Latents) -> Images:
        """E[x|z] for given z; with z from ``prior.sample``, the mean of a sample of the model."""
        return self.likelihood.mean(self.decode(hparams, params, z))

    def _encoder(self) -> Encoder:
        body = self.network.encoder_body()
        return Encoder(body, self.posterior.heads, self.width, self.network.dtype)

    def _decoder(self) -> Decoder:
        height, width, channels = self.image_shape
        return self.network.decoder((height, width, channels * self.likelihood.num_outputs))
