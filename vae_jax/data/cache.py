"""Decoded copies of sources that are slow to read, kept as uncompressed `.npz` files."""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.dataset import Raw, SplitArrays
from vae_jax.runtime.errors import InputError

_LAYOUT = "2"  # raise it when what a copy holds, or how a source is decoded, changes


def cached(data_dir: Path, name: str, fingerprint: str, read: Callable[[], Raw]) -> Raw:
    """The copy called `name` if it is sound and of this `fingerprint`, otherwise a new one.

    What was not read (`mapped`) is not copied here.

    Raises:
        InputError: the copy cannot be written.
    """
    path = data_dir / "decoded" / f"{name}.npz"
    mark = f"{_LAYOUT} {fingerprint}"
    raw = _restore(path, mark)
    if raw is None:
        raw = read()
        if all(isinstance(part.images, np.ndarray) for part in raw.parts.values()):
            with writing(data_dir):
                _keep(path, mark, raw)
    return raw


def _restore(path: Path, mark: str) -> Raw | None:
    """The copy, or None if it is not there, damaged or made from something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["mark"]) != mark:
                return None
            splits = [str(split) for split in arrays["splits"]]
            parts = {split: _part(arrays, split) for split in splits}
            names = tuple(str(name) for name in arrays["class_names"])
            return Raw(parts, str(arrays["source"]), names)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _part(arrays: np.lib.npyio.NpzFile, split: str) -> SplitArrays:
    labels = arrays[f"y_{split}"] if f"y_{split}" in arrays.files else None
    return SplitArrays(arrays[f"x_{split}"], labels)


def _keep(path: Path, mark: str, raw: Raw) -> None:
    """Writes beside `path` and then renames, so that no reader ever sees half a copy."""
    arrays: dict[str, Any] = {f"x_{split}": part.images for split, part in raw.parts.items()}
    for split, part in raw.parts.items():
        if part.labels is not None:
            arrays[f"y_{split}"] = part.labels
    names = np.array(raw.class_names, str)
    texts = {"mark": mark, "source": raw.source, "splits": list(raw.parts), "class_names": names}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, **texts, **arrays)
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)


@contextlib.contextmanager
def writing(data_dir: Path) -> Iterator[None]:
    """Turns a failure to write below `data_dir` into an error that the user can mend."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--data_dir={data_dir}: cannot be written ({error.strerror}); give another folder"
        ) from None
