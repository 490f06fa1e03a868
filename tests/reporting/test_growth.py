"""What a study shows does not grow with the number of its runs beyond what a page can hold."""

import os

import matplotlib
import numpy as np
import pytest

from vae_jax.pipeline import loggers
from vae_jax.reporting import figures, plots, table
from vae_jax.reporting.plots import images as image_plots
from vae_jax.reporting.plots import style


def rows(*shape: int) -> list[dict]:
    """Return rows of a study over beta, and over latent_size where there are two axes."""
    found = []
    for run, (i, j) in enumerate(np.ndindex(*(shape if len(shape) == 2 else (*shape, 1)))):
        terms = {"test_elbo": -90.0 - i - j, "test_kl": 9.0, "test_log_likelihood": -81.0 - i}
        terms |= {"test_nll": 89.0, "active_units": 2, "valid_elbo": -91.0 - i}
        found.append({"run": run, "beta": 1.0 + i, "latent_size": 1 + j, "seed": 0, **terms})
    return found


def test_of_many_cells_some_are_asked_for_and_the_caption_says_which(tmp_path, monkeypatch):
    asked = []

    def images_of(index: int) -> np.ndarray:
        asked.append(index)
        return np.zeros((9, 4, 5, 1), np.float32)

    monkeypatch.setattr(plots, "grid_of_images", lambda *_, **__: None)
    grid = table.run_grid(rows(300), ["beta"])
    shown = figures._thinned(grid, np.zeros((9, 4, 5, 1), np.float32))
    view = plots.View.of(np.zeros((9, 4, 5, 1), np.float32), is_unit=True)
    figure = figures._image_grid(tmp_path, "Samples", images_of, shown, None, view)
    assert (len(asked), asked[0], asked[-1]) == (24, 0, 299)
    assert "Shown are 24 of 300 values of beta, evenly spaced." in figure.caption


def test_large_images_leave_room_for_fewer_cells():
    assert len(image_plots.shown_cells((300, 1), 2**24)[0]) == 8
    assert [len(side) for side in image_plots.shown_cells((50, 60), 2**20)] == [10, 10]


def test_a_grid_of_images_is_bounded_whoever_draws_it(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, path: drawn.append(figure))
    cells = np.zeros((300, 1, 9, 28, 28, 1), np.float32)
    plots.grid_of_images(tmp_path / "g.png", cells, "beta", list(range(300)), "", [""], "Samples")
    width, height = drawn[0].get_size_inches()
    assert width * height < 400


@pytest.mark.parametrize("shape", [(400, 1), (60, 50)])
def test_heat_maps_of_many_values_are_as_large_as_of_some(tmp_path, monkeypatch, shape):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, path: drawn.append(figure))
    plots.heat_maps(tmp_path / "h.png", rows(*shape), ("beta", "latent_size"))
    assert drawn[0].get_size_inches().max() < 80
    texts = drawn[0].findobj(matplotlib.text.Text)
    assert len(texts) < 800


def test_a_thousand_values_are_a_curve_with_few_labels(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, path: drawn.append(figure))
    plots.curves_over_axis(tmp_path / "c.png", rows(1000), "beta")
    assert all(len(panel.get_xticks()) < 20 for panel in drawn[0].axes[:-1])


def test_no_event_file_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with loggers.TensorBoardLogger() as logger:
        logger.start(loggers.StartedStudy(tmp_path, {}, {}, {}))
        logger.log([{"step": 1, "run": run, "train_elbo": -1.0} for run in range(50)])
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(list((tmp_path / "tensorboard").iterdir())) == 50
