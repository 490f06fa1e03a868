"""The MNIST family as it was published: fetched by tensorflow-datasets (tfds), decoded here.

tfds knows the addresses and checksums and needs no TensorFlow to download. Its downloader tries
again for minutes where there is no network, so one request with a time limit is made first.
"""

import hashlib
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vae_jax.data.cache import writable
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.idx import read_idx
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase

PROBE_SECONDS = 5.0


class UnavailableError(Exception):
    """Error for a data set that exists but cannot be fetched now; the message is the reason."""


def download(name: str, data_dir: Path, label: str) -> RawDataset:
    """Read a data set of `DOWNLOADABLE`; files that `data_dir/downloads` lacks are fetched first.

    Raises:
        InputError: a file that cannot be decoded or written.
        UnavailableError: no network, or the server does not give what it should.
    """
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_cls(name)
    url_infos = builder.url_infos
    paths = _found(url_infos, data_dir / "downloads")
    if len(paths) < len(url_infos):
        with phase(f"downloading from {_host(url_infos)}"):
            paths = _fetch(name, url_infos, data_dir)
    files = {url.rpartition("/")[2]: path for url, path in paths.items()}
    return DOWNLOADABLE[name](
        files, f"the original files of {name}, from {_host(url_infos)}", label
    )


def _host(urls: Mapping[str, Any]) -> str:
    return urlsplit(next(iter(urls))).netloc


def _found(url_infos: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Return the files below `folder` that have the size and checksum of an address, by address.

    Their names do not matter, so files that were fetched by hand count too.
    """
    wanted = {(int(info.size), info.checksum): url for url, info in url_infos.items()}
    sizes = {size for size, _ in wanted}
    files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size in sizes]
    found = {(f.stat().st_size, hashlib.sha256(f.read_bytes()).hexdigest()): f for f in files}
    return {url: found[key] for key, url in wanted.items() if key in found}


def _fetch(name: str, url_infos: Mapping[str, Any], data_dir: Path) -> dict[str, Path]:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    failure = probe(next(iter(url_infos)))
    if failure:
        raise UnavailableError(failure)
    with writable(data_dir):
        try:
            manager = tfds.download.DownloadManager(
                download_dir=data_dir / "downloads", url_infos=dict(url_infos), dataset_name=name
            )
            fetched = manager.download({url: url for url in url_infos})
        except requests.RequestException as error:
            raise UnavailableError(_reason(error, _host(url_infos))) from None
        except tfds.download.DownloadError as error:
            raise UnavailableError(" ".join(str(error).split()).rstrip(".")) from None
        except NonMatchingChecksumError:
            raise UnavailableError(f"{_host(url_infos)} gives files of another checksum") from None
    return {url: Path(path) for url, path in fetched.items()}


def probe(url: str, seconds: float = PROBE_SECONDS) -> str:
    """Return why `url` cannot be fetched; "" if its server begins to answer within `seconds`.

    The request takes the way of the download: proxies and certificates of the environment count.
    It runs in a thread of its own because nothing else bounds a name server that is silent.
    """
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(_try(url, seconds)), daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return f"no answer from {urlsplit(url).netloc} within {seconds:g} s"


def _try(url: str, seconds: float) -> str:
    import requests

    try:
        with requests.get(url, stream=True, timeout=seconds) as response:
            response.raise_for_status()
    except requests.RequestException as error:
        return _reason(error, urlsplit(url).netloc)
    return ""


def _reason(error: Any, host: str) -> str:
    """Return the reason of a failed request in a few words; that of requests is a page long."""
    if error.response is not None:
        return f"{host} answers with status {error.response.status_code}"
    return f"no connection to {host}: {type(error).__name__}"


def read_amat(files: Mapping[str, Path], source: str, label: str) -> RawDataset:
    """Read Larochelle's binarized MNIST: a line of 784 digits 0 or 1 for each image.

    Source: Larochelle and Murray 2011, "The neural autoregressive distribution estimator".
    """
    splits = {
        split: RawSplit(_amat_images(files[f"binarized_mnist_{split}.amat"], label))
        for split in ("train", "valid", "test")
    }
    return RawDataset(splits, source)


def _amat_images(path: Path, label: str) -> np.ndarray:
    text = np.frombuffer(path.read_bytes(), np.uint8)
    digits = text[text > ord(" ")] - ord("0")
    if digits.size % 784 or digits.max(initial=0) > 1:
        raise InputError(f"{label}: {path.name} is not lines of 784 zeros and ones; remove it")
    return digits.reshape(-1, 28, 28)


DOWNLOADABLE: dict[str, Callable[[Mapping[str, Path], str, str], RawDataset]] = {
    "mnist": read_idx,
    "fashion_mnist": read_idx,
    "kmnist": read_idx,
    "binarized_mnist": read_amat,
}
"""Data sets that need no TensorFlow, by name: functions of files, their origin and the label."""
