"""Splits: the fixed permutation, and which images a missing split gets."""

import numpy as np
import pytest

from tests.samples import all_numbers, numbered, numbers, save_npz
from vae_jax.data.splits import permutation


def test_permutation_is_the_documented_one():
    assert permutation(10).tolist() == [2, 1, 9, 5, 8, 3, 0, 7, 6, 4]
    assert sorted(permutation(1000)) == list(range(1000))


@pytest.mark.parametrize(
    ("held", "sizes", "sentence"),
    [
        ((), (240, 30, 30), "train 240, valid 30, test 30 cut from the source's 300"),
        (("x_test",), (250, 50, 7), "train 250, valid 50 cut from the source's 300"),
        (("x_valid",), (250, 7, 50), "train 250, test 50 cut from the source's 300"),
        (("x_valid", "x_test"), (300, 7, 7), "train 300, valid 7, test 7 images as the source"),
    ],
)
def test_missing_splits_are_cut_from_train(held, sizes, sentence, tmp_path, read):
    given = {name: numbered(7, start=300 + 7 * index) for index, name in enumerate(held)}
    path = save_npz(tmp_path, x_train=numbered(300), y_train=np.arange(300), **given)
    data, again = read(str(path)), read(str(path))
    assert (len(data.train), len(data.valid), len(data.test)) == sizes
    assert sorted(all_numbers(data)) == list(range(300 + 7 * len(held)))
    assert all_numbers(data) == all_numbers(again)
    assert data.record.splits.startswith(sentence)
    np.testing.assert_array_equal(data.train_labels, numbers(data.train))
