"""Evaluator ``gaps``: the inference gap, split into its approximation and amortization parts."""

from dataclasses import dataclass
from typing import ClassVar

import jax

from vae_jax import rng
from vae_jax.evaluation.columns import NATS, NUMBER, Column
from vae_jax.evaluation.elbo import mean_columns
from vae_jax.evaluation.evaluators.base import (
    EvalContext,
    OnProgress,
    PerRunEvaluator,
    concatenate_batches,
    evidence_bound,
)
from vae_jax.evaluation.metrics import gaps
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.evaluation.metrics.gaps import RefineSpec
from vae_jax.settings import setting, whole
from vae_jax.types import Row

BATCH_SIZE = 20
"""Examples whose posteriors are fitted at once; no number depends on it."""


@dataclass(frozen=True)
class Gaps(PerRunEvaluator):
    """The inference gap of the first test examples (Cremer et al. 2018).

    log p(x) is the importance-weighted bound with K = 5,000, which lies below it: so does the
    approximation gap.

    Attributes:
        gap_examples: number of the first test examples that are evaluated.
        gap_steps: updates by which each example's own posterior is fitted.
    """

    gap_examples: int = setting(100, whole(1), "test examples (gaps)")
    gap_steps: int = setting(500, whole(1), "updates of each example's own posterior (gaps)")

    needs: ClassVar[frozenset[str]] = frozenset({"density", "local"})
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "inference_gap",
            f"log p(x), by K = {EVIDENCE_PARTICLES:,} importance weights, minus the ELBO: the sum "
            "of the next two",
            NATS,
            "inference gap",
            "Cremer et al. 2018, eq. 4",
            better="lower",
            has_error=True,
        ),
        Column(
            "approximation_gap",
            "the part that the best q(z|x) of the family leaves",
            NATS,
            "approximation gap",
            "Cremer et al. 2018, eq. 4",
            better="lower",
            has_error=True,
        ),
        Column(
            "amortization_gap",
            "the part that the encoder's q(z|x) loses against the best one for each x",
            NATS,
            "amortization gap",
            "Cremer et al. 2018, eq. 4",
            better="lower",
            has_error=True,
        ),
        Column("gap_examples", "first test examples behind these", NUMBER, "examples of the gaps"),
    )

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return means over examples with their standard errors, in nats."""
        model, key = context.trained.model, rng.stream(context.trained.hparams.seed, "gaps")
        test, results = context.subset("test", self.gap_examples), []
        num = len(test.pixels)
        for batch in context.eval_batches(test, key, BATCH_SIZE):
            refined = _refine(RefineSpec(model, self.gap_steps), batch)
            results.append((evidence_bound(model, batch), *refined))
            on_progress(min(1.0, len(results) * len(batch.x) / num))
        log_p, amortized, optimal = concatenate_batches(results, num)
        return {
            **mean_columns("inference_gap", log_p - amortized),
            **mean_columns("approximation_gap", log_p - optimal),
            **mean_columns("amortization_gap", optimal - amortized),
            "gap_examples": num,
        }


_refine = jax.jit(gaps.refine, static_argnums=0)
