"""Cells against numpy by hand; diverged runs count nowhere; seeds are never mixed with axes."""

import math

import numpy as np
import pytest

from vae_jax.reporting import table

ELBO = "test_elbo"
BETAS, SIZES, SEEDS = (4.0, 0.5, 1.0), (20, 3), (0, 1, 2)


def study():
    """18 rows in an order that is neither ascending nor grouped, and their ELBO as an array."""
    elbo = np.random.default_rng(0).normal(-100, 5, (3, 2, 3))
    rows = [
        {
            "beta": BETAS[i],
            "latent_size": SIZES[j],
            "seed": SEEDS[k],
            "diverged": "",
            "test_elbo": elbo[i, j, k],
            "test_elbo_se": 0.25,
            "valid_elbo": elbo[i, j, k] - 1,
        }
        for k, i, j in np.ndindex(3, 3, 2)
    ]
    ascending = elbo[[1, 2, 0]][:, [1, 0]]
    return [{"run": run, **row} for run, row in enumerate(rows)], ascending


def lose(row, step=7):
    row.update(diverged=step, test_elbo=None, valid_elbo=None)


class TestCells:
    def test_mean_and_standard_error_over_seeds(self):
        rows, elbo = study()
        cells = table.cells(rows, ("beta", "latent_size"), ELBO)
        assert cells.values == ([0.5, 1.0, 4.0], [3, 20])
        np.testing.assert_allclose(cells.mean, elbo.mean(axis=2), rtol=1e-14)
        np.testing.assert_allclose(cells.error, elbo.std(axis=2, ddof=1) / np.sqrt(3), rtol=1e-12)
        assert np.all(cells.num_seeds == 3)
        assert np.all(cells.num_diverged == 0)

    def test_the_order_of_axes_transposes(self):
        rows, _ = study()
        one = table.cells(rows, ("beta", "latent_size"), ELBO)
        other = table.cells(rows, ("latent_size", "beta"), ELBO)
        np.testing.assert_array_equal(one.mean.T, other.mean)

    def test_the_order_of_rows_does_not_matter_for_numbers(self):
        rows, _ = study()
        one = table.cells(rows, ("beta", "latent_size"), ELBO)
        other = table.cells(rows[::-1], ("beta", "latent_size"), ELBO)
        assert one.values == other.values
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-14)

    def test_a_diverged_seed_is_left_out_even_if_it_has_numbers(self):
        rows, elbo = study()
        (victim,) = table.at(rows, {"beta": 1.0, "latent_size": 3, "seed": 1})
        victim["diverged"] = 0
        cells = table.cells(rows, ("beta", "latent_size"), ELBO)
        assert cells.mean[1, 0] == pytest.approx(elbo[1, 0, [0, 2]].mean(), rel=1e-14)
        assert (cells.num_seeds[1, 0], cells.num_diverged[1, 0]) == (2, 1)
        assert cells.num_diverged.sum() == 1

    def test_one_seed_left_has_the_error_over_examples(self):
        rows, _ = study()
        cell = table.at(rows, {"beta": 1.0, "latent_size": 3})
        for row in cell[1:]:
            lose(row)
        cells = table.cells(rows, ("beta", "latent_size"), ELBO)
        assert (cells.mean[1, 0], cells.error[1, 0]) == (cell[0]["test_elbo"], 0.25)
        assert (cells.num_seeds[1, 0], cells.num_diverged[1, 0]) == (1, 2)

    def test_a_cell_that_diverged_whole_is_not_one_that_was_not_asked_for(self):
        rows, _ = study()
        for row in table.at(rows, {"beta": 1.0, "latent_size": 3}):
            lose(row)
        rows = [r for r in rows if (r["beta"], r["latent_size"]) != (0.5, 3)]
        cells = table.cells(rows, ("beta", "latent_size"), ELBO)
        assert np.isnan(cells.mean[:2, 0]).all()
        assert np.isnan(cells.error[:2, 0]).all()
        assert cells.num_diverged[:2, 0].tolist() == [0, 3]

    def test_a_term_without_errors_or_values(self):
        rows, _ = study()
        one_seed = [{**row, "active_units": 3} for row in table.at(rows, {"seed": 0})]
        cells = table.cells(one_seed, ("beta", "latent_size"), "active_units")
        assert np.all(cells.mean == 3)
        assert np.isnan(cells.error).all()
        assert np.isnan(table.cells(one_seed, ("beta", "latent_size"), "test_nll").mean).all()

    def test_averaging_over_more_than_seeds_is_refused(self):
        rows, _ = study()
        with pytest.raises(ValueError, match="differ in more than the seed"):
            table.cells(rows, ("beta",), ELBO)


def test_text_stays_in_its_order_and_numbers_ascend():
    names = ["500,500", "400", "400,200", "400"]
    assert table.values([{"h": name} for name in names], "h") == ["500,500", "400", "400,200"]
    assert table.values([{"h": value} for value in (math.inf, 2, 0.5)], "h") == [0.5, 2, math.inf]
    assert table.values([{"h": value} for value in (True, False)], "h") == [True, False]


