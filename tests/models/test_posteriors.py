"""Table of posteriors, and the properties that every member must have."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.hparams import HParams
from vae_jax.models import latents
from vae_jax.models.combinations import has_closed_form_kl
from vae_jax.models.posteriors import (
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
from vae_jax.models.priors import StandardNormal, UnitNormal

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


class Widths(NamedTuple):
    """Columns and used coordinates of z; with two layers, those of each layer."""

    columns: int
    num_used: int


class Case(NamedTuple):
    """Posterior with parameters far from its start."""

    family: Any
    params: Any
    heads: dict[str, jax.Array]
    latent_mask: jax.Array

    def __call__(self, params: Any, heads: Any) -> Posterior:
        return self.family(HPARAMS, params, heads, self.latent_mask)

    @property
    def q(self) -> Posterior:
        return self(self.params, self.heads)


def family_of(name: str, columns: int) -> PosteriorFamily:
    return MEMBERS[name](top_width=columns) if name == "stacked" else MEMBERS[name]()


def _latent_mask(name: str, widths: Widths) -> jax.Array:
    mask = latents.prefix_mask(widths.columns, jnp.int32(widths.num_used))
    return jnp.concatenate([mask, mask]) if name == "stacked" else mask


def _start(name: str, widths: Widths, seed: int = 0) -> Case:
    """Return a member with initial parameters and random values of its heads."""
    family, latent_mask = family_of(name, widths.columns), _latent_mask(name, widths)
    params = family.init(jax.random.key(seed), HPARAMS, latent_mask)
    rng = np.random.default_rng(seed)
    heads = {
        head.name: jnp.asarray(
            0.0 * np.zeros((BATCH, *head.shape))
            if head.starts_at_zero
            else rng.normal(size=(BATCH, *head.shape))
        )
        for head in family.heads(widths.columns)
    }
    return Case(family, params, heads, latent_mask)


def _case(name: str, widths: Widths, seed: int = 0) -> Case:
    """Return a member whose parameters and heads are moved at random from the start."""
    start, rng = _start(name, widths, seed), np.random.default_rng(seed + 1)
    moved = jax.tree.map(lambda a: a + 0.7 * rng.normal(size=a.shape), (start.params, start.heads))
    return start._replace(params=moved[0], heads=moved[1])


def _noise(case: Case, *shape: int, seed: int = 5) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (*shape, len(case.latent_mask)))


@functools.partial(jax.jit, static_argnums=0)
def _draw(family: PosteriorFamily, params, heads, latent_mask, noise):
    q = family(HPARAMS, params, heads, latent_mask)
    z, log_prob = q.draw(noise)
    return z, log_prob, q.path_log_prob(z, noise)


def _drawn(case: Case, noise: jax.Array):
    return _draw(*case, noise)


def test_the_table_is_the_registry_of_densities_over_the_reals():
    """Those of other supports have files of their own: test_sphere.py and test_grid.py."""
    families = {type(family_of(name, 2)) for name in ONE_LAYER}
    over_reals = {family for family in POSTERIORS.values() if family.support == "reals"}
    assert families == {family for family in over_reals if family.has_density}


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
    expected = UnitNormal(case.latent_mask).log_prob(noise) - log_det
    np.testing.assert_allclose(case.q.draw(noise).log_prob, expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["full_gaussian", *FLOWS])
def test_at_its_start_it_is_mean_field(float64, name):
    case = _start(name, Widths(4, 3))
    noise = _noise(case, 2, BATCH)
    field = Gaussian(case.heads["mean"], case.heads["log_var"]).restrict(case.latent_mask)
    z, log_prob, path = _drawn(case, noise)
    np.testing.assert_allclose(z, field.sample(noise), rtol=1e-14)
    np.testing.assert_allclose(log_prob, field.draw(noise).log_prob, rtol=1e-12)
    np.testing.assert_allclose(path, log_prob, rtol=1e-12)
    np.testing.assert_allclose(case.q.center, field.mean, rtol=1e-14)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_moved_by_all_that_it_learns(float64, name):
    """Flows that did nothing would pass the other tests as Gaussians."""
    case = _case(name, Widths(4, 3))
    noise = _noise(case, BATCH)

    def total(learned):
        z, log_prob = case(*learned).draw(noise)
        return jnp.sum(jnp.sin(latents.apply_mask(case.latent_mask, z))) + jnp.sum(log_prob)

    slopes = jax.grad(total)((case.params, case.heads))
    assert all(jnp.abs(slope).max() > 1e-4 for slope in jax.tree.leaves(slopes))


def test_every_coordinate_of_the_flow_reads_those_before_it_in_both_orders(float64):
    case = _case("iaf", Widths(5, 4))
    noise = _noise(case, BATCH)
    for num_flows, is_lower in ((1, True), (2, None)):
        params = jax.tree.map(lambda a, num=num_flows: a[:num], case.params)
        family = InverseAutoregressive(num_flows, 5)
        q = family(HPARAMS, params, case.heads, case.latent_mask)
        jacobian = jnp.sum(jnp.abs(jax.jacfwd(lambda e, q=q: q.sample(e))(noise)), axis=(0, 2))
        block = jacobian[:4, :4] if jacobian.ndim == 2 else jacobian.sum(axis=1)[:4, :4]
        reached = np.tril(np.ones((4, 4))) if is_lower else np.ones((4, 4))
        np.testing.assert_array_equal(block > 0, reached > 0)


def test_a_planar_flow_stays_invertible(float64):
    """The vector u is taken large and opposite to w."""
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
    """Return the noise of which z is the sample, for the first example, by Newton's method."""
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
    """Return points over the two used coordinates, zero elsewhere, and the area of a cell."""
    side = np.linspace(-half, half, num)
    plane = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    z = np.zeros((len(plane), len(case.latent_mask)))
    z[:, np.flatnonzero(case.latent_mask)] = plane
    return jnp.asarray(z), (side[1] - side[0]) ** 2


