"""Latents on a circle and in a codebook: what the interfaces of posteriors and priors allow.

The members of this file exist nowhere else. One has noise of its own and a KL that is no sum over
latents, the other a loss of its own and parameters that follow the batch instead of a gradient.
"""

import functools
import re
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.oracles import tiny_data
from vae_jax.evaluation.elbo import EvalSpec, evaluate, in_batches, summarize
from vae_jax.evaluation.evaluators import EVALUATORS, needs
from vae_jax.evaluation.metrics.ais import AnnealSpec
from vae_jax.hparams import HParam, HParams
from vae_jax.models import paths
from vae_jax.models.latents import apply_mask, pad_latents, prepend_axes
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import (
    POSTERIORS,
    Head,
    LatentDensities,
    PosteriorFamily,
    SampleAndLogProb,
    Stacked,
)
from vae_jax.models.priors import KL, PriorFamily, StandardNormal, VampPrior
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, ImportanceWeighted
from vae_jax.objectives.regularizers import MMD, FactorVAE, TotalCorrelation
from vae_jax.reporting import diagnostics, figures
from vae_jax.runtime.errors import InputError
from vae_jax.settings import real
from vae_jax.training import batches
from vae_jax.training import step as training_step
from vae_jax.training.optimizers import AdamW, Optimizer
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import Batch, TrainState

DATA = tiny_data()
X = batches.as_observations(jnp.asarray(DATA.train[:8]))
LOG_2PI = np.log(2 * np.pi)


class WrappedCauchy(NamedTuple):
    """q(z|x) on the unit circle with density (1 - r^2) / (2 pi |1 - r e^i(t - angle)|^2)."""

    angle: jax.Array
    r: jax.Array
    latent_mask: jax.Array

    @property
    def center(self):
        return self._at(self.angle)

    def _at(self, angle):
        return pad_latents(
            jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1), len(self.latent_mask)
        )

    def sample(self, noise):
        u = noise[..., 0]
        angle, r = (prepend_axes(values, u.ndim) for values in self[:2])
        return self._at(angle + 2 * jnp.arctan((1 - r) / (1 + r) * jnp.tan(jnp.pi * (u - 0.5))))

    def log_prob(self, z):
        center, r = prepend_axes(self.center, z.ndim), prepend_axes(self.r, z.ndim - 1)
        nearness = jnp.sum(center * z, axis=-1)
        return jnp.log1p(-(r**2)) - jnp.log(1 + r**2 - 2 * r * nearness) - LOG_2PI

    def draw(self, noise):
        z = self.sample(noise)
        return SampleAndLogProb(z, self.log_prob(z))

    def path_log_prob(self, z, noise):
        del noise
        return jax.lax.stop_gradient(self).log_prob(z)

    def component(self):
        return self


@dataclass(frozen=True)
class Circle(PosteriorFamily):
    """Wrapped Cauchy distributions, sampled from uniform noise."""

    support: ClassVar[str] = "circle"
    distribution: ClassVar[type] = WrappedCauchy
    has_own_noise: ClassVar[bool] = True
    has_coordinates: ClassVar[bool] = False
    is_local: ClassVar[bool] = True

    def heads(self, width):
        del width
        return Head("angle", (1,)), Head("spread", (1,))

    def noise(self, key, shape, max_latents):
        del max_latents
        return jax.random.uniform(key, (*shape, 1), float)

    def __call__(self, hparams, params, heads, latent_mask):
        del hparams, params
        r = jax.nn.sigmoid(heads["spread"][..., 0])
        return WrappedCauchy(heads["angle"][..., 0], r, latent_mask)


class UniformOnCircle(NamedTuple):
    """p(z) = 1 / (2 pi)."""

    def log_prob(self, z):
        return jnp.full(z.shape[:-1], -LOG_2PI, z.dtype)

    def sample(self, key, noise):
        del key
        point = noise[..., :2] / jnp.linalg.norm(noise[..., :2], axis=-1, keepdims=True)
        return pad_latents(point, noise.shape[-1])

    def kl(self, q):
        return KL(-jnp.log1p(-(q.r**2))) if isinstance(q, WrappedCauchy) else None


