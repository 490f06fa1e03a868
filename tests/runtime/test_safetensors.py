"""Safetensors files: what is written is read by the library, and the reverse."""

import numpy as np
import pytest

from vae_jax.runtime import safetensors

library = pytest.importorskip("safetensors.numpy")
ARRAYS = {
    "decoder.kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step": np.array(7, np.int32),
    "mask": np.array([True, False, True]),
    "exact": np.linspace(0, 1, 5),
    "none": np.zeros((0, 3), np.float32),
}
TEXTS = {"flags": '{"beta": 4.0}', "umlaut": "ä"}


def _assert_same(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_library_reads_what_is_written(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.save(path, ARRAYS, TEXTS)
    _assert_same(library.load_file(path))
    with pytest.importorskip("safetensors").safe_open(path, "numpy") as file:
        assert file.metadata() == TEXTS


def test_what_the_library_writes_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    library.save_file(ARRAYS, path, TEXTS)
    arrays, texts = safetensors.load(path)
    _assert_same(arrays)
    assert texts == TEXTS
