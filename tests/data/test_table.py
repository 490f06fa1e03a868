"""Tables and single arrays: what the columns are is read from their names, and said."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from tests.samples import RNG, numbered, numbers, save_npz, write_files
from vae_jax.runtime.errors import InputError

ROWS = RNG.normal(size=(12, 3)).round(3)


def lines(*first: str, delimiter: str = ",", labels: list[str] | None = None) -> bytes:
    cells = [[*map(str, row)] for row in ROWS.tolist()]
    rows = [[label, *row] for label, row in zip(labels or [], cells, strict=False)] or cells
    return "\n".join([*first, *map(delimiter.join, rows)]).encode()


def everything(data) -> np.ndarray:
    return np.concatenate([data.train, data.valid, data.test])


def same_rows(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("plain.csv", lines(), "no header"),
        ("named.csv", lines("a,b,c"), "columns named by the first line (a, b, c)"),
        ("semicolon.csv", lines("a;b;c", delimiter=";"), "a, b, c"),
        ("tab.tsv", lines("a\tb\tc", delimiter="\t"), "a, b, c"),
        ("windows.csv", b"\xef\xbb\xbf" + lines("a,b,c").replace(b"\n", b"\r\n"), "a, b, c"),
        ("blank.csv", lines("a,b,c") + b"\n\n\n", "a, b, c"),
    ],
)
def test_a_table_is_read_with_or_without_a_header(name, content, said, tmp_path, read):
    data = read(str(write_files(tmp_path, {name: content}) / name))
    assert data.event_shape == (3,)
    assert same_rows(everything(data), ROWS)
    assert any(said in sentence for sentence in data.record.recognised)
    assert data.train_labels is None


@pytest.mark.parametrize("column", ["label", "y", "Class"])
@pytest.mark.parametrize("names", [("cat", "dog", "eel"), ("0", "1", "2")], ids=["names", "digits"])
def test_the_labels_are_the_column_of_that_name(column, names, tmp_path, read):
    labels = [names[i % 3] for i in range(12)]
    content = lines(f"{column},a,b,c", labels=labels)
    data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
    assert data.event_shape == (3,)
    assert data.num_classes == 3
    assert data.class_names == (names if names[0] == "cat" else ())
    first = data.train[0]
    row = int(np.abs(ROWS - first).sum(axis=1).argmin())
    assert data.train_labels[0] == row % 3
    assert any(f"column {column} holds the labels" in said for said in data.record.recognised)


@pytest.mark.parametrize("style", ["pixel", "cells"])
def test_columns_that_are_called_pixels_are_images(style, tmp_path, read):
    side = 4
    names = [f"pixel{i}" for i in range(side**2)]
    if style == "cells":
        names = [f"{i}x{j}" for i in range(1, side + 1) for j in range(1, side + 1)]
    images = RNG.integers(0, 256, (12, side**2))
    rows = "\n".join([",".join(names), *(",".join(map(str, row)) for row in images.tolist())])
    data = read(str(write_files(tmp_path, {"t.csv": rows.encode()}) / "t.csv"))
    assert data.event_shape == (side, side, 1)
    assert data.train.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no numbers"),
        (b"label\n1\n2", "no numbers"),
        (b"label,a\n", "no line of numbers"),
        (b"a,b\n1,2\n3", "cannot be read as a table"),
        (b"a,b\n1,2\n3,x", "cannot be read as a table"),
        (b"a,b\n1,\n3,4", "cannot be read as a table"),
        (b"y,label,a\n1,2,3\n", "may all be labels"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
        (b"a,b\nnan,2\n3,4\n5,6", "NaN"),
        (b"1.5,,2\n1,2,3\n4,5,6\n", "may be an example with missing numbers"),
        (b"1,NA,2\n1,2,3\n4,5,6\n", "may be an example with missing numbers"),
        (b"a,b\n0,1,2\n1,3,4\n2,5,6\n", "3 cells in line 1 of numbers, 2 in the first"),
        (b"1,2\n3,4\n5,6,7\n8,9\n", "3 cells in line 3 of numbers, 2 in the first"),
        (b"label,a\n1,2\n,3\n2,4\n", "1 of 3 labels are missing"),
        (b"1,5;2,5\n2,5;3,5\n1,1;2,2\n", "numbers with a decimal point"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(content, problem, tmp_path, read):
    path = write_files(tmp_path, {"t.csv": content}) / "t.csv"
    with pytest.raises(InputError) as caught:
        read(str(path))
    assert str(caught.value).startswith(f"dataset={path}: ")
    assert problem in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(
    ("first", "start"), [("", 0), ("id", 1), ("Unnamed: 0", None), ("index", 0)], ids=str
)
def test_a_column_that_counts_the_lines_is_no_dimension(first, start, tmp_path, read):
    """Pandas writes its index by default; after a split of the table it is out of order."""
    counts = RNG.permutation(90)[:12] if start is None else start + np.arange(12)
    content = lines(f"{first},a,b,c", labels=[str(count) for count in counts])
    data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
    assert data.event_shape == (3,)
    assert same_rows(everything(data), ROWS)
    said = f"passed over: the column {first or 'without a name'}, which counts lines"
    assert said in data.record.recognised


def test_a_counting_column_without_a_header_is_kept_and_said(tmp_path, read):
    content = lines(labels=[str(count) for count in range(12)])
    data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
    assert data.event_shape == (4,)
    assert any("first column counts the lines" in said for said in data.record.recognised)


def test_first_or_last_columns_that_may_be_labels_are_said(tmp_path, read):
    """Widespread tables of MNIST have 785 columns and no header."""
    for position in (0, 16):
        pixels = RNG.integers(0, 256, (40, 16))
        table = np.insert(pixels, position, np.arange(40) % 5, axis=1)
        content = "\n".join(",".join(map(str, row)) for row in table.tolist()).encode()
        data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
        said = f"the {'last' if position else 'first'} column may hold labels"
        assert any(said in sentence for sentence in data.record.recognised)


@pytest.mark.parametrize("first", ["0,1,2", "1,2,3", ",0,1,2"])
def test_numbers_of_the_columns_are_their_names(first, tmp_path, read):
    """Pandas and R write such a first line, which is no example."""
    is_counted = first.startswith(",")
    content = lines(first, labels=[str(i) for i in range(12)] if is_counted else None)
    data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
    assert same_rows(everything(data), ROWS)


def test_two_columns_of_bits_have_no_header(tmp_path, read):
    data = read(str(write_files(tmp_path, {"t.csv": b"0,1\n1,0\n0,0\n1,1\n"}) / "t.csv"))
    assert len(everything(data)) == 4


def test_pixels_lie_where_their_names_say(tmp_path, read):
    """Columns in alphabetical order: pixel0, pixel1, pixel10, ..."""
    images = RNG.integers(0, 256, (12, 16))
    order = sorted(range(16), key=lambda i: f"pixel{i}")
    rows = [[f"pixel{i}" for i in order], *images[:, order].tolist()]
    content = "\n".join(",".join(map(str, row)) for row in rows).encode()
    data = read(str(write_files(tmp_path, {"t.csv": content}) / "t.csv"))
    assert same_rows(everything(data).reshape(12, 16), images)
    assert {tuple(image.ravel()) for image in everything(data)} == set(map(tuple, images))


def test_an_array_in_npy_is_train(tmp_path, read):
    np.save(tmp_path / "x.npy", numbered(12))
    data = read(str(tmp_path / "x.npy"))
    assert sorted(numbers(np.concatenate([data.train, data.valid, data.test]))) == list(range(12))


@pytest.mark.parametrize(
    "arrays",
    [
        {"arr_0": numbered(12)},
        {"X": numbered(12), "y": np.arange(12)[None]},
        {"train_images": numbered(12), "train_labels": np.arange(12)[:, None]},
        {"images_train": numbered(12), "note": np.zeros(3)},
        {"data": numbered(12), "target": np.arange(12)},
    ],
    ids=["arr_0", "X and y", "medmnist", "other arrays", "scikit-learn"],
)
@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_usual_names_of_arrays_are_understood_and_said(arrays, kind, tmp_path, read):
    path = save_npz(tmp_path, **arrays) if kind == "npz" else tmp_path / "x.mat"
    if kind == "mat":
        savemat(path, arrays)
    data = read(str(path))
    assert sum(map(len, (data.train, data.valid, data.test))) == 12
    assert "is read as x_train" in "; ".join(data.record.recognised)
    if len(arrays) == 2 and "note" not in arrays:
        np.testing.assert_array_equal(data.train_labels, numbers(data.train))
    if "note" in arrays:
        assert data.record.recognised[-1] == "passed over: note"


def test_other_names_of_splits_are_those_splits(tmp_path, read):
    arrays = {"x_training": numbered(9), "x_val": numbered(3, 9), "testing_images": numbered(2, 12)}
    data = read(str(save_npz(tmp_path, **arrays)))
    assert numbers(data.valid) == [9, 10, 11]
    assert numbers(data.test) == [12, 13]
    assert "testing_images is read as x_test" in data.record.recognised


def test_factors_of_an_own_archive_follow_their_examples(tmp_path, read):
    factors = np.stack([np.arange(12), np.arange(12) % 3], axis=1)
    data = read(str(save_npz(tmp_path, x_train=numbered(12), train_factors=factors)))
    for split in ("train", "valid", "test"):
        own = getattr(data, f"{split}_factors")
        assert own[:, 0].tolist() == numbers(getattr(data, split))


@pytest.mark.parametrize("kind", ["one-hot", "text"])
def test_labels_that_are_names_or_one_hot_are_numbered_and_said(kind, tmp_path, read):
    classes = np.arange(12) % 3
    labels = np.eye(3)[classes] if kind == "one-hot" else np.array(["dog", "cat", "eel"])[classes]
    data = read(str(save_npz(tmp_path, x_train=numbered(12), y_train=labels)))
    order = np.array([0, 1, 2] if kind == "one-hot" else [1, 0, 2])
    expected = order[np.array(numbers(data.train)) % 3]
    np.testing.assert_array_equal(data.train_labels, expected)
    assert data.class_names == (() if kind == "one-hot" else ("cat", "dog", "eel"))
    assert kind.partition("-")[0] in "; ".join(data.record.recognised) or "names" in "; ".join(
        data.record.recognised
    )


@pytest.mark.parametrize("name", ["x.mat", "x.npy"])
def test_a_damaged_file_of_arrays_is_refused_in_a_line(name, tmp_path, read):
    path = write_files(tmp_path, {name: b"MATLAB"}) / name
    with pytest.raises(InputError, match=r"cannot be read as .*; save it again"):
        read(str(path))


@pytest.mark.parametrize(("name", "package"), [("x.h5", "h5py"), ("x.mat", "scipy")])
def test_a_file_whose_package_is_missing_is_refused_with_package_and_extra(
    name, package, tmp_path, read, monkeypatch
):
    monkeypatch.setattr("vae_jax.runtime.libraries.is_installed", lambda module: module != package)
    path = write_files(tmp_path, {name: b"HDF"}) / name
    with pytest.raises(InputError, match=f"the extra data brings; run `pip install {package}`"):
        read(str(path))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".mat"])
def test_arrays_of_an_hdf5_file_are_those_of_an_npz(suffix, tmp_path, read):
    """MATLAB 7.3 writes HDF5 behind a text of 512 bytes, with the axes in reverse order."""
    x = RNG.normal(size=(9, 3)).astype(np.float32)
    path = tmp_path / f"x{suffix}"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x_train"] = x.T if suffix == ".mat" else x
        file["y_train"], file["group/z"] = np.arange(9) % 2, x
    with path.open("r+b") as file:
        file.write((b"MATLAB 7.3 MAT-file" if suffix == ".mat" else b"").ljust(512))
    data, same = read(str(path)), read(str(save_npz(tmp_path, x_train=x, y_train=np.arange(9) % 2)))
    np.testing.assert_array_equal(data.train, same.train)
    np.testing.assert_array_equal(data.test_labels, same.test_labels)
    assert "passed over: group" in data.record.recognised


def test_the_versions_of_matlab_files_hold_the_same_examples(tmp_path, read):
    x = RNG.normal(size=(9, 3))
    savemat(tmp_path / "old.mat", {"X": x, "y": np.arange(9.0)[:, None]})
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["X"], file["y"] = x.T, np.arange(9.0)[None]
    with (tmp_path / "new.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))
    old, new = read(str(tmp_path / "old.mat")), read(str(tmp_path / "new.mat"))
    np.testing.assert_array_equal(old.train, new.train)
    np.testing.assert_array_equal(old.train_labels, new.train_labels)


def test_texts_of_hdf5_are_names_of_labels(tmp_path, read):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x_train"], file["y_train"] = numbered(6), np.array([b"eel", b"cat"] * 3, object)
    assert read(str(tmp_path / "x.h5")).class_names == ("cat", "eel")


def test_a_file_of_groups_alone_is_refused_with_their_names(tmp_path, read):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train/x"] = numbered(6)
    with pytest.raises(InputError, match=r"no arrays but groups \(.*train\); save .* at the root"):
        read(str(tmp_path / "x.h5"))
