"""Workdirs opened from Python: the numbers of their files, nothing written, nothing else needed."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import vae_jax
from tests.pipeline.small import SMALL, gray_images, read_csv, read_json, read_metrics, saved_arrays
from vae_jax import cli, rng
from vae_jax.evaluation import elbo
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import export, load
from vae_jax.reporting import figures
from vae_jax.runtime import checksums, lock, safetensors
from vae_jax.runtime.errors import InputError

FLAGS = [
    *SMALL,
    *("--num_steps=12", "--eval_every=4", "--checkpoint_every=4", "--binarize=static"),
    *("--sweep=beta=1,4", "--sweep=prior=normal,mixture"),
    *("--export=codes,weights,stablehlo,latents", "--export_runs=best"),
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished study of two programs, whose data are gone."""
    folder = tmp_path_factory.mktemp("load")
    parts = {"train": (80, 1), "valid": (10, 2), "test": (23, 3)}
    arrays = {f"x_{split}": gray_images(*arguments) for split, arguments in parts.items()}
    arrays |= {f"y_{split}": np.arange(num) % 3 for split, (num, _) in parts.items()}
    np.savez(folder / "gray.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *args, **kwargs: [])
        patch.setattr(figures, "draw_study", lambda *args, **kwargs: [])
        argv = [f"--dataset={folder / 'gray.npz'}", f"--workdir={folder / 'run'}", *FLAGS]
        assert cli.main(argv) == 0
    (folder / "gray.npz").rename(folder / "moved.npz")
    return folder / "run"


@pytest.fixture(scope="module")
def study(workdir):
    return vae_jax.load_run(workdir)


@pytest.fixture(scope="module")
def data(workdir):
    return vae_jax.load(str(workdir.parent / "moved.npz"))


def _tree(folder):
    """Every file with its time of writing and its size."""
    paths = [path for path in folder.rglob("*") if path.name != lock.LOCK_FILE]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


def test_the_table_and_the_curves_are_those_of_the_files(study, workdir):
    for row, line in zip(study.table, read_csv(workdir), strict=True):
        for name, text in line.items():
            found = "" if row.get(name) is None else str(row[name])
            assert found == text, name
    assert study.metrics == read_metrics(workdir)
    steps, values = study.curve("valid_elbo", run=2)
    assert steps.tolist() == [4, 8, 12]
    assert values[-1] == study.table[2]["valid_elbo"]
    assert study.swept == ("beta", "prior")
    assert study.flags["hidden_sizes"] == (8,)


def test_opening_writes_nothing_and_needs_neither_lock_nor_data(workdir):
    before = _tree(workdir)
    with lock.locked(workdir):
        opened = vae_jax.load_run(workdir)
        assert opened.best.sample(jax.random.key(0), 2).shape == (2, 4, 5, 1)
        assert len(repr(opened).splitlines()) == 6
    assert _tree(workdir) == before


def test_a_run_is_found_by_number_by_setting_and_as_the_best(study, workdir):
    highest = max(study.table, key=lambda row: row["valid_elbo"])
    assert study.best.row is highest
    assert [run.run for run in study] == [0, 1, 2, 3]
    assert study[-1].run == study.select(beta=4, prior="mixture").run == 3
    assert study[3].flags["prior"] == "mixture"
    assert type(study[3].model.prior).__name__ != type(study[2].model.prior).__name__


@pytest.mark.parametrize(
    ("ask", "setting", "words"),
    [
        (lambda study: study[4], "run", ["4 runs, 0 to 3"]),
        (lambda study: study.take(-5), "run", ["4 runs, 0 to 3"]),
        (lambda study: study.select(beta=4.0), "select", ["is 2, 3, not one", "give prior too"]),
        (lambda study: study.select(beta=2.0), "select", ["no run", "beta is 1.0 or 4.0"]),
        (lambda study: study.select(gamma=2.0), "select", ["no column gamma", "beta, prior"]),
        (lambda study: study.curve("elbo"), "term", ["valid_elbo"]),
        (lambda study: study.state, "study", ["2 programs", "study[0]"]),
        (lambda study: study[0].traverse(None, [3]), "latents", ["latents 0 to 2"]),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(study, ask, setting, words):
    with pytest.raises(InputError) as caught:
        ask(study)
    assert caught.value.setting == setting
    assert all(word in str(caught.value) for word in words)


def test_the_weights_are_those_of_the_checkpoint_without_the_optimizer(study, workdir):
    state = study.parts[0].state
    assert state.opt_state == ()
    stored = saved_arrays(workdir, 12)
    for leaf in jax.tree.leaves(state.params):
        assert any(np.array_equal(leaf, other) for other in stored)


def test_bounds_of_each_example_have_the_means_of_results_csv(study, data):
    run = study[3]
    x = run.inputs(data)
    values = run.elbo(x, run.evaluation_key, num_particles=3)
    assert values.shape == (23,)
    assert values.mean() == pytest.approx(run.row["test_elbo"], abs=1e-4)
    bound = run.log_evidence(x, run.evaluation_key, num_particles=3)
    assert -bound.mean() == pytest.approx(run.row["test_nll"], abs=1e-4)
    one = run.elbo(x[0], run.evaluation_key, num_particles=3)
    assert one == pytest.approx(values[0], abs=1e-4)


def test_gray_pixels_have_no_bound_under_a_model_of_binary_ones(study, data):
    with pytest.raises(InputError, match=r"binarize=static.*run\.inputs"):
        study[0].elbo(data.test, jax.random.key(0))


def test_codes_have_the_columns_that_the_run_uses(study, data):
    run = study[3]
    codes = run.codes(data, "test")
    assert codes.shape == (23, 3)
    x = run.inputs(data)
    np.testing.assert_allclose(codes, run.encode(x).mean, atol=1e-6)
    np.testing.assert_allclose(codes, run.codes(x), atol=1e-6)
    np.testing.assert_allclose(run.generate(codes), run.reconstruct(x), atol=1e-6)
    assert run.decode(codes).log_prob(x).shape == (23,)


def test_paths_begin_and_end_at_reconstructions(study, data):
    run, (x0, x1) = study[0], data.test[:2]
    for is_spherical in (False, True):
        images = run.interpolate(x0, x1, 4, is_spherical=is_spherical)
        assert images.shape == (4, 4, 5, 1)
        np.testing.assert_allclose(images[0], run.reconstruct(x0), atol=1e-5)
        np.testing.assert_allclose(images[-1], run.reconstruct(x1), atol=1e-5)
    moved = run.traverse(x0, [1], [float(run.codes(x0)[1]), 2.0])
    np.testing.assert_allclose(moved[0, 0], run.reconstruct(x0), atol=1e-5)
    assert run.traverse().shape == (3, 11, 4, 5, 1)


def _copy(workdir, tmp_path):
    return shutil.copytree(workdir, tmp_path / "copy")


def test_a_study_that_still_trains_has_its_last_learning_terms(workdir, tmp_path):
    copy = _copy(workdir, tmp_path)
    for name in ("results.csv", "results.json"):
        (copy / name).unlink()
    study = vae_jax.load_run(copy)
    row = study.table[1]
    assert (row["step"], row["beta"], row["prior"]) == (12, 1.0, "mixture")
    assert "test_elbo" not in row
    assert row["valid_elbo"] == vae_jax.load_run(workdir).table[1]["valid_elbo"]
    assert study[1].codes(gray_images(2, 0)[..., None]).shape == (2, 3)


def test_results_of_fewer_updates_than_the_weights_have_are_not_shown(workdir, tmp_path):
    copy = _copy(workdir, tmp_path)
    (copy / "checkpoints" / "000" / "12").rename(copy / "checkpoints" / "000" / "16")
    table = vae_jax.load_run(copy).table
    assert ["test_elbo" in row for row in table] == [False, True, False, True]


def test_a_damaged_checkpoint_is_passed_over(workdir, tmp_path):
    copy = _copy(workdir, tmp_path)
    (copy / "checkpoints" / "000" / "12" / "seal.json").write_text("{}")
    study = vae_jax.load_run(copy)
    with pytest.warns(UserWarning, match=r"checkpoint at step 12: seal\.json .* those of step 8"):
        assert (study[0].step, study[1].step) == (8, 12)
    shutil.rmtree(copy / "checkpoints" / "000" / "8")
    opened = vae_jax.load_run(copy)
    with pytest.raises(InputError, match="no checkpoint can be read"):
        opened[0]


def test_a_record_without_shapes_takes_them_from_the_weights(workdir, tmp_path):
    copy = _copy(workdir, tmp_path)
    (copy / "checkpoints" / "plan.json").unlink()
    path = copy / "checkpoints" / "000" / "group.json"
    facts = checksums.read(path)
    shapes = {"event_shape": [4, 5, 1], "encoding": "pixels", "num_classes": 3}
    assert facts.pop("shapes") == shapes
    path.write_text(json.dumps(checksums.with_checksum(facts)))
    assert vae_jax.load_run(copy)[0].model == vae_jax.load_run(workdir)[0].model


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_runs_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        vae_jax.load_run(tmp_path / name)
    assert caught.value.setting == "workdir"
    assert "holds no runs" in caught.value.problem


def test_a_flag_of_another_version_is_named(workdir, tmp_path):
    copy = _copy(workdir, tmp_path)
    (copy / "checkpoints" / "plan.json").unlink()
    path = copy / "checkpoints" / "000" / "group.json"
    facts = checksums.read(path)
    facts["runs"][0]["flags"]["gamma"] = "2"
    path.write_text(json.dumps(checksums.with_checksum(facts)))
    with pytest.raises(InputError) as caught:
        vae_jax.load_run(copy)
    assert (caught.value.setting, caught.value.value) == ("gamma", "2")


def _outside(code, folder):
    """Run code in a fresh process that cannot import the package, and return what it prints."""
    head = "import sys; sys.modules['vae_jax'] = None\n"
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        cwd=folder,
        env=environment | {k: v for k, v in os.environ.items() if k.startswith("LD_")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exports(study, workdir):
    folder = workdir / "exports" / str(study.best.run)
    assert [path.name for path in (workdir / "exports").iterdir()] == [folder.name]
    names = ["codes.npz", "decode.stablehlo", "encode.stablehlo", "latents.json"]
    assert sorted(path.name for path in folder.iterdir()) == [
        *names,
        "sample.stablehlo",
        "weights.safetensors",
    ]
    return folder


def test_codes_of_the_file_are_those_of_encode(exports, study, data):
    found = np.load(exports / "codes.npz")
    for split, num in (("train", 80), ("valid", 10), ("test", 23)):
        q = study.best.encode(study.best.inputs(data, split))
        np.testing.assert_allclose(found[f"{split}_codes"], q.mean, atol=1e-6)
        np.testing.assert_allclose(found[f"{split}_log_var"], q.log_var, atol=1e-6)
        assert found[f"{split}_labels"].tolist() == [i % 3 for i in range(num)]


def test_statistics_of_the_latents_are_those_of_the_codes(exports):
    found = json.loads((exports / "latents.json").read_text())
    codes = np.load(exports / "codes.npz")
    mean, variance = codes["train_codes"], np.exp(codes["train_log_var"])
    draws = mean + np.sqrt(variance) * np.random.default_rng(0).normal(size=(20_000, *mean.shape))
    np.testing.assert_allclose(found["mean"], mean.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found["std"], draws.std(axis=(0, 1)), rtol=5e-3)
    scaled = draws * found["scaling_factor"]
    assert (scaled.var(axis=(0, 1))).mean() == pytest.approx(1.0, rel=1e-2)
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).mean(axis=0)
    np.testing.assert_allclose(found["kl"], kl, atol=1e-5)


def test_functions_run_without_the_package_and_equal_the_model(exports, study, data, tmp_path):
    run, key = study.best, jax.random.key(7)
    x = np.asarray(run.inputs(data))
    noise = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.savez(tmp_path / "in.npz", x=x, noise=noise, key=jax.random.key_data(key))
    _outside(
        f"""
        import jax.export, numpy as np
        from pathlib import Path
        given = np.load("in.npz")
        call = {{
            name: jax.export.deserialize(Path({str(exports)!r}, name + ".stablehlo").read_bytes())
            for name in ("encode", "decode", "sample")
        }}
        assert call["decode"].platforms == ("cpu", "cuda", "tpu")
        mean, log_var = call["encode"].call(given["x"])
        images = call["decode"].call(mean)
        one = call["decode"].call(mean[:1])
        samples = call["sample"].call(given["key"], given["noise"])
        np.savez("out.npz", mean=mean, log_var=log_var, images=images, one=one, samples=samples)
        """,
        tmp_path,
    )
    found, q = np.load(tmp_path / "out.npz"), run.encode(x)
    np.testing.assert_allclose(found["mean"], q.mean, atol=1e-6)
    np.testing.assert_allclose(found["log_var"], q.log_var, atol=1e-6)
    np.testing.assert_allclose(found["images"], run.generate(q.mean), atol=1e-6)
    np.testing.assert_allclose(found["one"], found["images"][:1], atol=1e-6)
    wide = jnp.pad(noise, ((0, 0), (0, run.model.width - 3)))
    z = run.model.prior_at(run.hparams, run.params).sample(key, wide)
    np.testing.assert_allclose(found["samples"], run.generate(z), atol=1e-6)


def test_weights_give_the_elbo_of_results_csv_in_numpy(exports, study, data, tmp_path):
    """An MLP, written in NumPy from the file alone, with the noise of the evaluation."""
    run = study.best
    key, examples = rng.stream(run.hparams.seed, "evaluate"), jnp.arange(23)
    noise = [elbo.example_noise(run.model, key, examples, jnp.int32(k)) for k in range(3)]
    np.savez(tmp_path / "in.npz", x=run.inputs(data), noise=np.stack(noise)[..., :3])
    assert run.flags["prior"] == "normal"  # whose KL is computed below
    printed = _outside(
        f"""
        import json, struct
        import numpy as np
        data = open({str(exports / "weights.safetensors")!r}, "rb").read()
        size = struct.unpack("<Q", data[:8])[0]
        header, body = json.loads(data[8:8 + size]), data[8 + size:]
        texts = header.pop("__metadata__")
        w = {{
            name: np.frombuffer(body[slice(*at["data_offsets"])], "<f4").reshape(at["shape"])
            for name, at in header.items()
        }}
        assert json.loads(texts["flags"])["hidden_sizes"] == "8"
        n, given = json.loads(texts["latent_size"]), np.load("in.npz")
        x = given["x"].reshape(len(given["x"]), -1)
        dense = "encoder.body.Dense_0"
        hidden = np.maximum(x @ w[f"{{dense}}.kernel"] + w[f"{{dense}}.bias"], 0)
        mean, log_var = (
            (hidden @ w[f"encoder.{{head}}.kernel"] + w[f"encoder.{{head}}.bias"])[:, :n]
            for head in ("mean", "log_var")
        )
        z = mean + np.exp(log_var / 2) * given["noise"]
        hidden = np.maximum(z @ w["decoder.latent.kernel"][:n] + w["decoder.latent.bias"], 0)
        logits = hidden @ w["decoder.body.Dense_0.kernel"] + w["output_bias"].reshape(-1)
        log_likelihood = (x * logits - np.logaddexp(0, logits)).sum(-1).mean(0)
        kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(-1)
        print((log_likelihood - kl).mean())
        """,
        tmp_path,
    )
    assert float(printed) == pytest.approx(run.row["test_elbo"], abs=1e-4)


def test_a_run_saves_and_exports_by_itself(study, tmp_path):
    run = study[3]
    arrays, texts = safetensors.load(run.save(tmp_path / "model.safetensors"))
    assert arrays.keys() == export.named_arrays(run.params).keys()
    assert json.loads(texts["flags"])["beta"] == 4.0
    decode = jax.export.deserialize(run.export(tmp_path / "d.bin", "decode").read_bytes())
    z = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(decode.call(z), run.generate(z), atol=1e-6)


def test_functions_of_a_conditional_model_take_labels_last(study):
    model = vae_jax.VAE((4, 5, 1), 3, vae_jax.MLP((4,)), num_classes=3)
    hparams = vae_jax.HParams.of(latent_size=3)
    params = jax.jit(model.init)(hparams, np.full((4, 5, 1), 0.5, np.float32))
    run, z, y = TrainedVAE(model, hparams, params), np.ones((2, 3), np.float32), np.array([0, 2])
    found = export.exported(run, "decode").call(z, y.astype(np.int32))
    np.testing.assert_allclose(found, run.generate(z, y), atol=1e-6)


def test_the_study_is_seen_at_a_glance(study, workdir):
    page = study._repr_html_()
    assert page.count("<tr") == 5
    assert page.count("data:image/png;base64,") == 3
    assert "the best is run" in page
    assert read_json(workdir)["title"] in page


def test_its_data_are_loaded_as_the_run_had_them(tmp_path):
    """Settings that change the numbers, as a standardization, are those of ``flags.txt``."""
    rows = np.random.default_rng(0).normal(5.0, 3.0, (40, 2))
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",")
    lines = [("dataset", str(tmp_path / "x.csv")), ("encoding", "standardized"), ("beta", "4")]
    data = load._load_data(tmp_path, lines)
    assert data.encoding == "standardized"
    assert np.abs(data.train.mean(axis=0)).max() < 1e-5
