"""Best weights and early ends of runs: from flags to table, across starts, and in Python."""

import contextlib
import io
import json
import shutil

import jax
import numpy as np
import pytest

import vae_jax
from tests.oracles import tiny_data
from tests.pipeline.small import (
    SMALL,
    killed_at,
    read_csv,
    read_json,
    read_metrics,
    save_images,
    without_seconds,
)
from vae_jax import cli
from vae_jax.config.flags import Config
from vae_jax.pipeline import results
from vae_jax.reporting import figures, report
from vae_jax.runtime.errors import InputError

STEPS = ["--num_steps=60", "--eval_every=4", "--checkpoint_every=8"]
CHOOSING = [*SMALL, *STEPS, "--keep=best", "--patience=2", "--sweep=learning_rate=0.01,0.5,1"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a finished study, the output of its command beside it in ``out.txt``."""
    folder = tmp_path_factory.mktemp("straight")
    images = save_images(folder)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        for name in ("draw", "draw_study"):
            patch.setattr(figures, name, lambda *args, **kwargs: [])
        assert cli.main([f"--dataset={images}", f"--workdir={folder / 'run'}", *CHOOSING]) == 0
    (folder / "out.txt").write_text(out.getvalue())
    return folder / "run"


@pytest.fixture(autouse=True)
def _no_figures_of_studies(monkeypatch):
    monkeypatch.setattr(figures, "draw_study", lambda *args: [])


def _arrays(workdir) -> list[np.ndarray]:
    state = vae_jax.load_run(workdir).state
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.params, state.valid))]


def _assert_same_study(left, right) -> None:
    for a, b in zip(_arrays(left), _arrays(right), strict=True):
        np.testing.assert_array_equal(a, b)
    assert without_seconds(read_csv(left)) == without_seconds(read_csv(right))
    assert without_seconds(read_metrics(left)) == without_seconds(read_metrics(right))


def _curve(workdir, run: int) -> dict[int, float]:
    return {row["step"]: row["valid_elbo"] for row in read_metrics(workdir) if row["run"] == run}


def test_a_study_evaluates_the_best_weights_and_says_so(straight, start, tmp_path):
    workdir, out = straight, (straight.parent / "out.txt").read_text()
    rows = read_csv(workdir)
    ends = [int(row["step"]) for row in rows]
    assert min(ends) < 60
    for run, row in enumerate(rows):
        curve = _curve(workdir, run)
        best = max(curve, key=curve.__getitem__)
        assert int(row["best_step"]) == best
        assert float(row["valid_elbo"]) == curve[best]
        assert int(row["step"]) == max(curve)
        stopped = row["stopped"] != ""
        assert stopped == (int(row["step"]) < 60 or best <= 60 - 2 * 4)
        if stopped:
            assert int(row["stopped"]) == int(row["step"]) == best + 2 * 4
            assert f"run {run} stopped at step {max(curve)}: its valid elbo has not risen" in out
    study = vae_jax.load_run(workdir)
    assert [run.step for run in study] == [int(row["best_step"]) for row in rows]
    assert [row["test_nll"] for row in study.table] == [float(row["test_nll"]) for row in rows]
    assert "chosen on valid" in out
    notes = read_json(workdir)["notes"]
    assert notes[0].startswith(
        "Chosen on valid: the weights of each run with a best_step are those"
    )
    assert notes[1].startswith("Stopped early, of --num_steps=60: ")
    page = (workdir / "report.html").read_text()
    assert notes[0].partition(" (")[0] in page
    assert "best step" in page
    assert "stopped early" in page

    row = min(rows, key=lambda row: int(row["step"]))  # the same run, plain, up to its best look
    plain = [*SMALL, f"--num_steps={row['best_step']}", f"--learning_rate={row['learning_rate']}"]
    assert start(*plain, "--eval_every=4", f"--workdir={tmp_path / 'plain'}")[0] == 0
    (alone,) = read_csv(tmp_path / "plain")
    assert "best_step" not in alone
    for name in ("test_elbo", "test_nll", "valid_elbo", "train_elbo"):
        assert alone[name] == row[name]


@pytest.mark.parametrize(
    ("name", "term"), [("valid_elbo", "ELBO"), ("valid_log_likelihood", "log-likelihood")]
)
def test_notes_name_the_runs_and_the_term_of_the_choice(name, term):
    kept = {"run": 1, "step": 8, "best_step": 4, "stopped": 8, name: -9.0}
    chosen, ended = results.notes_on_choice(Config(), [{"run": 0, "step": 8, name: -9.0}, kept])
    assert f"each run with a best_step are those of its highest {term} on valid" in chosen
    assert f"the valid {term}, chosen" in chosen
    assert f"because the {term} on valid had not risen" in ended
    found = {"runs": [kept], "swept": []}
    assert any(f"highest valid {term}, chosen" in line for line in report._lead(found, kept))


def test_a_killed_study_chooses_as_the_straight_one(straight, start, tmp_path):
    with killed_at(24):
        start(*CHOOSING)
    assert start(*CHOOSING)[0] == 0
    _assert_same_study(tmp_path / "run", straight)


def test_lost_lines_are_a_gap_and_seconds_go_on_from_the_longest_run(straight, start, tmp_path):
    workdir = shutil.copytree(straight, tmp_path / "run")
    lines = read_metrics(workdir)
    ends = {run: max(row["step"] for row in lines if row["run"] == run) for run in range(3)}
    assert min(ends.values()) < max(ends.values())
    kept = [row | {"seconds": 100.0 + row["step"]} for row in lines if row["step"] > 4]
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in kept))
    shutil.copy(straight.parent / "gray.npz", tmp_path)
    status, out, err = start(*CHOOSING, "--num_steps=80")
    assert (status, err) == (0, "")
    assert "lines that were there; going on with this gap" in out
    added = [row for row in read_metrics(workdir) if row["step"] > max(ends.values())]
    assert all(row["seconds"] > 100 + max(ends.values()) for row in added)


def test_before_it_is_evaluated_a_row_is_of_the_weights_of_its_run(straight, tmp_path):
    wanted = vae_jax.load_run(straight)
    copy = shutil.copytree(straight, tmp_path / "copy")
    (copy / "results.json").unlink()
    opened = vae_jax.load_run(copy)
    for run in opened:
        assert run.row["best_step"] == run.step < run.row["step"]
    for name in ("step", "best_step", "valid_elbo", "train_elbo", "seconds"):
        assert [row[name] for row in opened.table] == [row[name] for row in wanted.table]


def test_more_steps_are_those_of_runs_that_go_on(straight, start, tmp_path):
    assert start(*CHOOSING, "--num_steps=16")[0] == 0
    assert start(*CHOOSING)[0] == 0
    _assert_same_study(tmp_path / "run", straight)


def test_a_study_ends_with_its_last_run_and_more_steps_change_nothing(start, tmp_path):
    flags = [*SMALL, *STEPS, "--patience=1", "--learning_rate=0.5"]
    _, out, _ = start(*flags)
    (row,) = read_csv(tmp_path / "run")
    end = int(row["step"])
    assert end < 60
    assert row["stopped"] == row["step"]
    assert "best_step" not in row
    assert f"Stopped early, of --num_steps=60: run 0 at step {end}, because" in out
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    _, out, _ = start(*flags, "--num_steps=400")
    assert f"finished: checkpoint at step {end} of 400, 1 of 1 runs stopped early" in out
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert without_seconds(read_csv(tmp_path / "run")) == [
        {name: value for name, value in row.items() if name != "seconds"}
    ]
    assert vae_jax.load_run(tmp_path / "run")[0].step == end


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_steps=58"], "--keep=best: looks at valid every --eval_every=4 updates, of which"),
        (["--keep=last", "--num_steps=2"], "--patience=2: looks at valid every --eval_every=4"),
        (["--keep=worst"], "--keep=worst: must be one of last, best"),
        (["--patience=-1"], "--patience=-1: must be a whole number from 0"),
    ],
)
def test_what_cannot_choose_is_refused_in_a_line(start, tmp_path, flags, words):
    status, _, err = start(*SMALL, *STEPS, "--keep=best", "--patience=2", *flags)
    assert (status, len(err.splitlines())) == (2, 1)
    assert words in err
    assert not (tmp_path / "run").exists()


def test_how_runs_choose_is_theirs_for_good(start):
    flags = [*SMALL, "--num_steps=8", "--eval_every=4", "--keep=best"]
    assert start(*flags)[0] == 0
    for other in ("--eval_every=2", "--keep=last", "--patience=3"):
        status, _, err = start(*flags, other)
        assert status == 2
        assert "holds a run with other flags (" in err
        assert f"{other[2:].partition('=')[0]}=" in err


DATA = tiny_data(80)
SPEC = vae_jax.TrainSpec(
    vae_jax.VAE(DATA.event_shape, 3, vae_jax.MLP((8,))), batch_size=16, keep="best"
)
GRID = vae_jax.grid(learning_rate=[0.01, 1.0], latent_size=3, patience=2)


@pytest.fixture(scope="module")
def study():
    return vae_jax.ablate(SPEC, GRID, DATA, 40, eval_every=4)


class TestPython:
    def test_the_table_has_what_was_chosen(self, study):
        stopped, record = [row["stopped"] for row in study.table], study.state.record
        assert stopped == [n if n >= 0 else "" for n in record.stopped.tolist()]
        assert any(stopped)
        assert [row["best_step"] for row in study.table] == record.step.tolist()
        for run, row in zip(study, study.table, strict=True):
            steps, values = study.curve("valid_elbo", run.run)
            assert row["best_step"] == steps[np.argmax(values)] == run.step
            assert row["valid_elbo"] == values.max()
            np.testing.assert_allclose(
                run.elbo(DATA.test, jax.random.key(0)).mean(), row["test_elbo"], atol=0.5
            )

    def test_it_goes_on_as_without_a_break_and_only_with_its_looks(self, study):
        shorter = vae_jax.fit(SPEC, GRID, DATA, 8, eval_every=4)
        longer = shorter.fit(DATA, 40, eval_every=4)
        for a, b in zip(jax.tree.leaves(longer.state), jax.tree.leaves(study.state), strict=True):
            np.testing.assert_array_equal(a, b)
        assert without_seconds(longer.metrics) == without_seconds(study.metrics)
        with pytest.raises(InputError, match="eval_every=8: the runs have looked at valid every 4"):
            shorter.fit(DATA, 40, eval_every=8)
        with pytest.raises(InputError, match="keep=best: looks at valid every eval_every=500"):
            vae_jax.fit(SPEC, GRID, DATA, 40)

    def test_saved_it_is_the_same_study(self, study, tmp_path):
        opened = vae_jax.load_run(study.save(tmp_path / "run"))
        for name in ("best_step", "stopped", "step", "valid_elbo", "test_nll"):
            assert [row[name] for row in opened.table] == [row[name] for row in study.table]
        assert "--eval_every=4" in (tmp_path / "run" / "flags.txt").read_text().splitlines()
        for one, other in zip(opened, study, strict=True):
            assert one.step == other.step
            np.testing.assert_array_equal(one.codes(DATA, "test"), other.codes(DATA, "test"))
