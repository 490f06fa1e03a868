"""Evaluation of one run on a split: exact over ragged splits, streaming over particles.

Noise is a function of (seed, example, particle) alone, so no number depends on the batch size or
on how many particles are decoded at once, and memory does not grow with ``num_particles``.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vae_jax import keys
from vae_jax.batches import as_images
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.posteriors import Gaussian
from vae_jax.types import Images, Latents, Params, PRNGKey, UInt8, default_float

ACTIVE_THRESHOLD = 0.01
"""Variance of the posterior mean over the data above which a latent is active (Burda et al.)."""


@dataclass(frozen=True)
class EvalSpec:
    """How a split is evaluated.

    Attributes:
        model: what is evaluated.
        num_particles: K, importance samples per example.
        batch_size: examples encoded at once; no result depends on it.
        particles_at_once: particles decoded at once for each; no result depends on it.
    """

    model: VAE
    num_particles: int = 1
    batch_size: int = 250
    particles_at_once: int = 8


class ExampleTerms(NamedTuple):
    """Terms of each example, in nats.

    Attributes:
        log_likelihood: E_q[log p(x|z)], a mean over the K particles.
        kl: KL(q(z|x) || p(z)), closed form.
        bound: the importance-weighted bound log 1/K sum_k w_k <= log p(x).
    """

    log_likelihood: Float[Array, "*examples"]
    kl: Float[Array, "*examples"]
    bound: Float[Array, "*examples"]


class LatentMoments(NamedTuple):
    """Statistics of each latent over a set of examples, mergeable without cancellation.

    Attributes:
        count: examples seen.
        kl: mean KL, in nats.
        mean: mean of the posterior mean.
        variance: variance of the posterior mean.
    """

    count: Float[Array, "*runs"]
    kl: Float[Array, "*runs latents"]
    mean: Float[Array, "*runs latents"]
    variance: Float[Array, "*runs latents"]


class Evaluation(NamedTuple):
    """Everything that one pass over a split gives."""

    terms: ExampleTerms
    latents: LatentMoments


def in_batches(pixels: UInt8[np.ndarray, "n h w c"], batch_size: int) -> np.ndarray:
    """Pixels as ``[batches, batch, h, w, c]``, the last batch padded with black images."""
    num_batches = -(-len(pixels) // batch_size)
    padding = num_batches * batch_size - len(pixels)
    padded = np.pad(pixels, ((0, padding), (0, 0), (0, 0), (0, 0)))
    return padded.reshape(num_batches, batch_size, *pixels.shape[1:])


def evaluate(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    pixels: UInt8[Array, "batches batch height width channels"],
    num_examples: int,
) -> Evaluation:
    """Terms of the first ``num_examples`` examples and moments of the latents over them.

    Args:
        spec: static.
        hparams: of one run.
        params: of the model.
        pixels: from :func:`in_batches`.
        num_examples: how many of them are not padding.
    """
    num_batches, batch_size = pixels.shape[:2]
    key = keys.stream(hparams.seed, "evaluate")

    def body(
        moments: LatentMoments, batch: tuple[Array, Array]
    ) -> tuple[LatentMoments, ExampleTerms]:
        index, batch_pixels = batch
        examples = index * batch_size + jnp.arange(batch_size)
        x = as_images(batch_pixels)
        q = spec.model.encode(hparams, params, x)
        new = _moments(q, spec.model.prior.kl(q), examples < num_examples)
        return _merge(moments, new), _terms(spec, hparams, params, x, q, key, examples)

    empty = LatentMoments(*jax.tree.map(jnp.zeros_like, _moment_shapes(spec)))
    moments, terms = jax.lax.scan(body, empty, (jnp.arange(num_batches), pixels))
    return Evaluation(jax.tree.map(lambda a: a.reshape(-1)[:num_examples], terms), moments)


def _terms(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    x: Images,
    q: Gaussian,
    key: PRNGKey,
    examples: Int[Array, "batch"],  # noqa: UP037
) -> ExampleTerms:
    """Stream over the particles: a running sum of log p(x|z) and a running logsumexp of log w."""
    model, active = spec.model, spec.model.active(hparams)
    at_once = min(spec.particles_at_once, spec.num_particles)

    def body(carry: tuple[Array, Array], chunk: Array) -> tuple[tuple[Array, Array], None]:
        total, log_sum = carry
        particles = chunk * at_once + jnp.arange(at_once)
        is_real = (particles < spec.num_particles)[:, None]
        z = q.sample(particle_noise(key, examples, particles, model.max_latents))
        log_likelihood = model.likelihood.log_prob(model.decode(hparams, params, z), x)
        log_w = log_likelihood + model.prior.log_prob(z, active) - q.log_prob(z, active)
        total += jnp.sum(jnp.where(is_real, log_likelihood, 0.0), axis=0)
        chunk_log_sum = jax.nn.logsumexp(jnp.where(is_real, log_w, -jnp.inf), axis=0)
        return (total, jnp.logaddexp(log_sum, chunk_log_sum)), None

    zeros = jnp.zeros(len(examples), default_float())
    num_chunks = -(-spec.num_particles // at_once)
    (total, log_sum), _ = jax.lax.scan(body, (zeros, zeros - jnp.inf), jnp.arange(num_chunks))
    bound = log_sum - math.log(spec.num_particles)
    return ExampleTerms(total / spec.num_particles, jnp.sum(model.prior.kl(q), axis=-1), bound)


def particle_noise(
    key: PRNGKey,
    examples: Int[Array, "batch"],  # noqa: UP037
    particles: Int[Array, "particles"],  # noqa: UP037
    max_latents: int,
) -> Float[Array, "particles batch latents"]:
    """Standard normal noise that depends on nothing but the key, the example and the particle."""

    def draw(particle: Int[Array, ""], example: Int[Array, ""]) -> Float[Array, "latents"]:  # noqa: UP037
        own = jax.random.fold_in(jax.random.fold_in(key, example), particle)
        return jax.random.normal(own, (max_latents,), default_float())

    over_examples = jax.vmap(draw, in_axes=(None, 0))
    return jax.vmap(over_examples, in_axes=(0, None))(particles, examples)


def _moment_shapes(spec: EvalSpec) -> LatentMoments:
    scalar = jnp.zeros((), default_float())
    vector = jnp.zeros(spec.model.max_latents, default_float())
    return LatentMoments(scalar, vector, vector, vector)


def _moments(
    q: Gaussian,
    kl: Latents,
    is_real: Bool[Array, "batch"],  # noqa: UP037
) -> LatentMoments:
    """Moments of one batch, padding left out."""
    weight = is_real.astype(kl.dtype)
    count = jnp.sum(weight)
    share = (weight / jnp.maximum(count, 1.0))[:, None]
    mean = jnp.sum(share * q.mean, axis=0)
    variance = jnp.sum(share * (q.mean - mean) ** 2, axis=0)
    return LatentMoments(count, jnp.sum(share * kl, axis=0), mean, variance)


def _merge(a: LatentMoments, b: LatentMoments) -> LatentMoments:
    """Moments of the union of two sets (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    shift = b.mean - a.mean
    return LatentMoments(
        count,
        a.kl + share * (b.kl - a.kl),
        a.mean + share * shift,
        (1.0 - share) * a.variance + share * b.variance + share * (1.0 - share) * shift**2,
    )


def summarize(evaluation: Evaluation, num_particles: int) -> dict[str, Any]:
    """Means over examples with their standard errors, as Python numbers, in nats per example.

    ``elbo``, ``log_likelihood``, ``kl`` and ``nll`` (minus the bound of K particles), each with
    ``_se`` = s / sqrt(n), and ``active_units``. Sums are made in float64 on the host.
    """
    terms = jax.tree.map(lambda a: np.asarray(a, np.float64), evaluation.terms)
    examples = {
        "elbo": terms.log_likelihood - terms.kl,
        "log_likelihood": terms.log_likelihood,
        "kl": terms.kl,
        "nll": -terms.bound,
    }
    row: dict[str, Any] = {}
    for name, values in examples.items():
        row[name] = float(values.mean())
        row[f"{name}_se"] = standard_error(values)
    row["eval_particles"] = num_particles
    row["active_units"] = int(np.sum(np.asarray(evaluation.latents.variance) > ACTIVE_THRESHOLD))
    return row


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent values; NaN for a single one."""
    if len(values) < 2:
        return math.nan
    return float(values.std(ddof=1) / math.sqrt(len(values)))
