"""Optimizers: optax transformations made from hyperparameters that are arrays.

An optimizer is a *rule*, the optax transformation that turns a gradient into a step of unit
learning rate, and what is wrapped around every rule: clipping, the schedule of the learning rate,
skipped updates, and the freezing of a run that diverged. A new optimizer is a class here with
:meth:`Optimizer.rule`, and a row in :data:`OPTIMIZERS`.

The transformation is rebuilt inside the training step from that step's ``hparams`` (Python at trace
time, free at run time), so a vmapped learning rate is never captured by a closure that outlives
its trace.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.runtime.errors import InputError
from vae_jax.settings import one_of, real, setting, whole
from vae_jax.types import Bool, Params, Scalar, default_float

Transformation = optax.GradientTransformation
"""Type of what a rule returns."""
SCHEDULES = ("constant", "cosine")
"""Names of the schedules of the learning rate after the warm-up."""
SomeOptimizer = TypeVar("SomeOptimizer", bound="Optimizer")


@dataclass(frozen=True)
class Optimizer(ABC):
    """Optimizer of all parameters: a rule with a warm-up, a schedule, clipping and skipping.

    The learning rate of an update is ``hparams.learning_rate * rate(hparams, step)``. A held update
    (the run diverged, or the norm of its gradient exceeds ``hparams.skip_norm``) changes neither
    the parameters nor the state of the rule.

    The three switches below leave out what no run needs. Set them with :meth:`specialized`.

    Attributes:
        schedule: ``constant``, or ``cosine`` to fall to zero at ``num_steps``.
        num_steps: updates of the training, which only the cosine needs.
        is_clipped: True to scale gradients down to the global norm ``hparams.clip_norm``.
        skips: True to leave out updates whose gradient has a norm above ``hparams.skip_norm``.
        reads_rule: True to read the rule's own hyperparameters; False where they have their
            defaults, which are then constants of the program.
    """

    schedule: str = setting("constant", one_of(*SCHEDULES), "learning rate after the warm-up")
    num_steps: int = 0
    is_clipped: bool = False
    skips: bool = False
    reads_rule: bool = False

    own: ClassVar[tuple[HParam, ...]] = ()
    """Hyperparameters of the rule."""
    common: ClassVar[tuple[HParam, ...]] = (
        HParam("learning_rate", 1e-3, real(0.0, is_open=True), "step size, at its peak"),
        HParam(
            "warmup_steps",
            0,
            whole(0),
            "updates over which the learning rate rises",
            unit="updates",
        ),
        HParam(
            "clip_norm",
            math.inf,
            real(0.0, is_open=True, or_infinite=True),
            "largest norm of the gradient",
        ),
        HParam(
            "skip_norm",
            math.inf,
            real(0.0, is_open=True, or_infinite=True),
            "norm of the gradient above which an update is left out",
            source="Child 2021, table 3",
        ),
    )
    """Hyperparameters of all optimizers."""
    hparams: ClassVar[tuple[HParam, ...]] = common

    def __init_subclass__(cls) -> None:
        """Declare the common hyperparameters and those of the rule, by either name."""
        super().__init_subclass__()
        if isinstance(declared := vars(cls).get("hparams"), tuple):
            cls.own = tuple(each for each in declared if each not in cls.common)
        cls.hparams = (*cls.common, *cls.own)

    @abstractmethod
    def rule(self, hparams: HParams) -> optax.GradientTransformation:
        """Return the transformation of a gradient into a step, to be multiplied by ``-rate``.

        Args:
            hparams: hyperparameters of one run; read the rule's own with :meth:`value`.
        """

    def step_of_state(
        self, hparams: HParams, state: optax.OptState, params: Params
    ) -> optax.Updates | None:
        """Return the rule's step as a function of its new state, or None if it is none.

        Where it is known, XLA updates the state in place: it would otherwise compute the step from
        the old state, which must then be copied at every update (a tenth of a step of a small
        network on CPU).
        """
        del hparams, state, params
        return None

    def value(self, hparams: HParams, name: str) -> Scalar | float:
        """Return a hyperparameter of the rule: an array, or the default that all runs have."""
        if self.reads_rule:
            return getattr(hparams, name)
        return next(each.default for each in self.own if each.name == name)

    def specialized(self: SomeOptimizer, hparams: HParams) -> SomeOptimizer:
        """Return the optimizer with the parts that these hyperparameters need, and no others.

        Args:
            hparams: hyperparameters of all runs, with known values.

        Example:
            >>> Adam().specialized(HParams.of(clip_norm=[1.0, float("inf")])).is_clipped
            True
        """
        return dataclasses.replace(self, **self.parts_for(hparams._asdict()))

    def parts_for(self, values: Mapping[str, Any]) -> dict[str, bool]:
        """Return which parts of the update these values need, by the names of their switches.

        Args:
            values: a number, or an array ``[runs]``, by the name of each hyperparameter.
        """
        norms = {name: bool(np.isfinite(values[name]).any()) for name in ("clip_norm", "skip_norm")}
        own = ((np.asarray(values[each.name]), each.default) for each in self.own)
        is_own = any(bool((array != array.dtype.type(default)).any()) for array, default in own)
        return {
            "is_clipped": norms["clip_norm"],
            "skips": norms["skip_norm"],
            "reads_rule": is_own,
        }

    def transformation(
        self, hparams: HParams, step: Int[Array, ""], is_held: Bool[Array, ""] | None = None
    ) -> optax.GradientTransformation:
        """Return the optax transformation of update number ``step``.

        Args:
            hparams: hyperparameters of one run.
            step: number of updates before this one.
            is_held: true for an update that is left out: the state stays as it was and every
                parameter too. None for False.
        """
        clip = optax.clip_by_global_norm(hparams.clip_norm) if self.is_clipped else optax.identity()
        rate = -hparams.learning_rate * self.rate(hparams, step)
        held = jnp.zeros((), bool) if is_held is None else is_held
        return optax.chain(clip, self._held_rule(hparams, held), _scale_unless(held, rate))

    def is_skipped(self, hparams: HParams, gradient: Params) -> Bool[Array, ""]:
        """Return whether the norm of the gradient, before clipping, exceeds ``skip_norm``."""
        if not self.skips:
            return jnp.zeros((), bool)
        return optax.tree.norm(gradient) > hparams.skip_norm

    def _held_rule(
        self, hparams: HParams, is_held: Bool[Array, ""]
    ) -> optax.GradientTransformation:
        """Return the rule whose state stays as it is where the update is held."""
        rule = self.rule(hparams)

        def update(
            updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
        ) -> tuple[optax.Updates, optax.OptState]:
            moves, moved = rule.update(updates, state, params)
            kept = jax.tree.map(lambda new, old: jnp.where(is_held, old, new), moved, state)
            behind = jax.lax.optimization_barrier(kept)
            own = self.step_of_state(hparams, behind, params)
            return (moves, kept) if own is None else (own, behind)

        return optax.GradientTransformation(rule.init, update)

    def rate(self, hparams: HParams, step: Int[Array, ""]) -> Scalar:
        """Return the share of the peak learning rate that update number ``step`` takes, in [0, 1].

        The share rises linearly, ``min(1, (step + 1) / warmup_steps)``. The cosine schedule
        multiplies it by ``(1 + cos(pi t)) / 2`` with
        ``t = (step - warmup_steps) / (num_steps - warmup_steps)``, clipped to [0, 1] (Loshchilov &
        Hutter 2017, eq. 5).

        Example:
            >>> from vae_jax.hparams import HParams
            >>> hparams = HParams.of(warmup_steps=4)
            >>> [float(Adam().rate(hparams, jnp.int32(step))) for step in (0, 1, 3, 9)]
            [0.25, 0.5, 1.0, 1.0]
        """
        step = step.astype(default_float())
        warmup = hparams.warmup_steps.astype(step.dtype)
        rise = jnp.minimum(1.0, (step + 1.0) / jnp.maximum(warmup, 1.0))
        if self.schedule == "constant":
            return rise
        if not self.num_steps:
            raise InputError(
                setting="num_steps",
                value=0,
                problem=f"schedule={self.schedule} falls to zero at num_steps",
                advice="give the optimizer the updates of the training",
            )
        return rise * self._cosine(step, warmup)

    def _cosine(self, step: Float[Array, ""], warmup: Float[Array, ""]) -> Scalar:
        """Return ``(1 + cos(pi t)) / 2``, with t the share of the updates after the warm-up."""
        progress = (step - warmup) / jnp.maximum(self.num_steps - warmup, 1.0)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))


def _scale_unless(is_held: Bool[Array, ""], rate: Scalar) -> optax.GradientTransformation:
    """Return a transformation that multiplies by the rate; where held it gives 0, never NaN."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: jnp.where(is_held, 0.0, rate * u), updates)
    )


