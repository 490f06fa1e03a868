"""Downloads: the downloader of tfds against a server on this machine, and the probe before it."""

import functools
import hashlib
import http.server
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds

from tests.samples import RNG, idx_files, numbers, write_files
from vae_jax.data.download import probe
from vae_jax.runtime.errors import InputError


class Served:
    """Server of files on the loopback, used as a tfds builder that knows their addresses."""

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
