"""Data sets by name: `load`, the registry `DATASETS` and the order in which sources are tried.

A name belongs to the first source that knows it:

1. `DATASETS`, which need neither files nor a network; `sprites/N` is one of them too;
2. `MODULE:FUNCTION`, a function like those of `DATASETS` from outside of the package;
3. a path: a file of arrays or a table (`READERS`), a folder of IDX files or of images;
4. tensorflow-datasets (`tfds`): a set that it prepared, or one of `DOWNLOADABLE`.

A new data set is a function that returns a `RawDataset` and a row in `DATASETS`.
"""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import contract
from vae_jax.data import checks, encodings
from vae_jax.data.arrays import read_hdf5, read_mat, read_npy
from vae_jax.data.dataset import Dataset, Provenance, RawDataset, RawSplit
from vae_jax.data.download import DOWNLOADABLE, UnavailableError
from vae_jax.data.encodings import Standardization
from vae_jax.data.idx import has_idx, read_idx_folder
from vae_jax.data.image_folder import (
    AS_IS,
    IMAGE_MODES,
    Preparation,
    image_files,
    read_image_folder,
)
from vae_jax.data.memory_mapped import LazyImages, memory_mapped
from vae_jax.data.npz import read_npz
from vae_jax.data.packaged import read_digits, read_mnist_5k
from vae_jax.data.split_names import SPLITS
from vae_jax.data.splits import with_all_splits
from vae_jax.data.sprites import is_sprites, read_sprites
from vae_jax.data.table import read_table
from vae_jax.data.tfds import read_named
from vae_jax.runtime.cache_folder import cache_folder
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.files import encoded
from vae_jax.runtime.progress import phase
from vae_jax.settings import IMAGE_SIZE, as_path, check_value, is_name, one_of, whole

DEFAULT_DATA_DIR = ""
"""Stands for `vae_jax.runtime.cache_folder`, which also holds compiled programs."""

DATASETS: dict[str, Callable[[str], RawDataset]] = {
    "mnist_5k": read_mnist_5k,
    "digits": read_digits,
    "sprites": functools.partial(read_sprites, "sprites"),
}
"""Data sets that need neither files nor a network, by name.

Each function takes `name=value`, the setting that names the data, with which its errors begin.
"""


