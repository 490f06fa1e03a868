"""What inference loses, split into what the encoder and what the posterior's family cost."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax import keys
from vae_jax.assessments.base import (
    EachRun,
    Row,
    Subject,
    Tell,
    importance_weighted,
    in_turn,
    mean_columns,
    with_errors,
)
from vae_jax.batches import as_images
from vae_jax.hparams import HParams
from vae_jax.metrics import gaps
from vae_jax.metrics.ais import Question
from vae_jax.metrics.gaps import Elbos, RefineSpec
from vae_jax.types import Labels, Params, PRNGKey

EVIDENCE_PARTICLES = 5000
"""K of the importance-weighted bound that stands for log p(x)."""
AT_ONCE = 20


@dataclass(frozen=True)
class Gaps(EachRun):
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
    columns: ClassVar[Mapping[str, str]] = {
        **with_errors(
            {
                "inference_gap": f"log p(x), by K = {EVIDENCE_PARTICLES:,} importance weights, "
                "minus the ELBO: the sum of the next two (Cremer et al. 2018)",
                "approximation_gap": "the part that the best q(z|x) of the family leaves, the same",
                "amortization_gap": "the part that the encoder's q(z|x) loses against the best one "
                "for each x, the same",
            }
        ),
        "gap_examples": "first test examples behind these",
    }

    def __call__(self, subject: Subject, tell: Tell) -> Row:
        """Means over examples."""
        part = subject.part("test", self.gap_examples)
        num, found = len(part.pixels), []
        spec = RefineSpec(subject.trained.model, self.gap_steps)
        key = keys.stream(subject.trained.hparams.seed, "gaps")
        for numbers in in_turn(num, AT_ONCE):
            y = None if part.labels is None else part.labels[numbers]
            x = as_images(jnp.asarray(part.pixels[numbers]))
            _, hparams, params = subject.trained
            found.append(_refine(spec, hparams, params, x, subject.given(y), key, numbers))
            tell(0.9 * min(1.0, len(found) * len(numbers) / num))
        log_p = importance_weighted(subject, part, EVIDENCE_PARTICLES)
        amortized, optimal = (np.concatenate(each)[:num] for each in zip(*found, strict=True))
        return {
            **mean_columns("inference_gap", log_p - amortized),
            **mean_columns("approximation_gap", log_p - optimal),
            **mean_columns("amortization_gap", optimal - amortized),
            "gap_examples": num,
        }


@functools.partial(jax.jit, static_argnames="spec")
def _refine(
    spec: RefineSpec,
    hparams: HParams,
    params: Params,
    x: Float[Array, "batch height width channels"],
    y: Labels | None,
    key: PRNGKey,
    numbers: Int[Array, " batch"],
) -> Elbos:
    return gaps.refine(spec, Question(hparams, params, x, y, key, numbers))
