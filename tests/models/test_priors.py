"""Priors against grids, numpy and other routes to the same number, from one table."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import vae_jax
from vae_jax.data import Dataset, Provenance
from vae_jax.hparams import HParams
from vae_jax.models.combinations import has_closed_form_kl
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.posteriors import CholeskyGaussian, DiagonalGaussian, FullGaussian, Gaussian
from vae_jax.models.priors import (
    PRIORS,
    ClassPrior,
    FlowPrior,
    GaussianMixture,
    MixturePrior,
    PosteriorMixture,
    Prior,
    PriorFamily,
    PriorInit,
    StandardNormal,
    UnitNormal,
    VampPrior,
)
from vae_jax.models.priors.mixture import component_log_probs
from vae_jax.models.vae import VAE
from vae_jax.training.spec import TrainSpec
from vae_jax.types import default_float

MEMBERS = [
    StandardNormal(),
    MixturePrior(3),
    VampPrior(3),
    FlowPrior(3, 4),
    ClassPrior(),
]
EVERY = pytest.mark.parametrize("family", MEMBERS, ids=repr)
SHAPE = (2, 3, 1)
EXAMPLES = np.random.default_rng(9).integers(2, size=(3, *SHAPE)).astype(float)
HPARAMS = HParams.of(latent_size=2)
HUGE = 1e30


def _vae(family: PriorFamily, **more) -> VAE:
    classes = 2 if family.needs_labels else 0
    return VAE(SHAPE, 2, MLP((4,), "tanh"), prior=family, **({"num_classes": classes} | more))


def _perturbed(tree, seed: int = 0, size: float = 0.5):
    """Return parameters that differ from the initial ones."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + size * rng.normal(size=leaf.shape), leaf.dtype), tree
    )


def _params(vae: VAE) -> dict:
    """Return random parameters with the model's shapes; its ``init`` need not be compiled."""
    image = jnp.zeros(SHAPE)
    shapes = jax.eval_shape(vae.init, HPARAMS, image, jnp.zeros((vae.prior.num_examples, *SHAPE)))
    return _perturbed(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))


def _labels(vae: VAE, *shape: int) -> jax.Array | None:
    return jnp.ones(shape, int) if vae.num_classes else None


@functools.partial(jax.jit, static_argnums=0)
def _log_prob(vae: VAE, params: dict, z: jax.Array) -> jax.Array:
    """Return log p(z) of points given by their used coordinates alone."""
    wide = jnp.pad(z, ((0, 0), (0, vae.width - z.shape[-1])))
    return vae.prior_at(HPARAMS, params, _labels(vae)).log_prob(wide)


_sample_prior = jax.jit(VAE.sample_prior, static_argnums=(0, 4))


def _grid() -> tuple[np.ndarray, np.ndarray, float]:
    """Return centres of square cells that cover the plane as far as there is mass."""
    cell = 0.2
    side = np.arange(-20, 20, cell) + cell / 2
    points = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    return side, points, cell**2


def test_the_table_holds_every_family_over_the_reals():
    """Those of other supports have files of their own: test_sphere.py and test_grid.py."""
    families = {family for family in PRIORS.values() if family.support == "reals"}
    assert {type(family) for family in MEMBERS} == families


@EVERY
def test_a_prior_integrates_to_one_and_the_models_samples_are_its_own(family, float64):
    """Counts of samples in 36 cells of a plane agree with integrals of the density."""
    vae, (side, points, area) = _vae(family), _grid()
    params = _params(vae)
    mass = area * np.exp(np.asarray(_log_prob(vae, params, points)))
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    num = 20_000
    z = _sample_prior(vae, HPARAMS, params, jax.random.key(1), num, _labels(vae, num))
    assert not np.asarray(z)[:, 2:].any()
    edges = [-1.6, -0.6, 0.0, 0.6, 1.6]
    mass = mass.reshape(len(side), len(side))
    index = np.digitize(side, edges)
    expected = np.zeros((6, 6))
    np.add.at(expected, (index[:, None], index[None]), mass)
    counts = np.zeros((6, 6))
    np.add.at(counts, tuple(np.digitize(np.asarray(z)[:, :2], edges).T), 1)
    assert _chi_square(counts, num * expected) > 1e-3
    if not isinstance(family, StandardNormal):
        normal = np.diff(stats.norm.cdf([-np.inf, *edges, np.inf]))
        assert _chi_square(counts, num * np.outer(normal, normal)) < 1e-9


