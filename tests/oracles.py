"""Exact models and slow, obvious computations to hold the package against."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vae_jax.data import Dataset, Provenance
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import BernoulliLikelihood, GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE


@dataclass(frozen=True)
class LinearModel:
    """x = W z + b + noise with orthogonal columns of W, whose posterior is diagonal and exact."""

    weights: np.ndarray
    variance: float
    is_vector: bool = False  # x is [d] instead of [1, d, 1]

    @classmethod
    def random(cls, num_pixels: int, num_latents: int, variance: float, seed: int = 0):
        basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(num_pixels, num_latents)))
        return cls(basis * np.linspace(0.5, 1.5, num_latents), variance)

    @classmethod
    def fitted(cls, x: np.ndarray, num_latents: int) -> "LinearModel":
        """The maximum-likelihood probabilistic PCA of centred vectors (Tipping & Bishop 1999)."""
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        values, vectors = values[::-1], vectors[:, ::-1]
        variance = float(values[num_latents:].mean())
        gains = np.sqrt(values[:num_latents] - variance)
        return cls(vectors[:, :num_latents] * gains, variance, is_vector=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        size = len(self.weights)
        return (size,) if self.is_vector else (1, size, 1)

    @property
    def vae(self) -> VAE:
        return VAE(
            self.event_shape, self.weights.shape[1], MLP(()), likelihood=GaussianLikelihood()
        )

    @property
    def hparams(self) -> HParams:
        """Of the exact model; the likelihood's scale is among them."""
        return HParams.of(latent_size=self.weights.shape[1], scale=math.sqrt(self.variance))

    @property
    def params(self) -> dict:
        """Decoder W; encoder mean (s^2 + W'W)^-1 W'x and variance s^2 / (s^2 + W'W)."""
        gains = (self.weights**2).sum(axis=0)
        mean = self._wide(self.weights / (gains + self.variance))
        log_var = self._wide(np.log(self.variance / (gains + self.variance)))
        zeros = np.zeros_like(log_var)
        encoder = {
            "mean": {"kernel": mean, "bias": zeros},
            "log_var": {"kernel": 0 * mean, "bias": log_var},
        }
        bias = {"output_bias": np.zeros((*self.event_shape, 1))}
        return {
            "encoder": encoder,
            "decoder": {"latent": {"kernel": self._wide(self.weights).T}},
        } | bias

    def _wide(self, values: np.ndarray) -> np.ndarray:
        missing = self.vae.width - values.shape[-1]
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])

    def log_evidence(self, x: np.ndarray) -> np.ndarray:
        """log N(x; 0, W W' + s^2 I) by a dense determinant."""
        covariance = self.weights @ self.weights.T + self.variance * np.eye(len(self.weights))
        _, log_det = np.linalg.slogdet(covariance)
        quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
        return -0.5 * (x.shape[1] * math.log(2 * math.pi) + log_det + quadratic)


def log_evidence_by_grid(model: VAE, hparams: HParams, params, x: Array) -> np.ndarray:
    """log p(x) of a model with one or two latents: the trapezoid rule on [-8, 8]^d in float64."""
    side = np.linspace(-8, 8, 4001 if model.max_latents == 1 else 401)
    axes = np.meshgrid(*[side] * model.max_latents, indexing="ij")
    z = np.stack([axis.ravel() for axis in axes], axis=-1)
    wide = jnp.pad(z, ((0, 0), (0, model.width - z.shape[-1])))
    seen = model.decode(hparams, params, wide)
    log_prior = np.asarray(model.prior_at(hparams, params).log_prob(wide))
    cell = (side[1] - side[0]) ** model.max_latents
    evidence = []
    for image in x:
        images = jnp.broadcast_to(image, (len(z), *image.shape))
        log_joint = np.asarray(seen.log_prob(images)) + log_prior
        top = log_joint.max()
        evidence.append(top + math.log(np.exp(log_joint - top).sum() * cell))
    return np.array(evidence)


def tiny_vae(max_latents: int = 4, hidden_sizes: tuple[int, ...] = (8,)) -> VAE:
    """A model of 3x4 images, small enough for any test."""
    return VAE((3, 4, 1), max_latents, MLP(hidden_sizes, "tanh"), likelihood=BernoulliLikelihood())


def tiny_data(num_train: int = 64, shape: tuple[int, int, int] = (3, 4, 1)) -> Dataset:
    """Random gray images with a common structure, so that there is something to learn."""
    rng = np.random.default_rng(0)
    gray = rng.uniform(size=(num_train + 40, 1, 1, 1)) * rng.uniform(size=(1, *shape))
    pixels = (255 * gray).astype(np.uint8)
    parts = pixels[:num_train], pixels[num_train : num_train + 17], pixels[num_train + 17 :]
    record = Provenance("tiny", "tiny", "random numbers", "cut in order")
    return Dataset(*parts, None, None, None, record)
