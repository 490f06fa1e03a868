"""Studies trained from Python: go on without a break, become workdirs, refuse what is no bound."""

import dataclasses
import json
import re
from typing import ClassVar

import jax
import numpy as np
import pytest

import vae_jax
import vae_jax.data
from tests.oracles import tiny_data
from tests.pipeline.small import SMALL, read_csv
from vae_jax import cli
from vae_jax.config import build, command_line
from vae_jax.hparams import HParam
from vae_jax.models.likelihoods import LIKELIHOODS, GaussianLikelihood
from vae_jax.models.posteriors import FullGaussian
from vae_jax.pipeline.loggers import NotebookProgress
from vae_jax.reporting import figures
from vae_jax.runtime.errors import InputError
from vae_jax.settings import real

DATA = tiny_data(80)
SHAPE = DATA.event_shape
SPEC = vae_jax.TrainSpec(vae_jax.VAE(SHAPE, 3, vae_jax.MLP((8,))), batch_size=16, binarize="static")
OPTIMAL = vae_jax.TrainSpec(
    vae_jax.VAE(SHAPE, 3, likelihood=LIKELIHOODS["gaussian"](scale_mode="optimal")),
    batch_size=16,
)
GRID = vae_jax.grid(beta=[0.1, 4.0], latent_size=3)


@pytest.fixture(scope="module")
def short():
    return vae_jax.fit(SPEC, GRID, DATA, 5, eval_every=2)


@pytest.fixture(scope="module")
def straight():
    return vae_jax.fit(SPEC, GRID, DATA, 9, eval_every=2)


def _assert_same(found, wanted):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


def _without_seconds(rows):
    return [{k: v for k, v in row.items() if k not in ("seconds", "ms_per_step")} for row in rows]


def test_more_updates_give_the_state_of_a_training_without_a_break(short, straight):
    before = [np.array(leaf) for leaf in jax.tree.leaves(short.state)]
    longer = short.fit(DATA, 9, eval_every=2)
    _assert_same(longer.state, straight.state)
    _assert_same(short.state, before)
    assert [row["step"] for row in longer.metrics] == [s for s in (2, 4, 5, 6, 8, 9) for _ in "ab"]
    assert [row["step"] for row in longer.table] == [9, 9]
    assert longer.fit(DATA, 9).state.step.tolist() == [9, 9]


def test_each_interval_is_reported_with_its_rows(short):
    seen = []
    vae_jax.fit(SPEC, GRID, DATA, 5, eval_every=2, on_progress=seen.append)
    rows = [row for rows in seen for row in rows]
    assert _without_seconds(rows) == _without_seconds(short.metrics)
    assert all("valid_elbo" in row for row in rows)


def test_a_saved_study_is_the_same_when_it_is_opened(short, tmp_path):
    opened = vae_jax.load_run(short.save(tmp_path / "run"))
    _assert_same(opened.state.params, short.state.params)
    assert opened.metrics == short.metrics
    assert opened.swept == short.swept == ("beta",)
    assert opened.select(beta=0.1).run == 0
    assert opened[1].model == short[1].model


def test_a_saved_study_goes_on_in_python_and_on_the_command_line(
    short, straight, tmp_path, monkeypatch
):
    monkeypatch.setattr(figures, "draw", lambda *args: [])
    monkeypatch.setattr(figures, "draw_study", lambda *args: [])
    monkeypatch.setattr("vae_jax.data.load", lambda *args, **kwargs: DATA)
    folder = short.save(tmp_path / "run")
    _assert_same(vae_jax.load_run(folder).fit(DATA, 9).state.params, straight.state.params)
    flags = [f"--flagfile={folder}/flags.txt", "--num_steps=9", "--eval_particles=2"]
    assert cli.main(flags) == 0
    _assert_same(vae_jax.load_run(folder).state.params, straight.state.params)
    assert [row["step"] for row in read_csv(folder)] == ["9", "9"]


