"""Paths in the latent space: ends, equal steps, and what great circles keep."""

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.models import paths

START, END = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("walk", [paths.straight, paths.spherical])
def test_a_path_begins_and_ends_at_its_codes(walk):
    path = walk(jnp.asarray(START), jnp.asarray(END), 5)
    assert path.shape == (4, 5, 6)
    np.testing.assert_allclose(path[:, 0], START, atol=1e-6)
    np.testing.assert_allclose(path[:, -1], END, atol=1e-6)


def test_a_great_circle_turns_by_equal_angles_and_its_length_changes_evenly():
    path = np.asarray(paths.spherical(jnp.asarray(START), jnp.asarray(END), 9), np.float64)
    lengths = np.linalg.norm(path, axis=-1)
    np.testing.assert_allclose(np.diff(lengths, n=2, axis=-1), 0.0, atol=1e-5)
    unit = path / lengths[..., None]
    angles = np.arccos(np.sum(unit[:, 1:] * unit[:, :-1], axis=-1))
    np.testing.assert_allclose(angles, angles[:, :1].repeat(8, axis=1), atol=1e-4)


def test_a_straight_line_passes_nearer_to_the_origin_than_the_circle():
    middle = [np.linalg.norm(walk(START, END, 3)[:, 1], axis=-1) for walk in (_straight, _circle)]
    assert (middle[0] < middle[1]).all()


def _straight(start, end, num):
    return paths.straight(jnp.asarray(start), jnp.asarray(end), num)


def _circle(start, end, num):
    return paths.spherical(jnp.asarray(start), jnp.asarray(end), num)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_ends_that_determine_no_circle_are_joined_by_a_line(factor):
    path = _circle(START, factor * START, 3)
    np.testing.assert_allclose(path, _straight(START, factor * START, 3), atol=1e-5)
