"""A crash in each figure, evaluation and export that is registered costs that part alone.

What can crash is read from the registries, so a new member is tried too, or the test says that no
situation here reaches it.
"""

import inspect
import re
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from tests.pipeline.small import gray_images, read_csv, read_json
from vae_jax import cli
from vae_jax.config import flags
from vae_jax.evaluation.columns import NUMBER, Column
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.evaluation.evaluators.base import PerRunEvaluator
from vae_jax.pipeline import export
from vae_jax.reporting import figures, plots
from vae_jax.training import divergence

DRAWN = {
    name for name in plots.__all__ if "path" in inspect.signature(getattr(plots, name)).parameters
} - {"image_rows"}  # of notebooks alone
LENGTH = ["--batch_size=8", "--num_steps=2", "--hidden_sizes=4", "--eval_particles=2"]
AIS = ["--ais_steps=2", "--ais_chains=2", "--ais_leapfrog=1", "--ais_examples=3"]
SITUATIONS = {
    "classes": [
        *("--dataset=classes.npz", "--conditional", "--latent_size=3", *AIS),
        "--evaluate=bdmc",
    ],
    "vectors": [
        *("--dataset=vectors.npz", "--likelihood=gaussian", "--latent_size=2"),
        *("--sweep=beta=1,4", "--sweep=warmup_steps=0,1", "--evaluate=samples"),
    ],
    "one axis": [
        *("--dataset=classes.npz", "--latent_size=2", "--sweep=beta=1,4"),
        "--evaluate=representation",
    ],
}
ALL = [name for name in EVALUATORS if name != "nll"]


