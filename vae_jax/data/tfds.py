"""Data sets known by name to tensorflow-datasets (tfds), read without TensorFlow.

The MNIST family is downloaded as it was published (`download`). Every other set has to be prepared
once by tfds with TensorFlow, in the format `array_record`, which can be read without.
"""

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.cache import cached
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.download import DOWNLOADABLE, download
from vae_jax.data.memory_mapped import LazyImages, is_large
from vae_jax.data.npz import passed_over
from vae_jax.data.split_names import SPLIT_NAMES
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase


def read_named(name: str, data_dir: Path, label: str, others: Sequence[str]) -> RawDataset:
    """Read a tfds data set `name[/config][:version]`, from its decoded copy after the first time.

    Args:
        name: name of the data set.
        data_dir: folder of prepared data sets, downloads and decoded copies.
        label: `name=value`, which begins every error.
        others: names of data sets of other sources, which an error may recommend.

    Raises:
        InputError: an unknown name, one that must be prepared first, or tfds is missing.
        UnavailableError: it has to be downloaded and the network or the server fails.
    """
    libraries.require("tensorflow_datasets", label)
    folder = _prepared_folder(name, data_dir, label)
    copy = re.sub("[^A-Za-z0-9_.-]", "-", name)
    if folder is not None:
        fingerprint = str(folder.relative_to(data_dir))
        read = functools.partial(_read_prepared, folder, data_dir, copy, fingerprint, label)
        return cached(data_dir, copy, fingerprint, read)
    if name in DOWNLOADABLE:
        return cached(data_dir, copy, "download", lambda: download(name, data_dir, label))
    raise _not_prepared(name, data_dir, label, others)


def _prepared_folder(name: str, data_dir: Path, label: str) -> Path | None:
    """Return the folder in which tfds prepared this data set as `array_record`, if it did."""
    folders = _tfds_folders(name, data_dir)
    found = [folder for folder in folders if any(folder.glob("*.array_record*"))]
    if len(found) > 1:
        names = [f"{f.parent.relative_to(data_dir).as_posix()}:{f.name}" for f in found]
        raise InputError(f"{label}: prepared more than once; name one of {', '.join(names)}")
    return found[0] if found else None


def _tfds_folders(name: str, data_dir: Path) -> list[Path]:
    base, _, version = name.partition(":")
    try:
        found = [path.parent for path in sorted((data_dir / base).rglob("dataset_info.json"))]
    except OSError:  # a name that is too long for a file
        return []
    return [folder for folder in found if version in ("", folder.name)]


def _read_prepared(
    folder: Path, data_dir: Path, copy: str, fingerprint: str, label: str
) -> RawDataset:
    """Read a prepared data set: its images now, or later where they would fill the memory."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    if "image" not in builder.info.features:
        raise InputError(f"{label}: has no feature `image`; give a data set of images")
    opened = builder.as_data_source()
    sources = _by_split(opened, label)
    bare = _by_split(builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()}), label)
    origin = f"{builder.info.full_name} as tensorflow-datasets prepared it"
    names = tuple(getattr(builder.info.features.get("label"), "names", None) or ())
    names_read = ("image", "label", "id")
    passed = [f"the split {name}" for name in opened if name not in SPLIT_NAMES]
    passed += [
        f"the feature {name}"
        for name in builder.info.features
        if name not in names_read and not name.startswith("label_")
    ]
    told = (*_factor_names(builder), *passed_over(passed))
    shape = sources["train"][0]["image"].shape
    if not is_large((sum(map(len, sources.values())), *shape)):
        splits = {split: RawSplit(_images(source, label)) for split, source in sources.items()}
        return RawDataset(_with_labels(splits, bare), origin, names, told)

    def read_labels() -> RawDataset:
        no_images = RawSplit(np.empty(0, np.uint8))
        return RawDataset(_with_labels(dict.fromkeys(bare, no_images), bare), origin)

    # Labels are small: they are cached apart from the images, which are decoded into files.
    known = cached(data_dir, f"{copy}-labels", fingerprint, read_labels).splits
    splits = {}
    for split, source in sources.items():
        decode = functools.partial(_decode, source, shape, np.dtype(np.uint8), label)
        rows = np.arange(len(source))
        images = LazyImages(decode, (len(rows), *shape), rows, data_dir, copy, fingerprint)
        splits[split] = RawSplit(images, known[split].labels, known[split].factors)
    return RawDataset(splits, origin, names, told)


def _factor_names(builder: Any) -> tuple[str, ...]:
    """Return the sentence on the factors of a data set, if it has some."""
    names = sorted(name for name in builder.info.features if name.startswith("label_"))
    return (f"factors {', '.join(names)}",) if names else ()


def _by_split(sources: Any, label: str) -> dict[str, Any]:
    """Return the data sources of tfds by this project's names of splits, without empty ones."""
    known = {SPLIT_NAMES[name]: found for name, found in sources.items() if name in SPLIT_NAMES}
    if "train" not in known:
        raise InputError(f"{label}: has splits {', '.join(sources)} but no `train`; give another")
    return {split: source for split, source in known.items() if len(source)}