@dataclass(frozen=True)
class UniformCircle(PriorFamily):
    """The uniform distribution on the circle."""

    support: ClassVar[str] = "circle"
    closed_form_kl: ClassVar[tuple[type, ...]] = (WrappedCauchy,)

    def __call__(self, hparams, params, latent_mask, encode, y=None):
        del hparams, params, latent_mask, encode, y
        return UniformOnCircle()


class Coded(NamedTuple):
    """The code nearest to the encoder's output, with a straight-through gradient."""

    encoded: jax.Array
    codes: jax.Array

    @property
    def index(self):
        shape = (*self.encoded.shape[:-1], *self.codes.shape)
        each, codes = (jnp.broadcast_to(a, shape) for a in (self.encoded[..., None, :], self.codes))
        distances = jnp.sum((each - codes) ** 2, axis=-1)
        return jnp.argmin(distances, axis=-1)

    @property
    def nearest(self):
        return self.codes[self.index]

    @property
    def center(self):
        return self.encoded + jax.lax.stop_gradient(self.nearest - self.encoded)

    def sample(self, noise):
        return jnp.broadcast_to(prepend_axes(self.center, noise.ndim), noise.shape)

    def draw(self, noise):
        z = self.sample(noise)
        return SampleAndLogProb(z, jnp.zeros(z.shape[:-1], z.dtype))

    def log_prob(self, z):
        return jnp.where(jnp.all(z == self.nearest, axis=-1), 0.0, -jnp.inf)

    def path_log_prob(self, z, noise):
        del noise
        return jnp.zeros(z.shape[:-1], z.dtype)

    def component(self):
        return self


@dataclass(frozen=True)
class Codebook(PosteriorFamily):
    """The nearest of some codes, which are moving averages of what is assigned to them."""

    support: ClassVar[str] = "codes"
    distribution: ClassVar[type] = Coded
    is_reparameterized: ClassVar[bool] = False
    has_coordinates: ClassVar[bool] = False

    num_codes: int = 4
    decay: float = 0.9

    def heads(self, width):
        return (Head("encoded", (width,)),)

    def init(self, key, hparams, latent_mask):
        del hparams
        drawn = jax.random.normal(key, (len(latent_mask), self.num_codes), float).T
        return {"codes": apply_mask(latent_mask, drawn)}

    def __call__(self, hparams, params, heads, latent_mask):
        del hparams
        encoded = apply_mask(latent_mask, heads["encoded"])
        return Coded(encoded, jax.lax.stop_gradient(params["codes"]))

    def loss(self, hparams, params, q, z):
        del hparams, params, z
        return 0.25 * jnp.sum((q.encoded - jax.lax.stop_gradient(q.nearest)) ** 2, axis=-1)

    def update(self, hparams, params, q, z):
        del hparams, z
        members = jax.nn.one_hot(q.index, self.num_codes, dtype=q.encoded.dtype)
        counts = members.sum(axis=0)[:, None]
        means = members.T @ q.encoded / jnp.maximum(counts, 1)
        moved = self.decay * params["codes"] + (1 - self.decay) * means
        return {"codes": jnp.where(counts > 0, moved, params["codes"])}


class UniformOnCodes(NamedTuple):
    """p(z) = 1 / (number of codes)."""

    codes: jax.Array

    def log_prob(self, z):
        return jnp.full(z.shape[:-1], -np.log(len(self.codes)), z.dtype)

    def sample(self, key, noise):
        return self.codes[jax.random.randint(key, noise.shape[:-1], 0, len(self.codes))]

    def kl(self, q):
        return KL(jnp.full(q.encoded.shape[:-1], np.log(len(self.codes))))


@dataclass(frozen=True)
class UniformCodes(PriorFamily):
    """The uniform distribution on the codes, which it knows from the code of an image."""

    support: ClassVar[str] = "codes"
    closed_form_kl: ClassVar[tuple[type, ...]] = (Coded,)

    @property
    def num_examples(self):
        return 1

    def init(self, key, hparams, start):
        del key, hparams
        return {"image": start.images[:1]}

    def __call__(self, hparams, params, latent_mask, encode, y=None):
        del hparams, latent_mask, y
        return UniformOnCodes(encode(jax.lax.stop_gradient(params["image"])).codes)


def _model(posterior: PosteriorFamily, prior: PriorFamily) -> VAE:
    return VAE((3, 4, 1), 2, MLP((5,), "tanh"), posterior, prior)


