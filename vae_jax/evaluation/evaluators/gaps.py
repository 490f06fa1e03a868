"""What inference loses, split into what the encoder and what the posterior's family cost."""

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
    importance_weighted,
    joined,
)
from vae_jax.evaluation.metrics import gaps
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.evaluation.metrics.gaps import RefineSpec
from vae_jax.types import Row

AT_ONCE = 20


@dataclass(frozen=True)
class Gaps(PerRunEvaluator):
    """The inference gap of the first test examples (Cremer et al. 2018).

    log p(x) is the importance-weighted bound with K = 5,000, which lies below it: so does the
    approximation gap.

    Attributes:
        gap_examples: test examples.
        gap_steps: updates by which each example's own posterior is fitted.
    """

    gap_examples: int = 100
    gap_steps: int = 500

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

    def __call__(self, subject: EvalContext, on_progress: OnProgress) -> Row:
        """Means over examples."""
        model, key = subject.trained.model, rng.stream(subject.trained.hparams.seed, "gaps")
        test, found = subject.part("test", self.gap_examples), []
        num = len(test.pixels)
        for question in subject.questions(test, key, AT_ONCE):
            refined = _refine(RefineSpec(model, self.gap_steps), question)
            found.append((importance_weighted(model, question), *refined))
            on_progress(min(1.0, len(found) * len(question.x) / num))
        log_p, amortized, optimal = joined(found, num)
        return {
            **mean_columns("inference_gap", log_p - amortized),
            **mean_columns("approximation_gap", log_p - optimal),
            **mean_columns("amortization_gap", optimal - amortized),
            "gap_examples": num,
        }


_refine = jax.jit(gaps.refine, static_argnums=0)
