"""Checksums by which damage is noticed before anything that was stored is interpreted.

Two things carry checksums: a JSON object, which holds the digest of its own text, and a folder,
whose file ``seal.json`` holds the digests (SHA-256) of all its other files. Readers verify first,
so that no parser ever meets a flipped bit.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_jax.runtime.files import NoFileError, read_bytes, write_json

CHECKSUM_FILE = "seal.json"
"""Name of the file of checksums in a folder; part of the format on disk."""


class DamagedError(Exception):
    """Error of stored bytes that are not those that were written; the message names the file."""


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content (in the types of JSON) with the digest of its text as ``digest``.

    Example:
        >>> sorted(with_checksum({"step": 3}))
        ['digest', 'step']
    """
    return {**content, "digest": _digest_of_json(content)}


def read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that :func:`with_checksum` gave, without the digest.

    Raises:
        DamagedError: the file is missing, no JSON, or not what was written.

    Example:
        >>> import json, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "group.json")
        ...     _ = path.write_text(json.dumps(with_checksum({"step": 3})))
        ...     read(path)
        {'step': 3}
    """
    try:
        content = json.loads(read_bytes(path))
        digest = content.pop("digest", None)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{path.name} is missing") from None
    except (ValueError, AttributeError, TypeError, RecursionError, NoFileError):
        raise DamagedError(f"{path.name} is not what was written") from None
    if digest != _digest_of_json(content):
        raise DamagedError(f"{path.name} is not what was written")
    return content


def write_checksums(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Force all files of a folder to the disk and write their digests, and metadata, beside them.

    Args:
        folder: whose files are complete.
        metadata: in the types of JSON; :func:`verify` gives it back.
    """
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    digests = {name.as_posix(): _digest_on_disk(folder / name) for name in names}
    write_json(folder / CHECKSUM_FILE, with_checksum({**metadata, "files": digests}))


def verify(folder: Path) -> dict[str, Any]:
    """Compare all files of a folder with their checksums and return the metadata.

    Raises:
        DamagedError: a file is missing or not what was written.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = pathlib.Path(name)
        ...     _ = (folder / "weights.bin").write_bytes(b"123")
        ...     write_checksums(folder, {"step": 3})
        ...     verify(folder)
        {'step': 3}
    """
    metadata = read(folder / CHECKSUM_FILE)
    names(folder)
    for name, digest in metadata.pop("files").items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if of_file(path) != digest:
            raise DamagedError(f"{name} is not what was written")
    return metadata


def names(folder: Path) -> list[str]:
    """Return the names of the files of a folder that have checksums, relative to it.

    Raises:
        DamagedError: the file of checksums is missing, not what was written, or names a file
            outside of the folder.
    """
    found = read(folder / CHECKSUM_FILE).get("files")
    if not isinstance(found, dict) or any(
        name.startswith("/") or ".." in name.split("/") for name in found
    ):
        raise DamagedError(f"{CHECKSUM_FILE} is not what was written")
    return sorted(found)


def _digest_of_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_file(path: Path) -> str:
    """Return the digest of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_on_disk(path: Path) -> str:
    """Return the digest of a file after its bytes were forced to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