CIRCLE, CODED = _model(Circle(), UniformCircle()), _model(Codebook(), UniformCodes())
SCALED = VAE((3, 4, 1), 2, MLP((5,)), likelihood=GaussianLikelihood(scale_mode="optimal"))
HPARAMS = HParams.of(latent_size=2, seed=1, learning_rate=0.01)
MODELS = pytest.mark.parametrize("model", [CIRCLE, CODED], ids=["circle", "codes"])


@functools.lru_cache
def _init(model: VAE) -> dict:
    """Return the initial parameters of a model."""
    return jax.jit(model.init)(HPARAMS, X.mean(axis=0), X[:1])


@functools.partial(jax.jit, static_argnums=0)
def _step(spec: TrainSpec, hparams: HParams, state: TrainState) -> tuple:
    """Return the state after an update, its terms and its batch."""
    keys = training_step.BatchKeys.at(hparams, state.step)
    noise = spec.model.noise(keys.posterior, spec.objective.num_draws, len(X))
    batch = Batch(X, noise, keys.regularizer)
    return *training_step.train_step(spec, hparams, state, batch, len(X)), batch


def _trained(spec: TrainSpec, num_steps: int, hparams: HParams = HPARAMS) -> list[tuple]:
    """Return what :func:`_step` gives for each update of a training."""
    state, found = training_step.init(spec, hparams, X.mean(axis=0), X[:1]), []
    for _ in range(num_steps):
        found.append(_step(spec, hparams, state))
        state = found[-1][0]
    return found


def test_the_circle_has_the_density_and_the_kl_of_quadrature(float64):
    q = WrappedCauchy(jnp.array([0.3, -2.0]), jnp.array([0.4, 0.8]), jnp.ones(2, bool))
    angles = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    z = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None]
    log_q, cell = np.asarray(q.log_prob(jnp.asarray(z))), 2 * np.pi / len(angles)
    np.testing.assert_allclose(np.exp(log_q).sum(axis=0) * cell, 1, rtol=1e-12)
    kl = np.sum(np.exp(log_q) * (log_q + LOG_2PI), axis=0) * cell
    np.testing.assert_allclose(UniformOnCircle().kl(q).total, kl, rtol=1e-12)
    uniform = (jnp.arange(2000)[:, None, None] + 0.5) / 2000
    drawn, log_prob = q.draw(jnp.broadcast_to(uniform, (2000, 2, 1)))
    np.testing.assert_allclose(jnp.mean(log_prob + LOG_2PI, axis=0), kl, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(drawn, axis=-1), 1, rtol=1e-12)


def test_noise_is_the_posteriors_own_and_samples_of_the_prior_have_none_of_it(float64):
    assert CIRCLE.noise(jax.random.key(0), 3, 4).shape == (3, 4, 1)
    z = CIRCLE.sample_prior(HPARAMS, _init(CIRCLE), jax.random.key(0), 2000)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=-1), 1, rtol=1e-12)
    moments = np.asarray(z[:, :2].T @ z[:, :2] / len(z))
    np.testing.assert_allclose(moments, np.eye(2) / 2, atol=0.05)


OBJECTIVES = {
    "free_bits": Elbo(kl_penalty="free_bits"),
    "capacity": Elbo(kl_penalty="capacity"),
    "sampled": Elbo(3, kl="monte_carlo"),
    "iwae": ImportanceWeighted(3),
    "path": ImportanceWeighted(3, estimator="dreg"),
}


