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


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, ["no labels"]),
        ({"y_train": [0, 1, 2] * 3}, ["labels from 0 to 2, 3 classes"]),
        (
            {"y_test": [4, 4, 4]},
            ["labels from 4 to 4, 1 class", "labels of test, none of train and valid"],
        ),
        (
            {"train_factors": np.ones((9, 2), int)},
            ["no labels", "2 factors", "factors of train and valid, none of test"],
        ),
    ],
    ids=["none", "of train", "of test alone", "factors of train alone"],
)
def test_labels_and_factors_are_said_and_of_which_splits(arrays, said, tmp_path, read):
    images = {"x_train": numbered(9), "x_test": numbered(3, 9)}
    if "y_train" in arrays:
        arrays = arrays | {"y_test": [0, 1, 2]}
    data = read(str(save_npz(tmp_path, **images, **arrays)))
    assert list(data.record.recognised[1 : 1 + len(said)]) == said


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((8, 8, 30), "if it is 30 images of 8 x 8, move the last axis to the front"),
        ((9, 2, 8, 8), "if it is 2 channels, move that axis to the end"),
        ((9, 4, 8, 8), "if it is 4 channels, move that axis to the end"),
        ((9, 7, 8, 8), "if it is 7 channels, move that axis to the end"),
        ((9, 8, 12), ""),
        ((9, 8, 8, 4), ""),
        ((9, 8, 8, 12), ""),
    ],
    ids=str,
)
def test_axes_that_may_be_in_another_order_are_said(shape, said, tmp_path, read):
    warnings = read(str(save_npz(tmp_path, x_train=RNG.normal(size=shape)))).record.warnings
    found = [text for text in warnings if text.startswith("the shape")]
    assert len(found) == bool(said)
    assert not found or found[0].endswith(said)


OWN = np.random.default_rng(0)
NORMAL, UNIT = OWN.normal(size=(400, 6)), OWN.uniform(size=(400, 8, 8))
SCALES = {
    "the same": (NORMAL, 1.0, 0.0, False),
    "the same images": (UNIT, 1.0, 0.0, False),
    "times 255": (UNIT, 255.0, 0.0, True),
    "over 255": (UNIT, 1 / 255, 0.0, True),
    "from [0, 1] to [-1, 1]": (UNIT, 2.0, -1.0, True),
    "from [-1, 1] to [0, 1]": (2 * UNIT - 1, 0.5, 0.5, True),
    "another offset": (NORMAL, 1.0, 8.0, True),
    "heavy tails": (OWN.standard_t(3, size=(400, 6)), 1.0, 0.0, False),
    "columns of their own scale": (NORMAL * np.logspace(0, 3, 6), 1.0, 0.0, False),
}


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize(("x", "factor", "offset", "is_said"), SCALES.values(), ids=SCALES.keys())
def test_a_split_on_another_scale_than_train_is_said(
    x, factor, offset, is_said, split, tmp_path, read
):
    parts = {"x_train": x[:300], "x_valid": x[300:350], "x_test": x[350:]}
    parts[f"x_{split}"] = factor * parts[f"x_{split}"] + offset
    warnings = read(str(save_npz(tmp_path, **parts))).record.warnings
    said = [text for text in warnings if "are both on one scale?" in text]
    assert [text.partition(" ")[0] for text in said] == ([split] if is_said else [])


def test_classes_that_have_names_are_counted_too(tmp_path, read):
    names = np.array(["eel", "cat"])[np.arange(9) % 2]
    said = read(str(save_npz(tmp_path, x_train=BITS.astype(bool), y_train=names))).record.recognised
    assert said[:2] == ("8-bit pixels, 0 and 1", "labels from 0 to 1, 2 classes")
    assert "labels from 0 to 9, 10 classes" in read("digits").record.recognised