def _chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return the p-value of the counts; cells that expect less than five are counted as one."""
    many = expected >= 5
    rest = max(expected[~many].sum(), 1e-9), counts[~many].sum()
    counts, expected = np.append(counts[many], rest[1]), np.append(expected[many], rest[0])
    return stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


def _start(width: int, latent_size: int = 2) -> PriorInit:
    images = jnp.asarray(EXAMPLES.astype(default_float()))
    return PriorInit(jnp.arange(width) < latent_size, images, num_classes=2)


def _widen(narrow, wide):
    """Return the narrow arrays inside the wide ones, with huge numbers around them."""

    def embed(small, large):
        return jnp.full(large.shape, HUGE).at[tuple(map(slice, small.shape))].set(small)

    return jax.tree.map(embed, narrow, wide)


def _prior(family: PriorFamily, params: dict, latent_mask: jax.Array, posterior=None) -> Prior:
    """Return the prior of a model whose linear encoder has huge weights of masked latents."""
    posterior = posterior or DiagonalGaussian()
    heads = {}
    for seed, head in enumerate(posterior.heads(2)):
        small = np.random.default_rng(seed).normal(size=(math.prod(SHAPE), *head.shape))
        shape = (len(small), *(len(latent_mask) for _ in head.shape))
        heads[head.name] = 0.5 * _widen(small, np.zeros(shape))

    def encode(x: jax.Array):
        x = x.reshape(len(x), -1)
        values = {name: jnp.tensordot(x, head, 1) for name, head in heads.items()}
        return posterior(HPARAMS, {}, values, latent_mask)

    y = jnp.array([0, 1, 1, 0]) if family.needs_labels else None
    return family(HPARAMS, params, latent_mask, encode, y)


@EVERY
def test_a_masked_wide_prior_is_the_narrow_one(family, float64):
    """Start, value, slopes, sample and KL ignore the parameters of latents masked out."""
    z = 2 * np.random.default_rng(3).normal(size=(3, 4, 5))
    narrow, wide = _narrow_and_wide(family, z)
    for small, large in zip(*map(jax.tree.leaves, (narrow, wide)), strict=True):
        assert np.isfinite(large).all()
        inside = np.asarray(large)[tuple(map(slice, small.shape))]
        np.testing.assert_allclose(inside, small, rtol=1e-12, atol=1e-12)
    for small, large in zip(*(jax.tree.leaves(made[1:]) for made in (narrow, wide)), strict=True):
        assert np.count_nonzero(small) == np.count_nonzero(large)


@functools.partial(jax.jit, static_argnums=0)
def _narrow_and_wide(family: PriorFamily, z: jax.Array) -> tuple:
    """Return start and :func:`_everything` for two columns, and for all with two of them used."""
    starts = [family.init(jax.random.key(0), HPARAMS, _start(width)) for width in (2, z.shape[-1])]
    narrow = _perturbed(starts[0])
    wide = _widen(narrow, starts[1])
    results = _everything(family, narrow, z[..., :2]), _everything(family, wide, z)
    return tuple((start, *result) for start, result in zip(starts, results, strict=True))


def _everything(family: PriorFamily, params: dict, z: jax.Array) -> tuple:
    """Return values, slopes by parameters and z, a sample and the KL from a posterior."""
    latent_mask = jnp.arange(z.shape[-1]) < 2

    def log_prob(params: dict, z: jax.Array) -> tuple[jax.Array, tuple[Prior, jax.Array]]:
        prior = _prior(family, params, latent_mask)
        values = prior.log_prob(z)
        return values.sum(), (prior, values)

    slopes, (prior, values) = jax.grad(log_prob, argnums=(0, 1), has_aux=True)(params, z)
    q = Gaussian(z[0], z[1]).restrict(latent_mask)
    closed = prior.kl(q)
    assert (closed is None) != has_closed_form_kl(DiagonalGaussian(), family)
    return values, slopes, prior.sample(jax.random.key(0), z), closed


@EVERY
def test_values_and_slopes_are_finite_far_away(family):
    latent_mask = jnp.ones(2, bool)
    params = jax.tree.map(
        lambda leaf: np.float32(8 * leaf),
        _perturbed(family.init(jax.random.key(0), HPARAMS, _start(2))),
    )
    coordinates = np.array([0.0, 1.0, -30.0, 1e4], np.float32)
    z = np.stack(np.meshgrid(coordinates, coordinates), axis=-1).reshape(4, 4, 2)

    def log_prob(params: dict, z: jax.Array) -> jax.Array:
        return _prior(family, params, latent_mask).log_prob(z).sum()

    value, slopes = jax.jit(jax.value_and_grad(log_prob, argnums=(0, 1)))(params, z)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slopes)))


@EVERY
def test_a_family_hashes_by_value_and_keeps_the_protocol(family):
    twin = dataclasses.replace(family)
    assert twin is not family
    assert (twin, hash(twin)) == (family, hash(family))
    assert isinstance(family, PriorFamily)
    made = jax.eval_shape(
        lambda: _prior(
            family, family.init(jax.random.key(0), HPARAMS, _start(2)), jnp.ones(2, bool)
        )
    )
    assert isinstance(made, Prior)


@pytest.mark.parametrize("family", [FlowPrior(3, 4), ClassPrior()], ids=repr)
def test_it_starts_as_the_standard_normal(family, float64):
    @jax.jit
    def log_probs(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = _start(3)
        params = family.init(jax.random.key(0), HPARAMS, start)
        prior = _prior(family, params, start.latent_mask)
        return prior.log_prob(z), UnitNormal(start.latent_mask).log_prob(z)

    z = np.random.default_rng(0).normal(size=(5, 4, 3))
    np.testing.assert_allclose(*log_probs(z), rtol=1e-13)


def test_a_mixture_starts_apart_with_the_moments_of_the_standard_normal(float64):
    params = MixturePrior(20_000).init(jax.random.key(0), HPARAMS, _start(2))
    means, variances = np.asarray(params["means"]), np.exp(params["log_vars"])
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=5 * math.sqrt(0.5 / 20_000))
    np.testing.assert_allclose(
        (means**2 + variances).mean(axis=0), 1, atol=5 * 0.5 * math.sqrt(2 / 20_000)
    )
    assert len(np.unique(means, axis=0)) == 20_000


# ---- flow --------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def _flow_terms(latent_size: int, z: jax.Array) -> tuple[jax.Array, ...]:
    """Return noise, log-determinant, Jacobian and the inverse."""
    family, start = FlowPrior(3, 4), _start(5, latent_size)
    flow = _prior(
        family, _perturbed(family.init(jax.random.key(0), HPARAMS, start)), start.latent_mask
    )
    noise, log_det = flow.to_noise(z)
    jacobians = jax.vmap(jax.jacobian(lambda z: flow.to_noise(z)[0]))(z)
    return noise, log_det, jacobians, flow.from_noise(noise)


@pytest.mark.parametrize("latent_size", [1, 4])
def test_a_flow_has_an_inverse_and_the_jacobian_of_autodiff(latent_size, float64):
    z = np.zeros((6, 5))
    z[:, :latent_size] = 2 * np.random.default_rng(0).normal(size=(6, latent_size))
    noise, log_det, jacobians, back = map(np.asarray, _flow_terms(latent_size, z))
    assert abs(noise - z)[:, :latent_size].max() > 0.5
    np.testing.assert_allclose(back, z, atol=1e-12)
    jacobians = jacobians[:, :latent_size, :latent_size]
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobians)[1], atol=1e-12)
    assert (jacobians != 0).all()  # every latent depends on every other


# ---- vamp and mixture --------------------------------------------------------------------------


def _numpy_mixture(z: np.ndarray, means: np.ndarray, log_vars: np.ndarray) -> np.ndarray:
    """Return log 1/K sum_k N(z; mean_k, exp(log_var_k)), written out."""
    parts = stats.norm.logpdf(z[:, None], means, np.exp(0.5 * log_vars)).sum(axis=-1)
    return special.logsumexp(parts, axis=1) - math.log(len(means))


def _pseudo_posteriors(vae: VAE, params: dict, y: jax.Array | None = None):
    """Return means and log-variances of q(z|u_k), on the used coordinates."""
    u = special.expit(params["prior"]["pseudo_inputs"])
    q = jax.jit(vae.encode)(HPARAMS, params, u, y)
    return np.asarray(q.mean)[:, :2], np.asarray(q.log_var)[:, :2]


@pytest.mark.parametrize("num_classes", [0, 2])
def test_vamp_is_the_mixture_of_posteriors_and_not_pythaes(num_classes, float64):
    """Pythae once closed a parenthesis too late: it divided the log-variance by the variance too.

    In a conditional model the k-th pseudo-input has the label k modulo the number of classes.
    """
    vae = _vae(VampPrior(3), num_classes=num_classes)
    params = _params(vae)
    turns = jnp.array([0, 1, 0]) if num_classes else None
    means, log_vars = _pseudo_posteriors(vae, params, turns)
    z = 2 * np.random.default_rng(0).normal(size=(50, 2))
    got = np.asarray(_log_prob(vae, params, z))
    np.testing.assert_allclose(got, _numpy_mixture(z, means, log_vars), rtol=1e-12)
    square = (z[:, None] - means) ** 2
    misplaced = -0.5 * ((log_vars + square) / np.exp(log_vars)).sum(axis=-1)
    wrong = special.logsumexp(misplaced, axis=1) - math.log(3) - math.log(2 * math.pi)
    assert (abs(got - wrong) > 1e-3).all()


def test_vamp_with_one_pseudo_input_has_the_kl_of_two_gaussians(float64):
    """KL(q(z|x) || q(z|u)) is known; the mean of log q(z|x) - log p(z) is within five errors."""
    vae = _vae(VampPrior(1))
    params = _params(vae)
    (n,), (log_t2,) = _pseudo_posteriors(vae, params)
    m, log_s2, ratios = map(np.asarray, _posterior_against_prior(vae, params))
    ratio = log_s2 - log_t2
    exact = 0.5 * np.sum((m - n) ** 2 / np.exp(log_t2) + np.exp(ratio) - ratio - 1)
    assert abs(ratios.mean() - exact) < 5 * ratios.std() / math.sqrt(len(ratios))


@functools.partial(jax.jit, static_argnums=0)
def _posterior_against_prior(vae: VAE, params: dict) -> tuple[jax.Array, ...]:
    """Return mean and log-variance of q(z|x) for one x, and log q(z|x) - log p(z) of samples."""
    q = vae.encode(HPARAMS, params, jnp.asarray(EXAMPLES[:1].astype(default_float())))
    z, log_q = q.draw(vae.noise(jax.random.key(0), 20_000, 1))
    log_p = vae.prior_at(HPARAMS, params).log_prob(z)
    return q.mean[0, :2], q.log_var[0, :2], (log_q - log_p)[:, 0]


def test_vamp_starts_from_the_data_where_there_are_any():
    start = _start(2)
    for num_components, given in ((2, 2), (5, 3)):
        family = VampPrior(num_components)
        u = jax.nn.sigmoid(family.init(jax.random.key(0), HPARAMS, start)["pseudo_inputs"])
        assert u.shape == (num_components, *SHAPE)
        np.testing.assert_allclose(u[:given], np.clip(EXAMPLES[:given], 0.01, 0.99), atol=1e-6)
        assert len(np.unique(np.asarray(u), axis=0)) == num_components
    nothing = start._replace(images=start.images[:0])
    noise = VampPrior(4, "noise").init(jax.random.key(0), HPARAMS, nothing)["pseudo_inputs"]
    assert noise.shape == (4, *SHAPE)
    assert (VampPrior(4).num_examples, VampPrior(4, "noise").num_examples) == (4, 0)


def _vectors(encoding: str) -> np.ndarray:
    rng = np.random.default_rng(4)
    return {
        "pixels": rng.integers(3, 250, size=(20, 5)).astype(np.uint8),
        "reals": rng.normal(3, 2, size=(20, 5)).astype(np.float32),
        "counts": rng.integers(1, 90, size=(20, 5)).astype(np.int32),
    }[encoding]


@pytest.mark.parametrize("encoding", ["pixels", "reals", "counts"])
def test_vamp_of_all_training_points_is_the_aggregate_posterior(encoding, float64):
    """log p(z) = log 1/N sum_n q(z|x_n) with every x_n a pseudo-input, in the data's own space."""
    stored = _vectors(encoding)
    x = jnp.asarray(stored / 255 if encoding == "pixels" else stored.astype(float))
    vae = VAE((5,), 2, MLP((4,), "tanh"), prior=VampPrior(len(x)))
    params = jax.jit(vae.init, static_argnums=3)(HPARAMS, x.mean(axis=0), x, encoding)
    q = jax.jit(vae.encode)(HPARAMS, params, x)
    z = 2 * np.random.default_rng(0).normal(size=(50, 2))
    expected = _numpy_mixture(z, np.asarray(q.mean)[:, :2], np.asarray(q.log_var)[:, :2])
    np.testing.assert_allclose(_log_prob(vae, params, z), expected, rtol=1e-9)


