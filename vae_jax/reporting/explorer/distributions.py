"""Parameters of p(z) and p(x|z) from which a page samples as the run does.

A prior or likelihood that is not listed here has no sampler in the page. Of such a prior the page
holds draws that the model itself made; without its likelihood a decoder has no meaning, and the run
is refused.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import rng
from vae_jax.models import likelihoods as shipped
from vae_jax.models.likelihoods.location_scale import LocationScale
from vae_jax.models.priors import (
    ClassPrior,
    CouplingFlow,
    GaussianMixture,
    UniformOnGrid,
    UniformOnSphere,
    UnitNormal,
)
from vae_jax.models.vae import VAE, TrainedVAE
from vae_jax.reporting import format
from vae_jax.reporting.explorer.layers import UnsupportedError
from vae_jax.reporting.explorer.packing import pack

NUM_DRAWS = 500
"""Number of z from a prior that a page cannot sample from."""


def likelihood(trained: TrainedVAE) -> dict[str, Any]:
    """Return what a page must know of p(x|z).

    Raises:
        UnsupportedError: the likelihood is not one of this package.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams
        >>> model, hparams = VAE((4, 4, 1), 2, MLP((8,))), HParams.of(latent_size=2)
        >>> likelihood(TrainedVAE(model, hparams, model.init(hparams, jnp.ones((4, 4, 1)))))
        {'kind': 'bernoulli', 'outputs': 1}
    """
    family = trained.model.likelihood
    kind = next((name for name, own in shipped.LIKELIHOODS.items() if type(family) is own), None)
    if kind not in _LIKELIHOODS:
        raise UnsupportedError(
            f"a page does not know how its likelihood {type(family).__name__} makes x of the "
            "decoder's outputs"
        )
    return {"kind": kind, "outputs": family.num_outputs} | _LIKELIHOODS[kind](trained)


def _no_facts(trained: TrainedVAE) -> dict[str, Any]:
    del trained
    return {}


def _scale(trained: TrainedVAE) -> dict[str, Any]:
    """Return the log-scale of a location-scale family, to which that of a pixel is relative."""
    family, learned = trained.model.likelihood, trained.params.get("likelihood", {})
    assert isinstance(family, LocationScale)
    if family.scale_mode in ("fixed", "per_pixel"):
        return {"log_scale": float(np.log(np.asarray(trained.hparams.scale)))}
    return {"log_scale": float(np.asarray(learned["log_scale"]))}


def _degrees(trained: TrainedVAE) -> dict[str, Any]:
    return _scale(trained) | {"degrees": float(trained.hparams.degrees_of_freedom)}


_LIKELIHOODS: dict[str, Callable[[TrainedVAE], dict[str, Any]]] = {
    "bernoulli": _no_facts,
    "continuous_bernoulli": _no_facts,
    "gaussian": _scale,
    "laplace": _scale,
    "student_t": _degrees,
    "discretized_logistic": _no_facts,
    "categorical": _no_facts,
}


def prior(trained: TrainedVAE) -> dict[str, Any]:
    """Return what a page must know of p(z): its kind, a name for the reader, and its arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> from vae_jax import MLP, VAE, HParams
        >>> model, hparams = VAE((4, 4, 1), 2, MLP((8,))), HParams.of(latent_size=2)
        >>> prior(TrainedVAE(model, hparams, model.init(hparams, jnp.ones((4, 4, 1)))))
        {'kind': 'normal', 'name': 'the standard normal N(0, I)'}
    """
    model, hparams, params = trained
    used = int(hparams.latent_size)
    if type(model.prior) is ClassPrior:
        means, log_vars = (params["prior"][name][:, :used] for name in ("means", "log_vars"))
        name = "a normal distribution of each class, p(z|y)"
        return _gaussians("classes", name, means, log_vars)
    y = jnp.zeros(1, int) if model.prior.needs_labels else None
    distribution = _prior_at(model, hparams, params, y)
    for own, make in _PRIORS.items():
        if type(distribution) is own:
            return make(trained, distribution, used)
    return _draws(trained, used)


def _normal(trained: TrainedVAE, distribution: UnitNormal, used: int) -> dict[str, Any]:
    del trained, distribution, used
    return {"kind": "normal", "name": "the standard normal N(0, I)"}


def _mixture(trained: TrainedVAE, distribution: GaussianMixture, used: int) -> dict[str, Any]:
    """Return a learned mixture, or the posteriors of the pseudo-inputs of a VampPrior."""
    weights = jax.nn.softmax(distribution.logits)
    own = trained.model.prior.is_of_posteriors
    what = "posteriors of pseudo-inputs (VampPrior)" if own else "Gaussians"
    name = f"a mixture of {format.count(len(weights))} {what}"
    means, log_vars = (array[:, :used] for array in distribution.components[:2])
    packed = {"weights": pack(np.asarray(weights), "float32")}
    return _gaussians("mixture", name, means, log_vars) | packed


def _flow(trained: TrainedVAE, distribution: CouplingFlow, used: int) -> dict[str, Any]:
    del trained
    c = distribution.couplings
    arrays = {
        "kernel": c.kernel[:, :used],
        "bias": c.bias,
        **{name: getattr(c, name)[..., :used] for name in c._fields[2:]},
    }
    packed = {name: pack(np.asarray(values)) for name, values in arrays.items()}
    name = f"a flow of {len(c.bias)} couplings over N(0, I)"
    return {"kind": "flow", "name": name, "couplings": packed}


def _sphere(trained: TrainedVAE, distribution: UniformOnSphere, used: int) -> dict[str, Any]:
    del trained, distribution, used
    return {"kind": "sphere", "name": "the uniform distribution on the unit sphere"}


def _grid(trained: TrainedVAE, distribution: UniformOnGrid, used: int) -> dict[str, Any]:
    del trained, used
    levels = int(distribution.num_levels)
    return {"kind": "grid", "name": f"the uniform distribution on {levels} values of each latent"}


def _gaussians(kind: str, name: str, means: Any, log_vars: Any) -> dict[str, Any]:
    arrays = {"means": pack(np.asarray(means)), "log_vars": pack(np.asarray(log_vars))}
    return {"kind": kind, "name": name} | arrays


def _draws(trained: TrainedVAE, used: int) -> dict[str, Any]:
    """Return draws from a prior that the page cannot sample from, with classes where it has some.

    They are the model's own, by the run's stream ``generate``.
    """
    model, hparams, params = trained
    y = jnp.arange(NUM_DRAWS) % model.num_classes if model.prior.needs_labels else None
    key = rng.stream(hparams.seed, "generate", 2)
    z = np.asarray(_sample_prior(model, hparams, params, key, NUM_DRAWS, y))[:, :used]
    name = f"{NUM_DRAWS} draws that the model made from its prior when this page was written"
    labels = {} if y is None else {"labels": y.tolist()}
    return {"kind": "draws", "name": name, "z": pack(z)} | labels


_prior_at = jax.jit(VAE.prior_at, static_argnums=0)
_sample_prior = jax.jit(VAE.sample_prior, static_argnums=(0, 4))

_PRIORS: dict[type, Callable[[TrainedVAE, Any, int], dict[str, Any]]] = {
    UnitNormal: _normal,
    GaussianMixture: _mixture,
    CouplingFlow: _flow,
    UniformOnSphere: _sphere,
    UniformOnGrid: _grid,
}
