"""The model: a posterior, a prior, a likelihood and a network, joined in one static description.

A variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014) is three densities: the
encoder q(z|x), the prior p(z) and the decoder p(x|z). :class:`VAE` names their families. It holds
no arrays and hashes by value, so it is a static argument that compiles once. With labels y all
three may depend on them: q(z|x, y), p(z|y), p(x|z, y).

An x is one event of any shape: an image, or a vector of numbers.

Densities and x have methods of their own: :meth:`VAE.encode` and :meth:`VAE.decode` return the
distributions q(z|x) and p(x|z). :meth:`VAE.generate` and :meth:`VAE.reconstruct` return x, namely
the means E[x|z] of the decoder's distribution; for x with its noise, call
``decode(...).sample(key)``.
"""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vae_jax import contract, rng
from vae_jax.hparams import HParam, HParams
from vae_jax.models import inputs, latents
from vae_jax.models.combinations import Spelling, refused_priors, refused_size
from vae_jax.models.likelihoods import BernoulliLikelihood, Distribution, Likelihood
from vae_jax.models.networks import MLP, Decoder, Encoder, Network
from vae_jax.models.posteriors import DiagonalGaussian, Posterior, PosteriorFamily
from vae_jax.models.priors import Prior, PriorFamily, PriorInit, StandardNormal
from vae_jax.runtime.errors import InputError
from vae_jax.settings import BOOLEAN, check_value, one_of, sizes, whole
from vae_jax.types import (
    Labels,
    LatentMask,
    Latents,
    Observations,
    Params,
    PRNGKey,
    default_float,
    event_axes,
)

SharedLabels = Int[Array, "..."]
"""Labels with the axes of z or fewer leading ones: the particles of an example share its label."""

_SHAPE = sizes(1)  # type of the shape of an example


