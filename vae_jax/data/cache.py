"""Decoded copies of sources that are slow to read, kept as uncompressed `.npz` files."""

import contextlib
import os
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.runtime.errors import InputError

_LAYOUT = "5"  # raise it when the content of a copy, or how a source is decoded, changes

_WRITING_SECONDS = 3600.0  # a part that was not written to for so long has no writer any more


class CacheWarning(UserWarning):
    """Warning that a decoded copy could not be kept, so that the next start decodes again."""


def cached(
    data_dir: Path, name: str, fingerprint: str, read: Callable[[], RawDataset]
) -> RawDataset:
    """Return the decoded copy if it is sound and current, otherwise read the source and copy it.

    Images that are not in memory (`memory_mapped.LazyImages`) are not copied here.

    Args:
        data_dir: folder whose subfolder `decoded` holds the copies.
        name: name of the copy.
        fingerprint: text on the content of the source; another one when anything changes.
        read: reads the source.

    Warns:
        CacheWarning: the copy cannot be written.
    """
    path = data_dir / "decoded" / f"{name}.npz"
    current = f"{_LAYOUT} {fingerprint}"
    raw = _restore(path, current)
    if raw is None:
        raw = read()
        if all(isinstance(part.images, np.ndarray) for part in raw.splits.values()):
            try:
                _save(path, current, raw)
            except OSError as error:
                reason = f"{error.strerror or error}: {path.parent}"
                warnings.warn(f"the decoded images are not kept ({reason})", CacheWarning, 2)
    return raw


def _restore(path: Path, fingerprint: str) -> RawDataset | None:
    """Return the copy, or None if it does not exist, is damaged or has another fingerprint."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["mark"]) != fingerprint:
                return None
            splits = {str(split): _split(arrays, str(split)) for split in arrays["splits"]}
            names, recognised = (
                tuple(str(text) for text in arrays[name]) for name in ("class_names", "recognised")
            )
            return RawDataset(splits, str(arrays["source"]), names, recognised)
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _split(arrays: np.lib.npyio.NpzFile, split: str) -> RawSplit:
    labels, factors = (
        arrays[name] if name in arrays.files else None for name in (f"y_{split}", f"f_{split}")
    )
    return RawSplit(arrays[f"x_{split}"], labels, factors)


def _save(path: Path, fingerprint: str, raw: RawDataset) -> None:
    """Write a file beside `path` and rename it, so that no reader sees half a copy."""
    arrays: dict[str, Any] = {f"x_{split}": part.images for split, part in raw.splits.items()}
    for split, part in raw.splits.items():
        if part.labels is not None:
            arrays[f"y_{split}"] = part.labels
        if part.factors is not None:
            arrays[f"f_{split}"] = part.factors
    arrays |= {
        "mark": fingerprint,
        "source": raw.source,
        "splits": list(raw.splits),
        "class_names": np.array(raw.class_names, str),
        "recognised": np.array(raw.recognised, str),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    prefix = f"{path.name}."
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=prefix, suffix=".part", delete=False
    ) as file:
        try:
            np.savez(file, **arrays)
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)


def _remove_left(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this copy."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _WRITING_SECONDS:
                part.unlink()


@contextlib.contextmanager
def writable(data_dir: Path) -> Iterator[None]:
    """Turn a failure to write below `data_dir` into an error that the user can correct.

    Raises:
        InputError: the block fails with an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"data_dir={data_dir}: cannot be written ({error.strerror}); give another folder"
        ) from None