@pytest.mark.parametrize("encoding", ["reals", "counts"])
def test_vamp_of_noise_starts_about_the_mean_of_data_that_are_no_pixels(encoding):
    x = jnp.asarray(_vectors(encoding), default_float())
    start = PriorInit(jnp.ones(2, bool), x[:2], encoding=encoding, mean=x.mean(axis=0))
    ((name, w),) = VampPrior(4000, "data").init(jax.random.key(0), HPARAMS, start).items()
    assert name == f"pseudo_{encoding}"
    u = w if encoding == "reals" else jax.nn.softplus(w)
    np.testing.assert_allclose(u[:2], x[:2], rtol=1e-5)
    errors = jnp.std(w[2:], axis=0) / math.sqrt(len(w) - 2)
    center = x.mean(axis=0) if encoding == "reals" else jnp.log(jnp.expm1(x.mean(axis=0)))
    assert (jnp.abs(w[2:].mean(axis=0) - center) < 5 * errors).all()
    np.testing.assert_allclose(jnp.std(w[2:], axis=0), jnp.std(w[:2], axis=0), rtol=0.05)


def test_vamp_learns_its_pseudo_inputs_from_vectors_of_reals():
    """On two clusters of vectors the bound of valid rises, and the inputs move off the data."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(120, 4)) + 4 * rng.choice([-1, 1], size=(120, 1))).astype(np.float32)
    data = Dataset(x[:80], x[80:100], x[100:], None, None, None, Provenance("x", "x", "x", "x"))
    model = VAE((4,), 2, MLP((8,)), prior=VampPrior(3), likelihood=GaussianLikelihood())
    spec = TrainSpec(model, batch_size=20)
    study = vae_jax.fit(
        spec, HParams.of(latent_size=2, learning_rate=0.01), data, num_steps=100, eval_every=50
    )
    first, last = (row["valid_elbo"] for row in study.metrics)
    assert last > first + 0.5
    (u,) = study.state.params["prior"].values()
    assert list(study.state.params["prior"]) == ["pseudo_reals"]
    starts = x[:80][np.linspace(0, 80, 3, endpoint=False).astype(int)]
    assert u.shape == (1, 3, 4)
    assert (np.abs(np.asarray(u[0]) - starts).max(axis=1) > 0.01).all()


def test_vamp_teaches_both_the_pseudo_inputs_and_the_encoder():
    vae = _vae(VampPrior(3))
    slope = jax.jit(jax.grad(lambda params: _log_prob(vae, params, np.ones((4, 2))).sum()))
    slope = slope(_params(vae))
    for part in ("prior", "encoder"):
        assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(slope[part]))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(slope["decoder"]))


def test_vamp_mixes_posteriors_of_any_kind(float64):
    """Gaussians with correlations are mixed; a mixture without them is the special case."""
    rng, latent_mask = np.random.default_rng(0), jnp.arange(3) < 2
    z, noise = (jnp.asarray(rng.normal(size=size)) for size in ((6, 5, 3), (20_000, 3)))
    terms = jax.tree.map(np.asarray, _full_mixture(z, noise, latent_mask))
    means, factors, log_prob, drawn, (general, special_case) = terms
    np.testing.assert_allclose(general, special_case, rtol=1e-12)
    means, factors = means[:, :2], factors[:, :2, :2]
    covariances = factors @ np.swapaxes(factors, 1, 2)
    assert (abs(covariances[:, 0, 1]) > 0.05).any()
    laws = list(map(stats.multivariate_normal, means, covariances))
    parts = [law.logpdf(np.reshape(z, (-1, 3))[:, :2]) for law in laws]
    expected = special.logsumexp(parts, axis=0) - math.log(3)
    np.testing.assert_allclose(log_prob.ravel(), expected, rtol=1e-10)
    errors = drawn.std(axis=0)[:2] / math.sqrt(len(drawn))
    assert (abs(drawn.mean(axis=0)[:2] - means.mean(axis=0)) < 5 * errors).all()
    assert not drawn[:, 2].any()


@jax.jit
def _full_mixture(z: jax.Array, noise: jax.Array, latent_mask: jax.Array) -> tuple:
    """Return components, density and samples of a full mixture, and a diagonal one in two forms."""
    params = VampPrior(3).init(jax.random.key(0), HPARAMS, _start(3))
    full = _prior(VampPrior(3), params, latent_mask, FullGaussian())
    assert isinstance(full, PosteriorMixture)
    components = Gaussian(full.components.mean, full.components.log_var, latent_mask)
    forms = (
        PosteriorMixture(components, latent_mask),
        GaussianMixture(jnp.zeros(3), components, latent_mask),
    )
    pair = tuple(form.log_prob(z) for form in forms)
    drawn = full.sample(jax.random.key(1), noise)
    return full.components.mean, full.components.factor, full.log_prob(z), drawn, pair


@pytest.mark.parametrize("scale", [0.5, 0.02, 0.005])
def test_float32_loses_nothing_near_a_component(scale):
    """The expanded square cancels many deviations from the origin and few from a component."""
    rng = np.random.default_rng(0)
    means, log_vars = (
        3 * rng.normal(size=(50, 20)),
        2 * np.log(scale) + 0.3 * rng.normal(size=(50, 20)),
    )
    means, log_vars = np.float32(means), np.float32(log_vars)
    z = np.float32(means[rng.integers(50, size=100)] + scale * rng.normal(size=(100, 20)))
    exact = stats.norm.logpdf(
        np.float64(z)[:, None], np.float64(means), np.exp(0.5 * np.float64(log_vars))
    ).sum(axis=-1)
    every = _parts(means, log_vars, z)
    np.testing.assert_allclose(every, exact, rtol=2e-6)
    np.testing.assert_allclose(np.max(every, axis=1), exact.max(axis=1), atol=3e-5)


@jax.jit
def _parts(means: jax.Array, log_vars: jax.Array, z: jax.Array) -> jax.Array:
    return component_log_probs(Gaussian(means, log_vars), jnp.ones(z.shape[-1], bool), z)


# ---- class_normal ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_full", [False, True])
def test_the_kl_to_a_class_is_the_mean_log_ratio(is_full, float64):
    rng = np.random.default_rng(0)
    noise = np.pad(rng.normal(size=(20_000, 4, 2)), ((0, 0), (0, 0), (0, 1)))
    mean, log_var = rng.normal(size=(2, 4, 3))
    lower = (rng.normal(size=(4, 3, 3)),) if is_full else ()
    kl, ratios = map(np.asarray, _class_kl((mean, log_var, *lower), noise))
    errors = ratios.std(axis=0) / math.sqrt(len(ratios))
    assert (abs(ratios.mean(axis=0) - kl.sum(axis=-1)) < 5 * errors).all()
    assert not kl[:, 2].any()


@jax.jit
def _class_kl(heads: tuple, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the closed form, and log q(z|x) - log p(z|y) of samples."""
    latent_mask = jnp.arange(3) < 2
    params = _perturbed(ClassPrior().init(jax.random.key(0), HPARAMS, _start(3)))
    prior = _prior(ClassPrior(), params, latent_mask)
    q = (CholeskyGaussian if len(heads) == 3 else Gaussian)(*heads).restrict(latent_mask)
    z, log_q = q.draw(noise)
    return prior.kl(q).per_latent, log_q - prior.log_prob(z)


def test_the_class_prior_refuses_missing_labels():
    params = ClassPrior().init(jax.random.key(0), HPARAMS, _start(2))
    with pytest.raises(ValueError, match=r"y=None.*class_normal.*pass y"):
        ClassPrior()(HPARAMS, params, jnp.ones(2, bool), lambda x: x)
