"""Annealed importance sampling of log p(x) on test, and its sandwich on the model's own samples."""

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
from vae_jax.metrics import ais
from vae_jax.metrics.ais import Annealed, AnnealSpec, Question
from vae_jax.model import VAE
from vae_jax.types import Labels, Params, PRNGKey

AIS_STARTS = ais.STARTS
CHECK_PARTICLES = 1000
"""K of the importance-weighted bound that AIS is held against on the same examples."""

_AT_ONCE = {"cpu": 10}
_MOST_AT_ONCE = 100  # examples, elsewhere; no number depends on it
_TEST, _SIMULATED = 0, 1
_SETTINGS = "temperatures, chains and leapfrog steps as --ais_steps, --ais_chains, --ais_leapfrog"


@dataclass(frozen=True)
class _Annealing(EachRun):
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

    columns: ClassVar[Mapping[str, str]] = {
        **with_errors(
            {
                "test_ais": "annealed importance sampling's lower bound on log p(x) of test (Neal "
                f"2001; Wu et al. 2017), {_SETTINGS}",
                "ais_gain": "how far that lies above the importance-weighted bound of the same "
                f"examples with K = {CHECK_PARTICLES:,}, paired",
            }
        ),
        "ais_examples": "first test examples behind test_ais and ais_gain",
        "ais_acceptance": "mean acceptance of the HMC transitions; tuned to 0.65",
        "ais_effective_chains": "effective sample size of the chains' weights, mean over examples",
    }

    def __call__(self, subject: Subject, tell: Tell) -> Row:
        """Means over examples."""
        part = subject.part("test", self.ais_examples)
        num, spec = len(part.pixels), self._spec(subject.trained.model)
        found = []
        for numbers in in_turn(num, _at_once()):
            y = None if part.labels is None else part.labels[numbers]
            key = keys.stream(subject.trained.hparams.seed, "ais", _TEST)
            x = as_images(jnp.asarray(part.pixels[numbers]))
            found.append(_forward(spec, *_asked(subject), x, subject.given(y), key, numbers))
            tell(0.95 * min(1.0, len(found) * len(numbers) / num))
        annealed = _joined(found, num)
        bounds = importance_weighted(subject, part, CHECK_PARTICLES)
        return {
            **mean_columns("test_ais", annealed.bound),
            **mean_columns("ais_gain", annealed.bound - bounds),
            "ais_examples": num,
            "ais_acceptance": float(np.mean(annealed.acceptance)),
            "ais_effective_chains": float(np.mean(annealed.effective_sample_size)),
        }


@dataclass(frozen=True)
class Bidirectional(_Annealing):
    """Bounds from both sides on log p(x) of samples of the model (Grosse et al. 2015).

    There z is known, and with it an exact sample from p(z|x). The gap says how far AIS with these
    settings is to be trusted on this model.
    """

    columns: ClassVar[Mapping[str, str]] = {
        **with_errors(
            {
                "bdmc_lower": "AIS's lower bound on log p(x) of samples of the model",
                "bdmc_upper": "upper bound on the same from chains run in reverse (Grosse et al. "
                "2015)",
                "bdmc_gap": "upper minus lower: how far AIS is to be trusted at these settings",
            }
        ),
        "bdmc_examples": "samples of the model behind them",
    }

    def __call__(self, subject: Subject, tell: Tell) -> Row:
        """Means over samples of the model; of a conditional one with the labels of test."""
        num, spec = self.ais_examples, self._spec(subject.trained.model)
        labels = subject.data.test_labels
        found = []
        for numbers in in_turn(num, _at_once()):
            y = None if labels is None else labels[numbers % len(labels)]
            key = keys.stream(subject.trained.hparams.seed, "ais", _SIMULATED)
            found.append(_sandwich(spec, *_asked(subject), subject.given(y), key, numbers))
            tell(min(1.0, len(found) * len(numbers) / num))
        lower, upper = (_joined([pair[side] for pair in found], num).bound for side in (0, 1))
        return {
            **mean_columns("bdmc_lower", lower),
            **mean_columns("bdmc_upper", upper),
            **mean_columns("bdmc_gap", upper - lower),
            "bdmc_examples": num,
        }


def _at_once() -> int:
    return _AT_ONCE.get(jax.default_backend(), _MOST_AT_ONCE)


def _asked(subject: Subject) -> tuple[HParams, Params]:
    return subject.trained.hparams, subject.trained.params


def _joined(found: list[Annealed], num: int) -> Annealed:
    """All batches together, without what filled up the last."""
    return Annealed(*(jnp.concatenate(parts)[:num] for parts in zip(*found, strict=True)))


@functools.partial(jax.jit, static_argnames="spec")
def _forward(
    spec: AnnealSpec,
    hparams: HParams,
    params: Params,
    x: Float[Array, "batch height width channels"],
    y: Labels | None,
    key: PRNGKey,
    numbers: Int[Array, " batch"],
) -> Annealed:
    return ais.forward(spec, Question(hparams, params, x, y, key, numbers))


@functools.partial(jax.jit, static_argnames="spec")
def _sandwich(
    spec: AnnealSpec,
    hparams: HParams,
    params: Params,
    y: Labels | None,
    key: PRNGKey,
    numbers: Int[Array, " batch"],
) -> ais.Sandwich:
    z, x = ais.simulate(spec.model, hparams, params, y, key, numbers)
    return ais.bidirectional(spec, Question(hparams, params, x, y, key, numbers), z)
