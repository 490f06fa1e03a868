"""DReG against the exact expectation of the plain gradient, by Gauss-Hermite quadrature."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.hparams import HParams
from vae_jax.models import latents
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import DiagonalGaussian, Planar, Stacked
from vae_jax.models.priors import StackedPrior, StandardNormal, VampPrior
from vae_jax.models.vae import VAE
from vae_jax.objectives import ImportanceWeighted

IMAGE = jnp.asarray([0.9, 0.2]).reshape(1, 2, 1)
init = jax.jit(VAE.init, static_argnums=0)


@pytest.fixture
def unpadded(monkeypatch):
    """Make models as wide as their latents instead of 48 columns: equal numbers for less work."""
    monkeypatch.setattr(latents, "padded_width", lambda max_latents: max_latents)


def _vae(**families) -> VAE:
    return VAE((1, 2, 1), 1, MLP((3,), "tanh"), **families)


def _nodes(num_nodes: int, num_dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes [n, d] and the weights [n] of E f(e), e ~ N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    grid = np.array(list(itertools.product(nodes, repeat=num_dimensions)))
    products = np.array(list(itertools.product(weights, repeat=num_dimensions))).prod(axis=1)
    return grid, products / products.sum()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slope(
    model: VAE, objective: ImportanceWeighted, hparams: HParams, step, params: Any, noise, weights
):
    """Return the expected gradient by encoder and posterior, all of it in one vector."""

    def expected(learned):
        x = jnp.broadcast_to(IMAGE, (len(weights), *IMAGE.shape))
        value = objective(model, hparams, params | learned, x, noise, step)
        return jnp.sum(weights * value.objective)

    learned = {part: params[part] for part in ("encoder", "posterior") if part in params}
    leaves = jax.tree.leaves(jax.grad(expected)(learned))
    return jnp.concatenate([leaf.ravel() for leaf in leaves])


def _relative_bias(model, objective, hparams, num_nodes, step=0) -> float:
    """Return how far DReG's expected gradient of two particles is from the plain one's."""
    params = jax.tree.map(
        lambda a: 0.4 * a + 0.1 * np.random.default_rng(a.size).normal(size=a.shape),
        init(model, hparams, jnp.full((1, 2, 1), 0.4), jnp.full((4, 1, 2, 1), 0.4)),
    )
    width = model.noise(jax.random.key(0)).shape[-1]
    grid, weights = _nodes(num_nodes, 2 * width)
    pairs = jnp.asarray(grid.reshape(-1, 2, width).swapaxes(0, 1))  # [2, nodes, latents]
    # Of several bounds each is a sum over all nodes, every one in another order.
    bounds = [jnp.roll(pairs, m, axis=0) for m in range(objective.num_bounds)]
    noise = jnp.stack(bounds, axis=1).reshape(-1, len(weights), width)
    arguments = hparams, jnp.int32(step), params, noise, jnp.asarray(weights)
    plain, dreg = (
        np.asarray(_slope(model, ImportanceWeighted(2, objective.num_bounds, name), *arguments))
        for name in ("standard", "dreg")
    )
    assert np.linalg.norm(plain) > 1e-3
    return float(np.linalg.norm(dreg - plain) / np.linalg.norm(plain))


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 4.0])
@pytest.mark.parametrize(
    ("model", "num_bounds"),
    [
        (_vae(), 1),
        (_vae(), 2),
        (_vae(prior=VampPrior(2)), 1),
        (_vae(posterior=Planar(1)), 1),
    ],
    ids=["iwae", "miwae", "vamp", "planar"],
)
def test_dreg_is_unbiased_for_every_beta(float64, unpadded, model, num_bounds, beta):
    hparams = HParams.of(latent_size=1, beta=beta)
    bias = _relative_bias(model, ImportanceWeighted(2, num_bounds), hparams, num_nodes=30)
    assert bias < 1e-7


def test_dreg_is_unbiased_with_two_stochastic_layers(float64, unpadded):
    layer = 1, (3,)
    model = _vae(
        posterior=Stacked(DiagonalGaussian(), *layer), prior=StackedPrior(StandardNormal(), *layer)
    )
    hparams = HParams.of(latent_size=1, top_latent_size=1, beta=0.5)
    assert _relative_bias(model, ImportanceWeighted(2), hparams, num_nodes=8) < 1e-3


def test_dreg_is_unbiased_during_a_warm_up(float64, unpadded):
    hparams = HParams.of(latent_size=1, beta=1.0, kl_warmup_steps=10)
    assert _relative_bias(_vae(), ImportanceWeighted(2), hparams, num_nodes=30, step=3) < 1e-8
