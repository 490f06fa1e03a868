"""From the name of a data set to the data set: which source reads it, and what stands in for it."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from vae_jax.data.arrays import build
from vae_jax.data.cache import cached
from vae_jax.data.catalog import read_named
from vae_jax.data.dataset import Dataset, Raw, Record
from vae_jax.data.download import DOWNLOADABLE, UnavailableError
from vae_jax.data.files import has_idx, is_idx, read_idx, read_npz
from vae_jax.data.folders import (
    fingerprint,
    image_files,
    read_image_folder,
    shape_of,
    unread_image_folder,
)
from vae_jax.data.mapped import is_large
from vae_jax.data.packaged import PACKAGED
from vae_jax.data.paths import refuse_outside
from vae_jax.data.sprites import is_sprites, read_sprites
from vae_jax.runtime.errors import InputError

DEFAULT_DATA_DIR = "~/.cache/vae_jax"


def load(
    name: str,
    *,
    data_dir: str = DEFAULT_DATA_DIR,
    offline_dataset: str = "",
    num_valid: int = 0,
) -> Dataset:
    """Loads a data set by name or path.

    Args:
        name: `mnist_5k`, `digits`, `sprites` (`sprites/N` for another number of training images),
            the name of an image data set of tensorflow-datasets (`mnist`, `cifar10`,
            `emnist/letters`, ...), or the path of an `.npz` file, a folder of IDX files or a
            folder of images. For a folder called like a data set write `./mnist`.
        data_dir: where prepared data sets live, downloads go and decoded copies are kept.
        offline_dataset: what to use if `name` has to be downloaded and cannot be.
        num_valid: images to hold out of train where the source has no valid split; 0 for the
            customary share (a sixth, or a tenth where there is no test split either).

    Returns:
        The three splits; `record` says where they came from and whether they were substituted.

    Raises:
        InputError: anything that the user can mend, in one line.
    """
    folder, flag = Path(os.path.expanduser(data_dir)), f"--dataset={name}"
    try:
        raw = _read(name, folder, flag)
    except UnavailableError as error:
        reason = str(error)
    else:
        return _build(
            raw, Record(asked=name, used=name, source=raw.source, splits=""), flag, num_valid
        )
    if not offline_dataset:
        raise InputError(
            f"{flag}: cannot be downloaded ({reason}) and is not in --data_dir={data_dir}; "
            "connect to a network or give --offline_dataset=mnist_5k"
        )
    return _substitute(name, offline_dataset, folder, reason, num_valid)


def _substitute(asked: str, used: str, data_dir: Path, reason: str, num_valid: int) -> Dataset:
    flag = f"--offline_dataset={used}"
    try:
        raw = _read(used, data_dir, flag)
    except UnavailableError as error:
        raise InputError(
            f"{flag}: cannot be downloaded either ({error}); give mnist_5k, digits or a path"
        ) from None
    sentence = f"--dataset={asked} cannot be had ({reason}); using {flag} instead"
    return _build(
        raw, Record(asked, used, raw.source, splits="", substitution=sentence), flag, num_valid
    )


def _build(raw: Raw, record: Record, flag: str, num_valid: int) -> Dataset:
    """The data set with its factors: a source that knows them gives all splits, in their order."""
    factors = {f"{split}_factors": part.factors for split, part in raw.parts.items()}
    built = build(raw, record, flag, num_valid)
    return replace(built, **factors, class_names=raw.class_names)


def _read(name: str, data_dir: Path, flag: str) -> Raw:
    """Names of data sets that need no preparation come first, then paths, then other names."""
    if name in PACKAGED:
        return PACKAGED[name](flag)
    if is_sprites(name):
        return read_sprites(name, flag)
    path = Path(os.path.expanduser(name))  # os.path, unlike pathlib, bears any name
    if name not in DOWNLOADABLE and (name == "" or os.path.exists(path) or _is_meant_as_path(name)):
        return _read_path(path, name, data_dir, flag)
    return read_named(name, data_dir, flag)


def _is_meant_as_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith((".npz", "/"))


def _read_path(path: Path, name: str, data_dir: Path, flag: str) -> Raw:
    if not name or not os.path.exists(path):
        raise InputError(
            f"{flag}: no such file or folder; give a path that exists or the name of a data set "
            f"({', '.join([*PACKAGED, *DOWNLOADABLE, 'sprites'])})"
        )
    if path.is_dir():
        return _read_folder(path, data_dir, flag)
    if path.suffix != ".npz" or not path.is_file():
        raise InputError(f"{flag}: neither .npz nor a folder; save the arrays with numpy.savez")
    return read_npz(path, flag)


def _read_folder(folder: Path, data_dir: Path, flag: str) -> Raw:
    try:
        if has_idx(folder):
            return _read_idx_folder(folder, flag)
        files = image_files(folder, flag)
    except OSError as error:
        raise InputError(f"{flag}: cannot be read ({error.strerror}); give another one") from None
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    name, mark = f"folder-{digest[:16]}", fingerprint(folder, files)

    def read() -> Raw:
        if is_large(shape_of(folder, files, flag)):
            return unread_image_folder(folder, files, flag, data_dir, name, mark)
        return read_image_folder(folder, files, flag)

    return cached(data_dir, name, mark, read)


def _read_idx_folder(folder: Path, flag: str) -> Raw:
    paths = {path.name: path for path in folder.iterdir()}
    for name in filter(is_idx, paths):
        refuse_outside(folder, name, flag)
    return read_idx(paths, f"IDX files of the folder {folder.name}", flag)