class TestBest:
    def test_is_chosen_on_valid_not_on_test(self):
        rows, _ = study()
        rows[4]["test_elbo"], rows[7]["valid_elbo"] = -1.0, -2.0
        assert table.best(rows) is rows[7]
        assert table.criterion(rows) == "valid_elbo"

    def test_is_chosen_on_test_where_valid_is_not_known_of_all(self):
        rows, _ = study()
        rows[0]["valid_elbo"] = None
        rows[4]["test_elbo"] = -1.0
        assert table.best(rows) is rows[4]

    def test_a_diverged_run_neither_wins_nor_decides_the_criterion(self):
        rows, _ = study()
        rows[7] |= {"valid_elbo": -2.0, "diverged": 0}
        lose(rows[8])
        best = table.best(rows)
        assert best is not None
        assert best["run"] not in (7, 8)
        assert table.criterion(rows) == "valid_elbo"

    def test_of_equals_the_earlier(self):
        rows, _ = study()
        rows[4]["valid_elbo"] = rows[9]["valid_elbo"] = -1.0
        assert table.best(rows) is rows[4]

    def test_is_none_where_all_diverged(self):
        rows, _ = study()
        for row in rows:
            row["test_elbo"] = math.nan
        assert table.best(rows) is None
        assert table.fixed(rows, ["beta", "latent_size", "seed"], ["beta"]) == {"latent_size": 20}


def test_what_is_not_shown_is_held_at_the_best_rows_values():
    rows, _ = study()
    rows[7]["valid_elbo"] = -1.0
    held = table.fixed(rows, ["beta", "latent_size", "seed"], ["beta"])
    assert held == {"latent_size": rows[7]["latent_size"]}


def test_the_deviation_over_seeds_is_pooled_by_degrees_of_freedom():
    rows, elbo = study()
    swept = ["beta", "latent_size", "seed"]
    deviation, count = table.seed_deviation(rows, swept, ELBO)
    assert deviation == pytest.approx(np.sqrt(elbo.var(axis=2, ddof=1).mean()), rel=1e-12)
    assert count == 6
    (victim,) = table.at(rows, {"beta": 0.5, "latent_size": 3, "seed": 2})
    lose(victim)
    groups = [elbo[i, j] for i, j in np.ndindex(3, 2)]
    groups[0] = groups[0][:2]
    squares = sum(np.sum((group - group.mean()) ** 2) for group in groups)
    deviation, _ = table.seed_deviation(rows, swept, ELBO)
    assert deviation == pytest.approx(np.sqrt(squares / 11), rel=1e-12)


def test_one_seed_has_no_deviation():
    rows, _ = study()
    deviation, count = table.seed_deviation(rows[:1], ["beta", "seed"], ELBO)
    assert math.isnan(deviation)
    assert count == 0


class TestRunGrid:
    def test_the_longer_axis_goes_across_and_runs_share_the_best_seed(self):
        rows, _ = study()
        rows[7]["valid_elbo"] = -1.0
        grid = table.run_grid(rows, ["latent_size", "beta", "seed"])
        assert (grid.down, grid.down_values) == ("latent_size", [3, 20])
        assert (grid.across, grid.across_values) == ("beta", [0.5, 1.0, 4.0])
        for (i, j), run in np.ndenumerate(grid.runs):
            expected = {"latent_size": [3, 20][i], "beta": [0.5, 1.0, 4.0][j], "seed": 1}
            assert rows[run].items() >= expected.items()

    def test_another_seed_stands_in_and_an_empty_cell_is_marked(self):
        rows, _ = study()
        lose(table.at(rows, {"beta": 0.5, "latent_size": 3, "seed": 0})[0])
        for row in table.at(rows, {"beta": 4.0, "latent_size": 3}):
            lose(row)
        rows[0]["valid_elbo"] = -1.0
        grid = table.run_grid(rows, ["beta", "latent_size", "seed"])
        assert rows[grid.runs[0, 0]]["seed"] == 1
        assert grid.runs[0, 2] == -1
        assert np.sum(grid.runs == -1) == 1

    def test_a_single_axis_goes_down(self):
        rows, _ = study()
        grid = table.run_grid(table.at(rows, {"latent_size": 3}), ["beta", "seed"])
        assert (grid.down, grid.across, grid.across_values) == ("beta", "", [""])
        assert grid.runs.shape == (3, 1)

    def test_seeds_alone_are_one_cell_with_the_best_run(self):
        rows, _ = study()
        rows = table.at(rows, {"beta": 1.0, "latent_size": 3})
        rows[2]["valid_elbo"] = -1.0
        grid = table.run_grid(rows, ["seed"])
        assert (grid.down, grid.across, grid.runs.tolist()) == ("", "", [[2]])

    def test_a_third_axis_is_held(self):
        rows, _ = study()
        rows = [{**r, "network": n} for n in ("mlp", "conv") for r in rows]
        rows[20]["valid_elbo"] = -1.0
        grid = table.run_grid(rows, ["beta", "latent_size", "network", "seed"])
        assert grid.fixed == {"network": "conv"}
        assert {rows[run]["network"] for run in grid.runs.ravel()} == {"conv"}
