"""Evaluation of one run on a split: exact over ragged splits, streaming over particles.

:func:`evaluate` gives the terms of every example and :func:`summarize` the row of means with their
standard errors. Noise is a function of (seed, example, particle) alone, so no number depends on
the batch size or on how many particles are decoded at once, and memory does not grow with
``num_particles``.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from vae_jax import rng
from vae_jax.data.split_names import Split
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import NOT_FINITE
from vae_jax.evaluation.metrics import evidence, sums
from vae_jax.evaluation.metrics.evidence import WeightSums
from vae_jax.evaluation.metrics.sums import Sum
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import bits_per_dim
from vae_jax.models.posteriors import Posterior
from vae_jax.models.priors import Prior
from vae_jax.models.vae import VAE
from vae_jax.training.batches import EVAL_BATCH_SIZE, Examples, as_observations
from vae_jax.types import Labels, Latents, Observations, Params, PRNGKey, Row, default_float

NUM_PARTICLES = 100
"""K of an NLL where none is given, on the command line and in Python."""
ACTIVE_THRESHOLD = 0.01
"""Variance of the posterior mean over the data above which a latent is active (Burda et al.)."""


@dataclass(frozen=True)
class EvalSpec:
    """Static description of an evaluation.

    Attributes:
        model: model that is evaluated.
        num_particles: K, importance samples per example.
        batch_size: examples encoded at once; no result depends on it.
        particles_at_once: particles decoded at once for each; no result depends on it.
    """

    model: VAE
    num_particles: int = 1
    batch_size: int = EVAL_BATCH_SIZE
    particles_at_once: int = 1


class ExampleTerms(NamedTuple):
    """Terms of each example, in nats.

    Attributes:
        log_likelihood: E_q[log p(x|z)], a mean over the K particles.
        kl: KL(q(z|x) || p(z)), in closed form or, where there is none, a mean over the particles.
        bound: the importance-weighted bound log 1/K sum_k w_k <= log p(x).
        effective_sample_size: effective number of the K weights, from 1 to K.
        bias: jackknife estimate of E[bound] - log p(x), negative; NaN for a single particle.
    """

    log_likelihood: Float[Array, "*examples"]
    kl: Float[Array, "*examples"]
    bound: Float[Array, "*examples"]
    effective_sample_size: Float[Array, "*examples"]
    bias: Float[Array, "*examples"]


class LatentMoments(NamedTuple):
    """Statistics of each latent over a set of examples, mergeable without cancellation.

    Attributes:
        num_examples: number of examples.
        kl: mean KL, in nats; NaN where the KL is no sum over latents.
        mean: mean of the posterior's center.
        variance: variance of the posterior's center.
    """

    num_examples: Float[Array, "*runs"]
    kl: Float[Array, "*runs latents"]
    mean: Float[Array, "*runs latents"]
    variance: Float[Array, "*runs latents"]


class Evaluation(NamedTuple):
    """Terms and moments from one pass over a split.

    Attributes:
        terms: terms of each example, in nats.
        latents: moments of each latent over the examples.
    """

    terms: ExampleTerms
    latents: LatentMoments


def in_batches(
    pixels: Shaped[np.ndarray, "n *event"],
    batch_size: int,
    labels: Integer[np.ndarray, " n"] | None = None,
) -> Examples:
    """Return examples as ``[batches, batch, ...]``, padded with zeros of class 0.

    Example:
        >>> batches = in_batches(np.zeros((5, 2, 2, 1), np.uint8), batch_size=3)
        >>> batches.pixels.shape
        (2, 3, 2, 2, 1)
    """
    batch_size = min(batch_size, len(pixels))
    num_batches = -(-len(pixels) // batch_size)
    padding = num_batches * batch_size - len(pixels)

    def split(values: np.ndarray) -> Array:
        padded = np.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1))
        return jnp.asarray(padded.reshape(num_batches, batch_size, *values.shape[1:]))

    return Examples(split(pixels), None if labels is None else split(labels))


def evaluate(
    spec: EvalSpec,
    hparams: HParams,
    params: Params,
    data: Examples,
    num_examples: int,
    first_example: Int[Array, ""] | int = 0,
) -> Evaluation:
    """Return terms of the first ``num_examples`` examples and moments of the latents over them.

    Args:
        spec: static description of the evaluation.
        hparams: hyperparameters of one run.
        params: parameters of the model.
        data: padded batches from :func:`in_batches`.
        num_examples: number of examples without the padding.
        first_example: index of the first one in its split, where only a part of that is given.

    Example:
        >>> model = VAE((2, 2, 1), max_latents=2)
        >>> hparams = HParams.of(latent_size=2)
        >>> params = jax.jit(model.init)(hparams, jnp.full((2, 2, 1), 0.5))
        >>> data = in_batches(np.zeros((5, 2, 2, 1), np.uint8), batch_size=3)
        >>> evaluation = evaluate(EvalSpec(model), hparams, params, data, num_examples=5)
        >>> evaluation.terms.kl.shape, float(evaluation.latents.num_examples)
        ((5,), 5.0)
    """
    num_batches, batch_size = data.pixels.shape[:2]
    key = rng.stream(hparams.seed, "evaluate")

    def body(
        moments: LatentMoments, batch: tuple[Array, Examples]
    ) -> tuple[LatentMoments, ExampleTerms]:
        index, (pixels, y) = batch
        position = index * batch_size + jnp.arange(batch_size)
        # Without the barrier XLA divides pixels by 255 once for all runs of a study, but those of a
        # run alone in one rounding with what is added to them, as the offset of a label.
        pixels, own = jax.lax.optimization_barrier((pixels, params))
        encoded = EncodedBatch.of(spec.model, hparams, own, as_observations(pixels), y)
        closed = encoded.p.kl(encoded.q)
        per_latent = None if closed is None else closed.per_latent
        new = _moments(encoded.q, per_latent, position < num_examples)
        return _merge(moments, new), example_terms(spec, encoded, key, first_example + position)

    empty = LatentMoments(*jax.tree.map(jnp.zeros_like, _moment_shapes(spec)))
    moments, terms = jax.lax.scan(body, empty, (jnp.arange(num_batches), data))
    return Evaluation(jax.tree.map(lambda a: a.reshape(-1)[:num_examples], terms), moments)


def join(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of a split from those of its parts, given in their order."""
    terms = jax.tree.map(lambda *a: jnp.concatenate(a, axis=-1), *(part.terms for part in parts))
    return Evaluation(terms, functools.reduce(_merge, (part.latents for part in parts)))