def test_runs_that_are_no_product_are_saved_with_their_settings_and_the_way_on(tmp_path, capsys):
    grid = vae_jax.HParams.of(beta=[0.5, 2.0, 2.0], seed=[0, 1, 2], latent_size=3)
    study = vae_jax.fit(SPEC, grid, DATA, 2, eval_every=2)
    folder = study.save(tmp_path / "run")
    assert not (folder / "flags.txt").exists()
    *_, shared, _, second, third = (folder / "runs.txt").read_text().splitlines()
    assert third == "run 2: --beta=2.0 --seed=2"
    flags = [*shared.removeprefix("all runs: ").split(), *second.removeprefix("run 1: ").split()]
    config = command_line.parse(flags)
    assert (config.beta, config.seed, config.hidden_sizes, config.num_steps) == (2.0, 1, (8,), 2)
    assert cli.main([f"--flagfile={folder / 'flags.txt'}"]) == 2
    assert "continue it in Python" in capsys.readouterr().err
    longer = vae_jax.fit(SPEC, grid, DATA, 4, eval_every=2)
    _assert_same(vae_jax.load_run(folder).fit(DATA, 4).state.params, longer.state.params)


def test_results_are_saved_with_the_study(short, tmp_path):
    scored = short.evaluate(DATA, num_particles=2)
    opened = vae_jax.load_run(scored.save(tmp_path / "run"))
    assert opened.table[1]["test_nll"] == scored.table[1]["test_nll"]
    assert opened.best.run == scored.best.run


def test_a_folder_that_holds_something_is_left_alone(short, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        short.save(tmp_path)
    assert (caught.value.setting, caught.value.value) == ("workdir", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


SPECS = [
    [*SMALL, "--network=conv", "--channels=2,3", "--conditional", "--likelihood=laplace"],
    [*SMALL, "--posterior=iaf", "--num_flows=3", "--prior=vamp", "--objective=iwae"],
    [*SMALL, "--top_latent_size=2", "--prior=mixture", "--num_components=4", "--num_particles=2"],
    [*SMALL, "--tc_weight=2", "--mmd_weight=3", "--schedule=cosine", "--output_bias=zeros"],
]


@pytest.mark.parametrize("argv", SPECS)
def test_flags_give_the_specification_and_it_gives_the_flags(argv):
    config = command_line.parse(argv)
    spec = build.train_spec(config, SHAPE, num_classes=3)
    settings = {name: getattr(config, name) for name in config.arrays}
    (again,) = build.configs_of(spec, [settings], 3, workdir=config.workdir)
    assert build.train_spec(again, SHAPE, num_classes=3) == spec


def test_a_member_that_no_module_holds_cannot_be_saved_as_flags(short, tmp_path):
    class MyGaussian(FullGaussian):
        pass

    model = vae_jax.VAE(SHAPE, 3, vae_jax.MLP((8,)), posterior=MyGaussian())
    with pytest.raises(InputError, match="posterior=MyGaussian"):
        build.configs_of(vae_jax.TrainSpec(model), [{}], 0)


@pytest.mark.parametrize(
    ("grid", "spec", "setting"),
    [
        (vae_jax.grid(beta=[1.0]), SPEC, "latent_size"),
        (vae_jax.grid(latent_size=[2, 4]), SPEC, "latent_size"),
        (GRID, vae_jax.TrainSpec(vae_jax.VAE((9, 9, 1), 3), batch_size=16), "event_shape"),
        (GRID, vae_jax.TrainSpec(SPEC.model, batch_size=81), "batch_size"),
    ],
    ids=["default above max_latents", "above max_latents", "shape", "batch"],
)
def test_what_gives_no_bound_is_refused_before_training(grid, spec, setting):
    for start in (vae_jax.fit, vae_jax.ablate):
        with pytest.raises(InputError) as caught:
            start(spec, grid, DATA, 1)
        assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("ask", "setting"),
    [
        (lambda study, run: study.fit(DATA, 0), "num_steps"),
        (lambda study, run: study.fit(DATA, 2**28), "num_steps"),
        (lambda study, run: study.fit(DATA, 9, eval_every=0), "eval_every"),
        (lambda study, run: study.fit(DATA, 9, max_parallel_runs=-1), "max_parallel_runs"),
        (lambda study, run: study.evaluate(DATA, num_particles=0), "num_particles"),
        (lambda study, run: study.take(7), "run"),
        (lambda study, run: run.elbo(DATA.test, run.evaluation_key, num_particles=0), "num_partic"),
        (lambda study, run: run.sample(run.evaluation_key, 0), "num"),
        (lambda study, run: run.interpolate(DATA.test[0], DATA.test[1], 1), "num"),
        (lambda study, run: run.traverse(latents=[3]), "latents"),
        (lambda study, run: run.traverse(latents=[]), "latents"),
        (lambda study, run: run.traverse(values=[np.nan]), "values"),
    ],
)
def test_numbers_and_words_out_of_range_are_refused(short, ask, setting):
    with pytest.raises(InputError) as caught:
        ask(short, short[0])
    assert caught.value.setting.startswith(setting) or str(caught.value).startswith(f"{setting}=")


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        (dict(free_bits=[0.0, 5.0]), SPEC, "free_bits=5.* without kl_penalty=free_bits"),
        (dict(capacity=3.0), SPEC, "capacity=3.* without kl_penalty=capacity"),
        (dict(tc_weight=[0.0, 6.0]), SPEC, "tc_weight=6"),
        (dict(scale=0.5), OPTIMAL, "scale=0.5.* without scale_mode!=optimal"),
    ],
)
def test_rows_do_not_claim_values_that_nothing_reads(values, spec, message):
    with pytest.raises(InputError, match=message):
        vae_jax.fit(spec, vae_jax.grid(latent_size=3, **values), DATA, 1)


