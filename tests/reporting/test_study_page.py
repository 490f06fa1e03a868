"""The report of a study answers in a browser, offline, and is whole without its script."""

import json
import math

import numpy as np
import pytest

from tests import browser
from tests.reporting.small import SWEPT, lose, study
from vae_jax.reporting import heat_maps, learning_curves, pictures, report, study_page
from vae_jax.reporting.html import Figure
from vae_jax.reporting.pictures import Picture, Tiles
from vae_jax.reporting.study_page import Material

EVIL = "<img src=x onerror=\"document.title='run'\"></script><b>&'"


def metrics(rows):
    """Five evaluations of each run; the ELBO on valid of run r at step s is -100 - r + s / 100."""
    return [
        {
            **{"run": row["run"], "step": step, "seconds": 1.0, "train_elbo": -90.0},
            **{"valid_elbo": -100.0 - row["run"] + step / 100, "valid_kl": 9.0},
        }
        for step in range(100, 600, 100)
        for row in rows
    ]


def some_pictures(run):
    images = np.full((2, 3, 4, 4, 1), run / 20, np.float32)
    (found,) = pictures.encoded([run], lambda _: [Tiles("Samples", EVIL, images, (EVIL, "b"))])
    return found[1]


def written(tmp_path, rows, swept=SWEPT, material=None):
    kept = {row["run"]: some_pictures(row["run"]) for row in rows[1:]}
    path = tmp_path / "report.html"
    results = {"title": EVIL, "runs": rows, "swept": list(swept)}
    report.write(path, results, [], Material(metrics(rows), kept) if material is None else material)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.opened() as opened:
        yield opened


@pytest.fixture
def opened(page, tmp_path):
    """Return the open page of a study over beta, latent size, seed and a setting of HTML."""
    rows = study()
    for row in rows:
        row["network"] = EVIL if row["run"] % 2 else "mlp"
        row["hidden_sizes"] = "400,200" if row["run"] % 2 else "50,50"
    lose(rows[11])
    page.errors.clear()
    page.requests.clear()
    page.open(written(tmp_path, rows, ["beta", "latent_size", "network", "hidden_sizes", "seed"]))
    yield page
    assert page.errors == []
    assert len(page.requests) == 1
    assert page.evaluate("document.title").endswith(": report")
    assert page.evaluate("document.querySelectorAll('img:not([src^=data]), main b b').length") == 0


RUNS = "[...document.querySelector('table.runs').tBodies[0].rows]"


def shown(page):
    cells = f"{RUNS}.filter(r => !r.hidden).map(r => r.querySelector('input').dataset.run)"
    return [int(run) for run in page.evaluate(cells)]


def values(page, column):
    return page.evaluate(f"{RUNS}.map(r => r.cells[{column}].textContent)")


@browser.needs_chromium
class TestTable:
    def test_a_click_or_a_key_on_a_head_sorts_and_says_so(self, opened):
        head = "table.runs th:nth-child(8)"  # test ELBO
        state = f"document.querySelector('{head}').getAttribute('aria-sort')"
        assert opened.evaluate(state) == "none"
        opened.click(f"{head} button")
        assert opened.evaluate(state) == "ascending"
        numbers = [-float(text.split()[0][1:].replace(",", "")) for text in values(opened, 7)[:-1]]
        assert numbers == sorted(numbers)
        assert values(opened, 7)[-1] == "\N{EN DASH}"
        opened.press("Enter")
        assert opened.evaluate(state) == "descending"
        assert values(opened, 7)[-1] == "\N{EN DASH}"
        assert shown(opened)[0] == 6
        opened.press("Enter")
        assert shown(opened) == list(range(12))

    def test_a_setting_with_commas_is_text(self, opened):
        opened.click("table.runs th:nth-child(5) button")
        assert values(opened, 4) == ["400,200"] * 6 + ["50,50"] * 6

    def test_filters_by_a_setting_by_words_and_by_a_range(self, opened):
        def type_into(selector, text, event="input"):
            opened.evaluate(
                f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                f" e.value = {json.dumps(text)};"
                f" e.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()"
            )

        type_into("select[name=latent_size]", "10", "change")
        assert shown(opened) == [2, 3, 6, 7, 10, 11]
        type_into("[aria-label='of a term, from']", "-102")
        assert shown(opened) == [6, 7]
        assert opened.evaluate("document.querySelector('.count').textContent") == "2 of 12 runs"
        type_into("input[type=search]", "onerror")
        assert shown(opened) == [7]
        opened.click("form.controls button")
        assert shown(opened) == list(range(12))


