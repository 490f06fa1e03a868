"""One table of posteriors, and what every member must satisfy."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import LinearModel
from vae_jax import build, latents
from vae_jax.config import Config
from vae_jax.hparams import HParams
from vae_jax.model import VAE
from vae_jax.networks import MLP
from vae_jax.objectives import Elbo, ImportanceWeighted, Objective, log_weights
from vae_jax.posteriors import (
    POSTERIORS,
    DiagonalGaussian,
    FullGaussian,
    Gaussian,
    InverseAutoregressive,
    Planar,
    Posterior,
    PosteriorFamily,
    Stacked,
)
from vae_jax.priors import StackedPrior, StandardNormal, UnitNormal

MEMBERS: dict[str, type] = {
    "gaussian": DiagonalGaussian,
    "full_gaussian": FullGaussian,
    "iaf": functools.partial(InverseAutoregressive, 2, 5),
    "planar": functools.partial(Planar, 2),
    "stacked": functools.partial(Stacked, DiagonalGaussian(), top_hidden_sizes=(4, 3)),
}
FLOWS = ("iaf", "planar")
ONE_LAYER = [name for name in MEMBERS if name != "stacked"]
HPARAMS = HParams.of()
BATCH = 3

init = jax.jit(VAE.init, static_argnums=0)
weigh = jax.jit(log_weights, static_argnums=0)


@pytest.fixture
def unpadded(monkeypatch):
    """Models as wide as their latents, not 48 columns: the same numbers for less work."""
    monkeypatch.setattr(latents, "padded_width", lambda max_latents: max_latents)


class Widths(NamedTuple):
    """Columns and active coordinates of z; with two layers, of each of them."""

    columns: int
    active: int


class Case(NamedTuple):
    """A member with parameters far from its start."""

    family: Any
    params: Any
    heads: dict[str, jax.Array]
    active: jax.Array

    def __call__(self, params: Any, heads: Any) -> Posterior:
        return self.family(HPARAMS, params, heads, self.active)

    @property
    def q(self) -> Posterior:
        return self(self.params, self.heads)


def _family(name: str, columns: int) -> PosteriorFamily:
    return MEMBERS[name](top_width=columns) if name == "stacked" else MEMBERS[name]()


def _active(name: str, widths: Widths) -> jax.Array:
    mask = latents.active(widths.columns, jnp.int32(widths.active))
    return jnp.concatenate([mask, mask]) if name == "stacked" else mask


def _start(name: str, widths: Widths, seed: int = 0) -> Case:
    """As an encoder of one feature would begin it."""
    family, active = _family(name, widths.columns), _active(name, widths)
    params = family.init(jax.random.key(seed), HPARAMS, active)
    rng = np.random.default_rng(seed)
    heads = {
        head.name: jnp.asarray(
            0.0 * np.zeros((BATCH, *head.shape))
            if head.starts_at_zero
            else rng.normal(size=(BATCH, *head.shape))
        )
        for head in family.heads(widths.columns)
    }
    return Case(family, params, heads, active)


def _case(name: str, widths: Widths, seed: int = 0) -> Case:
    """Moved from the start at random, in everything that is learned."""
    start, rng = _start(name, widths, seed), np.random.default_rng(seed + 1)
    moved = jax.tree.map(lambda a: a + 0.7 * rng.normal(size=a.shape), (start.params, start.heads))
    return start._replace(params=moved[0], heads=moved[1])


def _noise(case: Case, *shape: int, seed: int = 5) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (*shape, len(case.active)))


@functools.partial(jax.jit, static_argnums=0)
def _draw(family: PosteriorFamily, params, heads, active, noise):
    q = family(HPARAMS, params, heads, active)
    z, log_prob = q.draw(noise)
    return z, log_prob, q.path_log_prob(z, noise)


def _drawn(case: Case, noise: jax.Array):
    return _draw(*case, noise)


def test_the_table_is_the_registry():
    families = {type(_family(name, 2)) for name in ONE_LAYER}
    assert families == {family for family in POSTERIORS.values() if family.has_density}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_density_of_a_draw_is_the_density_there(float64, name):
    case = _case(name, Widths(4, 3))
    noise = _noise(case, 2, BATCH)
    z, log_prob, path = _drawn(case, noise)
    np.testing.assert_allclose(path, log_prob, rtol=1e-12)
    np.testing.assert_array_equal(case.q.sample(noise), case.q.draw(noise).z)
    if name in FLOWS:
        with pytest.raises(NotImplementedError, match="own samples"):
            case.q.log_prob(z)
        assert isinstance(case.q.component(), Gaussian)
        return
    np.testing.assert_allclose(case.q.log_prob(z), log_prob, rtol=1e-10)
    np.testing.assert_allclose(case.q.component().log_prob(z), log_prob, rtol=1e-10)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_density_is_that_of_the_noise_over_autodiffs_jacobian(float64, name):
    case = _case(name, Widths(4, 3))
    noise = _noise(case, BATCH)

    def one(heads, noise):
        alone = jax.tree.map(lambda a: a[None], heads)
        return case(case.params, alone).sample(noise[None])[0]

    jacobians = jax.jit(jax.vmap(jax.jacfwd(one, argnums=1)))(case.heads, noise)
    sign, log_det = jnp.linalg.slogdet(jacobians)
    assert (sign == 1).all()
    expected = UnitNormal(case.active).log_prob(noise) - log_det
    np.testing.assert_allclose(case.q.draw(noise).log_prob, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["full_gaussian", *FLOWS])
def test_at_its_start_it_is_mean_field(float64, name):
    case = _start(name, Widths(4, 3))
    noise = _noise(case, 2, BATCH)
    field = Gaussian(case.heads["mean"], case.heads["log_var"]).restrict(case.active)
    z, log_prob, path = _drawn(case, noise)
    np.testing.assert_allclose(z, field.sample(noise), rtol=1e-14)
    np.testing.assert_allclose(log_prob, field.draw(noise).log_prob, rtol=1e-12)
    np.testing.assert_allclose(path, log_prob, rtol=1e-12)
    np.testing.assert_allclose(case.q.center, field.mean, rtol=1e-14)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_moved_by_all_that_it_learns(float64, name):
    """Else the tests of flows would be tests of the Gaussian."""
    case = _case(name, Widths(4, 3))
    noise = _noise(case, BATCH)

    def total(learned):
        z, log_prob = case(*learned).draw(noise)
        return jnp.sum(jnp.sin(latents.keep(case.active, z))) + jnp.sum(log_prob)

    slopes = jax.grad(total)((case.params, case.heads))
    assert all(jnp.abs(slope).max() > 1e-4 for slope in jax.tree.leaves(slopes))


def test_every_coordinate_of_the_flow_reads_those_before_it_in_both_orders(float64):
    case = _case("iaf", Widths(5, 4))
    noise = _noise(case, BATCH)
    for num_flows, is_lower in ((1, True), (2, None)):
        params = jax.tree.map(lambda a, num=num_flows: a[:num], case.params)
        family = InverseAutoregressive(num_flows, 5)
        q = family(HPARAMS, params, case.heads, case.active)
        jacobian = jnp.sum(jnp.abs(jax.jacfwd(lambda e, q=q: q.sample(e))(noise)), axis=(0, 2))
        block = jacobian[:4, :4] if jacobian.ndim == 2 else jacobian.sum(axis=1)[:4, :4]
        reached = np.tril(np.ones((4, 4))) if is_lower else np.ones((4, 4))
        np.testing.assert_array_equal(block > 0, reached > 0)


def test_a_planar_flow_stays_invertible(float64):
    """However hard u pushes against w."""
    case = _case("planar", Widths(3, 3))
    w = case.heads["planar_w"]
    for strength in (-100.0, -1.0, 0.0, 100.0):
        heads = case.heads | {"planar_u": strength * w}
        noise = _noise(case, 200, BATCH)
        _, log_prob, path = _drawn(case._replace(heads=heads), noise)
        assert jnp.isfinite(log_prob).all()
        assert jnp.isfinite(path).all()
    without_direction = case.heads | {"planar_w": 0 * w}

    def total(heads):
        return jnp.sum(case(case.params, heads).draw(noise[0]).log_prob)

    slopes = jax.grad(total)(without_direction)
    assert all(jnp.isfinite(slope).all() for slope in slopes.values())


def _inverse(case: Case, z: jax.Array) -> jax.Array:
    """The noise of which z is the sample, of the first example, by Newton's method."""
    q = case(case.params, jax.tree.map(lambda a: a[:1], case.heads))

    def one(noise):
        return q.sample(noise[None])[0]

    def newton(noise, z):
        return noise - jnp.linalg.solve(jax.jacfwd(one)(noise), one(noise) - z)

    @jax.jit
    @jax.vmap
    def solve(z):
        start = (z - q.base.mean[0]) * jnp.exp(-0.5 * q.base.log_var[0])
        return jax.lax.fori_loop(0, 40, lambda _, noise: newton(noise, z), start)

    noise = solve(z)
    np.testing.assert_allclose(jax.vmap(one)(noise), z, atol=1e-9)
    return noise


