"""Workdirs that were killed, damaged or cannot be written, as Python reads and writes them."""

import resource
import shutil
import warnings

import jax
import numpy as np
import pytest

import vae_jax
from tests.robustness.test_damage import _flip
from vae_jax import data
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint


@pytest.fixture
def images(straight):
    return data.load(str(straight / "images.npz"))


def _steps(study, run: int = 0) -> list[int]:
    return [row["step"] for row in study.metrics if row["run"] == run]


def _arrays(study) -> list:
    return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(study.state)]


def test_a_study_killed_after_its_rows_and_before_their_checkpoint_goes_on_without_doubles(
    study, straight, images, tmp_path
):
    undisturbed = vae_jax.load_run(straight / "run").fit(images, 16, eval_every=4)
    shutil.rmtree(study.checkpoints / "12")
    found = vae_jax.load_run(study.workdir)
    assert _steps(found) == [4, 8, 12]
    assert _steps(vae_jax.load_run(found.save(tmp_path / "saved"))) == [4, 8]
    longer = found.fit(images, 16, eval_every=4)
    assert _steps(longer) == _steps(undisturbed) == [4, 8, 12, 16]
    assert _arrays(longer) == _arrays(undisturbed)


@pytest.mark.parametrize("name", ["seal.json", "state/manifest.ocdbt"])
def test_a_damaged_newest_checkpoint_is_warned_of_and_the_one_before_is_used(study, images, name):
    _flip(study.checkpoints / "12" / name)
    found = vae_jax.load_run(study.workdir)
    with pytest.warns(UserWarning, match=r"checkpoint at step 12: .*; the weights are .* step 8"):
        assert found[0].step == 8
    if name == "seal.json":  # nothing of the arrays is read for a table
        assert not any("test_elbo" in row for row in found.table)
    with pytest.warns(UserWarning, match="the weights are those of step 8"):
        assert _steps(found.fit(images, 12, eval_every=4)) == [4, 8, 12]


def test_without_a_whole_checkpoint_training_on_is_one_line(study, images):
    for step in checkpoint.steps(study.checkpoints):
        _flip(study.checkpoints / str(step) / "seal.json")
    found = vae_jax.load_run(study.workdir)
    with pytest.raises(InputError, match="no checkpoint can be read"):
        found.fit(images, 16, eval_every=4)


def test_a_whole_study_is_read_without_a_warning(straight):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vae_jax.load_run(straight / "run")[0].step == 12


@pytest.mark.parametrize("most_bytes", [100, 3000, 20_000])
def test_a_study_that_cannot_be_saved_is_one_line_and_leaves_nothing(
    straight, tmp_path, most_bytes
):
    found = vae_jax.load_run(straight / "run")
    folder = tmp_path / "saved"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        with pytest.raises(InputError, match=r"cannot be written \(File too large.*save again"):
            found.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(folder.iterdir()) == []
    found.save(folder)
    assert _arrays(vae_jax.load_run(folder)) == _arrays(found)


@pytest.mark.parametrize("name", ["a" * 300, "images.npz/x"])
def test_a_place_that_cannot_be_is_one_line(straight, name):
    found = vae_jax.load_run(straight / "run")
    with pytest.raises(InputError, match="cannot be written"):
        found.save(straight / name)
    with pytest.raises(InputError, match=r"holds no runs|cannot be read"):
        vae_jax.load_run(straight / name)