@pytest.mark.parametrize("name", MEMBERS)
def test_it_integrates_to_one_and_its_kl_is_the_mean_log_ratio(float64, name):
    """Integrals are sums over a grid of z, which is inverted for the density of a flow."""
    case = _case(name, Widths(2, 1) if name == "stacked" else Widths(3, 2), seed=3)
    heads = jax.tree.map(lambda a: 0.5 * a[:1], case.heads)
    params = jax.tree.map(lambda a: 0.4 * a, case.params)
    case = case._replace(params=params, heads=heads | {"log_var": heads["log_var"] - 1.0})
    z, cell = _grid(case)
    noise = _inverse(case, z) if name in FLOWS else z
    log_q = case.q.draw(noise[:, None]).log_prob if name in FLOWS else case.q.log_prob(z[:, None])
    density, prior = np.exp(log_q[:, 0]), UnitNormal(case.latent_mask)
    assert density.sum() * cell == pytest.approx(1.0, abs=1e-4)
    kl = float((density * (log_q[:, 0] - prior.log_prob(z))).sum() * cell)

    drawn, log_prob, _ = _drawn(case, _noise(case, 20_000, 1))
    ratios = np.asarray(log_prob - prior.log_prob(drawn))
    assert abs(ratios.mean() - kl) < 5 * ratios.std() / math.sqrt(len(ratios))
    closed = prior.kl(case.q)
    assert (closed is not None) == has_closed_form_kl(case.family, StandardNormal())
    assert (closed is None) == (name in (*FLOWS, "stacked"))
    if closed is not None:
        assert float(closed.total.sum()) == pytest.approx(kl, abs=1e-6)
        assert (closed.per_latent >= 0).all()
        np.testing.assert_array_equal(closed.total, closed.per_latent.sum(axis=-1))


def test_the_kl_of_a_full_gaussian_is_the_formula_of_matrices(float64):
    q = _case("full_gaussian", Widths(4, 4)).q
    covariance = q.factor @ jnp.swapaxes(q.factor, -1, -2)
    _, log_det = jnp.linalg.slogdet(covariance)
    trace = jnp.trace(covariance, axis1=-2, axis2=-1)
    expected = 0.5 * (trace + jnp.sum(q.mean**2, axis=-1) - 4 - log_det)
    np.testing.assert_allclose(UnitNormal().kl(q).total, expected, rtol=1e-12)


def test_a_full_gaussian_weighs_one_z_for_many_examples(float64):
    """The VampPrior evaluates its components in this way."""
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
    size, where = 1e-5, np.flatnonzero(case.latent_mask)
    shifts = size * jnp.eye(len(case.latent_mask))[where]
    moved = jnp.concatenate([z[:, 0] + sign * shift[None] for shift in shifts for sign in (1, -1)])
    if name in FLOWS:
        log_q = case.q.draw(_inverse(case, moved)[:, None]).log_prob[:, 0]
    else:
        log_q = case.q.log_prob(moved[:, None])[:, 0]
    forward, backward = jnp.moveaxis(log_q.reshape(len(where), 2, 4), 1, 0)
    expected = (forward - backward).T / (2 * size)
    np.testing.assert_allclose(slopes[:, 0, where], expected, rtol=1e-5, atol=1e-6)
    masked_out = slopes[:, 0, np.flatnonzero(~case.latent_mask)]
    np.testing.assert_array_equal(masked_out, 0)


def _runaway(narrow: jax.Array, wide: jax.Array, value: float) -> jax.Array:
    """Return the narrow array as a corner of the wide one, which is filled with a huge value."""
    corner = tuple(slice(size) for size in narrow.shape)
    return jnp.full_like(wide, value).at[corner].set(narrow)


@pytest.mark.parametrize("name", MEMBERS)
def test_latents_that_are_masked_out_change_nothing(float64, name):
    """Draws, densities and gradients do not depend on heads and weights that are masked out."""
    slim, wide = _case(name, Widths(3, 3)), _case(name, Widths(6, 3))
    heads = {
        head: _runaway(value, wide.heads[head], 1e4 if head == "log_var" else 1e30)
        for head, value in slim.heads.items()
    }
    params = jax.tree.map(lambda a, b: _runaway(a, b, 1e4), slim.params, wide.params)
    wide = wide._replace(params=params, heads=heads)
    noise = _noise(slim, 2, BATCH)
    wide_noise = jnp.full((2, BATCH, len(wide.latent_mask)), 7.0)
    columns = np.flatnonzero(wide.latent_mask)
    wide_noise = wide_noise.at[..., columns].set(noise)

    def total(case, noise, used, params, heads):
        q = case(params, heads)
        z, log_prob = q.draw(noise)
        z, path = z[..., used], q.path_log_prob(z, noise)
        closed = UnitNormal().kl(q)
        kl = jnp.zeros(()) if closed is None else jnp.sum(closed.total)
        return jnp.sum(jnp.sin(z)) + jnp.sum(log_prob) + kl, (z, log_prob, path, kl)

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
