"""A data set made by hand: what its splits, its encoding and its labels do not allow is refused."""

import numpy as np
import pytest

from tests.samples import RNG
from vae_jax.data import Dataset, Provenance
from vae_jax.runtime.errors import InputError

X = RNG.integers(0, 256, (9, 2, 3, 1)).astype(np.uint8)
Y = np.arange(9, dtype=np.int32) % 3
RECORD = Provenance("mine", "mine", "made here", "cut in order")


def dataset(*, labels=(None, None, None), encoding="", **splits) -> Dataset:
    parts = {"train": X[:5], "valid": X[5:7], "test": X[7:]} | splits
    return Dataset(*parts.values(), *labels, RECORD, encoding=encoding)


def all_of(x: np.ndarray) -> dict[str, np.ndarray]:
    return {"train": x, "valid": x, "test": x}


REFUSED = {
    "floats that are called pixels": (
        all_of(X / np.float32(255)) | {"encoding": "pixels"},
        "train",
    ),
    "one split of another dtype": ({"valid": X[5:7] / np.float32(255)}, "valid"),
    "16 bits": (all_of(X.astype(np.uint16)), "train"),
    "truth values": (all_of(X > 9), "train"),
    "numbers that are not finite": (
        {"encoding": "reals"} | all_of(np.full_like(X, np.nan, np.float32)),
        "train",
    ),
    "negative counts": (all_of(-X.astype(np.int32)), "train"),
    "an unknown encoding": ({"encoding": "pixel"}, "encoding"),
    "an empty split": ({"valid": X[:0]}, "valid"),
    "negative labels": ({"labels": (Y[:5], Y[5:7] - 3, Y[7:])}, "valid_labels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_as_something_else_is_refused(name):
    arguments, setting = REFUSED[name]
    with pytest.raises(InputError) as caught:
        dataset(**arguments)
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("x", "encoding"),
    [(X, "pixels"), (X / np.float32(9), "reals"), (X.astype(np.int32), "counts")],
)
def test_the_dtype_says_the_encoding(x, encoding):
    assert dataset(**all_of(x), labels=(Y, Y, Y)).encoding == encoding