def _grid(case: Case, half: float = 18.0, num: int = 241) -> tuple[jax.Array, float]:
    """Points over the two active coordinates, zero elsewhere, and the area of a cell."""
    side = np.linspace(-half, half, num)
    plane = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    z = np.zeros((len(plane), len(case.active)))
    z[:, np.flatnonzero(case.active)] = plane
    return jnp.asarray(z), (side[1] - side[0]) ** 2


@pytest.mark.parametrize("name", MEMBERS)
def test_it_integrates_to_one_and_its_kl_is_the_mean_log_ratio(float64, name):
    """On a grid over z, which is inverted where the density at z is known in no other way."""
    case = _case(name, Widths(2, 1) if name == "stacked" else Widths(3, 2), seed=3)
    heads = jax.tree.map(lambda a: 0.5 * a[:1], case.heads)
    params = jax.tree.map(lambda a: 0.4 * a, case.params)
    case = case._replace(params=params, heads=heads | {"log_var": heads["log_var"] - 1.0})
    z, cell = _grid(case)
    noise = _inverse(case, z) if name in FLOWS else z
    log_q = case.q.draw(noise[:, None]).log_prob if name in FLOWS else case.q.log_prob(z[:, None])
    density, prior = np.exp(log_q[:, 0]), UnitNormal(case.active)
    assert density.sum() * cell == pytest.approx(1.0, abs=1e-4)
    kl = float((density * (log_q[:, 0] - prior.log_prob(z))).sum() * cell)

    drawn, log_prob, _ = _drawn(case, _noise(case, 20_000, 1))
    ratios = np.asarray(log_prob - prior.log_prob(drawn))
    assert abs(ratios.mean() - kl) < 5 * ratios.std() / math.sqrt(len(ratios))
    per_latent = prior.kl(case.q)
    assert (per_latent is None) == (name in (*FLOWS, "stacked"))
    if per_latent is not None:
        assert float(per_latent.sum()) == pytest.approx(kl, abs=1e-6)
        assert (per_latent >= 0).all()