class EncodedBatch(NamedTuple):
    """A batch with its q(z|x) and p(z): what all particles of an example share.

    Attributes:
        hparams: hyperparameters of one run.
        params: parameters of the model.
        x: examples as the model takes them.
        y: labels of a conditional model, otherwise None.
        q: posterior q(z|x) of the encoder, or q(z|x, y).
        p: prior p(z), or p(z|y).
    """

    hparams: HParams
    params: Params
    x: Observations
    y: Labels | None
    q: Posterior
    p: Prior

    @classmethod
    def of(
        cls, model: VAE, hparams: HParams, params: Params, x: Observations, y: Labels | None
    ) -> "EncodedBatch":
        """Return the batch with its posterior and its prior."""
        q = model.encode(hparams, params, x, y)
        return cls(hparams, params, x, y, q, model.prior_at(hparams, params, y))


def example_terms(
    spec: EvalSpec, encoded: EncodedBatch, key: PRNGKey, examples: Int[Array, " batch"]
) -> ExampleTerms:
    """Return the terms of a batch: a stream over the particles, with log-sums of the weights.

    Args:
        spec: static description of the evaluation.
        encoded: batch with its posterior and its prior.
        key: key of all noise.
        examples: indices of the examples in their split, on which their noise depends.
    """
    num_particles, model = spec.num_particles, spec.model
    at_once = min(spec.particles_at_once, num_particles)

    def weigh(particle: Int[Array, ""]) -> tuple[Array, Array]:
        z, log_q = encoded.q.draw(example_noise(model, key, examples, particle))
        decoder_dist = model.decode(encoded.hparams, encoded.params, z, encoded.y)
        return decoder_dist.log_prob(encoded.x), encoded.p.log_prob(z) - log_q

    def body(
        chunk: Int[Array, ""], carry: tuple[Sum, Sum, WeightSums]
    ) -> tuple[Sum, Sum, WeightSums]:
        total, total_ratio, weights = carry
        particles = chunk * at_once + jnp.arange(at_once)
        log_likelihood, log_ratio = jax.vmap(weigh)(particles)
        is_real = jnp.broadcast_to((particles < num_particles)[:, None], log_ratio.shape)
        log_w = jnp.where(is_real, log_likelihood + log_ratio, -jnp.inf)
        return (
            sums.add_all(total, jnp.where(is_real, log_likelihood, 0.0)),
            sums.add_all(total_ratio, jnp.where(is_real, log_ratio, 0.0)),
            evidence.add_weights(weights, log_w, chunk * at_once),
        )

    zeros = jnp.zeros(len(examples), default_float())
    num_chunks = -(-num_particles // at_once)
    empty = sums.zero_like(zeros)
    start = (empty, empty, evidence.no_weights(num_particles, zeros.shape))
    total, total_ratio, weights = jax.lax.fori_loop(0, num_chunks, body, start)
    closed = encoded.p.kl(encoded.q)
    kl = -total_ratio.total / num_particles if closed is None else closed.total
    return ExampleTerms(
        total.total / num_particles,
        kl,
        evidence.bound(weights, num_particles),
        evidence.effective_sample_size(weights, num_particles),
        evidence.jackknife_bias(weights, num_particles),
    )


def example_noise(
    model: VAE, key: PRNGKey, examples: Int[Array, " batch"], particle: Int[Array, ""]
) -> Float[Array, "batch size"]:
    """Draw the posterior's noise, which depends on the key, the example and the particle alone.

    Example:
        >>> model, key = VAE((2, 2, 1), max_latents=2), jax.random.key(0)
        >>> noise = example_noise(model, key, jnp.arange(4), jnp.int32(0))
        >>> bool((example_noise(model, key, jnp.arange(2, 4), jnp.int32(0)) == noise[2:]).all())
        True
    """

    def draw(example: Int[Array, ""]) -> Float[Array, " size"]:
        own = jax.random.fold_in(jax.random.fold_in(key, example), particle)
        return model.noise(own)

    return jax.vmap(draw)(examples)


def _moment_shapes(spec: EvalSpec) -> LatentMoments:
    scalar = jnp.zeros((), default_float())
    vector = jnp.zeros(spec.model.width, default_float())
    return LatentMoments(scalar, vector, vector, vector)


def _moments(q: Posterior, kl: Latents | None, is_real: Bool[Array, " batch"]) -> LatentMoments:
    """Return the moments of one batch, padding left out."""
    code = q.center
    weight = is_real.astype(code.dtype)
    count = jnp.sum(weight)
    share = weight / jnp.maximum(count, 1.0)

    def mean_of(values: Latents) -> Float[Array, " latents"]:
        """Return the mean over real examples; padding may be infinite, and 0 * inf is NaN."""
        return share @ jnp.where(jnp.broadcast_to(is_real[:, None], values.shape), values, 0.0)

    mean = mean_of(code)
    deviation = code - jnp.broadcast_to(mean, code.shape)
    mean_kl = jnp.full_like(mean, jnp.nan) if kl is None else mean_of(kl)
    return LatentMoments(count, mean_kl, mean, mean_of(deviation**2))


def _merge(a: LatentMoments, b: LatentMoments) -> LatentMoments:
    """Return the moments of the union of two sets (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    count = a.num_examples + b.num_examples
    share = jnp.expand_dims(b.num_examples / jnp.maximum(count, 1.0), axis=-1)
    shift = b.mean - a.mean
    return LatentMoments(
        count,
        a.kl + share * (b.kl - a.kl),
        a.mean + share * shift,
        (1.0 - share) * a.variance + share * b.variance + share * (1.0 - share) * shift**2,
    )


def summarize(
    spec: EvalSpec, evaluation: Evaluation, latent_size: int, split: Split = "test"
) -> Row:
    """Return a run's columns on a split, as Python numbers, sums made in float64 on the host.

    They are the ``TERMS`` of :mod:`vae_jax.evaluation.columns` under their names on the split:
    ``test_elbo``, ``test_nll`` (minus the bound of K particles), ..., each mean over examples with
    its standard error ``_se`` = s / sqrt(n). What does not exist is None: a deterministic code has
    no density, so no ELBO, KL, NLL nor weights; a single particle has no jackknife and no
    effective sample size; pixels of other than 8 bits have no ``bits_per_dim``.

    Where examples are not finite, neither is their mean, and a column ``NAME_not_finite`` counts
    them.

    Args:
        spec: static description of the evaluation.
        evaluation: evaluation of one run.
        latent_size: number of latents that the run uses.
        split: split that was evaluated.

    Example:
        >>> terms = ExampleTerms(*np.zeros((5, 3)))._replace(kl=np.array([1.0, 2.0, 3.0]))
        >>> evaluation = Evaluation(terms, LatentMoments(*np.zeros((4, 2))))
        >>> row = summarize(EvalSpec(VAE((2, 2, 1), max_latents=2)), evaluation, latent_size=2)
        >>> row["test_elbo"], row["test_kl"], row["test_nll_bias"], row["active_units"]
        (-2.0, 2.0, None, 0)
    """
    terms = jax.tree.map(lambda a: np.asarray(a, np.float64), evaluation.terms)
    model, num_particles = spec.model, spec.num_particles
    has_density = model.posterior.has_density
    with np.errstate(invalid="ignore"):
        elbo = terms.log_likelihood - terms.kl
        gain = terms.bound - elbo
    has_weights = has_density and num_particles > 1
    examples = {
        "elbo": (elbo, has_density),
        "log_likelihood": (terms.log_likelihood, True),
        "kl": (terms.kl, has_density),
        "nll": (-terms.bound, has_density),
        "bits_per_dim": (
            bits_per_dim(elbo, model.event_shape),
            has_density and model.likelihood.is_eight_bit,
        ),
        "bound_gain": (gain, has_density),
        "nll_bias": (-terms.bias, has_weights),
    }
    row: Row = {}
    for name, (values, exists) in examples.items():
        row |= mean_columns(name, values) if exists else {name: None, f"{name}_se": None}
    variance = np.asarray(evaluation.latents.variance)[:latent_size]
    kl = np.asarray(evaluation.latents.kl)[:latent_size]
    row |= _weight_columns(terms, num_particles, has_weights) | {
        "active_units": int(np.sum(variance > ACTIVE_THRESHOLD)),
        "kl_per_latent": [float(nats) if np.isfinite(nats) else None for nats in kl],
        "variance_per_latent": variance.tolist(),
    }
    return {columns.name_on(split, name): value for name, value in row.items()}


def _weight_columns(terms: ExampleTerms, num_particles: int, has_weights: bool) -> Row:
    """Return the columns of the effective sample sizes and the message that follows from them."""
    if not has_weights:
        return dict.fromkeys(("ess_median", "ess_min", "ess_low_share", "nll_distrust"))
    effective, bias = np.asarray(terms.effective_sample_size), np.asarray(terms.bias)
    if not np.isfinite(effective).all():
        # Weights that are all zero have no effective size; the NLL is not finite then.
        unknown = dict.fromkeys(("ess_median", "ess_min", "ess_low_share"), math.nan)
        return unknown | {"nll_distrust": ""}
    return {
        "ess_median": float(np.median(effective)),
        "ess_min": float(effective.min()),
        "ess_low_share": evidence.share_of_doubtful(effective, num_particles),
        "nll_distrust": evidence.distrust(effective, bias, num_particles),
    }


def mean_columns(name: str, values: Any) -> Row:
    """Return the mean over examples as ``name`` and its standard error as ``name_se``.

    Sums are made in float64. Where examples are not finite neither is the mean; their number is
    then ``name_not_finite``.

    Example:
        >>> mean_columns("nll", [1.0, 3.0])
        {'nll': 2.0, 'nll_se': 1.0}
        >>> mean_columns("nll", [1.0, math.inf])["nll_not_finite"]
        1
    """
    exact = np.asarray(values, np.float64)
    num_not_finite = int(np.sum(~np.isfinite(exact)))
    with np.errstate(invalid="ignore"):
        row: Row = {name: float(exact.mean()), f"{name}_se": standard_error(exact)}
    return row | ({f"{name}{NOT_FINITE}": num_not_finite} if num_not_finite else {})


def standard_error(values: np.ndarray) -> float:
    """Return the standard error s / sqrt(n) of the mean of n values; NaN for a single one."""
    if len(values) < 2:
        return math.nan
    with np.errstate(invalid="ignore"):
        return float(values.std(ddof=1) / math.sqrt(len(values)))