@browser.needs_chromium
class TestHeatMaps:
    CELL = "rect[data-runs='6']"

    def test_a_cell_tells_its_value_under_the_pointer(self, opened):
        x, y = opened.place_of(self.CELL)
        opened.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        text = opened.evaluate("document.getElementById('tip').textContent")
        assert text.startswith("beta = 1, latent_size = 10: Test ELBO \N{MINUS SIGN}99.00")
        assert text.endswith("run 6")
        opened.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
        assert opened.evaluate("document.getElementById('tip').hidden")

    def test_a_click_opens_the_pictures_and_numbers_of_its_run(self, opened):
        opened.click(self.CELL)
        assert opened.evaluate("document.querySelector('dialog h3').textContent") == "Run 6"
        text = opened.evaluate("document.querySelector('dialog').textContent")
        assert "beta = 1, latent_size = 10, network = mlp, hidden_sizes = 50,50, seed = 0" in text
        assert "\N{MINUS SIGN}99.00 \N{PLUS-MINUS SIGN} 0.50" in text
        assert EVIL in text
        opened.wait_for("document.querySelector('dialog img').complete")
        assert opened.evaluate("document.querySelector('dialog img').naturalWidth") == 14
        opened.press("Escape")
        assert not opened.evaluate("document.querySelector('dialog').open")

    def test_keys_move_over_the_cells_and_open_them(self, opened):
        opened.evaluate("document.querySelector('rect[data-runs]').focus()")
        focused = "document.activeElement.getAttribute('aria-label')"
        assert opened.evaluate(focused).startswith("beta = 0.5, latent_size = 2:")
        opened.press("ArrowRight")
        opened.press("ArrowDown")
        assert opened.evaluate(focused).startswith("beta = 1, latent_size = 10:")
        assert opened.evaluate("document.getElementById('tip').textContent").endswith("run 6")
        opened.press("Enter")
        assert opened.evaluate("document.querySelector('dialog').open")
        opened.press("Escape")
        assert opened.evaluate(focused).startswith("beta = 1, latent_size = 10:")

    def test_a_run_without_pictures_says_so(self, opened):
        opened.click("rect[data-runs='0']")
        text = opened.evaluate("document.querySelector('dialog').textContent")
        assert "There are no pictures of this run. Pictures are of 11 of 12 runs." in text
        opened.press("Escape")


@browser.needs_chromium
class TestCurves:
    def curves(self, page):
        return page.evaluate("document.querySelectorAll('#curves path').length")

    def legend(self, page):
        rows = "[...document.querySelectorAll('#curves tbody tr')]"
        return page.evaluate(f"{rows}.map(r => [...r.cells].map(c => c.textContent))")

    def test_those_of_the_best_are_drawn_and_a_row_or_box_adds_one(self, opened):
        assert [row[0] for row in self.legend(opened)] == ["6", "4", "7"]
        assert self.curves(opened) == 3 * 3  # ELBO on train and valid, KL on valid
        opened.click("table.runs input[data-run='1']")
        opened.click("table.runs tbody tr:nth-child(3) td:nth-child(5)")
        assert [row[0] for row in self.legend(opened)] == ["6", "4", "7", "1", "2"]
        assert self.curves(opened) == 5 * 3
        opened.click("table.runs input[data-run='1']")
        assert self.curves(opened) == 4 * 3

    def test_the_values_at_a_step_are_read_by_slider_and_pointer(self, opened):
        assert self.legend(opened)[0][6:9] == [
            "\N{MINUS SIGN}90.00",
            "\N{MINUS SIGN}101.00",
            "9.00",
        ]
        opened.evaluate("document.querySelector('#curves input[type=range]').focus()")
        opened.press("Home")
        assert self.legend(opened)[0][7] == "\N{MINUS SIGN}105.00"

    def test_the_first_of_the_sorted_table_are_chosen_by_one_button(self, opened):
        opened.click("table.runs th:nth-child(1) button")
        opened.click("table.runs th:nth-child(1) button")
        opened.click("#curves button")
        assert [row[0] for row in self.legend(opened)] == ["11", "10", "9", "8", "7"]


@browser.needs_chromium
def test_a_phone_has_no_page_wider_than_itself(opened):
    opened.resize(390, 844, is_phone=True)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.resize(1200, 900)


