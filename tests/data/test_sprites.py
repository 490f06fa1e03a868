"""The data set sprites: its grid, its pixels, its splits and its names."""

import hashlib
import itertools

import numpy as np
import pytest

from vae_jax.data import load, sprites
from vae_jax.runtime.errors import InputError

SIZES = tuple(sprites.FACTORS.values())


def sprite(shape=0, scale=5, orientation=0, x=16, y=16):
    return sprites.render(np.array([[shape, scale, orientation, x, y]]))[0]


def area(pixels):
    return int((pixels == 255).sum())


# The grid.


def test_the_grid_is_that_of_dsprites():
    assert sprites.NUM_IMAGES == 737_280
    ends = sprites.factors_of(np.array([0, 1, sprites.NUM_IMAGES - 1]))
    assert ends.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [2, 5, 39, 31, 31]]


def test_a_thinned_grid_holds_every_combination_once_the_last_factor_fastest():
    factors = sprites.thinned_grid((3, 2, 4, 2, 1))
    axes = [(0, 1, 2), (0, 3), (0, 10, 20, 30), (0, 16), (0,)]
    assert factors.tolist() == [list(row) for row in itertools.product(*axes)]


def test_the_grid_thinned_by_nothing_is_the_grid():
    assert np.array_equal(sprites.thinned_grid((3, 6, 1, 32, 32))[:, 3:], grid_of_positions(18))


def grid_of_positions(repeats):
    return np.tile(np.stack(np.divmod(np.arange(1024), 32), axis=-1), (repeats, 1))


@pytest.mark.parametrize("sizes", [(4, 6, 40, 32, 32), (3, 6, 40, 32, 0), (3, 6, 40, 32)])
def test_impossible_grids_are_refused(sizes):
    with pytest.raises(ValueError, match=r"values|zip"):
        sprites.thinned_grid(sizes)


# Pixels.


@pytest.mark.parametrize("row", [[3, 0, 0, 0, 0], [0, 0, 0, 0, 32], [0, 0, -1, 0, 0]])
def test_factors_outside_the_grid_are_refused(row):
    with pytest.raises(ValueError, match="outside the grid"):
        sprites.render(np.array([row]))


def test_the_square_is_where_its_factors_say():
    pixels = sprite(shape=0, scale=5, x=3, y=20)
    white = np.zeros((64, 64), np.uint8)
    white[36 - 10 : 36 + 11, 19 - 10 : 19 + 11] = 255  # 2 * 10.9 wide: 21 pixel centres
    np.testing.assert_array_equal(pixels, white)


def test_ellipses_and_hearts_have_the_area_of_their_formula():
    """The sextic heart of unit size covers 3.6617... units (numerical integral, scipy dblquad)."""
    for orientation in (0, 7):
        assert area(sprite(1, orientation=orientation)) == pytest.approx(
            np.pi * 15.4 * 8.2, rel=0.02
        )
        assert area(sprite(2, orientation=orientation)) == pytest.approx(3.6617 * 11.7**2, rel=0.02)


def test_positions_are_one_pixel_apart_and_nothing_is_cut_off():
    for shape in range(3):
        centre = sprite(shape, orientation=13)
        for x, y in ((0, 0), (31, 31), (5, 30)):
            moved = np.roll(centre, (y - 16, x - 16), axis=(0, 1))
            np.testing.assert_array_equal(sprite(shape, orientation=13, x=x, y=y), moved)


def test_quarter_turns_turn_the_pixels():
    for shape in range(3):
        window = sprite(shape, orientation=3)[1:, 1:]  # 63 x 63 around pixel (32, 32)
        turned = sprite(shape, orientation=13)[1:, 1:]
        np.testing.assert_array_equal(turned, np.rot90(window, -1))


@pytest.mark.parametrize(("shape", "distinct"), [(0, 10), (1, 20), (2, 40)])
def test_orientations_differ_up_to_the_symmetry_of_the_shape(shape, distinct):
    for scale in (0, 5):
        factors = np.array([[shape, scale, orientation, 16, 16] for orientation in range(40)])
        assert len(np.unique(sprites.render(factors), axis=0)) == distinct


def test_no_pixel_depends_on_rounding():
    """No pixel's centre lies on an outline, so every machine draws the same images."""
    assert np.abs(sprites._levels()).min() > 1e-8
    centred = [[shape, scale, turn, 16, 16] for shape, scale, turn in np.ndindex(*SIZES[:3])]
    packed = np.packbits(sprites.render(np.array(centred)) == 255)
    assert hashlib.sha256(packed.tobytes()).hexdigest()[:16] == "88587afb0f4031b8"


# The data set.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load("sprites/300", data_dir=str(tmp_path_factory.mktemp("store")))


def test_splits_have_their_sizes_and_are_disjoint(data):
    assert [len(part) for part in (data.train, data.valid, data.test)] == [300, 5_000, 10_000]
    parts = (data.train_factors, data.valid_factors, data.test_factors)
    indices = np.concatenate([np.ravel_multi_index(tuple(part.T), SIZES) for part in parts])
    assert len(np.unique(indices)) == 15_300


def test_images_are_those_of_the_factors_beside_them(data):
    for split in ("train", "valid", "test"):
        images, factors = getattr(data, split), getattr(data, f"{split}_factors")
        np.testing.assert_array_equal(images[:50, ..., 0], sprites.render(factors[:50]))
        np.testing.assert_array_equal(getattr(data, f"{split}_labels"), factors[:, 0])


def test_factors_are_spread_evenly(data):
    """Pearson's statistic of each factor stays below the 1 - 1e-6 quantile of chi-squared."""
    for column, (size, most) in enumerate(zip(SIZES, (28, 36, 97, 85, 85), strict=True)):
        counts = np.bincount(data.test_factors[:, column], minlength=size)
        expected = len(data.test) / size
        assert ((counts - expected) ** 2 / expected).sum() < most


def test_more_training_images_leave_the_other_splits_as_they_are(data):
    more = sprites.read_sprites("sprites/301", "").splits
    np.testing.assert_array_equal(more["test"].factors, data.test_factors)
    np.testing.assert_array_equal(more["valid"].factors, data.valid_factors)
    np.testing.assert_array_equal(more["train"].factors[:300], data.train_factors)


def test_the_default_size_is_the_documented_one():
    assert sprites._num_train("sprites", "") == 50_000
    assert sprites._num_train("sprites/722280", "") == 737_280 - 15_000


@pytest.mark.parametrize("number", ["0", "722281", "", "x", "1e3", "-5"])
def test_impossible_numbers_of_images_are_refused(number):
    with pytest.raises(InputError, match=r"^dataset=sprites/.*give sprites or sprites/N with N"):
        load(f"sprites/{number}")


def test_other_data_sets_have_no_factors():
    assert load("digits").train_factors is None


def test_num_valid_is_refused_where_there_is_a_valid_split():
    with pytest.raises(InputError, match="num_valid=5: has no effect on dataset=sprites/1,"):
        load("sprites/1", num_valid=5)
