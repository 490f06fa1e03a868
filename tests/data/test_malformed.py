"""Data that cannot be used: one line that names the flag, the value, the problem and the fix."""

import gzip
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.samples import RNG, idx_bytes, numbered, save_image, save_npz, write_files
from vae_jax.runtime.errors import InputError


def npz_with(**arrays):
    return lambda folder: save_npz(folder, **arrays)


def truncated_npz(folder: Path) -> Path:
    path = save_npz(folder, x_train=IMAGES)
    path.write_bytes(path.read_bytes()[:200])
    return path


def array_named_npz(folder: Path) -> Path:
    np.save(folder / "set.npy", numbered(9))
    return (folder / "set.npy").rename(folder / "set.npz")


def idx_folder_with(**changes: bytes):
    renamed = {name.replace("_", "-"): content for name, content in changes.items()}
    return lambda folder: write_files(folder / "idx", renamed)


def folder_of(**images: np.ndarray):
    def make(folder: Path) -> Path:
        for name, pixels in images.items():
            save_image(folder / "images" / f"{name.replace('__', '/')}.png", pixels)
        return folder / "images"

    return make


def folder_with(content: bytes):
    return lambda folder: write_files(folder / "images", {"a.png": content})


def broken_png(folder: Path) -> Path:
    save_image(folder / "images" / "a.png", RNG.integers(0, 256, (30, 30), np.uint8))
    (folder / "images" / "b.png").write_bytes((folder / "images" / "a.png").read_bytes()[:300])
    return folder / "images"


def deep_colours(folder: Path) -> Path:
    """Write a PNG of 16-bit RGB, which Pillow opens as if it had 8 bits."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.full((4, 5, 3), 4095, ">u2"))
    parts = {b"IHDR": struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows)}
    chunks = b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in (*parts.items(), (b"IEND", b""))
    )
    return write_files(folder / "images", {"a.png": b"\x89PNG\r\n\x1a\n" + chunks})


def tiff(mode: str, size: int, **tags: int):
    """Return a maker of a TIFF file of 4 x 5 pixels of some bytes, with further tags."""

    def make(folder: Path) -> Path:
        known = TiffImagePlugin.ImageFileDirectory_v2()
        for name, value in tags.items():
            known[int(name.removeprefix("tag"))] = value
        (folder / "images").mkdir()
        image = Image.frombytes(mode, (5, 4), bytes(20 * size))
        image.save(folder / "images" / "a.tif", tiffinfo=known)
        return folder / "images"

    return make


def pages(folder: Path) -> Path:
    """Write a TIFF file of three pages."""
    (folder / "images").mkdir()
    page = Image.fromarray(GRAY)
    page.save(folder / "images" / "a.tif", save_all=True, append_images=[page, page])
    return folder / "images"


def other_images(folder: Path) -> Path:
    return write_files(folder / "images", {"a.gif": b"GIF89a", "b.webp": b"RIFF"})


def empty_folder(folder: Path) -> Path:
    return write_files(folder / "none", {"notes.txt": b"nothing"})


def linked(where: str, to: str):
    """Return a maker of an image folder that holds a link."""

    def make(folder: Path) -> Path:
        save_image(folder / "secret.png", GRAY)
        save_image(folder / "images" / "a.png", GRAY)
        (folder / "images" / where).symlink_to(to)
        return folder / "images"

    return make


def deep(folder: Path) -> Path:
    """Make an image folder of 250 levels."""
    inner = folder / "images" / "/".join(["a"] * 250)
    inner.mkdir(parents=True)
    return folder / "images"


def linked_idx(folder: Path) -> Path:
    write_files(folder / "idx", {})
    (folder / "secret").write_bytes(TRAIN_IDX)
    (folder / "idx" / "train-images-idx3-ubyte").symlink_to("../secret")
    return folder / "idx"


def pipe(*names: str):
    """Return a maker of a pipe that nobody writes to, in place of a file."""

    def make(folder: Path) -> Path:
        path = folder.joinpath(*names)
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
        return folder / names[0]

    return make


def program_by_the_name_of_an_image(folder: Path) -> Path:
    """Write PostScript, which Pillow would hand to Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n%%EndComments\nshowpage\n%%EOF\n"
    return write_files(folder / "images", {"a.png": eps})


def member_that_is_no_array(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "set.npz", "w") as archive:
        archive.writestr("x_train.npy", b"nine images")
    return folder / "set.npz"


def text_file(folder: Path) -> Path:
    return write_files(folder / "other", {"images.txt": b"0 1"}) / "images.txt"


NAN = np.full((9, 4, 5), np.nan)
DEEP = np.arange(20, dtype=np.uint16).reshape(4, 5) * 600
HALF = np.full((9, 4, 5), 0.3)
GRAY, SMALL = np.zeros((4, 5), np.uint8), np.zeros((3, 5), np.uint8)
COLOUR = np.zeros((4, 5, 3), np.uint8)
IMAGES, SQUARE = numbered(9), np.zeros((2, 5, 5), np.uint8)
TRAIN_IDX = idx_bytes(IMAGES)
TRAIN_GZ = gzip.compress(TRAIN_IDX)

