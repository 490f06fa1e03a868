"""Posteriors inside models: gradient estimators at exact posteriors, two stochastic layers."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_posteriors import FLOWS, ONE_LAYER, family_of
from tests.oracles import LinearModel
from vae_jax.config import build
from vae_jax.config.flags import Config
from vae_jax.hparams import HParams
from vae_jax.models import latents
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import DiagonalGaussian, InverseAutoregressive, Stacked
from vae_jax.models.priors import StackedPrior, StandardNormal
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, ImportanceWeighted, Objective
from vae_jax.objectives.base import log_weights

init = jax.jit(VAE.init, static_argnums=0)
weigh = jax.jit(log_weights, static_argnums=0)


@pytest.fixture
def unpadded(monkeypatch):
    """Make models as wide as their latents instead of 48 columns: equal numbers for less work."""
    monkeypatch.setattr(latents, "padded_width", lambda max_latents: max_latents)


LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(2, 1, 6, 1)))
STL = Elbo(kl="monte_carlo", estimator="stl")
DREG = ImportanceWeighted(3, estimator="dreg")


def _linear(name: str) -> tuple[VAE, HParams, Any]:
    """Return the exact linear model with the given posterior, at the posterior's start."""
    model = dataclasses.replace(LINEAR.vae, posterior=family_of(name, 0))
    hparams, params = LINEAR.hparams, LINEAR.params
    random = init(model, hparams, jnp.zeros((1, 6, 1)))
    encoder = random["encoder"] | params["encoder"]
    learned = {"posterior": random["posterior"]} if "posterior" in random else {}
    return model, hparams, params | {"encoder": encoder} | learned


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slopes(model: VAE, objective: Objective, hparams: HParams, params: Any, noise: jax.Array):
    """Return gradients by the posterior's parameters, one for each replicate of the noise."""

    def value(learned, noise):
        step = jnp.int32(0)
        value = objective(model, hparams, params | learned, IMAGES, noise, step)
        return jnp.sum(value.objective)

    learned = {part: params[part] for part in ("encoder", "posterior") if part in params}
    return jax.vmap(lambda e: jax.grad(value)(learned, e))(noise)


@pytest.mark.parametrize(
    ("name", "objective"), [("gaussian", STL), *((name, DREG) for name in ONE_LAYER)]
)
def test_at_the_exact_posterior_the_path_derivative_is_zero(float64, unpadded, name, objective):
    """Roeder et al. 2017: zero for every sample, and for DReG as well."""
    model, hparams, params = _linear(name)
    noise = model.noise(jax.random.key(0), 2, objective.num_draws, 2)
    slopes = _slopes(model, objective, hparams, params, noise)
    assert max(jnp.abs(slope).max() for slope in jax.tree.leaves(slopes)) < 1e-11


@pytest.mark.parametrize("num_particles", [1, 4])
def test_the_plain_estimator_has_fishers_variance(float64, unpadded, num_particles):
    """Fisher information is 1/s^2 for a mean and 2 for a log-standard-deviation, divided by K."""
    model, hparams, params = _linear("gaussian")
    noise = model.noise(jax.random.key(0), 4000, num_particles, 2)
    objective = ImportanceWeighted(num_particles)
    slopes = _slopes(model, objective, hparams, params, noise)["encoder"]
    log_var = params["encoder"]["log_var"]["bias"][:3]
    for name, fisher in (("mean", np.exp(-log_var)), ("log_var", np.full(3, 0.5))):
        samples = np.asarray(slopes[name]["bias"])[:, :3]
        centered = (samples - samples.mean(axis=0)) ** 2
        expected = 2 * fisher / num_particles  # of two images
        error = centered.std(axis=0) / math.sqrt(len(samples))
        assert (abs(centered.mean(axis=0) - expected) < 5 * error).all()


def _moved(name: str) -> tuple[VAE, HParams, Any]:
    """Return the linear model with a posterior that is not exact."""
    model, hparams, params = _linear(name)
    rng = np.random.default_rng(2)
    shaken = {
        part: jax.tree.map(lambda a: a + 0.15 * rng.normal(size=a.shape), params[part])
        for part in ("encoder", "posterior")
        if part in params
    }
    return model, hparams, params | shaken