def test_the_kl_of_a_full_gaussian_is_the_formula_of_matrices(float64):
    q = _case("full_gaussian", Widths(4, 4)).q
    covariance = q.factor @ jnp.swapaxes(q.factor, -1, -2)
    _, log_det = jnp.linalg.slogdet(covariance)
    trace = jnp.trace(covariance, axis1=-2, axis2=-1)
    expected = 0.5 * (trace + jnp.sum(q.mean**2, axis=-1) - 4 - log_det)
    np.testing.assert_allclose(UnitNormal().kl(q).sum(axis=-1), expected, rtol=1e-12)


def test_a_full_gaussian_weighs_one_z_for_many_examples(float64):
    """As the VampPrior asks its components."""
    q, z = _case("full_gaussian", Widths(3, 2)).q, jnp.asarray([[[0.3, -0.2, 9.0]]])
    each = [q.log_prob(jnp.broadcast_to(z[0], q.mean.shape))[k] for k in range(BATCH)]
    np.testing.assert_allclose(q.log_prob(z)[0], each, rtol=1e-12)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_path_derivative_is_the_slope_by_z_and_by_nothing_else(float64, name):
    widths = Widths(2, 1) if name == "stacked" else Widths(3, 2)
    case = _case(name, widths, seed=3)
    case = case._replace(heads=jax.tree.map(lambda a: a[:1], case.heads))
    noise = _noise(case, 4, 1)
    z = case.q.sample(noise)

    def path(z, params, heads):
        return jnp.sum(case(params, heads).path_log_prob(z, noise))

    slopes, *others = jax.jit(jax.grad(path, argnums=(0, 1, 2)))(z, case.params, case.heads)
    assert not any(jnp.any(other) for other in jax.tree.leaves(others))
    size, where = 1e-5, np.flatnonzero(case.active)
    shifts = size * jnp.eye(len(case.active))[where]
    moved = jnp.concatenate([z[:, 0] + sign * shift[None] for shift in shifts for sign in (1, -1)])
    if name in FLOWS:
        log_q = case.q.draw(_inverse(case, moved)[:, None]).log_prob[:, 0]
    else:
        log_q = case.q.log_prob(moved[:, None])[:, 0]
    forward, backward = jnp.moveaxis(log_q.reshape(len(where), 2, 4), 1, 0)
    expected = (forward - backward).T / (2 * size)
    np.testing.assert_allclose(slopes[:, 0, where], expected, rtol=1e-5, atol=1e-6)
    inactive = slopes[:, 0, np.flatnonzero(~case.active)]
    np.testing.assert_array_equal(inactive, 0)


