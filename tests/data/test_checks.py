"""Checks: images become uint8 with a channel, and what is suspicious is counted."""

import numpy as np
import pytest

from tests.samples import RNG, numbered, save_npz

BITS = RNG.integers(0, 2, (9, 4, 5))


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (numbered(9), numbered(9)),
        (numbered(9).astype(np.int64), numbered(9)),
        (BITS.astype(np.uint8), 255 * BITS),
        (BITS.astype(bool), 255 * BITS),
        (BITS.astype(np.float32), 255 * BITS),
        (BITS.astype(np.float16), 255 * BITS),
        (numbered(9) / np.float32(255), numbered(9)),
    ],
    ids=["uint8", "int64", "bits", "bool", "float bits", "float16", "exact"],
)
def test_images_become_uint8_with_a_channel(images, expected, tmp_path, read):
    data = read(str(save_npz(tmp_path, x_train=images, x_valid=images[:1], x_test=images[:1])))
    assert data.train.dtype == np.uint8
    assert data.image_shape == (4, 5, 1)
    np.testing.assert_array_equal(data.train[..., 0], expected)


def test_binary_is_judged_over_all_splits(tmp_path, read):
    grays = np.full((2, 4, 5), 3, np.uint8)
    data = read(str(save_npz(tmp_path, x_train=BITS, x_valid=grays, x_test=grays)))
    assert data.train.max() == 1
    assert "the brightest training pixel is 1 of 255" in data.record.warnings[-3]
    assert "the brightest test pixel is 3 of 255" in data.record.warnings[-1]


def test_training_images_among_the_test_images_are_counted(tmp_path, read):
    arrays = {"x_train": numbered(20), "x_valid": numbered(5, 20), "x_test": numbered(8, 17)}
    data = read(str(save_npz(tmp_path, **arrays)))
    assert data.record.warnings == (
        "3 of 8 test images occur in train too",
        "5 of 8 test images occur in valid too",
    )


def test_valid_is_examined_as_test_is(tmp_path, read):
    arrays = {"x_train": numbered(20), "x_valid": numbered(5, 18), "x_test": numbered(8, 40)}
    data = read(str(save_npz(tmp_path, **arrays)))
    assert data.record.warnings == ("2 of 5 valid images occur in train too",)


def test_labels_that_training_lacks_are_counted_and_are_classes_too(tmp_path, read):
    images = {"x_train": numbered(9), "x_valid": numbered(3, 9), "x_test": numbered(4, 12)}
    labels = {"y_train": np.arange(9) % 3, "y_valid": np.zeros(3), "y_test": np.array([0, 3, 2, 4])}
    data = read(str(save_npz(tmp_path, **images, **labels)))
    assert data.record.warnings == ("2 of 4 test images have labels that no training image has",)
    assert data.num_classes == 5


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (np.arange(9) % 3 + 1, "of 0 (1 of 4)"),
        (np.array([0, 3, 17, 250, 1000])[np.arange(9) % 5], "of 1, 2, 4, 5, 6, ... (996 of 1,001)"),
    ],
    ids=["from 1", "sparse"],
)
def test_numbers_below_the_largest_label_that_label_nothing_are_named(
    labels, missing, tmp_path, read
):
    images = {"x_train": numbered(9), "x_valid": numbered(3, 9), "x_test": numbered(4, 12)}
    data = read(str(save_npz(tmp_path, **images, y_train=labels)))
    assert missing in data.record.warnings[0]
    assert data.classes == tuple(np.unique(labels).tolist())