@dataclass(frozen=True)
class VAE:
    """Static description of a latent variable model and its inference network.

    Attributes:
        event_shape: shape of one x: (height, width, channels) of an image, (d,) of a vector.
        max_latents: largest number of coordinates of z; a run uses ``hparams.latent_size`` of them.
        network: architecture of encoder and decoder.
        posterior: family of q(z|x).
        prior: family of p(z).
        likelihood: family of p(x|z).
        starts_at_mean: flag; the output bias starts at the training mean if set, else at zero.
        num_classes: number of classes of the labels that encoder and decoder read; 0 for none.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams
        >>> model = VAE((4, 4, 1), max_latents=2, network=MLP((8,)))
        >>> hparams = HParams.of(latent_size=2, seed=0)
        >>> params = model.init(hparams, data_mean=jnp.full((4, 4, 1), 0.5))
        >>> x = jnp.zeros((3, 4, 4, 1))
        >>> q = model.encode(hparams, params, x)
        >>> z, log_q = q.draw(model.noise(jax.random.key(0), 3))
        >>> log_q.shape, model.decode(hparams, params, z).log_prob(x).shape  # nats per image
        ((3,), (3,))
        >>> model.generate(hparams, params, z).shape
        (3, 4, 4, 1)
    """

    event_shape: tuple[int, ...]
    max_latents: int
    network: Network = MLP()
    posterior: PosteriorFamily = DiagonalGaussian()
    prior: PriorFamily = StandardNormal()
    likelihood: Likelihood = BernoulliLikelihood()
    starts_at_mean: bool = True
    num_classes: int = 0

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam("latent_size", 20, whole(1), "coordinates of z that the run uses"),
    )

    def __post_init__(self) -> None:
        """Refuse what is no member, and settings, priors or sizes that cannot be had.

        Raises:
            InputError: something lacks what its base class asks for (:mod:`vae_jax.contract`), or
                traits do not fit (:mod:`vae_jax.models.combinations`).
        """
        check_value("event_shape", self.event_shape, _SHAPE)
        check_value("max_latents", self.max_latents, whole(1))
        check_value("num_classes", self.num_classes, whole(0))
        check_value("starts_at_mean", self.starts_at_mean, BOOLEAN)
        contract.check("network", self.network, Network)
        if self.network.dtype is not None:
            check_value("dtype", self.network.dtype, one_of("float32", "bfloat16", "float64"))
        contract.check("posterior", self.posterior, PosteriorFamily)
        contract.check("prior", self.prior, PriorFamily)
        contract.check("likelihood", self.likelihood, Likelihood)
        priors = refused_priors(self.posterior, self.prior, self.spelling)
        sizes = refused_size(self.posterior, "max_latents", self.max_latents, self.spelling)
        for message in itertools.chain(priors, sizes):
            raise InputError(message)

    @property
    def spelling(self) -> Spelling:
        """Way to write the model's families in messages: by the names of their classes."""
        families = {"posterior": self.posterior, "prior": self.prior, "likelihood": self.likelihood}
        return Spelling({name: type(family).__name__ for name, family in families.items()})

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one x under its former name."""
        return self.event_shape

    @property
    def decoder_width(self) -> int:
        """Columns of z that enter the decoder: ``max_latents``, padded with columns masked out."""
        return latents.padded_width(self.max_latents)

    @property
    def width(self) -> int:
        """Columns of z: those that enter the decoder, then those of an upper stochastic layer."""
        return self.decoder_width + self.posterior.extra_width

    def init(
        self,
        hparams: HParams,
        data_mean: Float[Array, "*event"],
        examples: Observations | None = None,
        encoding: str = "pixels",
    ) -> Params:
        """Return the initial parameters, drawn from the seed's stream ``params``.

        Args:
            hparams: hyperparameters of one run, of which seed and sizes are used.
            data_mean: mean of each dimension of x over the training examples.
            examples: training examples from which a prior may start; None for their mean alone.
            encoding: what the numbers of x are, see ``vae_jax.data.encodings.ENCODINGS``.

        Returns:
            The parameters by part: ``encoder``, ``decoder``, ``output_bias`` and, where a family
            learns some, ``posterior``, ``prior`` and ``likelihood``.
        """
        encoder_key, decoder_key, posterior_key, prior_key = (
            rng.stream(hparams.seed, "params", index) for index in range(4)
        )
        x = jnp.zeros((1, *self.event_shape), default_float())
        z = jnp.zeros((1, self.decoder_width), default_float())
        bias = self.likelihood.initial_bias(data_mean)
        latent_mask = self.latent_mask(hparams)
        images = data_mean[None] if examples is None else examples
        start = PriorInit(latent_mask, images, self.num_classes, encoding, data_mean)
        params = {
            "encoder": self._encoder().init(encoder_key, x, self._one_hot(jnp.zeros(1, int))),
            "decoder": self._decoder().init(
                decoder_key, z, self._decoder_mask(latent_mask), self._one_hot(jnp.zeros(1, int))
            ),
            "output_bias": bias if self.starts_at_mean else jnp.zeros_like(bias),
            "posterior": self.posterior.init(posterior_key, hparams, latent_mask),
            "prior": self.prior.init(prior_key, hparams, start),
            "likelihood": self.likelihood.init(hparams, self.event_shape),
        }
        params |= {part: params[part]["params"] for part in ("encoder", "decoder")}
        return {part: tree for part, tree in params.items() if jax.tree.leaves(tree)}

    def latent_mask(self, hparams: HParams) -> LatentMask:
        """Return the mask of the columns of z that this run uses: a prefix of each layer."""
        lower = latents.prefix_mask(self.decoder_width, hparams.latent_size)
        upper = latents.prefix_mask(self.posterior.extra_width, hparams.top_latent_size)
        return jnp.concatenate([lower, upper])

    def encode(
        self, hparams: HParams, params: Params, x: Observations, y: Labels | None = None
    ) -> Posterior:
        """Return q(z|x), or q(z|x, y); on coordinates masked out it is the standard normal.

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init` or of a trained run.
            x: examples ``[*batch, *event]``; pixels are in [0, 1].
            y: labels of a class-conditional model.

        Raises:
            ValueError: labels are missing in a class-conditional model.
        """
        return self.posterior_at(hparams, params, self.heads(params, x, y))

    def heads(self, params: Params, x: Observations, y: Labels | None = None) -> dict[str, Array]:
        """Return the outputs of the encoder by name: the parameters of q(z|x) that depend on x."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        arguments = (
            {"params": params["encoder"]},
            x.reshape(-1, *self.event_shape),
            self._one_hot(y),
        )
        values: Params = self._encoder().apply(*arguments)
        return {
            name: jnp.asarray(head, default_float()).reshape(*batch, *head.shape[1:])
            for name, head in values.items()
        }

    def posterior_at(self, hparams: HParams, params: Params, heads: dict[str, Array]) -> Posterior:
        """Return q(z|x) with the given outputs of the encoder."""
        posterior_params = params.get("posterior", {})
        q = self.posterior(hparams, posterior_params, heads, self.latent_mask(hparams))
        contract.check_result(self.posterior, q, Posterior)
        return q

    def prior_at(self, hparams: HParams, params: Params, y: Labels | None = None) -> Prior:
        """Return p(z), or p(z|y) for given labels."""

        def encode(x: Observations) -> Posterior:
            """Encode images without labels; a conditional encoder is given the classes in turn."""
            labels = jnp.arange(len(x)) % self.num_classes if self.num_classes else None
            return self.encode(hparams, params, x, labels)

        prior_params = params.get("prior", {})
        p = self.prior(hparams, prior_params, self.latent_mask(hparams), encode, y)
        contract.check_result(self.prior, p, Prior)
        return p

    def decode(
        self, hparams: HParams, params: Params, z: Latents, y: SharedLabels | None = None
    ) -> Distribution:
        """Return p(x|z), or p(x|z, y).

        Args:
            hparams: hyperparameters of one run.
            params: parameters from :meth:`init` or of a trained run.
            z: latents ``[*batch, columns]``; missing columns at the end count as zeros, and columns
                that are masked out are ignored.
            y: labels of a class-conditional model; they may lack leading axes of z (particles).

        Raises:
            ValueError: labels are missing in a class-conditional model.
        """
        batch, z = (
            z.shape[:-1],
            latents.pad_latents(z[..., : self.decoder_width], self.decoder_width),
        )
        labels = None if y is None else jnp.broadcast_to(y, batch).reshape(-1)
        arguments = {"params": params["decoder"]}, z.reshape(-1, self.decoder_width)
        outputs: Any = self._decoder().apply(
            *arguments, self._decoder_mask(self.latent_mask(hparams)), self._one_hot(labels)
        )
        bias = params["output_bias"]
        flat = jnp.asarray(outputs, default_float()).reshape(outputs.shape[0], -1)
        flat += jnp.broadcast_to(bias.reshape(-1), flat.shape)
        arguments = hparams, params.get("likelihood", {}), flat.reshape(*batch, *bias.shape)
        # A family of images alone need not know of events.
        axes = () if len(self.event_shape) == 3 else (event_axes(len(self.event_shape)),)
        distribution = self.likelihood(*arguments, *axes)
        contract.check_result(self.likelihood, distribution, Distribution)
        return distribution

    def noise(self, key: PRNGKey, *shape: int) -> Float[Array, "*shape size"]:
        """Draw the noise ``[*shape, size]`` of samples of q(z|x): the posterior's own.

        By default it is :meth:`standard_noise`.
        """
        return self.posterior.noise(key, shape, self.max_latents)

    def standard_noise(self, key: PRNGKey, *shape: int) -> Latents:
        """Draw standard normal noise ``[*shape, width]``, zero in the padding that no run uses.

        Samples of any prior are made of it, and momenta.
        """
        extra_width = self.posterior.extra_width
        return latents.standard_noise(key, shape, self.max_latents, extra_width)

    def reconstruct(
        self, hparams: HParams, params: Params, x: Observations, y: Labels | None = None
    ) -> Observations:
        """Return the mean E[x'|z] at z = the center of q(z|x); no noise is drawn."""
        return self.generate(hparams, params, self.encode(hparams, params, x, y).center, y)

    def generate(
        self, hparams: HParams, params: Params, z: Latents, y: SharedLabels | None = None
    ) -> Observations:
        """Return the mean E[x|z] = ``decode(...).mean()`` for given z.

        With z from :meth:`sample_prior` it is a sample of the model without its noise, as
        figures of the literature show it. For the distribution p(x|z) itself see :meth:`decode`.
        """
        return self.decode(hparams, params, z, y).mean()

    def sample_prior(
        self, hparams: HParams, params: Params, key: PRNGKey, num: int, y: Labels | None = None
    ) -> Latents:
        """Draw ``num`` z from the model's own prior, one for each label if there are some."""
        noise = self.standard_noise(key, num)
        return self.prior_at(hparams, params, y).sample(jax.random.fold_in(key, 2), noise)

    def _decoder_mask(self, latent_mask: LatentMask) -> Bool[Array, " decoder_width"]:
        return latent_mask[: self.decoder_width]

    def _one_hot(self, y: Labels | None) -> Float[Array, "*batch classes"] | None:
        if not self.num_classes:
            return None
        if y is None:
            raise ValueError(
                f"y=None: a model with num_classes={self.num_classes} needs labels; "
                f"pass y, one class in 0..{self.num_classes - 1} for each example"
            )
        return jax.nn.one_hot(y.reshape(-1), self.num_classes, dtype=default_float())

    def _encoder(self) -> Encoder:
        heads = self.posterior.heads(self.decoder_width)
        return Encoder(self.network.encoder_body(), heads, self.network.dtype)

    def _decoder(self) -> Decoder:
        *leading, last = self.event_shape
        return self.network.decoder((*leading, last * self.likelihood.num_outputs))


class TrainedVAE(NamedTuple):
    """A trained model: the static description with the hyperparameters and parameters of one run.

    Its methods are those of :class:`VAE` without the first two arguments. They check what they are
    given (:mod:`vae_jax.models.inputs`): z has ``latent_size`` columns, or those of a sample of q
    or p. Each is one compiled program for all runs of a model: one primitive at a time, an
    accelerator would compile twenty.

    Attributes:
        model: static description.
        hparams: hyperparameters of the run.
        params: parameters of the run.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams, TrainedVAE
        >>> model, hparams = VAE((4, 4, 1), 2, MLP((8,))), HParams.of(latent_size=2, seed=0)
        >>> run = TrainedVAE(model, hparams, model.init(hparams, jnp.full((4, 4, 1), 0.5)))
        >>> run.reconstruct(jnp.zeros((3, 4, 4, 1))).shape
        (3, 4, 4, 1)
        >>> run.sample(jax.random.key(0), 5).shape
        (5, 4, 4, 1)
    """

    model: VAE
    hparams: HParams
    params: Params

    def encode(self, x: Any, y: Any = None) -> Posterior:
        """Return q(z|x), or q(z|x, y)."""
        return _encode(*self, *self._given_x(x, y))

    def decode(self, z: Any, y: Any = None) -> Distribution:
        """Return p(x|z), or p(x|z, y)."""
        return self.model.decode(self.hparams, self.params, *self._given_z(z, y))

    def generate(self, z: Any, y: Any = None) -> Observations:
        """Return the means E[x|z] for given z."""
        return _generate(*self, *self._given_z(z, y))

    def reconstruct(self, x: Any, y: Any = None) -> Observations:
        """Return the means E[x'|z] at z = the center of q(z|x)."""
        return _reconstruct(*self, *self._given_x(x, y))

    def sample(self, key: PRNGKey, num: int, y: Any = None) -> Observations:
        """Return the means E[x|z] of ``num`` latents z drawn from the prior."""
        inputs.check_key(key)
        check_value("num", num, whole(1))
        y = inputs.as_y(y, self.model.num_classes, (num,))
        return self.generate(_sample_prior(*self, key, num, y), y)

    def _given_x(self, x: Any, y: Any) -> tuple[Observations, Labels | None]:
        shape, encodings = self.model.event_shape, self.model.likelihood.encodings
        x = inputs.as_x(x, shape, encodings[0] if len(encodings) == 1 else "")
        return x, inputs.as_y(y, self.model.num_classes, x.shape[: x.ndim - len(shape)])

    def _given_z(self, z: Any, y: Any) -> tuple[Latents, Labels | None]:
        z = inputs.as_z(z, self._widths)
        return z, inputs.as_y(y, self.model.num_classes, z.shape[:-1])

    @property
    def _widths(self) -> tuple[int, ...]:
        """Numbers of columns that z may have: the latents in use, or those of a sample."""
        padded = self.model.decoder_width, self.model.width
        used, upper = self.hparams.latent_size, self.hparams.top_latent_size
        if isinstance(used, jax.core.Tracer):
            return padded
        return int(used), int(used) + int(upper), *padded


_encode = jax.jit(VAE.encode, static_argnums=0)
_generate = jax.jit(VAE.generate, static_argnums=0)
_reconstruct = jax.jit(VAE.reconstruct, static_argnums=0)
_sample_prior = jax.jit(VAE.sample_prior, static_argnums=(0, 4))
