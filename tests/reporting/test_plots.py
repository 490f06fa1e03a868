"""Every figure is a small PNG of the right picture; pixels are checked on the canvas itself."""

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from vae_jax.reporting import plots
from vae_jax.reporting.plots import mosaic, style
from vae_jax.reporting.plots.training import robust_limits

RNG = np.random.default_rng(0)


def images(*shape):
    return RNG.random(shape).astype(np.float32)


def rows(num_steps=20, run=0, **terms):
    return [
        {"step": step, "run": run, "train_elbo": -100.0, "train_kl": 20.0, **terms}
        for step in range(num_steps)
    ]


KL = np.array([2.0, 0.001, 3.0])
ACTIVE = np.array([True, False, True])
FIGURES = {
    "training_curves": lambda path, c: plots.training_curves(path, rows(valid_elbo=-101.0)),
    "reconstructions": lambda path, c: plots.reconstructions(
        path, images(12, 7, 5, c), images(12, 7, 5, c)
    ),
    "samples": lambda path, c: plots.samples(path, images(7, 5, 7, c)),
    "manifold": lambda path, c: plots.manifold(
        path, images(15, 15, 8, 8, c), np.linspace(-3, 3, 15)
    ),
    "traversals": lambda path, c: plots.traversals(
        path, images(2, 5, 8, 8, c), np.array([2, 0]), np.linspace(-2, 2, 5), KL
    ),
    "interpolations": lambda path, c: plots.interpolations(path, images(3, 6, 8, 8, c)),
    "interpolations_with_ends": lambda path, c: plots.interpolations(
        path, images(3, 6, 8, 8, c), images(3, 2, 8, 8, c)
    ),
    "kl_per_latent": lambda path, c: plots.kl_per_latent(path, KL, ACTIVE),
    "embedding": lambda path, c: plots.embedding(path, RNG.random((9, 2)), np.arange(9) % 3, "x"),
    "embedding_of_many_labels": lambda path, c: plots.embedding(
        path, RNG.random((90, 2)), np.arange(90) % 30, "x"
    ),
    "bounds": lambda path, c: plots.bounds(
        path, {"one": [plots.Bound("a", 0.0), plots.Bound("b", -1.0, 0.3)]}
    ),
    "samples_by_class": lambda path, c: plots.samples_by_class(
        path, images(2, 5, 8, 8, c), ["class 0", "class 1"]
    ),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_small_png(tmp_path, name, channels):
    path = tmp_path / "figures" / "x.png"
    FIGURES[name](path, channels)
    assert path.stat().st_size < 400_000
    assert min(matplotlib.image.imread(path).shape[:2]) > 100


def test_the_same_figure_has_the_same_bytes_and_leaves_no_settings(tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("a", "b"):
        plots.kl_per_latent(tmp_path / name, KL, ACTIVE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_a_figure_too_large_gets_a_coarser_resolution(tmp_path, monkeypatch):
    noise = images(16, 16, 16, 3)
    plots.samples(tmp_path / "fine.png", noise)
    monkeypatch.setattr(style, "MAX_BYTES", (tmp_path / "fine.png").stat().st_size - 1)
    plots.samples(tmp_path / "coarse.png", noise)
    fine = matplotlib.image.imread(tmp_path / "fine.png")
    coarse = matplotlib.image.imread(tmp_path / "coarse.png")
    assert coarse.shape[0] < fine.shape[0]


@pytest.fixture
def drawn(monkeypatch):
    """The axes of each figure that is saved."""
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, path: saved.append(figure.axes))
    return saved


def labels(axes, which):
    return [label.get_text() for label in getattr(axes, f"get_{which}ticklabels")()]


def test_reconstructions_stand_under_their_images(tmp_path, drawn):
    test, decoded = np.zeros((12, 4, 4, 1)), np.ones((12, 4, 4, 1))
    plots.reconstructions(tmp_path / "x.png", test, decoded)
    ((axes,),) = drawn
    assert labels(axes, "y") == ["test image", "reconstruction"] * 2
    picture = axes.get_images()[0].get_array()
    row_colors = [picture[int(y), int(axes.get_xticks()[0]), 0] for y in axes.get_yticks()]
    assert row_colors == [0, 255, 0, 255]


def test_images_are_copied_pixel_by_pixel_and_gray_stays_gray():
    grid = images(2, 3, 4, 5, 1)
    tops, lefts = np.array([0, 10]), np.array([0, 12, 24])
    canvas = mosaic._canvas(grid, 2, tops, lefts)
    assert canvas.shape == (18, 34, 3)
    np.testing.assert_array_equal(
        canvas[10:18:2, 12:22:2], np.broadcast_to(np.round(255 * grid[1, 1]), (4, 5, 3))
    )
    assert np.all(canvas[8:10] == 255)


def test_a_run_that_diverged_still_gets_a_picture():
    canvas = mosaic._canvas(np.full((1, 1, 2, 2, 3), np.nan), 1, np.array([0]), np.array([0]))
    assert np.all(canvas == 255)


def test_manifold_has_z1_to_the_right_and_z2_upwards(tmp_path, drawn):
    grid = np.zeros((3, 3, 4, 4, 1))
    grid[0, 2] = 1.0  # z1 largest, z2 smallest: lower right
    plots.manifold(tmp_path / "x.png", grid, np.array([-1.5, 0.0, 1.5]))
    ((axes,),) = drawn
    picture = axes.get_images()[0].get_array()
    assert picture[-1, -1, 0] == 255
    assert picture[0, 0, 0] == picture[-1, 0, 0] == picture[0, -1, 0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z1", "z2")
    assert labels(axes, "x") == ["\N{MINUS SIGN}1.5", "0", "1.5"]
    assert labels(axes, "y") == ["1.5", "0", "\N{MINUS SIGN}1.5"]


def test_traversals_name_latents_from_one_and_their_kl(tmp_path, drawn):
    values = np.array([-2.25, -0.001, 2.0])
    plots.traversals(tmp_path / "x.png", images(2, 3, 4, 4, 1), np.array([2, 0]), values, KL)
    ((axes,),) = drawn
    assert labels(axes, "y") == ["z3, KL 3.00 nats", "z1, KL 2.00 nats"]
    assert labels(axes, "x") == ["\N{MINUS SIGN}2.25", "0", "2"]
    plots.traversals(tmp_path / "x.png", images(1, 3, 4, 4, 1), np.array([1]), values)
    assert labels(drawn[1][0], "y") == ["z2"]


def test_interpolations_mark_their_ends(tmp_path, drawn):
    plots.interpolations(tmp_path / "x.png", images(2, 4, 4, 4, 1), images(2, 2, 4, 4, 1))
    ((axes,),) = drawn
    assert labels(axes, "x")[:2] == ["test\nimage", "recon-\nstruction"]
    assert labels(axes, "x")[-2:] == ["recon-\nstruction", "test\nimage"]
    assert labels(axes, "x")[2:-2] == ["", ""]


def test_kl_per_latent_is_sorted_and_counts(tmp_path, drawn):
    plots.kl_per_latent(tmp_path / "x.png", KL, ACTIVE)
    ((axes,),) = drawn
    assert [bar.get_height() for bar in axes.patches] == [3.0, 2.0, 0.001]
    assert labels(axes, "x") == ["z3", "z1", "z2"]
    assert axes.get_title(loc="left") == "KL per latent: 2 of 3 active"
    inactive, active = axes.patches[2].get_facecolor(), axes.patches[0].get_facecolor()
    assert inactive != active == axes.patches[1].get_facecolor()


def test_training_curves_draw_one_run_and_leave_out_what_is_missing(tmp_path, drawn):
    metrics = rows(3, run=0, train_elbo=-5.0) + rows(3, run=1, valid_elbo=-7.0)
    metrics[4] |= {"train_elbo": None}
    plots.training_curves(tmp_path / "x.png", metrics, run=1)
    (panels,) = drawn
    assert [axes.get_title(loc="left") for axes in panels] == [
        "ELBO (nats per example)",
        "Log-likelihood (nats per example)",
        "KL (rate) (nats per example)",
    ]
    train, valid = panels[0].get_lines()
    assert (train.get_xdata().tolist(), train.get_ydata().tolist()) == ([0, 2], [-100.0, -100.0])
    assert valid.get_ydata().tolist() == [-7.0] * 3
    assert panels[1].get_lines()[:] == []


def test_training_curves_of_a_run_that_never_was_finite(tmp_path):
    plots.training_curves(tmp_path / "x.png", rows(5, train_elbo=None, train_kl=float("nan")))
    assert (tmp_path / "x.png").exists()


class TestRobustLimits:
    def test_first_values_and_spikes_do_not_flatten_the_rest(self):
        values = -100 - 900 * np.exp(-np.arange(100) / 3) + 0.2 * np.sin(np.arange(100))
        values[60] = -1e6
        low, high = robust_limits([values])
        assert -115 < low < -100.2
        assert -99.8 < high < -95

    def test_the_last_value_is_always_inside(self):
        values = np.concatenate([np.full(99, -100.0), [-500.0]])
        low, _ = robust_limits([values, np.array([-90.0])])
        assert low < -500

    def test_no_further_than_the_data(self):
        low, high = robust_limits([np.linspace(10, 20, 50)])
        assert 10 - 1 < low < 11
        assert 20 <= high < 20 + 1

    def test_a_constant_curve_has_a_range(self):
        low, high = robust_limits([np.full(4, 3.0)])
        assert low < 3.0 < high
