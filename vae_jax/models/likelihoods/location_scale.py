"""What Gaussian and Laplace pixels share: the decoder gives locations, and four ways to a scale.

The mode ``optimal`` is the sigma-VAE (Rybkin, Daniilidis & Levine 2021): in training
the scale is the one under which the batch is most likely, in closed form. A scale that has seen
the image which it judges gives no density, so evaluation uses a number that does not depend on x:
a running average of those optima, kept in ``params`` by :meth:`LocationScale.track`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from vae_jax.hparams import HParams
from vae_jax.models.likelihoods.base import Bias, DataMean, Distribution, Likelihood, Outputs
from vae_jax.models.likelihoods.scales import ScaleMode, bounded
from vae_jax.types import Images, Params, default_float

LogScales = Float[Array, "*batch #height #width #channels"]
"""Log-scale of each pixel; one for the whole image has the axes ``1 1 1``."""

SMALLEST_MEAN = 1e-12
"""Deviation below which a batch counts as reproduced: its best scale would be zero."""
TRACKING_DECAY = 0.99
"""Share of the running average that an update keeps: it remembers about 100 of them."""


@runtime_checkable
class LocationScaleDistribution(Distribution, Protocol):
    """Pixels loc + exp(log_scale) * noise."""

    @property
    def loc(self) -> Images:
        """Centre of each pixel."""
        ...

    @property
    def log_scale(self) -> LogScales:
        """Log of each pixel's scale."""
        ...

    def best_log_scale(self, x: Images) -> Float[Array, ""]:
        """The one log-scale for all pixels and examples under which x is most likely."""
        ...


L = TypeVar("L", bound=LocationScaleDistribution)


@dataclass(frozen=True)
class LocationScale(Likelihood[L]):
    """Locations are outputs, without a squashing function; the scale's origin is ``scale_mode``.

    Normalised over all real x, a density of x = pixel / 255.

    Attributes:
        scale_mode: ``fixed`` at ``hparams.scale``; ``learned``, one number started there;
            ``per_pixel``, a second output, the scale's log-ratio to it, within a factor e^6;
            ``optimal``, the batch's optimum in training and its running average in evaluation,
            which also starts there.
    """

    scale_mode: ScaleMode = "fixed"

    @property
    def num_outputs(self) -> int:
        """Location and, in mode ``per_pixel``, log-scale."""
        return 2 if self.scale_mode == "per_pixel" else 1

    def init(self, hparams: HParams, image_shape: tuple[int, int, int]) -> Params:
        """``{"log_scale": scalar}`` in the modes ``learned`` and ``optimal``."""
        del image_shape
        if self.scale_mode not in ("learned", "optimal"):
            return {}
        return {"log_scale": _log_scale(hparams)}

    def initial_bias(self, data_mean: DataMean) -> Bias:
        """The data's mean and, in mode ``per_pixel``, a log-ratio of zero."""
        start = data_mean[..., None]
        if self.scale_mode != "per_pixel":
            return start
        return jnp.concatenate([start, jnp.zeros_like(start)], axis=-1)

    def __call__(self, hparams: HParams, params: Params, outputs: Outputs) -> L:
        """Outputs are locations and, in mode ``per_pixel``, log-ratios of scales."""
        loc = outputs[..., 0]
        if self.scale_mode == "per_pixel":
            log_ratio = bounded(outputs[..., 1])
            return self.make(loc, log_ratio + _each_image(_log_scale(hparams), loc))
        is_fixed = self.scale_mode == "fixed"
        log_scale = _log_scale(hparams) if is_fixed else params["log_scale"]
        return self.make(loc, _each_image(log_scale, loc))

    @abstractmethod
    def make(self, loc: Images, log_scale: LogScales) -> L:
        """The distribution with these locations and log-scales."""
        ...

    def with_optimal_scale(self, distribution: L, x: Images) -> L:
        """In mode ``optimal`` the one scale under which the batch, all particles, is most likely.

        Its ``log_prob`` has the mean -D/2 (log(2 pi MSE) + 1) over a batch of Gaussian images of
        D pixels, MSE being the mean over all of them as in the optimal sigma-VAE; the gradient
        passes through it. In the other modes ``distribution`` as it is.
        """
        if self.scale_mode != "optimal":
            return distribution
        loc = distribution.loc
        return self.make(loc, _each_image(distribution.best_log_scale(x), loc))

    def update(self, params: Params, distribution: L, x: Images) -> Params:
        """In mode ``optimal`` a running average of the batches' best log-scales.

        Of the logarithm: a start that is wrong by a factor is then forgotten whatever the factor.
        """
        if self.scale_mode != "optimal":
            return params
        best, old = distribution.best_log_scale(x), params["log_scale"]
        return {"log_scale": TRACKING_DECAY * old + (1.0 - TRACKING_DECAY) * best}


def log_of_mean(deviations: Images) -> Float[Array, ""]:
    """Log of the mean of non-negative deviations, which may all be zero."""
    return jnp.log(jnp.maximum(jnp.mean(deviations), SMALLEST_MEAN))


def _log_scale(hparams: HParams) -> Float[Array, ""]:
    return jnp.log(jnp.asarray(hparams.scale, default_float()))


def _each_image(log_scale: Float[Array, ""], loc: Images) -> LogScales:
    """One number for all pixels, with the leading axes that the locations have."""
    return jnp.broadcast_to(log_scale, (*loc.shape[:-3], 1, 1, 1))
