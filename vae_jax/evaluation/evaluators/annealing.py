"""Evaluators ``ais`` and ``bdmc``: annealed bounds on log p(x) of test and of samples."""

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
    concatenate_batches,
    evidence_bound,
    index_batches,
)
from vae_jax.evaluation.metrics import ais
from vae_jax.evaluation.metrics.ais import AnnealSpec, EvalBatch
from vae_jax.evaluation.metrics.evidence import EVIDENCE_PARTICLES
from vae_jax.models.vae import VAE
from vae_jax.settings import one_of, setting, whole
from vae_jax.types import PRNGKey, Row

AIS_STARTS = ais.STARTS
_CPU_BATCH_SIZE = 10
_BATCH_SIZE = 100  # on other devices; no number depends on it
_TEST, _SIMULATED = 0, 1
_SETTINGS = "temperatures, chains and leapfrog steps as --ais_steps, --ais_chains, --ais_leapfrog"


@dataclass(frozen=True)
class _Annealing(PerRunEvaluator):
    """Settings that both evaluators share.

    Attributes:
        ais_steps: T, number of temperatures; the gaps fall as 1/T.
        ais_chains: number of chains for each example.
        ais_leapfrog: leapfrog steps of a transition.
        ais_start: ``prior`` or ``posterior``, the start of the path.
        ais_examples: number of test examples, or of samples of the model.
    """

    ais_steps: int = setting(1000, whole(1), "temperatures of a chain (ais, bdmc)")
    ais_chains: int = setting(16, whole(1), "chains for each example (ais, bdmc)")
    ais_leapfrog: int = setting(10, whole(1), "leapfrog steps of a transition (ais, bdmc)")
    ais_start: str = setting(
        "prior", one_of(*AIS_STARTS), "start of the path of distributions (ais, bdmc)"
    )
    ais_examples: int = setting(100, whole(1), "test examples, or samples of the model (ais, bdmc)")

    needs: ClassVar[frozenset[str]] = frozenset({"density", "reals"})

    def _spec(self, model: VAE) -> AnnealSpec:
        steps = self.ais_steps, self.ais_chains, self.ais_leapfrog
        return AnnealSpec(model, *steps, start=self.ais_start)


@dataclass(frozen=True)
class AnnealedImportance(_Annealing):
    """Lower bound on log p(x) of the first test examples that does not depend on q(z|x)."""

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

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return means over test examples with their standard errors."""
        model, key = context.trained.model, _key(context, _TEST)
        test, results = context.subset("test", self.ais_examples), []
        num = len(test.pixels)
        for batch in context.eval_batches(test, key, _batch_size()):
            annealed = _forward(self._spec(model), batch)
            results.append((*annealed, evidence_bound(model, batch)))
            on_progress(min(1.0, len(results) * len(batch.x) / num))
        bound, effective, acceptance, weighted = concatenate_batches(results, num)
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

    Their z is known, and is an exact sample from p(z|x). The gap shows how accurate AIS with these
    settings is on this model.
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

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return means over samples of the model, a conditional one with the labels of test."""
        model, key = context.trained.model, _key(context, _SIMULATED)
        labels, num, results = context.data.test_labels, self.ais_examples, []
        for indices in index_batches(num, _batch_size()):
            y = None if labels is None else labels[indices % len(labels)]
            z, batch = _simulated(context, y, key, indices)
            lower, upper = _bidirectional(self._spec(model), batch, z)
            results.append((lower.bound, upper.bound, evidence_bound(model, batch)))
            on_progress(min(1.0, len(results) * len(indices) / num))
        lower, upper, weighted = concatenate_batches(results, num)
        return {
            **mean_columns("bdmc_lower", lower),
            **mean_columns("bdmc_upper", upper),
            **mean_columns("bdmc_gap", upper - lower),
            **mean_columns("bdmc_gain", lower - weighted),
            "bdmc_examples": num,
        }


def _simulated(
    context: EvalContext, y: np.ndarray | None, key: PRNGKey, indices: Int[np.ndarray, " batch"]
) -> tuple[Float[Array, "batch latents"], EvalBatch]:
    """Draw a batch of samples x of the model; return it with the z that each was decoded from."""
    z, x = _simulate(*context.trained, context.model_labels(y), key, jnp.asarray(indices))
    return z, context.eval_batch(x, y, key, indices)


def _key(context: EvalContext, index: int) -> PRNGKey:
    return rng.stream(context.trained.hparams.seed, "ais", index)


def _batch_size() -> int:
    return _CPU_BATCH_SIZE if jax.default_backend() == "cpu" else _BATCH_SIZE


_forward = jax.jit(ais.forward, static_argnums=0)
_bidirectional = jax.jit(ais.bidirectional, static_argnums=0)
_simulate = jax.jit(ais.simulate, static_argnums=0)
