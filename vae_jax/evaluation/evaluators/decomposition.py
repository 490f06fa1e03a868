"""Evaluator ``decomposition``: the KL as information, total correlation and dimension-wise KL."""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax import rng
from vae_jax.evaluation.columns import NATS, NUMBER, Column
from vae_jax.evaluation.evaluators.base import BATCH_SIZE, EvalContext, OnProgress, PerRunEvaluator
from vae_jax.evaluation.metrics.decomposition import KLTerms, decompose, summarize
from vae_jax.hparams import HParams
from vae_jax.models.posteriors import LatentDensities
from vae_jax.models.vae import VAE
from vae_jax.settings import setting, whole
from vae_jax.training import batches
from vae_jax.types import Labels, Latents, Params, Row, Stored


class SampledPosteriors(NamedTuple):
    """Posteriors of examples, with one sample from each.

    Attributes:
        q: q(z|x) of each example, a product of densities of single latents.
        deviation: z - mean for a sample z of q(z|x).
        log_prior: log p(z) of the sample, in nats.
    """

    q: LatentDensities
    deviation: Latents
    log_prior: Float[Array, " n"]


@dataclass(frozen=True)
class Decomposition(PerRunEvaluator):
    """KL = mutual information + total correlation + dimension-wise KL, on test examples.

    The aggregate posterior is the exact mixture over N examples, each of which gives one sample
    (stream ``decompose``).

    Attributes:
        decomposition_examples: N, the first test examples.
    """

    decomposition_examples: int = setting(
        10_000, whole(2), "test examples in the aggregate posterior"
    )

    needs: ClassVar[frozenset[str]] = frozenset({"density", "latent_densities"})
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "mutual_information",
            "E log q(z|x) / q(z), which of the N examples it was, at most ln N",
            NATS,
            "mutual information",
            "Hoffman & Johnson 2016",
            has_error=True,
            is_drawn=True,
        ),
        Column(
            "total_correlation",
            "E log q(z) / prod_j q(z_j), how dependent the latents are",
            NATS,
            "total correlation",
            "Chen et al. 2018, eq. 2",
            has_error=True,
            is_drawn=True,
        ),
        Column(
            "dimensionwise_kl",
            "E log prod_j q(z_j) / p(z), how far their marginals are from the prior",
            NATS,
            "dimension-wise KL",
            "Chen et al. 2018, eq. 2",
            has_error=True,
            is_drawn=True,
        ),
        Column(
            "decomposition_examples",
            "N, test examples in the aggregate posterior q(z)",
            NUMBER,
            "examples of the decomposition",
        ),
    )

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return the means of the three terms with their standard errors, in nats."""
        sampled, num_latents = self._sampled(context), len(context.latent_indices)
        q, deviation = sampled.q.first(num_latents), sampled.deviation[:, :num_latents]
        used = SampledPosteriors(q, deviation, sampled.log_prior)
        num, blocks = len(deviation), []
        for start in range(0, num, BATCH_SIZE):
            terms = _terms_from(used, jnp.int32(start), min(BATCH_SIZE, num))
            blocks.append(jax.tree.map(lambda a, left=num - start: a[:left], terms))
            on_progress((start + len(blocks[-1][0])) / num)
        terms = KLTerms(*map(jnp.concatenate, zip(*blocks, strict=True)))
        return summarize(terms) | {"decomposition_examples": num}

    def _sampled(self, context: EvalContext) -> SampledPosteriors:
        test = context.subset("test", self.decomposition_examples)
        return _sample(*context.trained, test.pixels, context.model_labels(test.labels))


@functools.partial(jax.jit, static_argnames="model")
def _sample(
    model: VAE, hparams: HParams, params: Params, pixels: Stored, y: Labels | None
) -> SampledPosteriors:
    q = model.encode(hparams, params, batches.as_observations(pixels), y)
    assert isinstance(q, LatentDensities)
    noise = model.noise(rng.stream(hparams.seed, "decompose"), len(pixels))
    log_prior = model.prior_at(hparams, params, y).log_prob(q.sample(noise))
    return SampledPosteriors(q, q.deviation(noise), log_prior)


@functools.partial(jax.jit, static_argnames="num")
def _terms_from(posteriors: SampledPosteriors, start: Int[Array, ""], num: int) -> KLTerms:
    """Return the terms of ``num`` samples from ``start`` on, cyclically."""
    rolled = jax.tree.map(lambda a: jnp.roll(a, -start, axis=0), posteriors)
    latent_mask = jnp.ones(posteriors.deviation.shape[1], bool)
    return decompose(rolled.q, latent_mask, rolled.deviation[:num], rolled.log_prior[:num])