_B1 = HParam("b1", 0.9, real(0.0, below=1.0), "decay of the mean gradient")
_B2 = dataclasses.replace(_B1, name="b2", default=0.999, doc="decay of the mean squared gradient")
_EPS = HParam("eps", 1e-8, real(0.0, is_open=True), "number added to the root of the square")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): steps m / (sqrt(v) + eps) of bias-corrected moments.

    Moments with decays ``hparams.b1`` (0.9) and ``hparams.b2`` (0.999); ``hparams.eps`` (1e-8) is
    outside of the root.

    Example:
        >>> import vae_jax
        >>> hparams = vae_jax.HParams.of(learning_rate=0.01)
        >>> transformation = vae_jax.Adam().transformation(hparams, jnp.int32(0))
        >>> params = {"w": jnp.ones(2)}
        >>> updates, _ = transformation.update({"w": jnp.array([5.0, -3.0])},
        ...                                    transformation.init(params))
        >>> updates["w"].round(4).tolist() == jnp.array([-0.01, 0.01]).round(4).tolist()
        True
    """

    own: ClassVar[tuple[HParam, ...]] = (_B1, _B2, _EPS)

    def rule(self, hparams: HParams) -> optax.GradientTransformation:
        """Return :func:`optax.scale_by_adam`."""
        b1, b2, eps = (self.value(hparams, name) for name in ("b1", "b2", "eps"))
        return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def step_of_state(
        self, hparams: HParams, state: optax.OptState, params: Params
    ) -> optax.Updates:
        """Return m / (sqrt(v) + eps) of the moments in the state, bias-corrected."""
        del params
        b1, b2, eps = (self.value(hparams, name) for name in ("b1", "b2", "eps"))
        assert isinstance(state, optax.ScaleByAdamState)
        mean = optax.tree.bias_correction(state.mu, b1, state.count)
        square = optax.tree.bias_correction(state.nu, b2, state.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    The step is Adam's plus ``hparams.weight_decay`` times the weight, for the matrices and kernels
    of encoder and decoder alone: biases, scales and the parameters of priors do not decay.

    Example:
        >>> import vae_jax
        >>> hparams, spec = vae_jax.HParams.of(learning_rate=0.1, weight_decay=0.5), AdamW()
        >>> params = {"decoder": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}}
        >>> transformation = spec.specialized(hparams).transformation(hparams, jnp.int32(0))
        >>> gradient = jax.tree.map(jnp.zeros_like, params)
        >>> updates, _ = transformation.update(gradient, transformation.init(params), params)
        >>> jax.tree.map(lambda u: round(float(u.item()), 3), updates)
        {'decoder': {'bias': -0.0, 'kernel': -0.05}}
    """

    own: ClassVar[tuple[HParam, ...]] = (
        *Adam.own,
        HParam("weight_decay", 1e-4, real(0.0), "decay of the networks' weights"),
    )

    def step_of_state(
        self, hparams: HParams, state: optax.OptState, params: Params
    ) -> optax.Updates:
        """Return Adam's step plus the decay."""
        decay = self.value(hparams, "weight_decay")
        return jax.tree.map(
            lambda move, weight, decays: move + decay * weight if decays else move,
            super().step_of_state(hparams, state, params),
            params,
            is_network_weight(params),
        )


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adamax (Kingma & Ba 2015, algorithm 2): Adam with the largest gradient as its scale."""

    own: ClassVar[tuple[HParam, ...]] = Adam.own

    def rule(self, hparams: HParams) -> optax.GradientTransformation:
        """Return :func:`optax.scale_by_adamax`."""
        b1, b2, eps = (self.value(hparams, name) for name in ("b1", "b2", "eps"))
        return optax.scale_by_adamax(b1=b1, b2=b2, eps=eps)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Tieleman & Hinton 2012, lecture 6.5): gradients over the root of their mean square.

    The step is g / sqrt(v + eps) with v = ``rms_decay`` v + (1 - ``rms_decay``) g^2, from v = 0.
    """

    own: ClassVar[tuple[HParam, ...]] = (
        dataclasses.replace(_B2, name="rms_decay", default=0.9),
        _EPS,
    )

    def rule(self, hparams: HParams) -> optax.GradientTransformation:
        """Return :func:`optax.scale_by_rms`."""
        return optax.scale_by_rms(self.value(hparams, "rms_decay"), self.value(hparams, "eps"))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient ascent of the objective, with momentum: m = ``momentum`` m + g."""

    own: ClassVar[tuple[HParam, ...]] = (
        dataclasses.replace(_B1, name="momentum", default=0.9, doc="decay of the sum of gradients"),
    )

    def rule(self, hparams: HParams) -> optax.GradientTransformation:
        """Return :func:`optax.trace`."""
        return optax.trace(self.value(hparams, "momentum"))


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "adamax": Adamax,
    "rmsprop": RMSProp,
    "sgd": SGD,
}
"""Optimizers by name, the values of the setting ``optimizer``."""


def is_network_weight(params: Params) -> Params:
    """Return for each parameter whether it is a matrix or kernel of encoder or decoder.

    Example:
        >>> is_network_weight({"encoder": {"kernel": jnp.ones((2, 3))}, "output_bias": jnp.ones(3)})
        {'encoder': {'kernel': True}, 'output_bias': False}
    """
    return jax.tree.map_with_path(
        lambda path, leaf: path[0].key in ("encoder", "decoder") and leaf.ndim > 1, params
    )