def test_without_its_script_the_page_has_the_table_and_the_maps(tmp_path):
    text = written(tmp_path, study()).read_text(encoding="utf-8")
    plain = text[: text.index("<script")]
    assert plain.count("<tr") >= 13
    assert plain.count("data-runs=") == 6 * 5
    assert "<title>beta = 1, latent_size = 10: Test ELBO" in plain
    assert "<section id='curves' hidden>" in plain


def test_data_cannot_leave_their_element():
    text = study_page.as_inert_json({EVIL: ["</script>", "<!--<script>"]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {EVIL: ["</script>", "<!--<script>"]}


def test_heat_maps_take_the_place_of_their_files_as_far_as_they_fit(tmp_path, monkeypatch):
    png = tmp_path / "heat_beta_latent_size.png"
    png.write_bytes(b"\x89PNG" + bytes(16))
    path, rows = tmp_path / "report.html", study()
    results = {"runs": rows, "swept": SWEPT}
    report.write(path, results, [Figure(png, "The file", "")])
    assert "The file" not in path.read_text(encoding="utf-8")
    monkeypatch.setattr(heat_maps, "MOST_CELLS", 29)
    report.write(path, results, [Figure(png, "The file", "")])
    assert "The file" in path.read_text(encoding="utf-8")


def test_a_cell_without_a_number_says_why():
    rows = study()
    for row in rows[:2]:
        lose(row)
    (drawn,) = heat_maps.figures(rows, SWEPT).values()
    assert drawn.count("every run diverged; runs 0, 1") == 5
    lose(rows[2])
    (drawn,) = heat_maps.figures(rows, SWEPT).values()
    assert "1 run diverged; runs 2, 3" in drawn


class TestBounds:
    """Whatever the number of the runs, a page stays one that can be opened and sent."""

    def test_pictures_of_large_images_are_made_smaller(self):
        noise = np.random.default_rng(0).random((3, 3, 96, 96, 3), np.float32)
        tiles = [Tiles("Samples", "", noise), Tiles("Traversals", "", noise)]
        found = dict(pictures.encoded(list(range(2)), lambda _: tiles))
        sizes = [sum(len(each.png) for each in own) for own in found.values()]
        assert max(sizes) <= pictures.MOST_BYTES_OF_RUN
        assert [each.title for each in found[0]] == ["Samples", "Traversals"]

    def test_of_many_runs_every_setting_comes_before_every_seed(self):
        rows = [{"run": i, "beta": i // 3, "seed": i % 3, "test_elbo": -i % 7} for i in range(900)]
        chosen = pictures.chosen(rows, ["beta", "seed"])
        assert len(chosen) == pictures.MOST_RUNS
        assert len({rows[run]["beta"] for run in chosen}) == pictures.MOST_RUNS

    def test_curves_are_thinned_and_then_left_out(self):
        rows = [
            {"run": run, "step": step, "seconds": 0.0}
            | {f"{split}_{term}": 1 / 3 for split in ("train", "valid") for term in ("elbo", "kl")}
            for run in range(4)
            for step in range(300)
        ]
        found = learning_curves.collect(rows, [3, 2, 1, 0])
        assert len(found["steps"]) == 1
        assert (found["steps"][0][0], found["steps"][0][-1]) == (0, 299)
        assert len(found["steps"][0]) == learning_curves.MOST_POINTS
        many = learning_curves.collect(
            [{"run": run, "step": 1, "seconds": 0.0} for run in range(10_000)], range(10_000)
        )
        assert len(many["runs"]) == learning_curves.MOST_VALUES // 60

    def test_a_png_has_the_pixels_to_its_shades(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        for channels, error in ((1, 8.5), (3, 4.2)):
            pixels = np.random.default_rng(1).integers(0, 256, (5, 7, channels)).astype(np.uint8)
            (tmp_path / "x.png").write_bytes(pictures.as_png(pixels))
            read = np.asarray(image.open(tmp_path / "x.png")).astype(float)
            if channels == 1:
                read = read[..., None] * (17 if read.max() <= 15 else 1)
            assert np.abs(read - pixels).max() <= error


def test_infinite_numbers_and_missing_ones_are_no_json(tmp_path):
    rows = study()
    rows[0]["test_elbo"], rows[1]["test_kl"] = math.nan, math.inf
    lines = [*metrics(rows), {"run": 0, "step": 900, "seconds": 2.0, "valid_elbo": math.nan}]
    pages = written(tmp_path, rows, material=Material(lines, {1: [Picture("a", "b", b"png", 1)]}))
    text = pages.read_text(encoding="utf-8")
    data = text.partition("id='study'>")[2].partition("</script>")[0]
    assert json.loads(data)["curves"]["runs"]["0"][4][-1] is None