def test_every_objective_takes_a_kl_that_is_no_sum_over_latents(float64):
    hparams = HPARAMS._replace(free_bits=jnp.asarray(0.75), capacity=jnp.asarray(2.0))
    params = _init(CIRCLE)
    batch = Batch(X, CIRCLE.noise(jax.random.key(0), 3, len(X)), jax.random.key(1))

    def value(params, objective):
        spec, step = TrainSpec(CIRCLE, objective, (MMD(),)), jnp.int32(0)
        return training_step.regularized_objective(spec, hparams, step, params, batch, len(X))

    @jax.jit
    def all_of_them(params):
        with_slopes = jax.value_and_grad(value, has_aux=True)
        return {name: with_slopes(params, each) for name, each in OBJECTIVES.items()}

    found = all_of_them(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    (objective, output), _ = found["free_bits"]
    log_likelihood, kl = (float(term.mean()) for term in output.terms)
    assert float(objective) == pytest.approx(log_likelihood - max(kl, 0.75), rel=1e-12)


@MODELS
def test_the_columns_of_a_total_kl_are_known_and_those_of_its_latents_empty(model, float64):
    data, spec = in_batches(DATA.test, 5), EvalSpec(model, num_particles=4)
    run = jax.jit(functools.partial(evaluate, spec, num_examples=len(DATA.test)))
    found = run(HPARAMS, _init(model), data)
    row = summarize(spec, found, 2)
    assert row["kl_per_latent"] == [None, None]
    assert row["test_elbo"] == pytest.approx(row["test_log_likelihood"] - row["test_kl"])
    assert -row["test_nll"] >= row["test_elbo"] - 1e-6
    assert row["active_units"] >= 0
    assert len(row["variance_per_latent"]) == 2


def test_codes_follow_their_members_and_the_encoder_commits_to_them(float64):
    """The loss is subtracted, and the moving average is that of numpy with the old codes."""
    (before, _, _), (after, terms, batch) = _trained(TrainSpec(CODED), 2)
    q = CODED.encode(HPARAMS, before.params, batch.x)
    codes, encoded = np.asarray(before.params["posterior"]["codes"]), np.asarray(q.encoded)
    index = ((encoded[:, None] - codes) ** 2).sum(axis=-1).argmin(axis=1)
    commitment = 0.25 * ((encoded - codes[index]) ** 2).sum(axis=-1).mean()
    elbo = float(terms.log_likelihood) - np.log(len(codes))
    assert float(terms.objective) == pytest.approx(elbo - commitment, rel=1e-12)
    expected = codes.copy()
    for k in set(index):
        expected[k] = 0.9 * codes[k] + 0.1 * encoded[index == k].mean(axis=0)
    np.testing.assert_allclose(after.params["posterior"]["codes"], expected, rtol=1e-12)
    assert (expected != codes).any()


def test_what_a_posterior_moves_by_itself_does_not_decay():
    """After one update with AdamW the codes are those without decay, but no network's weights."""
    spec = TrainSpec(CODED, optimizer=AdamW(reads_rule=True))
    hparams = HParams.of(spec, latent_size=2, seed=1)
    plain, decayed = (
        _trained(spec, 1, hparams._replace(weight_decay=jnp.asarray(decay)))[0][0].params
        for decay in (0.0, 100.0)
    )
    np.testing.assert_array_equal(plain["posterior"]["codes"], decayed["posterior"]["codes"])
    for part in ("encoder", "decoder"):
        pairs = zip(*map(jax.tree.leaves, (plain[part], decayed[part])), strict=True)
        assert all((one != other).any() for one, other in pairs if one.ndim > 1)


@dataclass(frozen=True)
class DecayOfAll(Optimizer):
    """Optimizer from outside that draws every parameter to zero, with or without a gradient."""

    own: ClassVar[tuple[HParam, ...]] = (HParam("decay_of_all", 0.0, real(0.0), "decay"),)

    def rule(self, hparams):
        return optax.add_decayed_weights(self.value(hparams, "decay_of_all"))


@pytest.mark.parametrize(
    ("model", "own"),
    [(CODED, ("posterior", "codes")), (SCALED, ("likelihood", "log_scale"))],
    ids=["posterior", "likelihood"],
)
def test_what_a_member_moves_by_itself_no_optimizer_moves(model, own):
    """One update by an optimizer that decays all parameters leaves what the member moves alone."""
    spec = TrainSpec(model, optimizer=DecayOfAll(reads_rule=True))
    hparams = HParams.of(spec, latent_size=2, seed=1, learning_rate=0.01, scale=0.5)
    state = training_step.init(spec, hparams, X.mean(axis=0), X[:1])
    state = state._replace(step=jnp.int32(5))  # from when on an average has a memory
    plain, decayed = (
        _step(spec, hparams._replace(decay_of_all=jnp.asarray(decay)), state)[0].params
        for decay in (0.0, 50.0)
    )
    part, name = own
    np.testing.assert_array_equal(plain[part][name], decayed[part][name])
    assert (plain["output_bias"] != decayed["output_bias"]).all()


def test_the_codes_of_a_diverged_run_stay(float64):
    hparams = HPARAMS._replace(learning_rate=jnp.asarray(np.inf))
    states = [state for state, *_ in _trained(TrainSpec(CODED), 4, hparams)]
    first = next(i for i, state in enumerate(states) if state.diverged >= 0)
    kept = [np.asarray(state.params["posterior"]["codes"]) for state in states[first:]]
    assert len(kept) > 1
    for codes in kept:
        np.testing.assert_array_equal(codes, kept[0])


REFUSED = {
    "a prior of another support": lambda: _model(Circle(), StandardNormal()),
    "a mixture of posteriors": lambda: _model(Circle(), VampPrior()),
    "an upper layer": lambda: Stacked(Circle()),
    "annealing": lambda: AnnealSpec(CIRCLE),
    "densities of single latents": lambda: TrainSpec(CIRCLE, regularizers=(TotalCorrelation(),)),
    "independent latents": lambda: TrainSpec(CODED, regularizers=(FactorVAE(),)),
    "a path derivative": lambda: TrainSpec(CODED, Elbo(estimator="stl")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name):
    with pytest.raises(InputError) as caught:
        REFUSED[name]()
    assert len(str(caught.value).splitlines()) == 1
    assert re.match(r"\w+=\w+: ", str(caught.value))
    assert "; " in str(caught.value)


def test_evaluators_that_need_coordinates_or_r_n_are_left_out():
    unmet = needs.unmet_by(TrainSpec(CIRCLE)).keys()
    left_out = {name for name, evaluator in EVALUATORS.items() if evaluator.needs & unmet}
    assert left_out == {"decomposition", "ais", "bdmc", "disentanglement"}


def test_figures_that_walk_in_r_n_are_left_out_with_the_reason():
    assert set(figures.left_out(CIRCLE)) == {"traversals", "interpolations"}
    assert "posterior=Circle" in figures.left_out(CIRCLE)["traversals"]
    assert figures.left_out(VAE((3, 4, 1), 2)) == {}


def test_paths_on_a_sphere_stay_on_it_and_their_steps_are_equal():
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(5, 2, 4))
    ends /= np.linalg.norm(ends, axis=-1, keepdims=True)
    ends[0, 1] = ends[0, 0]
    start, end = jnp.asarray(ends, jnp.float32).swapaxes(0, 1)
    path = np.asarray(paths.spherical(start, end, 7))
    np.testing.assert_allclose(path[:, [0, -1]], ends, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(path, axis=-1), 1, atol=1e-5)
    steps = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    np.testing.assert_allclose(steps, steps[:, :1] * np.ones(6), atol=1e-5)
    start, angles = jnp.asarray(ends[1, 0], jnp.float32), np.linspace(-2.5, 2.5, 5)
    moved = np.asarray(paths.along_great_circles(start, np.array([2, 0]), angles))
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(moved @ ends[1, 0], np.cos([angles] * 2), atol=1e-5)


def test_no_prior_is_advised_that_the_posterior_refuses():
    run = {"test_elbo": -9.0, "precision_pixels": 0.1, "precision_aggregate": 0.9}
    for posterior, is_advised in (("gaussian", True), ("delta", False), ("my:Own", False)):
        all_found = diagnostics.diagnose_run(run | {"posterior": posterior, "prior": "normal"}, [])
        message = next(each.message for each in all_found if each.problem == "prior holes")
        assert ("--prior=vamp" in message) == is_advised
        assert ("--prior=flow" in message) == (posterior != "my:Own")


@pytest.mark.parametrize("name", POSTERIORS)
def test_what_a_posterior_declares_of_its_noise_and_distribution_is_true(name):
    family = POSTERIORS[name]()
    default = family.noise.__func__ is PosteriorFamily.noise
    assert default != family.has_own_noise
    latent_mask = jnp.ones(48, bool)
    params = jax.eval_shape(lambda: family.init(jax.random.key(0), HPARAMS, latent_mask))
    heads = {head.name: jnp.zeros((2, *head.shape)) for head in family.heads(48)}
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    q = family(HPARAMS, params, heads, latent_mask)
    assert isinstance(q, family.distribution)
    assert family.has_latent_densities == isinstance(q, LatentDensities)
