"""Data sets known by name: downloads, sets prepared by tfds, and what happens without a network."""

import functools
import hashlib
import http.server
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds

from tests.samples import RNG, all_numbers, idx_files, numbered, numbers, write_files
from vae_jax.data import catalog, load
from vae_jax.data.download import probe
from vae_jax.runtime.errors import InputError


@pytest.fixture
def read(tmp_path):
    """`load` with a data directory of its own."""
    return functools.partial(load, data_dir=str(tmp_path / "store"))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.ConnectionError("simulated")

    monkeypatch.setattr(requests, "get", refuse)


# Downloads: the downloader of tfds against a server on this machine.


class Served:
    """Serves files on the loopback and stands in for a tfds builder that knows their addresses."""

    def __init__(self, folder: Path):
        handler = functools.partial(_SilentHandler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        address = f"http://127.0.0.1:{self.server.server_port}"
        self.url_infos = {f"{address}/{path.name}": _url_info(path) for path in folder.iterdir()}

    def close(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


class _SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def _url_info(path: Path):
    size, content = tfds.core.utils.Size(path.stat().st_size), path.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    return tfds.core.download.checksums.UrlInfo(size=size, checksum=checksum, filename=path.name)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    running = []
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it raises

    def start(files: dict[str, bytes]) -> Served:
        running.append(Served(write_files(tmp_path / "served", files)))
        monkeypatch.setattr(tfds, "builder_cls", lambda name: running[-1])
        return running[-1]

    yield start
    for served in running:
        served.close()


def test_mnist_is_downloaded_once_without_tensorflow(serve, read, tmp_path):
    served = serve(idx_files())
    first = read("mnist")
    served.close()
    assert numbers(first.test) == [12, 13, 14]
    assert first.record.used == "mnist"
    np.testing.assert_array_equal(read("mnist").train, first.train)
    (tmp_path / "store" / "decoded" / "mnist.npz").write_bytes(b"damaged")
    np.testing.assert_array_equal(read("mnist").train, first.train)  # from the files kept


def test_binarized_mnist_is_downloaded_without_tensorflow(serve, read):
    bits = {split: RNG.integers(0, 2, (4, 784)) for split in ("train", "valid", "test")}
    lines = {
        f"binarized_mnist_{split}.amat": "\n".join(" ".join(map(str, row)) for row in rows).encode()
        for split, rows in bits.items()
    }
    serve(lines)
    data = read("binarized_mnist")
    np.testing.assert_array_equal(data.train.reshape(4, 784), 255 * bits["train"])
    np.testing.assert_array_equal(data.valid.reshape(4, 784), 255 * bits["valid"])


def test_file_with_another_checksum_is_a_failed_download(serve, read):
    served = serve(idx_files())
    next(iter(served.url_infos.values())).checksum = "0" * 64
    with pytest.raises(InputError, match=r"cannot be downloaded \(127.* files of another checksum"):
        read("mnist")


def test_file_that_is_gone_is_a_failed_download(serve, read, tmp_path):
    serve(idx_files())
    (tmp_path / "served" / "t10k-labels-idx1-ubyte.gz").unlink()
    data = read("mnist", offline_dataset="digits")
    assert data.record.used == "digits"
    assert "404" in data.record.substitution


# A set that tfds prepared, without TensorFlow. The stand-in has the methods that are called.


def prepare(folder: Path, name: str, suffix: str = "array_record") -> Path:
    """Files as tfds names them; only their names are looked at here."""
    version = folder / "store" / name
    names = ("dataset_info.json", f"set-train.{suffix}-00000-of-00001")
    return write_files(version, dict.fromkeys(names, b""))


NAMES = [f"class {letter}" for letter in "abcdefghijklmno"]


def stand_in(monkeypatch, sources, features=("image", "label")):
    known = dict.fromkeys(features, SimpleNamespace(names=NAMES))
    info = SimpleNamespace(features=known, full_name="toy/1.0.0")
    builder = SimpleNamespace(info=info, as_data_source=functools.partial(_opened, sources))
    monkeypatch.setattr(tfds, "builder_from_directory", lambda folder: builder)


def _opened(sources, decoders=None):
    """Data sources whose images are bytes where they are not to be decoded."""
    if decoders is None:
        return sources
    assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
    return {split: [each | {"image": b""} for each in found] for split, found in sources.items()}


def examples(count: int, start: int = 0):
    images = numbered(count, start)
    return [{"image": image[..., None], "label": start + i} for i, image in enumerate(images)]


def test_prepared_set_is_read_once(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    stand_in(monkeypatch, {"train": examples(12), "test": examples(3, 12), "extra": examples(5)})
    data = read("toy")
    assert sorted(all_numbers(data)) == list(range(15))
    np.testing.assert_array_equal(data.test_labels, [12, 13, 14])
    monkeypatch.setattr(tfds, "builder_from_directory", lambda f: pytest.fail("read again"))
    again = read("toy")
    np.testing.assert_array_equal(again.train, data.train)
    assert again.class_names == data.class_names == tuple(NAMES)


def test_a_prepared_set_too_large_for_memory_is_mapped(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    stand_in(monkeypatch, {"train": examples(12), "test": examples(3, 12)})
    in_memory = read("toy")
    (tmp_path / "store" / "decoded" / "toy.npz").unlink()
    monkeypatch.setattr(catalog, "is_large", lambda shape: True)
    data = read("toy")
    assert isinstance(data.train, np.memmap)
    np.testing.assert_array_equal(data.train, in_memory.train)
    np.testing.assert_array_equal(data.test, in_memory.test)
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(data.labels_of(split), in_memory.labels_of(split))
    monkeypatch.setattr(catalog, "_labelled", lambda *parts: pytest.fail("read again"))
    np.testing.assert_array_equal(read("toy").test_labels, in_memory.test_labels)


def test_an_image_of_another_dtype_in_a_large_set_is_refused(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    odd = {"image": np.zeros((4, 5, 1), np.uint16), "label": 0}
    stand_in(monkeypatch, {"train": [*examples(11), odd]})
    monkeypatch.setattr(catalog, "is_large", lambda shape: True)
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
    stand_in(monkeypatch, sources, features)
    with pytest.raises(InputError) as caught:
        read("toy")
    assert str(caught.value).startswith(f"--dataset=toy: {problem}")


def test_two_prepared_versions_have_to_be_told_apart(tmp_path, read, monkeypatch):
    prepare(tmp_path, "toy/1.0.0")
    prepare(tmp_path, "toy/2.0.0")
    with pytest.raises(InputError, match=r"=toy: prepared .* name one of toy:1.0.0, toy:2.0.0$"):
        read("toy")
    stand_in(monkeypatch, {"train": examples(9)})
    assert read("toy:2.0.0").record.asked == "toy:2.0.0"


def test_set_that_needs_tensorflow_says_what_to_run(read, tmp_path):
    command = f"`tfds build cifar10 --data_dir={tmp_path}/store --file_format=array_record`"
    with pytest.raises(InputError) as caught:
        read("cifar10", offline_dataset="mnist_5k")
    assert str(caught.value).endswith(f"; run once `pip install tensorflow` and {command}")
    stale = prepare(tmp_path, "cifar10/3.0.2", "tfrecord")
    with pytest.raises(InputError, match=f"; delete {stale}, then run once `pip"):
        read("cifar10")


# Without a network.


@pytest.mark.usefixtures("no_network")
def test_without_network_the_error_names_every_way_out(read, tmp_path):
    with pytest.raises(InputError) as caught:
        read("mnist")
    assert str(caught.value) == (
        "--dataset=mnist: cannot be downloaded (no connection to storage.googleapis.com: "
        f"ConnectionError) and is not in --data_dir={tmp_path}/store; "
        "connect to a network or give --offline_dataset=mnist_5k"
    )


@pytest.mark.usefixtures("no_network")
def test_offline_dataset_stands_in_and_says_so(read):
    data = read("mnist", offline_dataset="digits")
    assert data.image_shape == (8, 8, 1)
    assert (data.record.asked, data.record.used) == ("mnist", "digits")
    assert data.record.substitution == (
        "--dataset=mnist cannot be had (no connection to storage.googleapis.com: ConnectionError); "
        "using --offline_dataset=digits instead"
    )


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("offline", "problem"),
    [("fashion_mnist", "cannot be downloaded either"), ("no.npz", "no such file or folder")],
)
def test_offline_dataset_that_cannot_be_had_either(offline, problem, read):
    with pytest.raises(InputError, match=f"^--offline_dataset={offline}: {problem}"):
        read("mnist", offline_dataset=offline)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("fashion_mnst", "did you mean fashion_mnist?"),
        ("mnist5k", "did you mean mnist_5k"),
        ("emnst/letters", "neither a file or folder here nor the name of a data set"),
        ("qqqqqq", "give a path or mnist_5k, digits, mnist"),
        ("", "no such file or folder; give a path that exists"),
    ],
)
def test_unknown_name_is_never_substituted(name, advice, read):
    with pytest.raises(InputError) as caught:
        read(name, offline_dataset="mnist_5k")
    assert str(caught.value).startswith(f"--dataset={name}: ")
    assert advice in str(caught.value)


def test_offline_dataset_is_not_touched_when_the_data_are_there(read):
    assert read("digits", offline_dataset="no such thing").record.substitution == ""


def test_probe_of_a_closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        assert probe(f"http://{host}/x") == f"no connection to {host}: ConnectionError"


def test_probe_of_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert host in probe(f"http://{host}/x", seconds=0.1)


def test_probe_is_bounded_when_the_name_server_hangs(monkeypatch):
    released = threading.Event()

    def hang(*arguments, **options):
        released.wait(30)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", hang)
    assert probe("http://a.test/x", seconds=0.1) == "no answer from a.test within 0.1 s"
    released.set()
