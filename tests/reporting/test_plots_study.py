"""Figures of a study show the numbers of its cells, where they belong; checked on the axes."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex

from tests.reporting.small import lose, study
from vae_jax.reporting import colors, plots, table
from vae_jax.reporting.plots import style
from vae_jax.reporting.plots.curves import _apart

MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def drawn(monkeypatch):
    """The axes of each figure that is saved."""
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, path: saved.append(figure.axes))
    return saved


def labels(axes, which):
    return [label.get_text() for label in getattr(axes, f"get_{which}ticklabels")()]


def written(axes):
    """Texts inside an axes by the cell they stand in."""
    found = {}
    for text in axes.texts:
        x, y = text.get_position()
        found.setdefault((int(y), int(x)), []).append(text.get_text())
    return found


class TestHeatMaps:
    def test_a_cell_says_its_mean_and_error_where_its_values_are(self, tmp_path, drawn):
        plots.heat_maps(tmp_path / "x.png", study(), ("beta", "latent_size"))
        ((elbo, nll, rate, distortion, active, key),) = drawn
        assert labels(elbo, "x") == ["0.5", "1", "8"]
        assert labels(elbo, "y") == ["2", "10"]
        assert (elbo.get_xlabel(), elbo.get_ylabel()) == ("beta", "latent size")
        assert elbo.get_ylim() == (2.0, 0.0)
        assert written(elbo)[1, 1] == [f"{MINUS}100.0", "± 1.0"]
        assert written(nll)[0, 0] == ["105.8", "± 1.0"]
        assert written(rate)[0, 2] == ["2.5"]
        assert written(distortion)[1, 1] == ["80.0", "± 1.0"]
        assert written(active)[0, 0] == ["4"]
        explained = key.get_legend().get_title().get_text()
        assert "means over 2 seeds" in explained
        assert "standard errors over seeds" in explained

    def test_the_cell_of_the_best_run_is_framed_in_every_panel(self, tmp_path, drawn):
        plots.heat_maps(tmp_path / "x.png", study(), ("beta", "latent_size"))
        for panel in drawn[0][:5]:
            (frame,) = panel.patches
            assert frame.get_xy() == (1, 1)

    def test_what_diverged_is_crossed_and_a_lost_seed_is_marked(self, tmp_path, drawn):
        rows = study()
        for lost in table.at(rows, {"beta": 8.0, "latent_size": 2}):
            lose(lost)
        lose(table.at(rows, {"beta": 0.5, "latent_size": 10, "seed": 1})[0])
        plots.heat_maps(tmp_path / "x.png", rows, ("beta", "latent_size"))
        for panel in drawn[0][:5]:
            assert written(panel)[0, 2] == [style.CROSS]
            assert style.CROSS in written(panel)[1, 0]
            assert any(patch.get_hatch() for patch in panel.patches)
        legend = drawn[0][5].get_legend()
        assert [text.get_text() for text in legend.get_texts()] == [
            "setting of the best run",
            f"{style.CROSS} every run diverged",
            f"{style.CROSS} in a corner: a seed diverged",
        ]
        assert "where one seed is left" in legend.get_title().get_text()

    def test_a_cell_not_asked_for_is_empty(self, tmp_path, drawn):
        rows = [r for r in study() if (r["beta"], r["latent_size"]) != (8.0, 2)]
        plots.heat_maps(tmp_path / "x.png", rows, ("beta", "latent_size"))
        assert (0, 2) not in written(drawn[0][0])

    @pytest.mark.parametrize("lost", ["all", "none"])
    def test_a_file_of_any_study(self, tmp_path, lost):
        rows = study()
        for r in rows if lost == "all" else []:
            lose(r)
        plots.heat_maps(tmp_path / "x.png", rows, ("beta", "latent_size"))
        assert (tmp_path / "x.png").stat().st_size < 400_000
        assert min(matplotlib.image.imread(tmp_path / "x.png").shape[:2]) > 300

    def test_outlying_cells_do_not_take_the_colours(self):
        numbers = np.array([-100.0, -101.0, -102.0, -103.0, -104.0, -105.0, -9e4, np.nan])
        low, high = colors.limits(numbers)
        assert high == -100.0
        assert -115 < low < -105
        assert colors.limits(np.array([1.0, 1.0])) == (0.5, 1.5)
        assert colors.limits(np.array([np.nan])) == (0.0, 1.0)

    @pytest.mark.parametrize("name", ["viridis", "viridis_r", "cividis"])
    def test_text_is_readable_on_every_colour(self, name):
        color_map = matplotlib.colormaps[name]
        for share in np.linspace(0, 1, 50):
            light = (np.array(color_map(share)[:3]) + 0.055) / 1.055
            light = light**2.4 @ (0.2126, 0.7152, 0.0722) + 0.05
            is_white = colors.ink_on(color_map(float(share))) == "white"
            assert (1.05 / light if is_white else light / 0.05) > 4.4


class TestCurvesOverAxis:
    def rows(self):
        return [r for r in study() if r["latent_size"] == 10]

    def test_means_errors_and_runs(self, tmp_path, drawn):
        plots.curves_over_axis(tmp_path / "x.png", self.rows(), "beta")
        elbo, distortion = drawn[0][0], drawn[0][3]
        assert elbo.get_xscale() == "log"
        dots, mean = elbo.get_lines()
        assert mean.get_linestyle() == "-"
        assert dots.get_xdata().tolist() == [0.5, 0.5, 1.0, 1.0, 8.0, 8.0]
        np.testing.assert_allclose(mean.get_ydata(), [-105.0, -100.0, -170.0])
        segments = elbo.collections[0].get_segments()
        np.testing.assert_allclose(segments[1][:, 1], [-101.0, -99.0])
        np.testing.assert_allclose(distortion.get_lines()[1].get_ydata(), [65.0, 80.0, 167.5])

    def test_diverged_runs_are_crossed_below(self, tmp_path, drawn):
        rows = self.rows()
        lose(rows[-1])
        lose(rows[-2])
        plots.curves_over_axis(tmp_path / "x.png", rows, "beta")
        assert drawn[0][0].get_lines()[2].get_xdata().tolist() == [8.0]
        key = [text.get_text() for text in drawn[0][5].get_legend().get_texts()]
        assert key[-1] == "a run diverged here"

    def test_words_stand_side_by_side(self, tmp_path, drawn):
        rows = [{**r, "h": {0.5: "9", 1.0: "400,200", 8.0: "1"}[r["beta"]]} for r in self.rows()]
        plots.curves_over_axis(tmp_path / "x.png", rows, "h")
        assert labels(drawn[0][0], "x") == ["9", "400,200", "1"]
        assert drawn[0][0].get_xticks().tolist() == [0.0, 1.0, 2.0]
        assert drawn[0][0].get_lines()[1].get_linestyle() == "None"

    def test_labels_that_would_collide_are_left_out(self):
        assert _apart(np.array([0.0, 1.0, 2.0, 3.0, 90.0, 100.0])) == [0, 4]
        assert _apart(np.array([0.0, 1.0])) == [0, 1]

    def test_is_a_file(self, tmp_path):
        plots.curves_over_axis(tmp_path / "x.png", self.rows(), "beta")
        assert (tmp_path / "x.png").stat().st_size < 400_000


class TestRateDistortion:
    def test_a_curve_per_value_with_beta_beside_its_points(self, tmp_path, drawn):
        plots.rate_distortion(tmp_path / "x.png", study(), "latent_size")
        ((axes,),) = drawn
        curves = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert len(curves) == 2
        np.testing.assert_allclose(curves[1].get_xdata(), [40.0, 20.0, 2.5])
        np.testing.assert_allclose(curves[1].get_ydata(), [65.0, 80.0, 167.5])
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["2", "10"]
        betas = [text.get_text() for text in axes.texts if "ELBO" not in text.get_text()]
        assert betas[:3] == ["0.5", "1", "8"]

    def test_grey_lines_have_one_elbo_each(self, tmp_path, drawn):
        plots.rate_distortion(tmp_path / "x.png", study(), "latent_size")
        ((axes,),) = drawn
        grey = [line for line in axes.get_lines() if to_hex(line.get_color()) == style.RULE]
        assert len(grey) > 3
        for line in grey:
            first, last = line.get_xdata() + line.get_ydata()
            assert first == pytest.approx(last)

    def test_points_that_coincide_are_labelled_once(self, tmp_path, drawn):
        rows = [{**r, "latent_size": size} for size in (2, 4) for r in study()[:2]]
        plots.rate_distortion(tmp_path / "x.png", rows, "latent_size")
        texts = [text.get_text() for text in drawn[0][0].texts if "ELBO" not in text.get_text()]
        assert texts == ["0.5"]

    def test_is_a_file_without_a_second_axis_and_with_a_diverged_run(self, tmp_path):
        rows = [r for r in study() if r["latent_size"] == 2]
        for lost in rows[2:4]:
            lose(lost)
        plots.rate_distortion(tmp_path / "x.png", rows)
        assert (tmp_path / "x.png").exists()


class TestGridOfImages:
    def grid(self, drawn, images, columns="beta", **options):
        values = list(range(images.shape[0])), list(range(images.shape[1]))
        plots.grid_of_images(
            Path("x"), images, "a_b", values[0], columns, values[1], "T", **options
        )
        return drawn[-1][0]

    def test_cells_are_labelled_and_hold_their_own_images(self, drawn):
        images = np.zeros((2, 3, 4, 8, 8, 1))
        images[1, 2, 3] = 1.0
        axes = self.grid(drawn, images)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("beta", "a b")
        assert (labels(axes, "x"), labels(axes, "y")) == (["0", "1", "2"], ["0", "1"])
        picture = axes.get_images()[0].get_array()[..., 0]
        size = 8 * 14  # of an image on the canvas
        assert np.all(picture[-size:, -size:] == 255)
        assert np.all(picture[-size:, -2 * size - 2 : -size - 2] == 0)
        assert axes.get_xticks()[2] == pytest.approx(picture.shape[1] - size - 1.5)

    def test_an_empty_cell_is_crossed(self, drawn):
        images = np.zeros((2, 2, 4, 8, 8, 1))
        images[0, 1] = np.nan
        axes = self.grid(drawn, images)
        (cross,) = axes.texts
        assert cross.get_position() == (axes.get_xticks()[1], axes.get_yticks()[0])

    def test_reference_images_stand_above_every_column(self, drawn):
        images, reference = np.zeros((2, 3, 4, 8, 8, 3)), np.ones((4, 8, 8, 3))
        axes = self.grid(drawn, images, reference=reference)
        assert labels(axes, "y") == ["test\nimages", "0", "1"]
        picture = axes.get_images()[0].get_array()
        columns = axes.get_xticks().astype(int) - 5
        first, second = int(axes.get_yticks()[0]) - 5, int(axes.get_yticks()[1]) - 5
        assert np.all(picture[first, columns] == 255)
        assert np.all(picture[second, columns] == 0)

    def test_a_single_column_puts_images_in_a_line(self, drawn):
        axes = self.grid(drawn, np.zeros((3, 1, 5, 8, 8, 1)), columns="")
        height, width, _ = axes.get_images()[0].get_array().shape
        assert height < width
        assert len(axes.get_xticks()) == 1

    def test_is_a_file(self, tmp_path):
        images = np.random.default_rng(0).random((2, 2, 9, 8, 8, 1))
        plots.grid_of_images(tmp_path / "x.png", images, "a", [1, 2], "b", ["c", "d"], "T")
        assert (tmp_path / "x.png").stat().st_size < 400_000