MALFORMED = {
    "missing npz": (lambda folder: folder / "no.npz", "no such file", "give a path"),
    "missing folder": (lambda folder: folder / "no", "no such file", "give a path"),
    "not npz": (text_file, "neither a folder nor a file of .npz", "numpy.savez"),
    "no x_train": (npz_with(a=IMAGES, b=IMAGES), "holds a, b", "as x_train"),
    "two of one": (npz_with(x_valid=IMAGES, x_train=IMAGES, x_val=IMAGES), "both x_valid", "keep"),
    "empty npz": (npz_with(), "holds nothing", "as x_train"),
    "unknown array": (npz_with(x_train=IMAGES, x_more=IMAGES), "x_more is none of", "x_valid"),
    "factors alone": (npz_with(x_train=IMAGES, test_factors=IMAGES), "without x_test", "both"),
    "half factors": (npz_with(x_train=IMAGES, train_factors=np.eye(9) / 2), "no factors", "whole"),
    "labels alone": (npz_with(x_train=IMAGES, y_test=np.arange(2)), "y_test without", "both"),
    "object array": (npz_with(x_train=np.array([[1], [2, 3]], object)), "Object arrays", "save it"),
    "array as npz": (array_named_npz, "cannot be read as .npz", "save it again"),
    "truncated npz": (truncated_npz, "cannot be read as .npz", "save it again"),
    "channels first": (npz_with(x_train=np.zeros((9, 3, 8, 8), "u1")), "channels first", "move"),
    "examples last": (npz_with(x_train=np.zeros((8, 8, 3, 9), "u1")), "examples last", "move"),
    "columns": (
        npz_with(x_train=HALF[0], y_train=np.arange(5)),
        "labels of shape (5,); the last axis of (4, 5) has as many",
        "move it to the front",
    ),
    "huge factors": (npz_with(x_train=IMAGES, train_factors=np.full((9, 2), 3e9)), "no", "whole"),
    "more factors": (
        npz_with(
            x_train=IMAGES,
            x_test=IMAGES,
            train_factors=np.ones((9, 2), int),
            test_factors=np.ones((9, 3), int),
        ),
        "other numbers of factors (train 2, test 3)",
        "give the same",
    ),
    "empty train": (npz_with(x_train=numbered(0)), "train is empty", "at least one"),
    "empty test": (npz_with(x_train=IMAGES, x_test=numbered(0)), "test is empty", "at least"),
    "no pixels": (npz_with(x_train=np.zeros((9, 0, 5), "u1")), "train is empty", "at least one"),
    "one image": (npz_with(x_train=numbered(1)), "1 images cannot be cut", "give at least 3"),
    "shapes": (npz_with(x_train=IMAGES, x_test=SQUARE), "(5, 5, 1)", "resize"),
    "NaN": (npz_with(x_train=NAN), "NaN", "remove or repair"),
    "infinity": (npz_with(x_train=NAN + np.inf), "NaN or infinity", "remove or repair"),
    "floats to 255": (npz_with(x_train=numbered(9).astype("f4")), "to 200", "divided by 255"),
    "large integers": (npz_with(x_train=numbered(9).astype("i4") * 2), "to 400", "0..255"),
    "negative integers": (npz_with(x_train=numbered(9).astype("i4") - 9), "from -9", "0..255"),
    "two kinds": (npz_with(x_train=HALF, x_test=IMAGES), "some splits hold", "encoding"),
    "complex": (npz_with(x_train=np.zeros((9, 4, 5), complex)), "dtype complex128", "give uint8"),
    "text": (npz_with(x_train=np.full((9, 4, 5), "a")), "dtype <U1", "give uint8"),
    "short labels": (npz_with(x_train=IMAGES, y_train=np.arange(8)), "shape (8,)", "one label"),
    "two-hot labels": (npz_with(x_train=IMAGES, y_train=np.ones((9, 9))), "(9, 9)", "one label"),
    "half labels": (npz_with(x_train=IMAGES, y_train=np.arange(9) / 2), "not whole", "number"),
    "NaN labels": (npz_with(x_train=IMAGES, y_train=NAN[:, 0, 0]), "not whole", "number them"),
    "negative labels": (npz_with(x_train=IMAGES, y_train=np.arange(9) - 1), "from -1", "from 0"),
    "huge labels": (npz_with(x_train=IMAGES, y_train=np.arange(9) * 2**40), "to 8796", "to 65535"),
    "a million classes": (npz_with(x_train=IMAGES, y_train=np.full(9, 10**6)), "1000000", "65535"),
    "infinite labels": (npz_with(x_train=IMAGES, y_train=np.full(9, np.inf)), "to inf", "from 0"),
    "no array": (member_that_is_no_array, "x_train is no array", "save it"),
    "a pipe": (pipe("set.npz"), "neither a folder nor a file", "numpy.savez"),
    "idx pipe": (pipe("idx", "train-images-idx3-ubyte"), "is not a file", "remove it"),
    "idx link": (linked_idx, "train-images-idx3-ubyte is a link out of", "put the file itself"),
    "idx cut": (idx_folder_with(train_images_idx3_ubyte=TRAIN_IDX[:-1]), "195 bytes", "again"),
    "idx header cut": (idx_folder_with(train_images_idx3_ubyte=TRAIN_IDX[:7]), "7 bytes", "again"),
    "not idx": (idx_folder_with(train_images_idx3_ubyte=b"<html>"), "not an IDX file", "again"),
    "gzip cut": (idx_folder_with(train_images_idx3_ubyte=TRAIN_GZ[:-9]), "cannot be read", "again"),
    "idx without train": (idx_folder_with(t10k_images_idx3_ubyte=TRAIN_IDX), "no training", "add"),
    "idx labels alone": (
        idx_folder_with(train_images_idx3_ubyte=TRAIN_IDX, test_labels_idx1_ubyte=TRAIN_IDX),
        "test has labels but no images",
        "add test-images",
    ),
    "two idx": (
        idx_folder_with(a_train_images_idx3_ubyte=TRAIN_IDX, b_train_images_idx3_ubyte=TRAIN_IDX),
        "both a-train-images-idx3-ubyte and b-train-images-idx3-ubyte",
        "keep one",
    ),
    "no images": (empty_folder, "no PNG, JPEG, TIFF or IDX", "give another"),
    "broken image": (broken_png, "b.png cannot be decoded", "remove it"),
    "16 bits": (folder_of(a=DEEP, b=DEEP), "integers from 0 to 1", "encoding=reals"),
    "image pipe": (pipe("images", "a.png"), "a.png is not a file", "remove it"),
    "deep folders": (deep, "lies more than 200 folders deep", "move the images up"),
    "dangling link": (linked("b.png", "no.png"), "b.png is not a file", "remove it"),
    "link out": (linked("b.png", "../secret.png"), "b.png is a link out of", "put the file itself"),
    "link round": (linked("b", "."), "b is a link to a folder that holds it", "remove"),
    "folder link": (linked("train", ".."), "train is a link to a folder", "put the folder itself"),
    "a program": (program_by_the_name_of_an_image, "a.png cannot be decoded", "remove it"),
    "image sizes": (folder_of(a=GRAY, b=SMALL), "a.png has shape (4, 5, 1) but b.png", "bring"),
    "image channels": (folder_of(a=GRAY, b=COLOUR), "(4, 5, 1) but b.png (4, 5, 3)", "channels"),
    "stray image": (folder_of(a__x=GRAY, y=GRAY), "y.png lies beside folders of classes", "move"),
    "two depths": (folder_of(a=DEEP, b=GRAY), "a.png and b.png have different depths", "convert"),
    "pages": (pages, "a.tif holds 3 images", "save each"),
    "a fifth channel": (tiff("RGBX", 4), "a.tif is not an 8-bit gray or RGB", "convert"),
    "white is zero": (tiff("I;16", 2, tag262=0), "a.tif is not an 8-bit gray or RGB", "convert"),
    "no image": (folder_with(b""), "cannot be decoded (it is no PNG, JPEG or TIFF)", "remove"),
    "other images": (other_images, "(passed over: 2 other files (.gif, .webp))", "give another"),
    "no train": (folder_of(test__x=GRAY), "has a folder test but none called train", "add one"),
    "colours of 16 bits": (deep_colours, "a.png is not an 8-bit gray or RGB", "convert"),
    "stray split": (folder_of(train__x=GRAY, other__y=GRAY), "other/y.png lies beside", "use only"),
    "stray test": (folder_of(images__x=GRAY, test__y=GRAY), "lies beside the folder test", "use"),
    "stray holdout": (folder_of(fit__x=GRAY, holdout__y=GRAY), "beside the folder holdout", "use"),
    "stray others": (
        folder_of(train_data__x=GRAY, test_data__y=GRAY, extras__z=GRAY),
        "extras/z.png lies beside the folder test_data",
        "use only",
    ),
    "train and eval": (folder_of(train__x=GRAY, eval__y=GRAY), "may be splits or classes", "call"),
    "split and class": (
        folder_of(cat_train__x=GRAY, cat_test__x=GRAY, dog_train__x=GRAY),
        "cat_test, cat_train, dog_train may be splits or classes",
        "call splits train",
    ),
    "two of valid": (
        folder_of(train__x=GRAY, val__x=GRAY, validation__x=GRAY),
        "both val and validation are valid",
        "keep one",
    ),
    "split in a split": (
        folder_of(train__test__x=GRAY, test__x=GRAY),
        "train/test/x.png lies in train and in test",
        "another name",
    ),
    "capital x_more": (npz_with(x_train=IMAGES, X_holdout=IMAGES), "X_holdout is none of", "x_va"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "problem", "fix"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_input_gives_one_line_with_flag_value_problem_and_fix(
    make, problem, fix, tmp_path, read
):
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read(str(path))
    message = str(caught.value)
    assert message.startswith(f"dataset={path}: ")
    assert "\n" not in message
    assert problem in message
    assert fix in message[message.index("; ") :]