def test_replaced_values_are_in_range_too():
    with pytest.raises(InputError, match=r"learning_rate=-1\.0: must be"):
        vae_jax.fit(SPEC, GRID._replace(learning_rate=-1.0), DATA, 1)


def test_a_diverged_run_says_so():
    wild = vae_jax.fit(SPEC, vae_jax.grid(latent_size=3, learning_rate=[1e-3, 1e30]), DATA, 4)
    assert wild[0].diverged == -1
    assert wild[1].diverged == wild.table[1]["diverged"] >= 0
    assert "diverged at update" in repr(wild[1])
    assert wild.best.run == 0


def test_the_bar_of_a_notebook_shows_steps_and_terms():
    bar = NotebookProgress(10)
    bar.advance(5, 2.0)
    bar._rows = {0: {"run": 0, "train_elbo": -9.0}}
    assert "value='5' max='10'" in bar.line()
    assert "train elbo -9.00" in bar.line()


@pytest.fixture(scope="module")
def scored():
    grid = vae_jax.grid(beta=[0.1, 4.0], latent_size=[2, 3])
    return vae_jax.ablate(SPEC, grid, DATA, 2)


def test_a_study_from_python_writes_its_explorer(scored, tmp_path):
    path = scored.plot.explorer(tmp_path / "page.html")
    held = re.findall(r'id="contents">(.*?)</script>', path.read_text(encoding="utf-8"))
    found = json.loads(held[0])
    assert found["order"][0] == scored.best.run
    assert len(found["rows"]) == len(scored)
    assert found["axes"].keys() == set(scored.swept)


@pytest.mark.parametrize(
    "draw",
    [
        lambda plot: plot.samples(9),
        lambda plot: plot.reconstructions(),
        lambda plot: plot.reconstructions(DATA.test[:3], run=1),
        lambda plot: plot.traversals(DATA.test[0]),
        lambda plot: plot.interpolations(is_spherical=True),
        lambda plot: plot.curves(),
        lambda plot: plot.heat("beta", "latent_size", "test_nll"),
        lambda plot: plot.manifold(3, run=0),
        lambda plot: plot.rate_distortion("latent_size"),
        lambda plot: vae_jax.show_images({"one": DATA.test[:3], "two": DATA.test[:3] / 255}),
    ],
)
def test_a_notebook_shows_what_a_plot_returns(scored, draw):
    assert draw(scored.plot)._repr_png_().startswith(b"\x89PNG")


def test_a_heat_map_has_the_values_of_its_column(scored):
    figure = scored.plot.heat("beta", "latent_size", "test_kl")
    panel = figure.axes[0]
    shown = panel.collections[0].get_array().reshape(2, 2)
    for row in scored.table:
        i, j = [2, 3].index(row["latent_size"]), [0.1, 4.0].index(round(row["beta"], 3))
        assert shown[i, j] == pytest.approx(row["test_kl"])


@pytest.mark.parametrize("names", [("beta", "seed"), ("beta", "latent_size", "no_such_term")])
def test_a_heat_map_of_what_is_not_there_is_refused(scored, names):
    with pytest.raises(InputError, match=f"heat={names[-1]}"):
        scored.plot.heat(*names)


