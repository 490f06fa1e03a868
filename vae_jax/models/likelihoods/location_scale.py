"""Location-scale pixels (Gaussian, Laplace): locations from the decoder, four modes of the scale.

The mode ``optimal`` is the sigma-VAE (Rybkin, Daniilidis & Levine 2021): in training the scale is
the one under which the batch is most likely, in closed form. With a scale that was chosen with
knowledge of x, p(x|z) is no density, so evaluation uses a number that does not depend on x: a
running average of those optima, kept in ``params`` by :meth:`LocationScale.update`.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vae_jax.hparams import HParam, HParams
from vae_jax.models.likelihoods.base import (
    IMAGE_AXES,
    Bias,
    DataMean,
    Distribution,
    Likelihood,
    Outputs,
)
from vae_jax.models.likelihoods.scales import SCALE_MODES, ScaleMode, bounded_log_ratio
from vae_jax.settings import one_of, real, setting
from vae_jax.types import EventAxes, Observations, Params, default_float

LogScales = Float[Array, "..."]
"""Log-scale of each dimension, ``[*batch, *event]``; one for all has the axes ``1 1 1``."""

MIN_DEVIATION = 1e-12
"""Smallest mean deviation of a batch: of an exact reproduction the optimal scale would be zero."""
AVERAGE_DECAY = 0.99
"""Decay of the running average of optimal log-scales: it covers about 100 updates."""


@runtime_checkable
class LocationScaleDistribution(Distribution, Protocol):
    """Distribution of pixels loc + exp(log_scale) * noise."""

    @property
    def loc(self) -> Observations:
        """Location of each dimension of x."""
        ...

    @property
    def event(self) -> EventAxes:
        """Axes of x."""
        ...

    @property
    def log_scale(self) -> LogScales:
        """Log of the scale of each dimension of x."""
        ...

    def optimal_log_scale(self, x: Observations) -> Float[Array, ""]:
        """Return the single log-scale of all pixels and examples under which x is most likely."""
        ...


L = TypeVar("L", bound=LocationScaleDistribution)


@dataclass(frozen=True)
class LocationScale(Likelihood[L]):
    """Family whose locations are outputs, without a squashing function, and with four scale modes.

    Normalised over all real x: a density of x = pixel / 255, or of real numbers as they are.

    Attributes:
        scale_mode: source of the scale. ``fixed``: ``hparams.scale``. ``learned``: one parameter,
            initially ``hparams.scale``. ``per_pixel``: a second output, the log-ratio to
            ``hparams.scale``, within a factor e^6. ``optimal``: the batch's optimum in training
            and its running average in evaluation; ``hparams.scale`` is not read.
    """

    encodings: ClassVar[tuple[str, ...]] = ("pixels", "reals", "standardized")
    event_ranks: ClassVar[tuple[int, ...] | None] = None

    scale_mode: ScaleMode = setting("fixed", one_of(*SCALE_MODES), "source of the scale of p(x|z)")

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "scale",
            1.0,
            real(0.0, is_open=True),
            "scale of p(x|z), or initial value of a learned one",
            only_with="scale_mode!=optimal",
        ),
    )

    @property
    def num_outputs(self) -> int:
        """Number of outputs: the location and, in mode ``per_pixel``, the log-scale."""
        return 2 if self.scale_mode == "per_pixel" else 1

    def init(self, hparams: HParams, event_shape: tuple[int, ...]) -> Params:
        """Return ``{"log_scale": scalar}`` in modes ``learned`` and ``optimal``, else ``{}``."""
        del event_shape
        if self.scale_mode not in ("learned", "optimal"):
            return {}
        return {"log_scale": _log_scale(hparams)}

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """Return the data mean and, in mode ``per_pixel``, a log-ratio of zero."""
        start = data_mean[..., None]
        if self.scale_mode != "per_pixel":
            return start
        return jnp.concatenate([start, jnp.zeros_like(start)], axis=-1)

    def __call__(
        self, hparams: HParams, params: Params, outputs: Outputs, event: EventAxes = IMAGE_AXES
    ) -> L:
        """Return p(x|z); outputs are locations and, in mode ``per_pixel``, log-ratios of scales."""
        loc = outputs[..., 0]
        if self.scale_mode == "per_pixel":
            log_ratio = bounded_log_ratio(outputs[..., 1])
            return self.make(loc, log_ratio + _each(_log_scale(hparams), loc, event), event)
        is_fixed = self.scale_mode == "fixed"
        log_scale = _log_scale(hparams) if is_fixed else params["log_scale"]
        return self.make(loc, _each(log_scale, loc, event), event)

    @abstractmethod
    def make(self, loc: Observations, log_scale: LogScales, event: EventAxes = IMAGE_AXES) -> L:
        """Return the distribution with these locations and log-scales."""
        ...

    def with_optimal_scale(self, distribution: L, x: Observations) -> L:
        """Return the distribution with the scale under which the batch is most likely.

        This is in mode ``optimal``, with one scale for all particles, examples and pixels; in the
        other modes ``distribution`` is returned unchanged. For Gaussian images of D pixels the mean
        of its ``log_prob`` over the batch is -D/2 (log(2 pi MSE) + 1), MSE being the mean over all
        of them (the optimal sigma-VAE). Gradients pass through the scale.
        """
        if self.scale_mode != "optimal":
            return distribution
        loc, event = distribution.loc, distribution.event
        return self.make(loc, _each(distribution.optimal_log_scale(x), loc, event), event)

    def update(
        self, params: Params, distribution: L, x: Observations, step: Int[Array, ""]
    ) -> Params:
        """Return the running average of the batches' optimal log-scales, in mode ``optimal``.

        In the other modes the parameters are returned unchanged. The average is of the logarithm,
        and is corrected for its start as Adam's moments are (Kingma & Ba 2015, section 3): after t
        updates it is ``(1 - d) sum_i d^(t-i) new_i / (1 - d^t)``, into which no initial scale
        enters.
        """
        if self.scale_mode != "optimal":
            return params
        new, old = distribution.optimal_log_scale(x), params["log_scale"]
        done = (step + 1).astype(old.dtype)
        share = (1.0 - AVERAGE_DECAY) / -jnp.expm1(done * math.log(AVERAGE_DECAY))
        return {"log_scale": old + share * (new - old)}


def log_of_mean(deviations: Observations) -> Float[Array, ""]:
    """Return the log of the mean of non-negative deviations, which may all be zero."""
    return jnp.log(jnp.maximum(jnp.mean(deviations), MIN_DEVIATION))


def _log_scale(hparams: HParams) -> Float[Array, ""]:
    return jnp.log(jnp.asarray(hparams.scale, default_float()))


def _each(log_scale: Float[Array, ""], loc: Observations, event: EventAxes) -> LogScales:
    """Return the log-scale with the leading axes of the locations and one entry per example."""
    rank = len(event)
    return jnp.broadcast_to(log_scale, (*loc.shape[: loc.ndim - rank], *[1] * rank))
