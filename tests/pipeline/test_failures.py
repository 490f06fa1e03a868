"""What fails after training costs itself alone: results are there, one line says what is not."""

import inspect
import shutil
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from tests.pipeline.small import SMALL, read_csv, read_json, save_images
from vae_jax import cli
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import EVALUATORS, samples
from vae_jax.evaluation.evaluators.base import PerRunEvaluator
from vae_jax.evaluation.metrics.samples import NUM_NEIGHBOURS
from vae_jax.reporting import figures, plots, report


def _arguments(member) -> list[str]:
    return list(inspect.signature(member).parameters)


STUDY = ["--batch_size=16", "--hidden_sizes=8", "--eval_particles=3", "--num_steps=4"]
STUDY += ["--sweep=latent_size=2,3", "--sweep=beta=1,4"]
PER_RUN = [name for name, each in EVALUATORS.items() if issubclass(each, PerRunEvaluator)]
DRAWN = [name for name in plots.__all__ if "path" in _arguments(getattr(plots, name))]
HERE = [name for name in PER_RUN if not {"labels", "factors"} & EVALUATORS[name].needs]


def _crash(*_, **__):
    raise RuntimeError("simulated")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a finished study of four runs, without figures."""
    folder = tmp_path_factory.mktemp("trained")
    save_images(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *_: [])
        patch.setattr(figures, "draw_study", lambda *_: [])
        assert cli.main(_argv(folder)) == 0
    return folder


def _argv(folder, *more):
    return [f"--dataset={folder / 'gray.npz'}", f"--workdir={folder / 'run'}", *STUDY, *more]


@pytest.fixture
def start(trained, tmp_path, capsys, monkeypatch):
    """Return a function that starts a copy of the study again: status, stdout, lines of stderr."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run" / "results.csv").unlink()

    def run(*more):
        status = cli.main(_argv(tmp_path, *more))
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


def test_a_crash_in_every_figure_leaves_results_and_report(start, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        for name in DRAWN:
            patch.setattr(plots, name, _crash)
        status, out, lines = start()
    assert status == 1
    named = [line.removeprefix("run.py: figure ").partition(" ")[0] for line in lines]
    assert named == [
        *("heat_latent_size_beta", "evaluations_over_latent_size", "evaluations_over_beta"),
        "rate_distortion",
        *("samples_over_axes", "reconstructions_over_axes", "training_curves"),
        *("reconstructions", "samples", named[9], "interpolations", "kl_per_latent"),
    ]
    assert all("is missing (RuntimeError: simulated at " in line for line in lines)
    assert len(read_csv(tmp_path / "run")) == 4
    assert read_json(tmp_path / "run")["missing"] == [line[len("run.py: ") :] for line in lines]
    assert "figure samples is missing" in (tmp_path / "run" / "report.html").read_text()
    assert "12 part(s) are missing" in out


@pytest.mark.parametrize("name", ["reconstructions", "grid_of_images"])
def test_a_crash_in_one_figure_leaves_the_others(start, tmp_path, monkeypatch, name):
    drawn = []
    for other in DRAWN:
        patched = _crash if other == name else lambda path, *_, **__: drawn.append(path.stem)
        monkeypatch.setattr(plots, other, patched)
    monkeypatch.setattr(report, "write", lambda *_: None)
    status, _, lines = start()
    count = 2 if name == "grid_of_images" else 1
    assert (status, len(lines), len(drawn)) == (1, count, 12 - count), lines


def test_results_are_there_before_anything_is_drawn(start, tmp_path, monkeypatch):
    def look(*_):
        assert len(read_csv(tmp_path / "run")) == 4
        assert len(read_json(tmp_path / "run")["runs"]) == 4
        seen.append(True)
        return []

    seen = []
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", look)
    assert start()[0] == 0
    assert seen


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("vae_jax.reporting.report.write", "report.html"),
        ("vae_jax.reporting.explorer.write", "explorer.html"),
        ("vae_jax.reporting.conclusions.conclude", "conclusions on the runs"),
        ("vae_jax.reporting.figures.draw", "figures"),
    ],
)
def test_so_does_whatever_else_is_made_of_them(start, tmp_path, monkeypatch, target, part):
    monkeypatch.setattr(figures, "draw_study", lambda *_: [])
    monkeypatch.setattr(figures, "draw", lambda *_: [])
    monkeypatch.setattr(target, _crash)
    status, _, (line,) = start()
    assert status == 1
    assert line.startswith(f"run.py: {part} is missing (RuntimeError: simulated at ")
    assert len(read_csv(tmp_path / "run")) == 4


