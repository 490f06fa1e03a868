"""Runs that start from the weights of another one: equal numbers, a record, and refusals."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import vae_jax
from tests.oracles import tiny_data
from tests.pipeline.small import SMALL, killed_at, read_csv, read_json, save_images
from vae_jax import cli
from vae_jax.models.likelihoods import GaussianLikelihood
from vae_jax.models.priors import VampPrior
from vae_jax.objectives.regularizers import FactorVAE
from vae_jax.pipeline import load, origin
from vae_jax.reporting import figures
from vae_jax.runtime.errors import InputError

SHORT = [*SMALL, "--num_steps=8", "--eval_every=4", "--checkpoint_every=4"]
STILL = ["--learning_rate=1e-37", "--num_steps=4"]
"""Flags of a training that moves no weight: each update is below the resolution of float32."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return the workdir of two runs, read by several tests and changed by none."""
    folder = tmp_path_factory.mktemp("source")
    images = save_images(folder)
    argv = [f"--dataset={images}", f"--workdir={folder / 'run'}", *SHORT, "--keep=best"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw", "draw_study"):
            patch.setattr(figures, name, lambda *args, **kwargs: [])
        assert cli.main([*argv, "--learning_rate=0.01", "--sweep=beta=1,4"]) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _no_figures_of_studies(monkeypatch):
    monkeypatch.setattr(figures, "draw_study", lambda *args: [])


def _record(workdir) -> dict:
    return read_json(workdir)["init_from"]


@pytest.mark.parametrize("more", [[], ["--ema=0.9", "--optimizer=adamax"]])
def test_without_learning_the_numbers_are_those_of_the_source(source, start, tmp_path, more):
    status, out, err = start(*SHORT, *STILL, f"--init_from={source}:1", "--beta=4", *more)
    assert (status, err) == (0, "")
    (row,), wanted = read_csv(tmp_path / "run"), read_csv(source)[1]
    for name in ("test_elbo", "test_nll", "test_kl", "valid_elbo"):
        assert row[name] == wanted[name]
    record, step = _record(tmp_path / "run"), int(wanted["best_step"])
    assert record["given"] == f"{source}:1"
    assert (record["run"], record["step"]) == (1, step)
    assert record["commit"] == read_json(source)["commit"]
    assert record["flags"]["beta"] == "4.0"
    assert (record["fresh"], record["left_over"]) == ([], [])
    assert f"start: weights of run 1 of {source}, step {step}, {record['checksum']}" in out
    assert f"NOTE: Started from weights: run 1 of {source} after {step} updates" in out


def test_by_default_the_best_run_is_the_source_and_all_runs_start_there(source, start, tmp_path):
    assert start(*SHORT, *STILL, f"--init_from={source}", "--sweep=beta=1,2,4")[0] == 0
    best = vae_jax.load_run(source).best
    assert _record(tmp_path / "run")["run"] == best.run
    for run in vae_jax.load_run(tmp_path / "run"):
        for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(best.params), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_model_that_has_more_or_less_names_what(source, start, tmp_path):
    flags = [*SHORT, *STILL, f"--init_from={source}:0"]
    _, out, _ = start(*flags, "--prior=mixture", "--num_components=3")
    (note,) = [line for line in out.splitlines() if "start fresh" in line]
    assert note.startswith("NOTE: --init_from: prior/")
    fresh = _record(tmp_path / "run")["fresh"]
    assert fresh
    assert all(name.startswith("prior/") for name in fresh)
    back = [*SHORT, *STILL, f"--init_from={tmp_path / 'run'}", f"--workdir={tmp_path / 'back'}"]
    _, out, _ = start(*back)
    assert _record(tmp_path / "back")["left_over"] == fresh
    assert "are left over, as the model has none" in out
    assert read_csv(tmp_path / "back")[0]["test_elbo"] == read_csv(source)[0]["test_elbo"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--init_from={}:7"], "{}:7: the study has 2 runs, 0 to 1; give --init_from={}:RUN"),
        (["--init_from={}x"], "{}x: holds no runs"),
        (
            ["--init_from={}", "--hidden_sizes=9"],
            "has shape (8, 20) there and (9, 20) here; give the sizes of that run, or another run",
        ),
        (
            ["--init_from={}", "--latent_size=50"],
            "z has 48 columns there and 64 here; "
            "give --latent_size=3, of the widest run of its program, or another run",
        ),
        (["--sweep=init_from={},b"], "init_from cannot be swept"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(source, start, tmp_path, flags, words):
    status, _, err = start(*SHORT, *(flag.replace("{}", str(source)) for flag in flags))
    assert (status, len(err.splitlines())) == (2, 1)
    assert words.replace("{}", str(source)) in err
    assert not (tmp_path / "run").exists()


def test_a_workdir_is_not_its_own_source(source, start, tmp_path):
    shutil.copytree(source, tmp_path / "run")
    status, _, err = start(*SHORT, f"--init_from={tmp_path / 'run'}")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "is the --workdir itself" in err


class TestResume:
    @pytest.fixture
    def copied(self, source, tmp_path):
        return shutil.copytree(source, tmp_path / "source")

    def test_after_a_checkpoint_the_source_is_needed_no_more(
        self, copied, start, tmp_path, monkeypatch
    ):
        flags = [*SHORT, f"--init_from={copied}:0"]
        assert start(*flags, f"--workdir={tmp_path / 'straight'}")[0] == 0
        with killed_at(8):
            start(*flags)
        shutil.rmtree(copied)
        monkeypatch.setattr(load, "load_run", None)
        status, out, _ = start(*flags)
        assert status == 0
        assert "resuming: checkpoint at step 4" in out
        names = ("test_elbo", "test_nll", "valid_elbo")
        rows = [read_csv(tmp_path / name)[0] for name in ("run", "straight")]
        assert [rows[0][name] for name in names] == [rows[1][name] for name in names]
        assert _record(tmp_path / "run") == _record(tmp_path / "straight")
        status, _, err = start(*SHORT)
        assert status == 2
        assert "holds a run with other flags (init_weights=crc32" in err

    def test_before_a_checkpoint_other_weights_are_refused(self, copied, start, tmp_path):
        flags = [*SHORT, f"--init_from={copied}:0"]
        with killed_at(0):
            start(*flags)
        other = [*flags[:-1], f"--init_from={copied}:1"]
        status, _, err = start(*other)
        assert (status, len(err.splitlines())) == (2, 1)
        assert "holds a run with other flags (init_weights=crc32" in err
        moved = copied.rename(tmp_path / "moved")
        status, _, err = start(*flags)
        assert status == 2
        assert "holds no runs" in err
        status, out, _ = start(*flags[:-1], f"--init_from={moved}:0")  # the same weights elsewhere
        assert status == 0
        assert "start: weights of run 0" in out

    @pytest.mark.parametrize("is_gone", [False, True])
    def test_an_extension_that_cannot_start_leaves_the_study_as_it_is(self, copied, start, is_gone):
        flags = [*SHORT, f"--init_from={copied}:0"]
        assert start(*flags)[0] == 0
        if is_gone:
            shutil.rmtree(copied)
        status, _, err = start(*flags, "--sweep=hidden_sizes=8/9")
        assert (status, len(err.splitlines())) == (2, 1)
        assert ("holds no runs" if is_gone else "has shape (8, 20) there and (9, 20) here") in err
        assert start(*flags)[0] == 0


DATA = tiny_data(80)
MODEL = vae_jax.VAE(DATA.event_shape, 3, vae_jax.MLP((8,)))
SPEC = vae_jax.TrainSpec(MODEL, batch_size=16)


@pytest.fixture(scope="module")
def trained():
    return vae_jax.ablate(SPEC, vae_jax.HParams.of(latent_size=3), DATA, 4)


def test_python_takes_a_run_or_a_path(trained, tmp_path, monkeypatch):
    still = vae_jax.grid(latent_size=3, learning_rate=1e-37, beta=[1.0, 4.0])
    study = vae_jax.ablate(SPEC, still, DATA, 2, init_from=trained[0])
    assert [row["test_elbo"] for row in study.table] == [trained.table[0]["test_elbo"]] * 2
    assert study.results["init_from"]["workdir"] == ""
    source = trained.save(tmp_path / "source")
    for init_from in (source, f"{source}:0", vae_jax.load_run(source).best):
        again = vae_jax.fit(SPEC, still, DATA, 2, init_from=init_from)
        np.testing.assert_array_equal(
            again.state.params["output_bias"], study.state.params["output_bias"]
        )
    opened = vae_jax.load_run(study.save(tmp_path / "run"))
    assert opened.results["init_from"] == study.results["init_from"]
    (tmp_path / "run" / "results.json").unlink()  # as after an interruption
    again = vae_jax.load_run(tmp_path / "run").fit(DATA, 3).save(tmp_path / "again")
    monkeypatch.setattr(figures, "draw", lambda *args: [])
    monkeypatch.setattr("vae_jax.data.load", lambda *args, **kwargs: DATA)
    flagfile = f"--flagfile={again / 'flags.txt'}"
    assert cli.main([flagfile, "--num_steps=4", "--eval_particles=3"]) == 0
    assert _record(again)["checksum"] == study.results["init_from"]["checksum"]


def test_beside_a_wider_run_the_advice_is_the_size_that_fits():
    """One program of sizes 2 and 50, as an accelerator trains them."""
    wide, narrow = (
        vae_jax.TrainSpec(vae_jax.VAE(DATA.event_shape, n, vae_jax.MLP((8,))), batch_size=16)
        for n in (50, 2)
    )
    sizes = vae_jax.grid(latent_size=[2, 50])
    source = vae_jax.fit(wide, sizes, DATA, 1)[0]
    with pytest.raises(InputError, match="give latent_size=50, of the widest run of its program"):
        vae_jax.fit(narrow, vae_jax.HParams.of(latent_size=2), DATA, 1, init_from=source)
    assert vae_jax.fit(wide, sizes, DATA, 1, init_from=source).results["init_from"]["run"] == 0


def test_python_warns_of_what_starts_fresh_and_refuses_other_shapes(trained):
    wide = vae_jax.TrainSpec(vae_jax.VAE(DATA.event_shape, 3, vae_jax.MLP((9,))), batch_size=16)
    hparams = vae_jax.HParams.of(latent_size=3)
    with pytest.raises(InputError, match=r"init_from=\(a run in Python\): .* there and .* here"):
        vae_jax.fit(wide, hparams, DATA, 2, init_from=trained[0])
    penalized = vae_jax.TrainSpec(MODEL, regularizers=(FactorVAE(),), batch_size=16)
    with pytest.warns(UserWarning, match="init_from: .* start fresh, as the source has none"):
        vae_jax.fit(penalized, hparams._replace(factor_weight=1.0), DATA, 2, init_from=trained[0])


def test_pseudo_inputs_keep_their_names_in_data_that_are_no_pixels():
    """A VampPrior names them by the encoding: those of the source are taken, none starts fresh."""
    parts = ("train", "valid", "test")
    vectors = {name: np.float32([image.ravel() for image in getattr(DATA, name)]) for name in parts}
    data = dataclasses.replace(DATA, encoding="reals", **vectors)
    families = {"likelihood": GaussianLikelihood(), "prior": VampPrior(4)}
    model = vae_jax.VAE((DATA.train[0].size,), 3, vae_jax.MLP((8,)), **families)
    spec, hparams = vae_jax.TrainSpec(model, batch_size=16), vae_jax.HParams.of(latent_size=3)
    source = vae_jax.fit(spec, hparams, data, 2)[0]
    found = origin.fitted(origin.of_run(source), spec, "reals")
    assert (found.fresh, found.left_over) == ((), ())
    assert any("pseudo" in name for name in found.params)
