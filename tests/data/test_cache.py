"""Decoded copies: made once, remade after damage or a change, memory-mapped where too large."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.samples import image_folder, save_image, write_files
from vae_jax.data import image_folder as image_folder_module
from vae_jax.data import load, memory_mapped
from vae_jax.runtime.errors import InputError


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
def test_damaged_copy_is_replaced(damage, tmp_path, read):
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
    monkeypatch.setattr(image_folder_module, "is_large", lambda shape: True)
    monkeypatch.setattr(memory_mapped, "_ROWS", 5)
    data = read(str(folder))
    for split in ("train", "valid", "test"):
        assert isinstance(getattr(data, split), np.memmap)
        np.testing.assert_array_equal(getattr(data, split), getattr(in_memory, split))
        np.testing.assert_array_equal(data.labels_of(split), in_memory.labels_of(split))
    assert data.record.splits == in_memory.record.splits
    monkeypatch.setattr(memory_mapped, "_write", lambda *_: pytest.fail("written again"))
    np.testing.assert_array_equal(read(str(folder)).train, data.train)


def test_a_mapped_copy_of_other_files_or_splits_is_replaced(tmp_path, read, monkeypatch):
    folder = image_folder(tmp_path / "pictures") / "train"
    monkeypatch.setattr(image_folder_module, "is_large", lambda shape: True)
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