def test_a_crash_in_every_evaluation_leaves_the_other_columns(start, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    with monkeypatch.context() as patch:
        for name in HERE:
            patch.setattr(EVALUATORS[name], "__call__", _crash)
        status, _, lines = start(f"--evaluate={','.join(HERE)}")
    assert status == 1
    expected = [f"run.py: evaluation {name} of run {run} is" for name in HERE for run in range(4)]
    assert [line.partition(" missing")[0] for line in lines] == expected
    rows = read_csv(tmp_path / "run")
    assert all(row["test_elbo"] for row in rows)
    assert {row["mmd_pixels"] for row in rows} == {""}


def test_an_evaluation_that_fails_for_one_run_is_made_for_the_others(start, tmp_path, monkeypatch):
    def measure(self, context, on_progress):
        run = 2 * (int(context.trained.hparams.latent_size) - 2)
        run += int(context.trained.hparams.beta > 1)
        return {"mmd_pixels": float(run)} if run != 1 else _crash()

    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    monkeypatch.setattr(samples.Samples, "__call__", measure)
    status, _, (line,) = start("--evaluate=samples")
    assert (status, "evaluation samples of run 1 is missing" in line) == (1, True)
    assert [row["mmd_pixels"] for row in read_csv(tmp_path / "run")] == ["0.0", "", "2.0", "3.0"]


@dataclass(frozen=True)
class Undeclared(PerRunEvaluator):
    columns: ClassVar[tuple[Column, ...]] = (Column("mine", "mine", "1", "mine"),)

    def __call__(self, context, on_progress):
        return {"mine": 1.0, "others": 2.0}


@dataclass(frozen=True)
class NoRow(Undeclared):
    def __call__(self, context, on_progress):
        return None


@dataclass(frozen=True)
class Vector(Undeclared):
    def __call__(self, context, on_progress):
        return {"mine": jnp.ones(3)}


@dataclass(frozen=True)
class Raising(Undeclared):
    def __call__(self, context, on_progress):
        raise KeyError("no such thing")


@dataclass(frozen=True)
class OnDevice(Undeclared):
    def __call__(self, context, on_progress):
        return {"mine": jnp.float32(0.5)}


@pytest.mark.parametrize(
    ("evaluator", "reason"),
    [
        (Undeclared, "returns others, which its columns do not declare; declare a Column"),
        (NoRow, "returns a NoneType; return a row, a dictionary of its columns"),
        (Vector, "returns mine of shape (3,); return one number"),
        (Raising, "KeyError: 'no such thing' at test_failures.py:"),
    ],
)
def test_what_is_wrong_with_a_row_from_outside_is_said(start, monkeypatch, evaluator, reason):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    name = f"{__name__}:{evaluator.__name__}"
    status, _, lines = start(f"--evaluate={name}")
    assert status == 1
    assert lines[0].startswith(f"run.py: evaluation {name} of run 0 is missing ({reason}")


def test_a_number_of_jax_is_a_number(start, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    assert start(f"--evaluate={__name__}:OnDevice")[0] == 0
    assert [row["mine"] for row in read_csv(tmp_path / "run")] == ["0.5"] * 4


def test_without_any_test_term_there_are_results(start, tmp_path, monkeypatch):
    shutil.rmtree(tmp_path / "run" / "evaluations")
    monkeypatch.setattr(EVALUATORS["nll"], "rows", lambda *_: iter(map(_crash, [0])))
    status, out, lines = start()
    assert status == 1
    assert lines[0].startswith("run.py: evaluation nll of runs 0 to 3 is missing (RuntimeError")
    assert [row["test_elbo"] for row in read_csv(tmp_path / "run")] == [""] * 4
    assert "no run has test terms" in out


NOT_OF_THE_DISK = {
    "a network": ConnectionError("no route"),
    "a network with a number": ConnectionRefusedError(111, "Connection refused"),
    "a slow network": TimeoutError("no answer"),
    "a file of the evaluator's own": FileNotFoundError(2, "No such file", "/opt/inception.npz"),
    "an error without a number": OSError("not a gzipped file"),
}


@pytest.mark.parametrize("error", NOT_OF_THE_DISK.values(), ids=NOT_OF_THE_DISK.keys())
def test_an_error_of_the_system_that_is_none_of_the_disk_costs_its_part_alone(
    start, tmp_path, monkeypatch, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    monkeypatch.setattr(samples.Samples, "__call__", fail)
    status, _, lines = start("--evaluate=samples")
    assert status == 1
    assert len(lines) == 4
    assert f"evaluation samples of run 0 is missing ({type(error).__name__}: " in lines[0]
    assert len(read_csv(tmp_path / "run")) == 4


def test_a_file_of_the_workdir_is_of_the_disk(start, tmp_path, monkeypatch):
    def fail(*_):
        raise FileNotFoundError(2, "No such file", str(tmp_path / "run" / "figures"))

    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    monkeypatch.setattr(samples.Samples, "__call__", fail)
    status, _, (line,) = start("--evaluate=samples")
    assert (status, "cannot be written (No such file at " in line) == (2, True)


def test_a_full_disk_is_no_failure_of_a_figure(start, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "heat_maps", full)
    status, _, (line,) = start()
    assert (status, "No space left" in line) == (2, True)


@pytest.mark.parametrize(
    ("arrays", "name", "words"),
    [
        ({"x_train": 50, "x_test": 5}, "samples", "6 examples of a split, and --dataset="),
        ({"x_train": 80, "y_train": 80}, "representation", "needs 2 classes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(tmp_path, capsys, arrays, name, words):
    rng = np.random.default_rng(0)
    made = {
        key: rng.integers(0, 9, (num, 4, 5)) if key[0] == "x" else np.full(num, 5)
        for key, num in arrays.items()
    }
    np.savez(tmp_path / "d.npz", **made)
    argv = [f"--dataset={tmp_path / 'd.npz'}", f"--workdir={tmp_path / 'run'}", *SMALL]
    assert cli.main([*argv, f"--evaluate={name}"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert samples.LEAST_EXAMPLES == NUM_NEIGHBOURS + 1