def _runaway(narrow: jax.Array, wide: jax.Array, value: float) -> jax.Array:
    """The narrow array as a corner of the wide one, full of a value that would ruin anything."""
    corner = tuple(slice(size) for size in narrow.shape)
    return jnp.full_like(wide, value).at[corner].set(narrow)


@pytest.mark.parametrize("name", MEMBERS)
def test_inactive_latents_change_nothing(float64, name):
    """Neither draws nor densities nor gradients, whatever their heads and weights say."""
    slim, wide = _case(name, Widths(3, 3)), _case(name, Widths(6, 3))
    heads = {
        head: _runaway(value, wide.heads[head], 1e4 if head == "log_var" else 1e30)
        for head, value in slim.heads.items()
    }
    params = jax.tree.map(lambda a, b: _runaway(a, b, 1e4), slim.params, wide.params)
    wide = wide._replace(params=params, heads=heads)
    noise = _noise(slim, 2, BATCH)
    wide_noise = jnp.full((2, BATCH, len(wide.active)), 7.0)
    columns = np.flatnonzero(wide.active)
    wide_noise = wide_noise.at[..., columns].set(noise)

    def total(case, noise, used, params, heads):
        q = case(params, heads)
        z, log_prob = q.draw(noise)
        z = z[..., used]
        return jnp.sum(jnp.sin(z)) + jnp.sum(log_prob), (
            z,
            log_prob,
            q.path_log_prob(q.sample(noise), noise),
        )

    results = [
        jax.jit(jax.value_and_grad(functools.partial(total, case, e, used), (0, 1), has_aux=True))(
            case.params, case.heads
        )
        for case, e, used in ((slim, noise, slice(None)), (wide, wide_noise, columns))
    ]
    for alone, masked in zip(*(jax.tree.leaves(value) for value, _ in results), strict=True):
        np.testing.assert_allclose(masked, alone, rtol=1e-10)
    for alone, masked in zip(*(jax.tree.leaves(slopes) for _, slopes in results), strict=True):
        np.testing.assert_allclose(masked, _runaway(alone, masked, 0.0), rtol=1e-9, atol=1e-10)


LINEAR = LinearModel.random(num_pixels=6, num_latents=3, variance=0.25)
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(2, 1, 6, 1)))
STL = Elbo(kl="monte_carlo", estimator="stl")
DREG = ImportanceWeighted(3, estimator="dreg")


def _linear(name: str) -> tuple[VAE, HParams, Any]:
    """The exact model with the member in the place of its posterior, at the member's start."""
    model = dataclasses.replace(LINEAR.vae, posterior=_family(name, 0))
    hparams, params = LINEAR.hparams, LINEAR.params
    random = init(model, hparams, jnp.zeros((1, 6, 1)))
    encoder = random["encoder"] | params["encoder"]
    own = {"posterior": random["posterior"]} if "posterior" in random else {}
    return model, hparams, params | {"encoder": encoder} | own


