"""``--evaluate`` on the command line: columns, kept numbers, refusals."""

import csv
import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tests.pipeline.small import SMALL, gray_images
from vae_jax import cli
from vae_jax.config.command_line import parse
from vae_jax.config.members import columns_of
from vae_jax.config.validation import as_flags
from vae_jax.evaluation import columns
from vae_jax.evaluation.evaluators import EVALUATORS, annealing
from vae_jax.evaluation.metrics import ais, gaps
from vae_jax.pipeline import draw, explore
from vae_jax.pipeline.workdir import EVALUATIONS
from vae_jax.runtime.errors import InputError

STEPS = [*SMALL, "--num_steps=4", "--binarize=static"]
TWO = "--sweep=beta=1,2"
FEW = ["--ais_steps=2", "--ais_chains=2", "--ais_leapfrog=1", "--ais_examples=3"]
FEW += ["--gap_examples=3", "--gap_steps=2"]
EVERY = ["nll", "decomposition", "ais", "bdmc", "gaps", "representation", "samples"]
ALL = [f"--evaluate={','.join(EVERY)}", *FEW, TWO]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(draw, "draw_figures", lambda *args: [])
    monkeypatch.setattr(explore, "write", lambda *args: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    parts = {"x_train": (80, 1), "x_valid": (10, 2), "x_test": (23, 3)}
    arrays = {key: gray_images(*arguments) for key, arguments in parts.items()}
    labels = {key.replace("x", "y"): np.arange(len(a)) % 3 for key, a in arrays.items()}
    path = tmp_path_factory.mktemp("images") / "gray.npz"
    np.savez(path, **arrays, **labels)
    return path


@pytest.fixture
def start(images, tmp_path, capsys):
    def run(*argv):
        workdir = tmp_path / "run"
        status = cli.main([f"--dataset={images}", f"--workdir={workdir}", *STEPS, *argv])
        return status, *capsys.readouterr()

    run.folder = tmp_path / "run"
    return run


@pytest.fixture
def no_chains(monkeypatch):
    """Replace chains and ascents, which take long to compile and have tests of their own."""

    def annealed(spec, batch):
        return ais.Annealed(*(jnp.arange(len(batch.examples)) - 9.0 for _ in range(3)))

    def sandwich(spec, batch, z):
        return ais.Sandwich(annealed(spec, batch), annealed(spec, batch))

    def refined(spec, batch):
        return gaps.Elbos(*annealed(spec, batch)[:2])

    monkeypatch.setattr(annealing, "_forward", annealed)
    monkeypatch.setattr(annealing, "_bidirectional", sandwich)
    monkeypatch.setattr("vae_jax.evaluation.evaluators.gaps._refine", refined)


def _table(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _files(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder / EVALUATIONS).iterdir()}


def test_evaluations_are_in_the_table_then_kept_and_never_made_twice(start, no_chains, monkeypatch):
    status, out, err = start(*ALL)
    assert (status, err) == (0, "")
    rows, names = _table(start.folder), list(columns.by_name(columns_of(EVERY)))
    assert [list(row) for row in rows] == [[*columns.TABLE, *names]] * 2
    empty = {f"{kind}_{n}" for kind in ("probe", "knn") for n in ("100", "1000")}
    empty |= {f"{name}_se" for name in empty} | {"ais_acceptance"}  # two temperatures: one move
    for row in rows:
        assert {name for name in names if row[name] == ""} <= empty
    assert {f"{run}-{name}.json" for run in (0, 1) for name in EVERY} == set(_files(start.folder))
    found = json.loads((start.folder / "results.json").read_text())
    assert set(names) < found["columns"].keys()
    assert list(found["evaluations"]) == EVERY
    assert len(found["diagnosis"]) == 2
    assert found["reading"]
    assert found["diagnosis"][0][-1] in out or found["diagnosis"][1][-1] in out
    page = (start.folder / "report.html").read_text(encoding="utf-8")
    assert "<b>mutual_information</b>" in page
    assert "Diagnostics" in page

    written, files = (start.folder / "results.csv").read_bytes(), _files(start.folder)
    with monkeypatch.context() as patch:
        for evaluator in EVALUATORS.values():
            patch.setattr(evaluator, "rows", _must_not_be_called)
        assert start(*ALL)[0] == 0
    assert (start.folder / "results.csv").read_bytes() == written
    assert _files(start.folder) == files

    assert start(*ALL, "--decomposition_examples=9")[0] == 0
    changed = {name for name, at in _files(start.folder).items() if files[name] != at}
    assert changed == {"0-decomposition.json", "1-decomposition.json"}
    assert [row["decomposition_examples"] for row in _table(start.folder)] == ["9", "9"]


def _must_not_be_called(*args):
    raise AssertionError("evaluated again")


def test_an_interruption_costs_one_run(start, monkeypatch):
    evaluator, flags, calls = EVALUATORS["decomposition"], ["--evaluate=decomposition", TWO], []
    evaluate = evaluator.__call__

    def interrupt_the_second(self, context, on_progress):
        calls.append(context)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(self, context, on_progress)

    monkeypatch.setattr(evaluator, "__call__", interrupt_the_second)
    with pytest.raises(KeyboardInterrupt):
        start(*flags)
    assert start(*flags)[0] == 0
    assert len(calls) == 3

    (start.folder / EVALUATIONS / "1-decomposition.json").write_text("{}")
    _, out, _ = start(*flags, "--num_steps=6")
    assert "NOTE: evaluations/1-decomposition.json is not what was written; evaluating anew" in out
    assert len(calls) == 5  # another step is another model


def test_a_diverged_run_has_empty_columns_and_its_neighbour_none(start):
    status, _, _ = start("--evaluate=decomposition", "--sweep=learning_rate=1e-3,1e30")
    assert status == 0
    rows = _table(start.folder)
    assert [row["total_correlation"] != "" for row in rows] == [True, False]
    assert [row["train_nll"] != "" for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--evaluate=fid"],
            "--evaluate=fid: must be separated by commas, each once, some of nll, decomposition, "
            "ais, bdmc, gaps, disentanglement, representation, samples",
        ),
        (["--evaluate=ais,ais"], "--evaluate=ais,ais: must be separated by commas, each once"),
        (["--evaluate="], "--evaluate=: must be separated by commas"),
        (
            ["--ais_steps=10"],
            "--ais_steps=10: has no effect without --evaluate=ais or bdmc; leave it out",
        ),
        (
            ["--num_samples=10", "--evaluate=nll"],
            "--num_samples=10: has no effect without --evaluate=samples; leave it out",
        ),
        (
            ["--evaluate=decomposition", "--posterior=iaf"],
            "--evaluate=decomposition: needs the densities of single latents, of "
            "--posterior=gaussian with one stochastic layer; leave decomposition out",
        ),
        (
            ["--evaluate=decomposition", "--top_latent_size=2"],
            "--evaluate=decomposition: needs the densities of single latents",
        ),
        (
            ["--evaluate=gaps", "--posterior=planar"],
            "--evaluate=gaps: needs parameters of q(z|x) for each x, as --posterior=gaussian, "
            "full_gaussian and von_mises_fisher have with one stochastic layer; leave gaps out",
        ),
        (
            ["--evaluate=ais", "--posterior=delta"],
            "--evaluate=ais: needs a density, which --posterior=delta does not have; leave ais out",
        ),
        (
            ["--evaluate=samples", "--posterior=delta"],
            "--evaluate=samples: needs codes that are trained to follow the prior, as with "
            "--posterior=delta only --mmd_weight does; leave samples out",
        ),
        (
            ["--evaluate=representation", "--conditional"],
            "--evaluate=representation: needs codes that do not depend on the label, unlike "
            "those of --conditional; leave representation out",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(argv, message):
    with pytest.raises(InputError) as caught:
        parse(argv)
    assert str(caught.value).startswith(message)


def test_what_the_data_do_not_allow_is_refused_before_training(start, tmp_path):
    status, _, err = start("--evaluate=disentanglement")
    assert status == 2
    assert "has no factors of variation; --dataset=sprites has; leave disentanglement out" in err
    bare = tmp_path / "bare.npz"
    np.savez(bare, x_train=gray_images(20, 1), x_test=gray_images(9, 2))
    status, _, err = start("--evaluate=representation", f"--dataset={bare}")
    assert status == 2
    assert f"--evaluate=representation: --dataset={bare} has no labels; leave" in err
    assert not start.folder.exists()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("name", "what"), [("representation", "labels"), ("disentanglement", "factors")]
)
def test_what_one_split_lacks_is_refused_before_training(name, what, split, start, tmp_path):
    arrays: dict[str, Any] = {
        "x_train": gray_images(20, 1),
        "x_valid": gray_images(5, 3),
        "x_test": gray_images(9, 2),
    }
    for other in {"train", "valid", "test"} - {split}:
        count = len(arrays[f"x_{other}"])
        values = np.stack([np.arange(count) % 2, np.arange(count) % 3], axis=1)
        arrays |= {f"y_{other}": values[:, 0]} if what == "labels" else {f"{other}_factors": values}
    np.savez(tmp_path / "part.npz", **arrays)
    status, _, err = start(f"--evaluate={name}", f"--dataset={tmp_path / 'part.npz'}")
    assert status == 2
    assert f"part.npz has no {what} of {split}; leave {name} out" in err
    assert not start.folder.exists()


def test_a_prior_that_codes_are_drawn_to_can_be_sampled():
    assert parse(["--evaluate=samples", "--posterior=delta", "--mmd_weight=1"]).mmd_weight == 1


def test_flags_of_evaluations_that_are_not_made_are_not_recorded():
    assert "ais_steps" not in as_flags(parse([]))
    assert as_flags(parse(["--evaluate=bdmc"]))["ais_steps"] == "1000"