def _deviations(slopes: Any, others: Any) -> np.ndarray:
    """Return the mean difference of two estimates of each gradient, in standard errors."""
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(others), strict=True)
    differences = np.concatenate([np.asarray(a - b).reshape(len(a), -1) for a, b in pairs], axis=1)
    spread = differences.std(axis=0)
    differences = differences[:, spread > 1e-9]
    return abs(differences.mean(axis=0)) / differences.std(axis=0) * math.sqrt(len(differences))


@pytest.mark.parametrize("name", ["gaussian", *FLOWS])
def test_dreg_has_the_expectation_of_the_plain_estimator(float64, unpadded, name):
    """Tucker et al. 2019, eq. 8; for flows it holds only with the right score."""
    model, hparams, params = _moved(name)
    noise = model.noise(jax.random.key(0), 2000, 3, 2)
    plain, dreg = (
        _slopes(model, ImportanceWeighted(3, estimator=estimator), hparams, params, noise)
        for estimator in ("standard", "dreg")
    )
    assert _deviations(plain, dreg).max() < 5


def test_sticking_the_landing_is_unbiased_for_one_particle_alone(float64, unpadded):
    model, hparams, params = _moved("gaussian")
    noise = model.noise(jax.random.key(0), 2000, 3, 2)
    for num_particles in (1, 3):
        plain, stl = (
            _slopes(
                model,
                ImportanceWeighted(num_particles, estimator=estimator),
                hparams,
                params,
                noise[:, :num_particles],
            )
            for estimator in ("standard", "stl")
        )
        deviation = _deviations(plain, stl).max()
        assert deviation < 5 if num_particles == 1 else deviation > 8


def _two_layers(sizes: tuple[int, ...] = (5,)) -> VAE:
    posterior = Stacked(DiagonalGaussian(), 1, sizes)
    prior = StackedPrior(StandardNormal(), 1, sizes)
    return VAE((1, 6, 1), 1, MLP((4,), "tanh"), posterior, prior)


def test_two_layers_weigh_to_the_evidence(float64, unpadded):
    """Importance weights have the mean p(x), which is computed by quadrature over z1 and z2."""
    model, hparams = _two_layers(), HParams.of(latent_size=1, top_latent_size=1)
    params = init(model, hparams, jnp.full((1, 6, 1), 0.4))
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, size=(2, 1, 6, 1)), float)
    side = np.linspace(-9, 9, 161)
    plane = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    z = jnp.asarray(plane)
    log_prior = model.prior_at(hparams, params).log_prob(z)
    cell = (side[1] - side[0]) ** 2
    assert float(jnp.exp(log_prior).sum() * cell) == pytest.approx(1.0, abs=1e-6)
    decoder_dist = model.decode(hparams, params, z[:, None])
    log_joint = decoder_dist.log_prob(jnp.broadcast_to(x, (len(z), *x.shape)))
    log_joint += jnp.broadcast_to(log_prior[:, None], log_joint.shape)
    evidence = jax.nn.logsumexp(log_joint, axis=0) + math.log(cell)

    noise = model.noise(jax.random.key(0), 20_000, 2)
    log_w = weigh(model, hparams, params, x, noise)
    weights = np.exp(np.asarray(log_w) - np.asarray(evidence))
    assert (abs(weights.mean(axis=0) - 1) < 5 * weights.std(axis=0) / math.sqrt(20_000)).all()
    assert (weights.std(axis=0) > 0.01).all()


