"""Data sets known by name to tensorflow-datasets (tfds), read without TensorFlow.

The MNIST family is downloaded as it was published (`download`). Every other set has to be prepared
once by tfds with TensorFlow, in the format `array_record`, which can be read without.
"""

import difflib
import re
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.cache import cached
from vae_jax.data.dataset import Raw, SplitArrays
from vae_jax.data.download import DOWNLOADABLE, download
from vae_jax.data.mapped import Unread, is_large
from vae_jax.data.packaged import PACKAGED
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError

_SPLIT_NAMES = {"train": "train", "validation": "valid", "test": "test"}


def read_named(name: str, data_dir: Path, flag: str) -> Raw:
    """A tfds data set `name[/config][:version]`, from its decoded copy after the first time.

    Raises:
        InputError: an unknown name, one that must be prepared first, or tfds is missing.
        UnavailableError: it has to be downloaded and the network or the server fails.
    """
    libraries.require("tensorflow_datasets", flag)
    prepared = _prepared_folder(name, data_dir, flag)
    copy = re.sub("[^A-Za-z0-9_.-]", "-", name)
    if prepared is not None:
        mark = str(prepared.relative_to(data_dir))
        return cached(
            data_dir, copy, mark, lambda: _read_prepared(prepared, data_dir, copy, mark, flag)
        )
    if name in DOWNLOADABLE:
        return cached(data_dir, copy, "download", lambda: download(name, data_dir, flag))
    raise _not_prepared(name, data_dir, flag)


def _prepared_folder(name: str, data_dir: Path, flag: str) -> Path | None:
    """Where tfds prepared this data set as `array_record`, if it did."""
    folders = _tfds_folders(name, data_dir)
    found = [folder for folder in folders if any(folder.glob("*.array_record*"))]
    if len(found) > 1:
        names = [f"{f.parent.relative_to(data_dir).as_posix()}:{f.name}" for f in found]
        raise InputError(f"{flag}: prepared more than once; name one of {', '.join(names)}")
    return found[0] if found else None


def _tfds_folders(name: str, data_dir: Path) -> list[Path]:
    base, _, version = name.partition(":")
    found = [path.parent for path in sorted((data_dir / base).rglob("dataset_info.json"))]
    return [folder for folder in found if version in ("", folder.name)]


def _read_prepared(folder: Path, data_dir: Path, copy: str, mark: str, flag: str) -> Raw:
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    if "image" not in builder.info.features:
        raise InputError(f"{flag}: has no feature `image`; give a data set of images")
    sources = _splits(builder.as_data_source(), flag)
    bare = _splits(builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()}), flag)
    origin = f"{builder.info.full_name} as tensorflow-datasets prepared it"
    names = tuple(getattr(builder.info.features.get("label"), "names", None) or ())
    shape = sources["train"][0]["image"].shape
    if not is_large((sum(map(len, sources.values())), *shape)):
        parts = {split: SplitArrays(_images(source, flag)) for split, source in sources.items()}
        return Raw(_labelled(parts, bare), origin, names)

    def read_labels() -> Raw:
        nothing = SplitArrays(np.empty(0, np.uint8))
        return Raw(_labelled(dict.fromkeys(bare, nothing), bare), origin)

    known = cached(data_dir, f"{copy}-labels", mark, read_labels).parts
    place = data_dir, copy, mark
    unread = {split: _unread(source, shape, place, flag) for split, source in sources.items()}
    return Raw(
        {split: SplitArrays(unread[split], known[split].labels) for split in unread}, origin, names
    )


def _splits(sources: Any, flag: str) -> dict[str, Any]:
    """Data sources by our names of splits, without empty ones."""
    known = {ours: sources[theirs] for theirs, ours in _SPLIT_NAMES.items() if theirs in sources}
    if "train" not in known:
        raise InputError(f"{flag}: has splits {', '.join(sources)} but no `train`; give another")
    return {split: source for split, source in known.items() if len(source)}


def _images(source: Any, flag: str) -> np.ndarray:
    """The field `image` of all examples."""
    first = source[0]["image"]
    return _decoded(source, np.arange(len(source)), first.shape, first.dtype, flag)


def _unread(source: Any, shape: tuple[int, ...], place: tuple[Path, str, str], flag: str) -> Unread:
    """The same, not yet read."""

    def read(rows: np.ndarray) -> np.ndarray:
        return _decoded(source, rows, shape, np.dtype(np.uint8), flag)

    return Unread(read, (len(source), *shape), np.arange(len(source)), *place)


def _decoded(
    source: Any, rows: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, flag: str
) -> np.ndarray:
    decoded = np.empty((len(rows), *shape), dtype)
    for place, row in enumerate(rows):
        image = source[int(row)]["image"]
        if image.shape != shape:
            raise InputError(
                f"{flag}: images of shapes {shape} and {image.shape}; "
                "save them at one size and give the folder"
            )
        if image.dtype != dtype:
            raise InputError(f"{flag}: images of dtype {image.dtype}; give 8-bit images")
        decoded[place] = image
    return decoded


def _labelled(parts: dict[str, SplitArrays], sources: dict[str, Any]) -> dict[str, SplitArrays]:
    """The parts with the field `label` of all examples, where that is one whole number."""
    first = np.asarray(sources["train"][0].get("label"))
    if first.dtype.kind not in "iu" or first.ndim:
        return parts
    return {
        split: part._replace(labels=np.array([each["label"] for each in sources[split]], np.int32))
        for split, part in parts.items()
    }


def _not_prepared(name: str, data_dir: Path, flag: str) -> InputError:
    """What to say of a name that cannot be read as it is."""
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if re.split("[/:]", name)[0] not in known:
        return _unknown(name, known, flag)
    # tfds refuses to build beside a copy in another format.
    stale = [f"delete {folder}, then " for folder in _tfds_folders(name, data_dir)]
    return InputError(
        f"{flag}: not prepared as array_record in --data_dir={data_dir}; {''.join(stale)}"
        "run once `pip install tensorflow` and "
        f"`tfds build {name} --data_dir={data_dir} --file_format=array_record`"
    )


def _unknown(name: str, known: list[str], flag: str) -> InputError:
    ours = [*PACKAGED, *DOWNLOADABLE, "sprites"]
    close = difflib.get_close_matches(name, [*PACKAGED, "sprites", *known], n=3)
    advice = f"did you mean {' or '.join(close)}?" if close else f"give a path or {', '.join(ours)}"
    return InputError(f"{flag}: neither a file or folder here nor the name of a data set; {advice}")
