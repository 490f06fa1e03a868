"""Annealed importance sampling of log p(x) on test, and its sandwich on the model's own samples."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vae_jax import rng
from vae_jax.evaluation.columns import NATS, NUMBER, Column
from vae_jax.evaluation.elbo import mean_columns
from vae_jax.evaluation.evaluators.base import (
    EvalContext,
    OnProgress,
    PerRunEvaluator,
    importance_weighted,
    in_turn,
    joined,
)
from vae_jax.evaluation.metrics import ais
from vae_jax.evaluation.metrics.ais import AnnealSpec, EvalBatch
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.models.vae import VAE
from vae_jax.types import PRNGKey, Row

AIS_STARTS = ais.STARTS
_AT_ONCE = {"cpu": 10}
_MOST_AT_ONCE = 100  # examples, elsewhere; no number depends on it
_TEST, _SIMULATED = 0, 1
_SETTINGS = "temperatures, chains and leapfrog steps as --ais_steps, --ais_chains, --ais_leapfrog"


@dataclass(frozen=True)
class _Annealing(PerRunEvaluator):
    """What both evaluations share.

    Attributes:
        ais_steps: T, temperatures; the bounds close as 1/T.
        ais_chains: for each example.
        ais_leapfrog: leapfrog steps of a transition.
        ais_start: ``prior`` or ``posterior``, where the path begins.
        ais_examples: test examples, or samples of the model.
    """

    ais_steps: int = 1000
    ais_chains: int = 16
    ais_leapfrog: int = 10
    ais_start: str = "prior"
    ais_examples: int = 100

    needs: ClassVar[frozenset[str]] = frozenset({"density"})

    def _spec(self, model: VAE) -> AnnealSpec:
        steps = self.ais_steps, self.ais_chains, self.ais_leapfrog
        return AnnealSpec(model, *steps, start=self.ais_start)


@dataclass(frozen=True)
class AnnealedImportance(_Annealing):
    """A lower bound on log p(x) of the first test examples that does not rest on q(z|x)."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "test_ais",
            f"annealed importance sampling's lower bound on log p(x) of test, {_SETTINGS}",
            NATS,
            "AIS bound of test",
            "Neal 2001; Wu et al. 2017",
            better="higher",
            has_error=True,
            is_drawn=True,
        ),
        Column(
            "ais_gain",
            "how far that lies above the importance-weighted bound of the same examples with "
            f"K = {EVIDENCE_PARTICLES:,}, paired",
            NATS,
            "AIS above importance weights",
            has_error=True,
        ),
        Column(
            "ais_examples",
            "first test examples behind test_ais and ais_gain",
            NUMBER,
            "examples of AIS",
        ),
        Column(
            "ais_acceptance",
            "mean acceptance of the HMC transitions; tuned to 0.65",
            NUMBER,
            "acceptance of HMC",
        ),
        Column(
            "ais_effective_chains",
            "effective sample size of the chains' weights, mean over examples",
            NUMBER,
            "effective chains of AIS",
            better="higher",
        ),
    )

    def __call__(self, subject: EvalContext, on_progress: OnProgress) -> Row:
        """Means over examples."""
        model, key = subject.trained.model, _key(subject, _TEST)
        test, found = subject.part("test", self.ais_examples), []
        num = len(test.pixels)
        for question in subject.questions(test, key, _at_once()):
            annealed = _forward(self._spec(model), question)
            found.append((*annealed, importance_weighted(model, question)))
            on_progress(min(1.0, len(found) * len(question.x) / num))
        bound, effective, acceptance, weighted = joined(found, num)
        return {
            **mean_columns("test_ais", bound),
            **mean_columns("ais_gain", bound - weighted),
            "ais_examples": num,
            "ais_acceptance": float(np.mean(acceptance)),
            "ais_effective_chains": float(np.mean(effective)),
        }


@dataclass(frozen=True)
class Bidirectional(_Annealing):
    """Bounds from both sides on log p(x) of samples of the model (Grosse et al. 2015).

    There z is known, and with it an exact sample from p(z|x). The gap says how far AIS with these
    settings is to be trusted on this model.
    """

    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "bdmc_lower",
            "AIS's lower bound on log p(x) of samples of the model",
            NATS,
            "BDMC lower bound",
            "Grosse et al. 2015",
            has_error=True,
        ),
        Column(
            "bdmc_upper",
            "upper bound on the same from chains run in reverse",
            NATS,
            "BDMC upper bound",
            "Grosse et al. 2015",
            has_error=True,
        ),
        Column(
            "bdmc_gap",
            "upper minus lower: how far AIS is to be trusted at these settings",
            NATS,
            "BDMC gap",
            "Grosse et al. 2015",
            better="lower",
            has_error=True,
            is_drawn=True,
        ),
        Column(
            "bdmc_gain",
            "lower minus the importance-weighted bound of the same samples with "
            f"K = {EVIDENCE_PARTICLES:,}, paired: positive where that lies outside",
            NATS,
            "BDMC above importance weights",
            has_error=True,
        ),
        Column("bdmc_examples", "samples of the model behind them", NUMBER, "examples of BDMC"),
    )

    def __call__(self, subject: EvalContext, on_progress: OnProgress) -> Row:
        """Means over samples of the model; of a conditional one with the labels of test."""
        model, key = subject.trained.model, _key(subject, _SIMULATED)
        labels, num, found = subject.data.test_labels, self.ais_examples, []
        for numbers in in_turn(num, _at_once()):
            y = None if labels is None else labels[numbers % len(labels)]
            z, question = _simulated(subject, y, key, numbers)
            lower, upper = _bidirectional(self._spec(model), question, z)
            found.append((lower.bound, upper.bound, importance_weighted(model, question)))
            on_progress(min(1.0, len(found) * len(numbers) / num))
        lower, upper, weighted = joined(found, num)
        return {
            **mean_columns("bdmc_lower", lower),
            **mean_columns("bdmc_upper", upper),
            **mean_columns("bdmc_gap", upper - lower),
            **mean_columns("bdmc_gain", lower - weighted),
            "bdmc_examples": num,
        }


def _simulated(
    subject: EvalContext, y: np.ndarray | None, key: PRNGKey, numbers: Int[np.ndarray, " batch"]
) -> tuple[Float[Array, "batch latents"], EvalBatch]:
    """Samples of the model, of which log p(x) is asked, and the z of which they were made."""
    z, x = _simulate(*subject.trained, subject.given(y), key, jnp.asarray(numbers))
    return z, subject.asked(x, y, key, numbers)


def _key(subject: EvalContext, index: int) -> PRNGKey:
    return rng.stream(subject.trained.hparams.seed, "ais", index)


def _at_once() -> int:
    return _AT_ONCE.get(jax.default_backend(), _MOST_AT_ONCE)


_forward = jax.jit(ais.forward, static_argnums=0)
_bidirectional = jax.jit(ais.bidirectional, static_argnums=0)
_simulate = jax.jit(ais.simulate, static_argnums=0)