def _exact_two_layers() -> tuple[VAE, HParams, Any, float]:
    """Return the model z2 ~ N(0, 1), z1 ~ N(a z2, v), x ~ N(w z1, s^2) and its exact posterior."""
    slope, v, w, s2 = 0.8, 0.3, np.linspace(-1, 1, 6), 0.25
    gain, prior = (w**2).sum() / s2, slope**2 + v
    model = dataclasses.replace(
        _two_layers(sizes=()), network=MLP(()), likelihood=LINEAR.vae.likelihood
    )
    hparams = HParams.of(latent_size=1, top_latent_size=1, scale=math.sqrt(s2))

    def linear(kernel, variance):
        mean = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(1)}
        log_var = {
            "kernel": jnp.zeros_like(mean["kernel"]),
            "bias": jnp.full(1, math.log(variance)),
        }
        return {"mean": mean, "log_var": log_var}

    spread = 1 / (1 / prior + gain)
    upper = linear([[slope / prior]], 1 - slope**2 / prior)
    params = {
        "encoder": linear((spread * w / s2)[:, None], spread),
        "decoder": {"latent": {"kernel": jnp.asarray(w[None])}},
        "output_bias": jnp.zeros((1, 6, 1, 1)),
        "posterior": {"upper": upper | {"hidden": {}}},
        "prior": {"lower": linear([[slope]], v) | {"hidden": {}}},
    }
    covariance = prior * np.outer(w, w) + s2 * np.eye(6)
    x = np.asarray(IMAGES).reshape(2, 6)
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    log_det = np.linalg.slogdet(2 * math.pi * covariance)[1]
    return model, hparams, params, -0.5 * (quadratic + log_det)


def test_two_layers_at_the_exact_posterior(float64, unpadded):
    """Each importance weight is the evidence, and the path derivative is zero."""
    model, hparams, params, evidence = _exact_two_layers()
    noise = model.noise(jax.random.key(0), 2, 3, 2)
    log_w = weigh(model, hparams, params, IMAGES, noise[0])
    np.testing.assert_allclose(log_w, np.tile(evidence, (3, 1)), rtol=1e-12)
    for objective in (STL, DREG):
        slopes = _slopes(model, objective, hparams, params, noise[:, : objective.num_draws])
        assert max(jnp.abs(slope).max() for slope in jax.tree.leaves(slopes)) < 1e-11


def test_samples_of_two_layers_are_drawn_from_the_top_down(float64, unpadded):
    model, hparams, params, _ = _exact_two_layers()
    z = np.asarray(model.sample_prior(hparams, params, jax.random.key(0), 20_000))
    expected = np.array([[0.8**2 + 0.3, 0.8], [0.8, 1.0]])
    errors = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / len(z))
    assert (abs(np.cov(z.T) - expected) < 5 * errors).all()


@pytest.mark.parametrize("name", ["full_gaussian", *FLOWS, "stacked"])
def test_a_row_of_a_study_is_the_run_alone(float64, unpadded, name):
    """Log-weights agree of models 3 and 6 columns wide, with three used latents per layer."""
    hparams = HParams.of(latent_size=3, top_latent_size=3, seed=4)

    @functools.partial(jax.jit, static_argnums=0)
    def weigh_start(model, hparams):
        params = model.init(hparams, jnp.full((1, 6, 1), 0.4))
        noise = model.noise(jax.random.key(0), 2, 2)
        return log_weights(model, hparams, params, jnp.abs(IMAGES) % 1, noise)

    values = []
    for columns in (3, 6):
        prior = StackedPrior(top_width=columns) if name == "stacked" else StandardNormal()
        model = VAE((1, 6, 1), columns, MLP((4,)), family_of(name, columns), prior)
        values.append(weigh_start(model, hparams))
    np.testing.assert_allclose(*values, rtol=1e-12)


def test_flags_stack_a_layer():
    config = Config(latent_size=5, top_latent_size=50, top_hidden_sizes=(7,), hidden_sizes=(3,))
    model = build.train_spec(config, (2, 2, 1)).model
    assert model.posterior == Stacked(DiagonalGaussian(), 64, (7,))
    assert model.prior == StackedPrior(StandardNormal(), 64, (7,))
    assert model.width == 48 + 64
    hparams = jax.tree.map(lambda a: a[0], build.hparams([config]))
    params = jax.eval_shape(functools.partial(VAE.init, model), hparams, jnp.full((2, 2, 1), 0.4))
    shapes = jax.tree.map(jnp.shape, (params["posterior"]["upper"], params["prior"]["lower"]))
    assert [part["hidden"]["000"]["kernel"] for part in shapes] == [(48, 7), (64, 7)]
    plain = build.train_spec(Config(posterior="iaf", num_flows=3), (2, 2, 1)).model
    assert plain.posterior == InverseAutoregressive(3, 64)
    assert plain.prior == StandardNormal()