@functools.partial(jax.jit, static_argnums=(0, 1))
def _slopes(model: VAE, objective: Objective, hparams: HParams, params: Any, noise: jax.Array):
    """Gradients by the posterior's parameters, one for each ``[replicates, ...]`` of noise."""

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
    """Roeder et al. 2017: for every sample, and for DReG as well."""
    model, hparams, params = _linear(name)
    noise = model.noise(jax.random.key(0), 2, objective.num_draws, 2)
    slopes = _slopes(model, objective, hparams, params, noise)
    assert max(jnp.abs(slope).max() for slope in jax.tree.leaves(slopes)) < 1e-11


@pytest.mark.parametrize("num_particles", [1, 4])
def test_the_plain_estimator_has_fishers_variance(float64, unpadded, num_particles):
    """1/s^2 by a mean and 2 by a log-standard-deviation, divided by K."""
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
    """The same with a posterior that is not exact."""
    model, hparams, params = _linear(name)
    rng = np.random.default_rng(2)
    shaken = {
        part: jax.tree.map(lambda a: a + 0.15 * rng.normal(size=a.shape), params[part])
        for part in ("encoder", "posterior")
        if part in params
    }
    return model, hparams, params | shaken


def _deviations(slopes: Any, others: Any) -> np.ndarray:
    """Mean difference of two estimates of each parameter's gradient, in standard errors."""
    pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(others), strict=True)
    differences = np.concatenate([np.asarray(a - b).reshape(len(a), -1) for a, b in pairs], axis=1)
    spread = differences.std(axis=0)
    differences = differences[:, spread > 1e-9]
    return abs(differences.mean(axis=0)) / differences.std(axis=0) * math.sqrt(len(differences))


@pytest.mark.parametrize("name", ["gaussian", *FLOWS])
def test_dreg_has_the_expectation_of_the_plain_estimator(float64, unpadded, name):
    """Tucker et al. 2019, eq. 8; for flows this asks for the right score."""
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
    """Log p(x) by quadrature over z1 and z2, against the mean of importance weights."""
    model, hparams = _two_layers(), HParams.of(latent_size=1, top_latent_size=1)
    params = init(model, hparams, jnp.full((1, 6, 1), 0.4))
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, size=(2, 1, 6, 1)), float)
    side = np.linspace(-9, 9, 161)
    plane = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    z = jnp.asarray(plane)
    log_prior = model.prior_at(hparams, params).log_prob(z)
    cell = (side[1] - side[0]) ** 2
    assert float(jnp.exp(log_prior).sum() * cell) == pytest.approx(1.0, abs=1e-6)
    seen = model.decode(hparams, params, z[:, None])
    log_joint = seen.log_prob(jnp.broadcast_to(x, (len(z), *x.shape)))
    log_joint += jnp.broadcast_to(log_prior[:, None], log_joint.shape)
    evidence = jax.nn.logsumexp(log_joint, axis=0) + math.log(cell)

    noise = model.noise(jax.random.key(0), 20_000, 2)
    log_w = weigh(model, hparams, params, x, noise)
    weights = np.exp(np.asarray(log_w) - np.asarray(evidence))
    assert (abs(weights.mean(axis=0) - 1) < 5 * weights.std(axis=0) / math.sqrt(20_000)).all()
    assert (weights.std(axis=0) > 0.01).all()


def _exact_two_layers() -> tuple[VAE, HParams, Any, float]:
    """z2 ~ N(0, 1), z1 ~ N(a z2, v), x ~ N(w z1, s^2) with linear maps, and its exact posterior."""
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
    """Every weight is the evidence, and the path derivative is zero."""
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
    """Log-weights of models 3 and 6 columns wide, each with three active latents a layer."""
    hparams = HParams.of(latent_size=3, top_latent_size=3, seed=4)

    @functools.partial(jax.jit, static_argnums=0)
    def weigh_start(model, hparams):
        params = model.init(hparams, jnp.full((1, 6, 1), 0.4))
        noise = model.noise(jax.random.key(0), 2, 2)
        return log_weights(model, hparams, params, jnp.abs(IMAGES) % 1, noise)

    values = []
    for columns in (3, 6):
        prior = StackedPrior(top_width=columns) if name == "stacked" else StandardNormal()
        model = VAE((1, 6, 1), columns, MLP((4,)), _family(name, columns), prior)
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
