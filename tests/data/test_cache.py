"""Decoded copies: made once, remade after damage or a change, memory-mapped where too large."""

import dataclasses
import errno
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.samples import image_folder, save_image, write_files
from vae_jax.data import archive_size, load, memory_mapped
from vae_jax.data import image_folder as image_folder_module
from vae_jax.data.cache import CacheWarning
from vae_jax.runtime import compilation_cache
from vae_jax.runtime.cache_folder import cache_folder
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


def test_an_image_that_was_replaced_by_one_of_its_size_and_time_makes_a_new_copy(tmp_path, read):
    """Copies that keep times, as those of `cp -p` and `rsync -a`."""
    folder = tmp_path / "pictures"
    for index in range(6):
        save_image(folder / f"{index}.tif", np.full((3, 4), index, np.uint8))
    times = {path: path.stat() for path in folder.iterdir()}
    read(str(folder))
    for path, status in times.items():
        save_image(path, np.full((3, 4), 100, np.uint8))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
    assert read(str(folder)).train.min() == 100


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


def test_a_copy_that_cannot_be_kept_is_a_warning(tmp_path):
    folder = image_folder(tmp_path / "pictures")
    occupied = write_files(tmp_path, {"occupied": b""}) / "occupied"
    with pytest.warns(CacheWarning, match=r"decoded images are not kept \(.*occupied"):
        data = load(str(folder), data_dir=str(occupied))
    np.testing.assert_array_equal(data.train, load(str(folder), data_dir=str(tmp_path)).train)


def test_parts_that_were_left_are_removed_when_nobody_writes_them(tmp_path, read):
    folder = image_folder(tmp_path / "pictures")
    read(str(folder))
    (copy,) = (tmp_path / "store" / "decoded").iterdir()
    old, fresh = (copy.with_name(f"{copy.name}.{name}.part") for name in ("old", "fresh"))
    for part in (old, fresh):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    copy.unlink()
    read(str(folder))
    assert (old.exists(), fresh.exists(), copy.exists()) == (False, True, True)


class TestMapped:
    @pytest.fixture
    def images(self, tmp_path):
        """Return images of a source, and a function that maps them."""
        pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 4, 1), np.uint8)

        def mapped(**changes):
            lazy = memory_mapped.LazyImages(
                *(pixels.take, pixels.shape, np.arange(40), tmp_path / "store", "some", "mark")
            )
            lazy = dataclasses.replace(lazy, read=lambda rows: pixels[rows], **changes)
            return memory_mapped.memory_mapped({"train": lazy})["train"]

        return pixels, mapped

    def test_checksums_are_of_the_content(self, images, tmp_path):
        pixels, mapped = images
        np.testing.assert_array_equal(mapped(), pixels)
        path = tmp_path / "store" / "decoded" / "some" / "train.npy"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        np.testing.assert_array_equal(mapped(), pixels)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("name", ["posix_fallocate", "fsync", "rename"])
    def test_a_full_disk_is_one_line_and_leaves_nothing(
        self, images, tmp_path, monkeypatch, name, number
    ):
        pixels, mapped = images

        def refuse(*_):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, name, refuse)
            with pytest.raises(InputError, match=r"data_dir=.*: cannot be written"):
                mapped()
        left = {path.name for path in (tmp_path / "store" / "decoded").iterdir()}
        assert left <= {"some.lock", "some.part"}
        np.testing.assert_array_equal(mapped(), pixels)
        left = {path.name for path in (tmp_path / "store" / "decoded").iterdir()}
        assert left == {"some.lock", "some"}

    def test_what_kills_left_is_removed(self, images, tmp_path):
        pixels, mapped = images
        for name in ("some.part", "some.old"):
            (tmp_path / "store" / "decoded" / name).mkdir(parents=True)
            (tmp_path / "store" / "decoded" / name / "train.npy").write_bytes(b"half")
        np.testing.assert_array_equal(mapped(), pixels)
        left = {path.name for path in (tmp_path / "store" / "decoded").iterdir()}
        assert left == {"some.lock", "some"}

    def test_of_processes_that_start_at_once_one_writes(self, images, monkeypatch):
        pixels, mapped = images
        written, write = [], memory_mapped._write
        monkeypatch.setattr(memory_mapped, "_write", lambda *a: (written.append(1), write(*a)))
        with ThreadPoolExecutor(4) as pool:  # each opens the lock's file by itself
            for found in pool.map(lambda _: mapped(), range(4)):
                np.testing.assert_array_equal(found, pixels)
        assert written == [1]

    def test_a_copy_in_use_may_be_replaced(self, images):
        pixels, mapped = images
        first = mapped()
        mapped(fingerprint="another")
        np.testing.assert_array_equal(first, pixels)


def test_an_archive_that_would_fill_the_memory_is_refused_by_its_sizes(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", x_train=np.zeros((2000, 28, 28), np.uint8))
    load(str(tmp_path / "bomb.npz"))
    monkeypatch.setattr(archive_size, "_LARGE", 10**6)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(InputError, match=r"dataset=.*bomb.npz: 0 MB that unpack to 0.0 GB"):
        load(str(tmp_path / "bomb.npz"))


def test_names_that_are_not_utf8(tmp_path, read):
    folder = os.fsencode(image_folder(tmp_path / "pictures") / "train")
    os.rename(folder + b"/a", folder + b"/caf\xe9")
    data = read(os.fsdecode(folder))
    assert data.class_names == ("b", "caf\\udce9")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x"),
        ({"XDG_CACHE_HOME": "~/x", "HOME": "/h"}, "/h/x"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache"),
        ({"HOME": "/h"}, "/h/.cache"),
        ({"HOME": ""}, "/p/.cache"),
        ({"HOME": "relative"}, "/p/.cache"),
        ({}, "/p/.cache"),
    ],
    ids=str,
)
def test_the_cache_lies_under_an_absolute_path(variables, expected, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir="/p"))
    assert cache_folder() == Path(expected, "vae_jax")


def test_without_a_home_nothing_is_kept_and_that_is_said(tmp_path, monkeypatch):
    """A container may run as a user without an entry, and without a home."""
    folder = image_folder(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.warns(CacheWarning, match="the decoded images are not kept"):
        load(str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_labels_of_images_in_files_are_examined(tmp_path, read, monkeypatch):
    monkeypatch.setattr(image_folder_module, "is_large", lambda shape: True)
    folder = image_folder(tmp_path / "pictures")
    (folder / "test" / "b").rename(folder / "test" / "c")
    said = "2 of 4 test images have labels that no training image has"
    assert said in read(str(folder)).record.warnings


def test_caches_lie_in_one_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load(str(image_folder(tmp_path / "pictures")))
    assert (tmp_path / "vae_jax" / "decoded").is_dir()
    folder = compilation_cache._processor_folder("")
    assert folder.parent == tmp_path / "vae_jax" / "xla"