@pytest.fixture
def start(tmp_path, capsys, monkeypatch):
    """Return a function that starts the command line: status, stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)
    labels = {f"y_{split}": np.arange(n) % 2 for split, n in (("train", 40), ("test", 12))}
    images = {"x_train": gray_images(40, 1), "x_test": gray_images(12, 2)}
    np.savez("classes.npz", **images, **labels)
    rng = np.random.default_rng(0)
    np.savez("vectors.npz", x_train=rng.normal(size=(40, 5)), x_test=rng.normal(size=(12, 5)))

    def run(*argv):
        status = cli.main([*LENGTH, "--workdir=run", *argv])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


def crashing(called: list[str], name: str):
    def crash(*_, **__):
        called.append(name)
        raise RuntimeError(f"simulated in {name}")

    return crash


def test_every_figure_that_fails_is_named_with_the_reason(start, tmp_path, monkeypatch):
    monkeypatch.setattr(EVALUATORS["representation"], "__call__", lambda *_: {})
    reached = set()
    for number, argv in enumerate(SITUATIONS.values()):
        called: list[str] = []
        with monkeypatch.context() as patch:
            for name in DRAWN:
                patch.setattr(plots, name, crashing(called, name))
            status, out, lines = start(*argv, f"--workdir=run{number}", "--explorer=none")
        pattern = r"run\.py: figure \w+ is missing \(RuntimeError: simulated in (\w+) at .*"
        assert [re.sub(pattern, r"\1", line) for line in lines] == called
        assert (status, len(called) > 4) == (1, True)
        assert f"{len(called)} part(s) are missing" in out
        folder = tmp_path / f"run{number}"
        assert all(row["test_elbo"] for row in read_csv(folder))
        assert read_json(folder)["missing"] == [line[len("run.py: ") :] for line in lines]
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert all(f"simulated in {name}" in page for name in called)
        reached |= set(called)
    assert reached == DRAWN


def test_every_evaluation_that_fails_is_named_with_the_reason(start, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    called: list[str] = []
    for name, evaluator in EVALUATORS.items():
        method = "__call__" if issubclass(evaluator, PerRunEvaluator) else "rows"
        monkeypatch.setattr(evaluator, method, crashing(called, name))
    argv = ["--dataset=sprites/40", "--latent_size=2", f"--evaluate={','.join(ALL)}"]
    status, _, lines = start(*argv, "--explorer=none")
    assert called == list(EVALUATORS)
    assert [line.partition(" at ")[0] for line in lines] == [
        f"run.py: evaluation {name} of run 0 is missing (RuntimeError: simulated in {name}"
        for name in EVALUATORS
    ]
    (row,) = read_csv(tmp_path / "run")
    assert (status, row["step"], row["test_elbo"]) == (1, "2", "")
    assert len(read_json(tmp_path / "run")["missing"]) == len(EVALUATORS)


def test_every_export_that_fails_is_named_and_costs_itself_alone(start, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    write = export._kept_or_written
    for broken in flags.EXPORTS:
        called: list[str] = []
        with monkeypatch.context() as patch:
            crash = crashing(called, broken)
            patch.setattr(
                *(export, "_kept_or_written"),
                lambda folder, kind, *more, b=broken, c=crash: (
                    c() if kind == b else write(folder, kind, *more)
                ),
            )
            argv = ["--dataset=classes.npz", f"--workdir={broken}", "--explorer=none"]
            status, out, (line,) = start(*argv, f"--export={','.join(flags.EXPORTS)}")
        assert status == 1
        assert line.startswith(f"run.py: export {broken} of run 0 is missing (RuntimeError: ")
        assert out.count("exported: ") == sum(
            3 if kind == "stablehlo" else 1 for kind in flags.EXPORTS if kind != broken
        )


def test_pictures_of_a_run_that_fail_cost_that_run_its_pictures(start, tmp_path, monkeypatch):
    tiles, seen = figures._tiles, []

    def of_run(trained, *more):
        seen.append(float(trained.hparams.beta))
        return tiles(trained, *more) if seen[-1] == 1 else crashing([], "tiles")()

    monkeypatch.setattr(figures, "_tiles", of_run)
    status, _, (line,) = start(*SITUATIONS["one axis"][:-1], "--explorer=none")
    assert (status, seen) == (1, [1.0, 4.0])
    assert line.startswith("run.py: pictures of run 1 is missing (RuntimeError: simulated in tiles")
    assert "Pictures are of 1 of 2 runs." in (tmp_path / "run" / "report.html").read_text()


def test_an_unknown_reason_of_a_divergence_costs_that_sentence(start, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    monkeypatch.setattr(divergence, "explain", crashing([], "explain"))
    argv = ["--dataset=classes.npz", "--learning_rate=1e30", "--num_steps=6", "--explorer=none"]
    status, _, lines = start(*argv)
    assert [line.partition(" (")[0] for line in lines] == [
        "run.py: reason why run 0 diverged is missing"
    ]
    (row,) = read_csv(tmp_path / "run")
    assert (status, bool(row["diverged"])) == (1, True)


@dataclass(frozen=True)
class Odd(PerRunEvaluator):
    """Evaluator from outside that gives what is no row of numbers, or reads a file that is gone."""

    columns = (Column("odd", "a number", NUMBER, "odd"),)
    gives: ClassVar[object] = None

    def __call__(self, context, on_progress):
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


ODD = {
    "nothing": None,
    "a list": [1.0],
    "an array of JAX": {"odd": jnp.ones(2)},
    "an object": {"odd": object()},
    "a file that is gone": FileNotFoundError(2, "No such file or directory", "/weights.npz"),
    "no connection": ConnectionError("no route to host"),
    "no permission": PermissionError(13, "Permission denied", "/dev/shm/x"),
    "no memory": MemoryError(),
}


@pytest.mark.parametrize("gives", ODD.values(), ids=ODD.keys())
def test_an_evaluator_from_outside_costs_its_own_columns(start, tmp_path, monkeypatch, gives):
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    monkeypatch.setattr(Odd, "gives", gives)
    argv = ["--dataset=classes.npz", f"--evaluate={__name__}:Odd", "--explorer=none"]
    status, _, (line,) = start(*argv)
    assert status == 1
    assert line.startswith(f"run.py: evaluation {__name__}:Odd of run 0 is missing (")
    (row,) = read_csv(tmp_path / "run")
    assert row["test_elbo"]


def test_names_that_the_font_cannot_draw_are_one_note(start, tmp_path):
    names = np.array(["$x_", "\\frac{a}{", "\u65e5\u672c", "a\nb", "n" * 300, "", "<b>", "%d{x}"])
    labels = {"y_train": names[np.arange(40) % 8], "y_test": names[np.arange(12) % 8]}
    images = {"x_train": gray_images(40, 1), "x_test": gray_images(12, 2)}
    np.savez("names.npz", **images, **labels)
    argv = ["--dataset=names.npz", "--conditional", "--latent_size=2", "--explorer=none"]
    status, out, lines = start(*argv)
    assert (status, lines) == (0, [])
    (note,) = [line for line in out.splitlines() if "the font of the figures lacks" in line]
    assert note.endswith("drawn as boxes: U+65E5, U+672C")
    assert (tmp_path / "run" / "figures" / "samples_by_class.png").exists()