READERS: dict[str, Callable[[Path, str], RawDataset]] = {
    ".npz": read_npz,
    ".npy": read_npy,
    ".csv": read_table,
    ".tsv": read_table,
    ".mat": read_mat,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
"""Readers of files by their suffix."""


def load(
    name: str | Path,
    *,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    offline_dataset: str | Path = "",
    num_valid: int = 0,
    encoding: str = "auto",
    resize: tuple[int, int] | None = None,
    image_mode: str = "as_is",
) -> Dataset:
    """Load a data set by name or path.

    Args:
        name: `mnist_5k`, `digits`, `sprites` (`sprites/N` for another number of training images),
            the name of an image data set of tensorflow-datasets (`mnist`, `cifar10`,
            `emnist/letters`, ...), or the path of a file of arrays (`READERS`), a folder of IDX
            files or a folder of images. For a folder called like a data set write `./mnist`.
            Or `MODULE:FUNCTION`, a function that takes the label of its errors and returns a
            `RawDataset`.
        data_dir: folder of prepared data sets, downloads and decoded copies; "" for the default.
        offline_dataset: data set to use if `name` has to be downloaded and cannot be.
        num_valid: images to hold out of train where the source has no valid split; 0 for the
            customary share (a sixth, or a tenth where there is no test split either).
        encoding: what the numbers mean, one of `encodings.CHOICES`; ``auto`` recognises it.
        resize: height and width of the images of a folder; None for their own.
        image_mode: channels of the images of a folder, one of `image_folder.IMAGE_MODES`.

    Returns:
        The three splits; `record` says where they came from and whether they were substituted.

    Raises:
        InputError: anything that the user can correct, in one line.

    Example:
        >>> data = load("digits")
        >>> data.image_shape, data.train.shape, data.num_classes
        ((8, 8, 1), (1437, 8, 8, 1), 10)
        >>> data.record.source
        '1,797 digits of 8 x 8 pixels that ship inside the package scikit-learn'
    """
    name, offline_dataset = (
        _name(setting, given)
        for setting, given in (("dataset", name), ("offline_dataset", offline_dataset))
    )
    check_value("num_valid", num_valid, whole(0))
    check_value("resize", resize or (), IMAGE_SIZE)
    check_value("image_mode", image_mode, one_of(*IMAGE_MODES))
    given = as_path("data_dir", data_dir or cache_folder())
    folder, label = Path(os.path.expanduser(given)), f"dataset={name}"
    prepare = Preparation(resize, image_mode)
    try:
        with phase(f"reading {name}"):
            raw = _read(name, folder, label, prepare)
    except UnavailableError as error:
        reason = str(error)
    else:
        record = Provenance(asked=name, used=name, source=raw.source, splits="")
        return build_dataset(raw, record, label, num_valid, encoding)
    if not offline_dataset:
        raise InputError(
            f"{label}: cannot be downloaded ({reason}) and is not in data_dir={folder}; "
            "connect to a network or give offline_dataset=mnist_5k"
        )
    return _load_substitute(name, offline_dataset, folder, reason, num_valid, encoding)


def _name(setting: str, given: Any) -> str:
    """Return the name or path of a data set as a text."""
    if not isinstance(given, str | Path):
        raise InputError(
            setting=setting,
            value=type(given).__name__,
            problem="is neither a name nor a path",
            advice=f"give one, as {next(iter(DATASETS))}",
        )
    return str(given)


def _load_substitute(
    requested: str, used: str, data_dir: Path, reason: str, num_valid: int, encoding: str
) -> Dataset:
    label = f"offline_dataset={used}"
    try:
        raw = _read(used, data_dir, label)
    except UnavailableError as error:
        raise InputError(
            f"{label}: cannot be downloaded either ({error}); give mnist_5k, digits or a path"
        ) from None
    sentence = f"dataset={requested} cannot be had ({reason}); using {label} instead"
    record = Provenance(requested, used, raw.source, splits="", substitution=sentence)
    return build_dataset(raw, record, label, num_valid, encoding)


def _read(name: str, data_dir: Path, label: str, prepare: Preparation = AS_IS) -> RawDataset:
    """Read a data set from the first source that knows its name."""
    if not _is_known(name) and _is_path(name):
        return _read_path(name, data_dir, label, prepare)
    _refuse_preparation(prepare, label)
    raw = _read_known(name, data_dir, label)
    is_source = os.path.abspath(name) == os.path.abspath(data_dir / name)  # prepared by tfds
    if is_source or not os.path.exists(name):
        return raw
    return raw._replace(recognised=(*raw.recognised, f"passed over: {name} here, called ./{name}"))


def _is_known(name: str) -> bool:
    """Return whether a name is one of a data set, whatever files there are."""
    is_outside = is_name({}, name) and not os.path.exists(name)
    return name in DATASETS or is_sprites(name) or is_outside or name in DOWNLOADABLE


def _read_known(name: str, data_dir: Path, label: str) -> RawDataset:
    if name in DATASETS:
        return _called(DATASETS[name], label)
    if is_sprites(name):
        return read_sprites(name, label)
    if is_name({}, name):
        return _called(contract.outside(label, name), label)
    return read_named(name, data_dir, label, list(DATASETS))


def _refuse_preparation(prepare: Preparation, label: str) -> None:
    """Refuse settings of images for data that come from no folder of image files."""
    if prepare == AS_IS:
        return
    size = prepare.size
    setting = f"resize={'x'.join(map(str, size))}" if size else f"image_mode={prepare.mode}"
    raise InputError(f"{setting}: has no effect on {label}, no folder of images; leave it out")


def _called(source: Any, label: str) -> RawDataset:
    """Return what a source reads, which is a data set with a train split.

    Raises:
        InputError: the source is no function, or returns something else.
    """
    if not callable(source) or isinstance(source, type):
        raise InputError(f"{label}: is no function; name one that takes the label of its errors")
    try:
        raw = source(label)
    except (InputError, UnavailableError):
        raise
    except Exception as error:
        problem = contract.reason(error, getattr(inspect.getmodule(source), "__file__", ""))
        raise InputError(f"{label}: fails with {problem}") from None
    if not isinstance(raw, RawDataset) or "train" not in raw.splits:
        what = "no split train" if isinstance(raw, RawDataset) else f"a {type(raw).__name__}"
        raise InputError(f"{label}: returns {what}; return a RawDataset with a split train")
    for split, part in raw.splits.items():
        if split not in SPLITS or not isinstance(part, RawSplit):
            problem = f"has the split {split} of a {type(part).__name__}"
            raise InputError(f"{label}: {problem}; give a RawSplit each of {', '.join(SPLITS)}")
    return raw._replace(splits={split: _in_memory(part) for split, part in raw.splits.items()})


def _in_memory(part: RawSplit) -> RawSplit:
    """Return a split whose examples, labels and factors are arrays of NumPy, or stay in files."""
    if isinstance(part.images, LazyImages):
        return part
    return RawSplit(*(None if each is None else np.asarray(each) for each in part))


def _is_path(name: str) -> bool:
    """Return whether a name is one of a file or folder: it exists, or it is written like a path."""
    if name.startswith((".", "/", "~")) or name.endswith((*READERS, "/")):
        return True
    return name == "" or os.path.exists(name)  # unlike Path.exists it accepts any name


def _read_path(name: str, data_dir: Path, label: str, prepare: Preparation) -> RawDataset:
    path = Path(os.path.expanduser(name))
    if not name or not os.path.exists(path):
        raise InputError(
            f"{label}: no such file or folder; give a path that exists or the name of a data set "
            f"({', '.join([*DATASETS, *DOWNLOADABLE])})"
        )
    if path.is_dir():
        return _read_folder(path, data_dir, label, prepare)
    _refuse_preparation(prepare, label)
    reader = READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise InputError(
            f"{label}: neither a folder nor a file of {', '.join(READERS)}; save the arrays with "
            "numpy.savez(path, x_train=...)"
        )
    return reader(path, label)


def _read_folder(folder: Path, data_dir: Path, label: str, prepare: Preparation) -> RawDataset:
    try:
        if has_idx(folder):
            _refuse_preparation(prepare, label)
            return read_idx_folder(folder, label)
        files, passed = image_files(folder, label)
    except OSError as error:
        raise InputError(f"{label}: cannot be read ({error.strerror}); give another one") from None
    return read_image_folder(folder, files, data_dir, label, prepare, passed)


def build_dataset(
    raw: RawDataset, record: Provenance, label: str, num_valid: int = 0, encoding: str = "auto"
) -> Dataset:
    """Check what a source read, cut the splits that it lacks and return the data set.

    Args:
        raw: splits whose arrays are `[n, *event]` (`[n, height, width]` is an image of one
            channel), see `encodings`; or `LazyImages` of pixels, which stay in files and of which
            only the labels are looked at for warnings.
        record: record of the data; `splits`, `warnings` and `recognised` are filled in here.
        label: `name=value`, which begins every error.
        num_valid: examples to cut from train for a valid split; 0 for the customary share.
        encoding: one of `encodings.CHOICES`.

    Returns:
        The data set; binary pixels are 0 and 255.

    Raises:
        InputError: examples or labels that cannot be used.
    """
    if encoding not in encodings.CHOICES:
        raise InputError(
            setting="encoding",
            value=encoding,
            problem="no such encoding",
            advice=f"give one of {', '.join(encodings.CHOICES)}",
        )
    if any(isinstance(part.images, LazyImages) for part in raw.splits.values()):
        return _mapped(raw, record, label, num_valid, encoding)
    with phase("checking the data"):
        stored, encoded = checks.checked(raw.splits, label, encoding, has_channels=raw.has_channels)
        splits, sentence = with_all_splits(stored, label, num_valid)
        warnings = (*encoded.warnings, *checks.warnings(splits))
    statistics = None
    if encoded.encoding == "standardized":
        arrays = {split: part.images for split, part in splits.items()}
        is_overall = encoding == "standardized_overall"
        arrays, statistics = encodings.standardize(arrays, is_overall=is_overall)
        splits = {s: part._replace(images=arrays[s]) for s, part in splits.items()}
        warnings = tuple(text for text in warnings if "encoding=standardized" not in text)
    guesses = (encoded.sentence, *checks.known_of(splits), *raw.recognised)
    record = replace(record, splits=sentence, warnings=warnings, recognised=guesses)
    return _joined(splits, raw.class_names, record, encoded.encoding, statistics)


def _mapped(
    raw: RawDataset, record: Provenance, label: str, num_valid: int, encoding: str
) -> Dataset:
    """Return the data set of images that stay in files."""
    if encoding not in ("auto", "pixels"):
        raise InputError(
            f"encoding={encoding}: {label} is too large for memory and stays in files as 8-bit "
            "pixels; leave it out"
        )
    lazy, sentence = with_all_splits(raw.splits, label, num_valid)
    arrays = memory_mapped({split: part.images for split, part in lazy.items()})
    splits = {
        split: RawSplit(arrays[split], checks.checked_labels(part, label), part.factors)
        for split, part in lazy.items()
    }
    guesses = ("8-bit pixels, in files", *checks.known_of(splits), *raw.recognised)
    warnings = checks.warnings_of_labels(splits)
    record = replace(record, splits=sentence, warnings=warnings, recognised=guesses)
    return _joined(splits, raw.class_names, record, "pixels", None)


def _joined(
    splits: dict[str, RawSplit],
    class_names: tuple[str, ...],
    record: Provenance,
    encoding: str,
    standardization: Standardization | None,
) -> Dataset:
    columns: dict[str, Any] = {
        name.format(split): array
        for split, part in splits.items()
        for name, array in zip(("{}", "{}_labels", "{}_factors"), part, strict=True)
    }
    return Dataset(
        **columns,
        record=record,
        class_names=tuple(map(_printable, class_names)),
        encoding=encoding,
        standardization=standardization,
    )


def _printable(name: str) -> str:
    """Return the name of a class with a backslash escape for bytes that are not UTF-8."""
    return encoded(name).decode()
