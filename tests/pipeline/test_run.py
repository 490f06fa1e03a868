"""Files that a finished run leaves, for every kind of model."""

import json
import re
import shutil

import pytest

from tests.pipeline.small import (
    SHORT,
    SMALL,
    read_csv,
    read_json,
    read_metrics,
    save_images,
    saved_arrays,
    without_seconds,
)
from vae_jax import cli
from vae_jax.evaluation import columns
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.pipeline import draw

CONTRACT = [
    *("run", "beta", "latent_size", "learning_rate", "seed", "step", "diverged"),
    *("test_elbo", "test_log_likelihood", "test_kl", "test_nll", "test_nll_se"),
    *("eval_particles", "active_units"),
]


def test_the_workdir_is_complete(finished):
    files = {path.name for path in finished.iterdir()}
    assert files >= {"flags.txt", "metrics.jsonl", "results.csv", "results.json"}
    assert files >= {"report.html", "explorer.html"}
    assert any((finished / "tensorboard").rglob("events*"))
    figures = {path.stem for path in (finished / "figures").glob("*.png")}
    expected = ("training_curves", "reconstructions", "samples", "interpolations", "kl_per_latent")
    assert figures == {*expected, "traversals"}
    checkpoints = {path.name for path in (finished / "checkpoints" / "000").iterdir()}
    assert checkpoints == {"group.json", "8", "12"}


def test_a_finished_run_leaves_its_explorer_as_it_is_and_a_flag_writes_none(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    page, text = finished / "explorer.html", (finished / "explorer.html").read_text()
    assert '"network":"MLP"' in text
    shutil.copytree(finished, tmp_path / "run")
    copied = tmp_path / "run" / page.name
    before = copied.stat().st_ino, copied.stat().st_mtime_ns
    argv = [f"--flagfile={finished}/flags.txt", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(argv) == 0
    assert (copied.stat().st_ino, copied.stat().st_mtime_ns) == before
    copied.unlink()
    assert cli.main([*argv, "--explorer=none"]) == 0
    assert not copied.exists()


def test_the_seconds_to_the_first_update_are_printed_and_stored(start, tmp_path):
    _, out, _ = start(*SHORT)
    (printed,) = re.findall(r"first update ([0-9.]+) s after the command", out)
    stored = json.loads((tmp_path / "run" / "results.json").read_text())["seconds"]
    assert stored["command to first update"] == pytest.approx(float(printed), abs=0.06)


def test_results_csv_has_the_columns_of_the_contract(finished):
    (row,) = read_csv(finished)
    assert list(row) == [*columns.TABLE, *columns.by_name(EVALUATORS["nll"].columns)]
    assert [name for name in row if name in CONTRACT] == CONTRACT
    settings = ("run", "beta", "latent_size", "learning_rate", "seed", "step", "diverged")
    assert [row[name] for name in settings] == ["0", "1.0", "3", "0.001", "0", "12", ""]
    assert row["eval_particles"] == "3"


def test_the_terms_of_results_csv_agree_with_each_other(finished):
    (row,) = (
        {name: float(value or "nan") for name, value in row.items()} for row in read_csv(finished)
    )
    assert row["test_elbo"] == pytest.approx(row["test_log_likelihood"] - row["test_kl"], abs=1e-4)
    assert -row["test_nll"] >= row["test_elbo"] - 4 * row["test_nll_se"]
    assert 0 <= row["active_units"] <= 3


def test_metrics_hold_a_line_per_interval(finished):
    rows = read_metrics(finished)
    assert [row["step"] for row in rows] == [4, 8, 12]
    for row in rows:
        assert {"run", "seconds", "train_elbo", "train_kl", "valid_elbo", "valid_kl"} <= set(row)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_results_json_holds_the_provenance_of_the_numbers(finished):
    found = read_json(finished)
    assert found["dataset"]["num_train"] == 80
    assert found["dataset"]["image_shape"] == [4, 5, 1]
    assert not found["dataset"]["substitution"]
    assert set(found["versions"]) >= {"python", "jax", "flax"}
    assert set(found["seconds"]) >= {"train", "evaluate", "compile"}
    assert found["flags"]["hidden_sizes"] == "8"
    assert found["columns"]["test_elbo"]["unit"] == "nats per example"
    assert len(found["kl_per_latent"][0]) == 3
    assert float(read_csv(finished)[0]["test_nll"]) == found["runs"][0]["test_nll"]


def test_the_report_is_one_file_with_the_command_that_repeats_the_run(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert f"python run.py --flagfile={finished}/flags.txt" in page
    assert page.count("data:image/png;base64,") == 6
    assert not re.search(r"(src|href)=['\"]https?:", page)


def test_a_note_explains_gray_targets(finished):
    (note,) = read_json(finished)["notes"]
    assert "targets are gray" in note
    assert "targets are gray" in (finished / "report.html").read_text(encoding="utf-8")


def test_its_own_flags_repeat_a_run(finished, tmp_path, no_figures):
    flags = [f"--flagfile={finished / 'flags.txt'}", f"--workdir={tmp_path / 'again'}"]
    assert cli.main(flags) == 0
    assert without_seconds(read_csv(tmp_path / "again")) == without_seconds(read_csv(finished))


def test_two_latents_are_drawn_as_a_plane(tmp_path):
    images, workdir = save_images(tmp_path), tmp_path / "run"
    argv = [*SMALL, "--latent_size=2", "--num_steps=2", f"--workdir={workdir}"]
    assert cli.main([f"--dataset={images}", *argv]) == 0
    figures = {path.name for path in (workdir / "figures").iterdir()}
    assert "manifold.png" in figures
    assert "traversals.png" not in figures


def test_double_precision_is_double_everywhere(start, tmp_path):
    assert start(*SMALL, "--num_steps=2", "--compute_dtype=float64")[0] == 0
    kinds = {array.dtype.name for array in saved_arrays(tmp_path / "run", 2)}
    assert "float64" in kinds
    assert "float32" not in kinds
    found = read_json(tmp_path / "run")
    assert (found["precision"], found["matmul_precision"]) == ("float64", "default")


def test_bfloat16_keeps_its_state_in_single_precision(start, tmp_path):
    assert start(*SMALL, "--num_steps=2", "--compute_dtype=bfloat16")[0] == 0
    kinds = {array.dtype.name for array in saved_arrays(tmp_path / "run", 2)}
    assert kinds == {"float32", "int32"}


def test_a_convolutional_network_on_binary_images(start, tmp_path):
    images = save_images(tmp_path, "binary.npz", is_binary=True)
    argv = ["--network=conv", "--channels=2,3", f"--dataset={images}", "--num_steps=2"]
    status, _, err = start(*SMALL, *argv)
    assert (status, err) == (0, "")
    assert read_json(tmp_path / "run")["notes"] == []
    assert float(read_csv(tmp_path / "run")[0]["test_nll"]) > 0


def test_a_diverged_run_is_reported_not_hidden(start, tmp_path):
    status, _, err = start(*SHORT, "--learning_rate=1e30")
    assert (status, err) == (0, "")
    (row,) = read_csv(tmp_path / "run")
    assert 0 <= int(row["diverged"]) < 12
    assert row["test_elbo"] == ""
    assert "diverged" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