def _images(source: Any, label: str) -> np.ndarray:
    """Return the feature `image` of all examples."""
    first = source[0]["image"]
    return _decode(source, first.shape, first.dtype, label, np.arange(len(source)))


def _decode(
    source: Any, shape: tuple[int, ...], dtype: np.dtype, label: str, rows: np.ndarray
) -> np.ndarray:
    """Return the feature `image` of the given rows, all of which must have this shape and dtype."""
    decoded = np.empty((len(rows), *shape), dtype)
    with phase("decoding", len(rows), "images") as advance:
        for index, row in enumerate(rows):
            image = source[int(row)]["image"]
            if image.shape != shape:
                raise InputError(
                    f"{label}: images of shapes {shape} and {image.shape}; "
                    "save them at one size and give the folder"
                )
            if image.dtype != dtype:
                raise InputError(f"{label}: images of dtype {image.dtype}; give 8-bit images")
            decoded[index] = image
            advance(index + 1)
    return decoded


def _with_labels(splits: dict[str, RawSplit], sources: dict[str, Any]) -> dict[str, RawSplit]:
    """Return the splits with the labels and factors of all examples, where these exist.

    Labels are the feature `label`, factors the features `label_*` (of dsprites, shapes3d,
    smallnorb), in the order of their names; whole numbers all.
    """
    first = sources["train"][0]
    numbers = {
        name
        for name, value in first.items()
        if np.asarray(value).dtype.kind in "iu" and np.ndim(value) == 0
    }
    factors = sorted(name for name in numbers if name.startswith("label_"))
    wanted = [*(["label"] if "label" in numbers else []), *factors]
    if not wanted:
        return splits
    complete = {}
    for split, part in splits.items():
        rows = np.array([[each[name] for name in wanted] for each in sources[split]], np.int32)
        labels = rows[:, 0] if wanted[0] == "label" else None
        columns = rows[:, len(wanted) - len(factors) :] if factors else None
        complete[split] = part._replace(labels=labels, factors=columns)
    return complete


def _not_prepared(name: str, data_dir: Path, label: str, others: Sequence[str]) -> InputError:
    """Return the error for a name that cannot be read: unknown, or not prepared yet."""
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[/:]", name)[0] not in known:
        return _unknown(name, known, label, others)
    # tfds refuses to build beside a copy in another format.
    stale = [f"delete {folder}, then " for folder in _tfds_folders(name, data_dir)]
    return InputError(
        f"{label}: not prepared as array_record in data_dir={data_dir}; {''.join(stale)}"
        "run once `pip install tensorflow` and "
        f"`tfds build {name} --data_dir={data_dir} --file_format=array_record`"
    )


def _unknown(name: str, known: list[str], label: str, others: Sequence[str]) -> InputError:
    names = ", ".join([*others, *DOWNLOADABLE])
    close = difflib.get_close_matches(name, [*others, *known], n=3)
    listed = " or ".join(filter(None, (", ".join(close[:-1]), *close[-1:])))
    advice = f"did you mean {listed}?" if close else f"give a path or {names}"
    return InputError(f"{label}: no file or folder here, and no data set of this name; {advice}")
