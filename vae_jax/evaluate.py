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

from vae_jax import keys, objectives
from vae_jax.batches import as_images
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.objectives import Weighed
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
    batch_size: int = 1000
    particles_at_once: int = 1


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
        num_examples: examples seen.
        kl: mean KL, in nats.
        mean: mean of the posterior mean.
        variance: variance of the posterior mean.
    """

    num_examples: Float[Array, "*runs"]
    kl: Float[Array, "*runs latents"]
    mean: Float[Array, "*runs latents"]
    variance: Float[Array, "*runs latents"]


class Evaluation(NamedTuple):
    """Everything that one pass over a split gives."""

    terms: ExampleTerms
    latents: LatentMoments


def in_batches(pixels: UInt8[np.ndarray, "n h w c"], batch_size: int) -> np.ndarray:
    """Pixels as ``[batches, batch, h, w, c]``, the last batch padded with black images."""
    batch_size = min(batch_size, len(pixels))
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
    examples: Int[Array, " batch"],
) -> ExampleTerms:
    """Stream over the particles: a running sum of log p(x|z) and a running logsumexp of log w."""
    num_particles = spec.num_particles
    at_once = min(spec.particles_at_once, num_particles)

    def weigh(particle: Int[Array, ""]) -> Weighed:
        z = q.sample(example_noise(spec.model, key, examples, particle))
        return objectives.weigh(spec.model, hparams, params, x, q, z)

    def body(chunk: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        total, log_sum = carry
        particles = chunk * at_once + jnp.arange(at_once)
        log_likelihood, log_w = jax.vmap(weigh)(particles)
        is_real = jnp.broadcast_to((particles < num_particles)[:, None], log_w.shape)
        total += jnp.sum(jnp.where(is_real, log_likelihood, 0.0), axis=0)
        chunk_log_sum = jax.nn.logsumexp(jnp.where(is_real, log_w, -jnp.inf), axis=0)
        return total, jnp.logaddexp(log_sum, chunk_log_sum)

    zeros = jnp.zeros(len(examples), default_float())
    num_chunks = -(-num_particles // at_once)
    total, log_sum = jax.lax.fori_loop(0, num_chunks, body, (zeros, zeros - jnp.inf))
    kl = jnp.sum(spec.model.prior.kl(q), axis=-1)
    return ExampleTerms(total / num_particles, kl, log_sum - math.log(num_particles))


def example_noise(
    model: VAE, key: PRNGKey, examples: Int[Array, " batch"], particle: Int[Array, ""]
) -> Float[Array, "batch latents"]:
    """Standard normal noise that depends on nothing but the key, the example and the particle."""

    def draw(example: Int[Array, ""]) -> Float[Array, " latents"]:
        own = jax.random.fold_in(jax.random.fold_in(key, example), particle)
        return model.noise(own)

    return jax.vmap(draw)(examples)


def _moment_shapes(spec: EvalSpec) -> LatentMoments:
    scalar = jnp.zeros((), default_float())
    vector = jnp.zeros(spec.model.width, default_float())
    return LatentMoments(scalar, vector, vector, vector)


def _moments(
    q: Gaussian,
    kl: Latents,
    is_real: Bool[Array, " batch"],
) -> LatentMoments:
    """Moments of one batch, padding left out."""
    weight = is_real.astype(kl.dtype)
    count = jnp.sum(weight)
    share = weight / jnp.maximum(count, 1.0)
    mean = share @ q.mean
    deviation = q.mean - jnp.broadcast_to(mean, q.mean.shape)
    return LatentMoments(count, share @ kl, mean, share @ deviation**2)


def _merge(a: LatentMoments, b: LatentMoments) -> LatentMoments:
    """Moments of the union of two sets (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    count = a.num_examples + b.num_examples
    share = b.num_examples / jnp.maximum(count, 1.0)
    shift = b.mean - a.mean
    return LatentMoments(
        count,
        a.kl + share * (b.kl - a.kl),
        a.mean + share * shift,
        (1.0 - share) * a.variance + share * b.variance + share * (1.0 - share) * shift**2,
    )


def summarize(evaluation: Evaluation, latent_size: int, num_particles: int) -> dict[str, Any]:
    """Means over examples with their standard errors, as Python numbers, in nats per example.

    ``elbo``, ``log_likelihood``, ``kl`` and ``nll`` (minus the bound of K particles), each with
    ``_se`` = s / sqrt(n); ``active_units``; and for each of the run's latents ``kl_per_latent``
    and ``variance_per_latent``, the variance of the posterior mean over the examples. Sums over
    examples are made in float64 on the host.
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
        row |= {name: float(values.mean()), f"{name}_se": standard_error(values)}
    variance = np.asarray(evaluation.latents.variance)[:latent_size]
    return row | {
        "eval_particles": num_particles,
        "active_units": int(np.sum(variance > ACTIVE_THRESHOLD)),
        "kl_per_latent": evaluation.latents.kl[:latent_size].tolist(),
        "variance_per_latent": variance.tolist(),
    }


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent values; NaN for a single one."""
    if len(values) < 2:
        return math.nan
    with np.errstate(invalid="ignore"):
        return float(values.std(ddof=1) / math.sqrt(len(values)))
