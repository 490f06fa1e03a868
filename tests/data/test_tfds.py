"""Data sets that tfds prepared, read without TensorFlow through a stand-in for its builder."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.samples import all_numbers, numbered, numbers, write_files
from vae_jax.data import tfds as tfds_source
from vae_jax.runtime.errors import InputError


def prepare(folder: Path, name: str, suffix: str = "array_record") -> Path:
    """Write empty files named as by tfds; only their names count here."""
    version = folder / "store" / name
    names = ("dataset_info.json", f"set-train.{suffix}-00000-of-00001")
    return write_files(version, dict.fromkeys(names, b""))


NAMES = [f"class {letter}" for letter in "abcdefghijklmno"]


def replace_builder(monkeypatch, sources, features=("image", "label")):
    known = dict.fromkeys(features, SimpleNamespace(names=NAMES))
    info = SimpleNamespace(features=known, full_name="toy/1.0.0")
    builder = SimpleNamespace(info=info, as_data_source=functools.partial(_opened, sources))
    monkeypatch.setattr(tfds, "builder_from_directory", lambda folder: builder)


def _opened(sources, decoders=None):
    """Return data sources whose images are bytes where they are not to be decoded."""
    if decoders is None:
        return sources
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    return {split: [each | {"image": b""} for each in found] for split, found in sources.items()}


def examples(count: int, start: int = 0):
    images = numbered(count, start)
    return [{"image": image[..., None], "label": start + i} for i, image in enumerate(images)]


def test_prepared_set_is_read_once(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    replace_builder(
        monkeypatch, {"train": examples(12), "test": examples(3, 12), "extra": examples(5)}
    )
    data = read("toy")
    assert "passed over: the split extra" in data.record.recognised
    assert sorted(all_numbers(data)) == list(range(15))
    np.testing.assert_array_equal(data.test_labels, [12, 13, 14])
    monkeypatch.setattr(tfds, "builder_from_directory", lambda f: pytest.fail("read again"))
    again = read("toy")
    np.testing.assert_array_equal(again.train, data.train)
    assert again.class_names == data.class_names == tuple(NAMES)


def test_a_prepared_set_too_large_for_memory_is_mapped(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    replace_builder(monkeypatch, {"train": examples(12), "test": examples(3, 12)})
    in_memory = read("toy")
    (tmp_path / "store" / "decoded" / "toy.npz").unlink()
    monkeypatch.setattr(tfds_source, "is_large", lambda shape: True)
    data = read("toy")
    assert isinstance(data.train, np.memmap)
    np.testing.assert_array_equal(data.train, in_memory.train)
    np.testing.assert_array_equal(data.test, in_memory.test)
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(data.labels_of(split), in_memory.labels_of(split))
    monkeypatch.setattr(tfds_source, "_with_labels", lambda *parts: pytest.fail("read again"))
    np.testing.assert_array_equal(read("toy").test_labels, in_memory.test_labels)


def test_an_image_of_another_dtype_in_a_large_set_is_refused(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    odd = {"image": np.zeros((4, 5, 1), np.uint16), "label": 0}
    replace_builder(monkeypatch, {"train": [*examples(11), odd]})
    monkeypatch.setattr(tfds_source, "is_large", lambda shape: True)
    with pytest.raises(InputError, match="images of dtype uint16; give 8-bit images"):
        read("toy")


@pytest.mark.parametrize(
    ("sources", "features", "problem"),
    [
        ({"train": examples(3)}, ("text",), "has no feature `image`; give"),
        ({"test": examples(3)}, ("image",), "has splits test but no `train`; give"),
        (
            {"train": [*examples(3), {"image": np.zeros((9, 9, 1), "u1"), "label": 0}]},
            ("image",),
            "images of shapes (4, 5, 1) and (9, 9, 1); save",
        ),
    ],
)
def test_prepared_set_that_cannot_be_used(sources, features, problem, tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    replace_builder(monkeypatch, sources, features)
    with pytest.raises(InputError) as caught:
        read("toy")
    assert str(caught.value).startswith(f"dataset=toy: {problem}")


def test_two_prepared_versions_have_to_be_named(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    prepare(tmp_path, "toy/2.0.0")
    with pytest.raises(InputError, match=r"=toy: prepared .* name one of toy:1.0.0, toy:2.0.0$"):
        read("toy")
    replace_builder(monkeypatch, {"train": examples(9)})
    assert read("toy:2.0.0").record.asked == "toy:2.0.0"


def test_set_that_needs_tensorflow_names_the_command(read, tmp_path):
    command = f"`tfds build cifar10 --data_dir={tmp_path}/store --file_format=array_record`"
    with pytest.raises(InputError) as caught:
        read("cifar10", offline_dataset="mnist_5k")
    assert str(caught.value).endswith(f"; run once `pip install tensorflow` and {command}")
    stale = prepare(tmp_path, "cifar10/3.0.2", "tfrecord")
    with pytest.raises(InputError, match=f"; delete {stale}, then run once `pip"):
        read("cifar10")


@pytest.mark.parametrize("is_mapped", [False, True], ids=["in memory", "mapped"])
def test_the_factors_of_a_prepared_set_follow_their_images(is_mapped, tmp_path, read, monkeypatch):
    """dsprites, shapes3d and smallnorb have features `label_*` and a split to train on alone."""
    prepare(tmp_path, "toy/1.0.0")
    found = [
        {"image": image[..., None], "label_x": i, "label_a": i % 3, "value_x": i / 7}
        for i, image in enumerate(numbered(12))
    ]
    features = ("image", "label_x", "label_a", "value_x")
    replace_builder(monkeypatch, {"train": found}, features)
    monkeypatch.setattr(tfds_source, "is_large", lambda shape: is_mapped)
    data = read("toy")
    for split in ("train", "valid", "test"):
        found_numbers = numbers(getattr(data, split))
        own = getattr(data, f"{split}_factors")
        assert own[:, 1].tolist() == found_numbers
        assert own[:, 0].tolist() == [number % 3 for number in found_numbers]
    assert data.train_labels is None
    assert "factors label_a, label_x" in data.record.recognised
    assert "passed over: the feature value_x" in data.record.recognised
    if not is_mapped:
        np.testing.assert_array_equal(read("toy").test_factors, data.test_factors)
