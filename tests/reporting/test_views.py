"""Pictures of x of any kind: images unchanged, more channels cut, vectors as bars."""

import numpy as np
import pytest

from vae_jax.reporting.plots.views import View

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (7, 3)])
def test_images_show_their_first_channels(channels, shown):
    images = RNG.uniform(size=(2, 5, 4, 6, channels))
    pictures = View.of(images[0], is_unit=True).pictures(images)
    np.testing.assert_array_equal(pictures, images[..., :shown])


def test_real_images_are_shown_between_their_extremes():
    images = RNG.normal(size=(5, 4, 6, 1))
    view = View.of(images, is_unit=False)
    pictures = view.pictures(images)
    assert (pictures.min(), pictures.max()) == (0, pytest.approx(1))
    assert view.caption.startswith("Black is ")


def test_constant_data_have_a_picture():
    assert np.isfinite(View.of(np.ones((3, 2)), is_unit=False).pictures(np.ones((3, 2)))).all()


def test_bars_are_as_high_as_the_numbers_from_the_line_of_zero():
    vectors = np.array([[-1.0, 0.0, 0.5, 3.0], [1.0, 1.0, 1.0, 1.0]])
    view = View.of(vectors, is_unit=False)
    pictures = view.pictures(vectors)
    is_ink = pictures[..., 0] < 0.5
    height = is_ink.shape[1]
    bars = is_ink[0].sum(axis=0)
    quarters = np.array_split(bars[5:-5], 4)
    assert [bar.max() / height for bar in quarters] == pytest.approx(
        [0.25, 0, 0.125, 0.75], abs=0.02
    )
    assert is_ink[0, -1].any()  # the bar below 0 hangs down from the line
    assert not is_ink[0, -1, 30:].any()


@pytest.mark.parametrize("num_dims", [1, 50, 200, 1000])
def test_vectors_of_any_length_fit_one_size(num_dims):
    vectors = RNG.normal(size=(3, 2, num_dims))
    pictures = View(1, -3.0, 3.0).pictures(vectors)
    assert pictures.shape[:3] == (3, 2, 56)
    assert pictures.shape[3] <= 94


def test_cells_without_a_run_stay_empty():
    vectors = np.full((2, 4), np.nan)
    assert np.isnan(View(1, 0.0, 1.0).pictures(vectors)).all()
