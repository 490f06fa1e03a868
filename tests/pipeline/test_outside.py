"""A run whose members are all from outside: the skeletons of the how-to pages, trained together."""

import csv
import json
import zlib

import jax
import pytest

import vae_jax
from tests import skeletons
from tests.pipeline.small import read_csv, read_json, read_metrics
from vae_jax import cli
from vae_jax.config.command_line import parse

pytestmark = pytest.mark.skipif(not skeletons.HOW_TO, reason="not a checkout")

SMALL = [
    *("--batch_size=16", "--latent_size=2", "--eval_particles=3", "--eval_every=2"),
    *("--norm_size=8", "--num_reconstructions=9", "--num_steps=2", "--workdir=run"),
]
SWEPT = "--sweep=spread=0.2,0.4"


def _shown() -> list[str]:
    """Return the flags of the pages that have a skeleton, without those of ``SMALL``."""
    pages = [page for page in skeletons.HOW_TO if skeletons.modules(page)]
    flags = [flag for page in pages for flag in skeletons.commands(page)[0]]
    small = {flag.partition("=")[0] for flag in SMALL} | {"--spread", "--dataset"}
    own = [flag for flag in flags if flag.partition("=")[0] not in small]
    return [*own, "--dataset=my_source:read_stripes"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    written = skeletons.written(tmp_path_factory.mktemp("outside"))
    with written as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # nothing else leads to the modules
        patch.setattr("vae_jax.reporting.figures.draw", lambda *args, **kwargs: [])
        patch.setattr("vae_jax.reporting.figures.draw_study", lambda *args, **kwargs: [])
        assert cli.main([*_shown(), *SMALL, SWEPT]) == 0
        (folder / "first").write_bytes((folder / "run" / "metrics.jsonl").read_bytes())
        assert cli.main(["--flagfile=run/flags.txt", "--num_steps=4"]) == 0
        yield folder


def test_it_resumes_from_its_own_flags(finished):
    rows = read_metrics(finished / "run")
    assert [(row["step"], row["run"]) for row in rows] == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert (
        (finished / "run" / "metrics.jsonl")
        .read_bytes()
        .startswith((finished / "first").read_bytes())
    )
    config = parse([f"--flagfile={finished / 'run' / 'flags.txt'}"])
    assert (config.likelihood, config.renyi_alpha) == ("my_likelihood:Logistic", 0.25)
    assert config.regularizer == ("my_regularizer:Centered",)


def test_its_settings_and_the_columns_of_its_evaluator_are_in_the_table_and_the_report(finished):
    rows = read_csv(finished / "run")
    assert [row["spread"] for row in rows] == ["0.2", "0.4"]
    assert all(float(row["squared_error"]) > 0 and row["squared_error_se"] for row in rows)
    found = read_json(finished / "run")
    assert found["evaluations"]["my_evaluator:Reconstruction"] == ["squared_error"]
    assert found["columns"]["squared_error"]["better"] == "lower"
    assert found["dataset"]["source"] == "100 striped images, drawn by this function"
    assert "squared error" in (finished / "run" / "report.html").read_text(encoding="utf-8")


def test_kept_numbers_depend_on_the_files_of_all_members_from_outside(finished):
    kept = finished / "run" / "evaluations" / "0-my_evaluator.Reconstruction.json"
    mark = json.loads(kept.read_text(encoding="utf-8"))["mark"]
    chosen = ("my_evaluator:Reconstruction", "my_likelihood:Logistic", "my_posterior:LaplaceFamily")
    for name in chosen:
        text = (finished / f"{name.partition(':')[0]}.py").read_bytes()
        assert mark[name] == zlib.crc32(text)


def test_it_is_loaded_and_saved_again_under_the_same_names(finished, tmp_path):
    study = vae_jax.load_run(finished / "run")
    part = study.parts[0]
    assert type(part.spec.model.likelihood).__module__ == "my_likelihood"
    images = study.select(spread=0.4).sample(jax.random.key(0), 3)
    assert images.shape == (3, 8, 8, 1)
    again = vae_jax.load_run(study.save(tmp_path / "again"))
    assert again.parts[0].spec == part.spec
    assert [row["spread"] for row in again.table] == [0.2, 0.4]


def test_the_help_shows_its_flags_and_what_is_wrong_with_its_name(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    assert cli.main(["--help", "--likelihood=my_likelihood:Logistic"]) == 0
    assert "  --spread=0.1\n      scale of the logistic density" in capsys.readouterr().out
    assert cli.main(["--help", "--likelihood=my_likelihood:Logistics"]) == 2
    assert "did you mean my_likelihood:Logistic?" in capsys.readouterr().err


def test_its_logger_has_the_learning_curves(finished):
    with (finished / "run-curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    logged = [(row["step"], row["run"]) for row in read_metrics(finished / "run")]
    assert [(int(row["step"]), int(row["run"])) for row in curves] == logged


def test_penalties_are_swept_each_as_a_program_of_its_own(finished, monkeypatch):
    monkeypatch.chdir(finished)
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *args: [])
    plain = ["--dataset=my_source:read_stripes", "--batch_size=16", "--hidden_sizes=8"]
    plain += ["--num_steps=2", "--eval_particles=2", "--latent_size=2"]
    penalty = "my_regularizer:Centered"
    swept = [f"--sweep=regularizer=/{penalty}", "--centered_weight=3"]
    assert cli.main([*plain, "--workdir=plain"]) == 0
    assert cli.main([*plain, *swept, "--workdir=swept"]) == 0
    (alone,), (without, punished) = read_csv(finished / "plain"), read_csv(finished / "swept")
    assert (without["regularizer"], punished["regularizer"]) == ("", penalty)
    assert without["test_elbo"] == alone["test_elbo"] != punished["test_elbo"]
    config = parse(["--flagfile=swept/flags.txt"])
    assert config.sweep == (f"regularizer=/{penalty}",)
    assert vae_jax.load_run("swept").select(regularizer=penalty).run == 1