def test_a_rate_distortion_figure_has_the_points_of_the_table(scored):
    axes = scored.plot.rate_distortion("latent_size").axes[0]
    shown = [np.ravel(bars.lines[0].get_data()) for bars in axes.containers]
    for bars, size in zip(shown, (2, 3), strict=True):
        rows = [row for row in scored.table if row["latent_size"] == size]
        wanted = [row["test_kl"] for row in rows], [-row["test_log_likelihood"] for row in rows]
        np.testing.assert_allclose(bars, np.ravel(wanted), rtol=1e-6)


@pytest.mark.parametrize(
    ("draw", "problem"),
    [
        (lambda plot: plot.manifold(run=1), "manifold=run 1: .* 3 latents"),
        (lambda plot: plot.manifold(1, run=0), "side=1"),
        (lambda plot: plot.rate_distortion("seed"), "rate_distortion=seed"),
    ],
)
def test_a_figure_of_what_a_study_does_not_have_is_refused(scored, draw, problem):
    with pytest.raises(InputError, match=problem):
        draw(scored.plot)


def test_a_study_that_was_not_evaluated_has_no_rate(scored):
    trained = dataclasses.replace(scored, table=[row | {"test_kl": None} for row in scored.table])
    with pytest.raises(InputError, match="rate_distortion=test_kl: no row has a number"):
        trained.plot.rate_distortion()


@dataclasses.dataclass(frozen=True)
class Heavy(GaussianLikelihood):
    """Likelihood from outside, with an array of its own."""

    hparams: ClassVar[tuple[HParam, ...]] = (
        *GaussianLikelihood.hparams,
        HParam("heaviness", 1.0, real(0.0), "number that nothing depends on"),
    )


def test_the_report_of_a_swept_array_from_outside_is_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_: [])
    data, grid = tiny_data(), vae_jax.grid(Heavy, latent_size=2, heaviness=[1.0, 2.0])
    model = vae_jax.VAE(data.event_shape, 2, vae_jax.MLP((3,)), likelihood=Heavy())
    spec = vae_jax.TrainSpec(model, batch_size=4)
    study = vae_jax.ablate(spec, grid, data, num_steps=1, num_particles=2)
    page = study.plot.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "heaviness" in page


def test_the_report_is_a_page_with_all_figures(scored, tmp_path):
    page = scored.plot.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 8
    assert "The best is run" in page


def test_vectors_of_real_numbers_are_trained_saved_asked_and_drawn(tmp_path):
    x = np.random.default_rng(0).normal(2, 3, size=(40, 5)).astype(np.float32)
    record = vae_jax.data.Provenance("vectors", "vectors", "draws", "cut in order")
    data = vae_jax.Dataset(x, x[:9], x[:9], None, None, None, record)
    model = vae_jax.VAE(
        (5,), 2, vae_jax.MLP((4,)), likelihood=LIKELIHOODS["gaussian"](), num_classes=0
    )
    study = vae_jax.fit(
        vae_jax.TrainSpec(model, batch_size=8), vae_jax.grid(latent_size=2), data, 2
    )
    run = vae_jax.load_run(study.save(tmp_path / "run"))[0]
    assert run.encoding == "reals"
    np.testing.assert_allclose(run.codes(data, "test"), run.encode(x[:9]).mean, atol=1e-5)
    assert run.elbo(x[0], jax.random.key(0)).shape == ()
    with pytest.raises(InputError, match="the data are reals"):
        run.encode(x.astype(np.uint8))
    assert study.plot.reconstructions()._repr_png_().startswith(b"\x89PNG")


def test_rows_of_images_are_drawn_in_one_scale_under_their_names():
    gray = np.full((2, 4, 4, 1), 51, np.uint8)
    figure = vae_jax.show_images({"pixels": gray, "numbers": gray / 255}, "both")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pixels", "numbers"]
    canvas = np.asarray(axes.images[0].get_array())
    assert set(np.unique(canvas)) == {51, 255}  # and the white between the images


@pytest.mark.parametrize(
    "rows", [{}, {"a": DATA.test[:3], "b": DATA.test[:2]}, {"a": DATA.test[0]}, {"a": []}]
)
def test_rows_of_images_that_make_no_grid_are_refused(rows):
    with pytest.raises(InputError, match="rows"):
        vae_jax.show_images(rows)
