"""Seals: digests by which damage is noticed before anything that was stored is interpreted.

A sealed mapping carries the digest of its own text, and a sealed folder holds a file
``seal.json`` with the digests of all its other files. Whoever reads checks first, so that no
parser ever meets a flipped bit.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_jax.runtime.files import write_json

SEAL_FILE = "seal.json"


class DamagedError(Exception):
    """Stored bytes that are not those that were written; the message names the file."""


def with_checksum(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts (in the types of JSON) together with the digest of their text."""
    return {**facts, "digest": _digest_of(facts)}


def read(path: Path) -> dict[str, Any]:
    """The facts of a JSON file that :func:`with_checksum` gave, without the digest.

    Raises:
        DamagedError: the file is missing, no JSON, or not what was written.
    """
    try:
        facts = json.loads(path.read_bytes())
        digest = facts.pop("digest", None)
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DamagedError(f"{path.name} is not what was written") from None
    if digest != _digest_of(facts):
        raise DamagedError(f"{path.name} is not what was written")
    return facts


def write_checksums(folder: Path, facts: Mapping[str, Any]) -> None:
    """Force all files of a folder to the disk and write their digests, and facts, beside them."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = {name.as_posix(): _digest_on_disk(folder / name) for name in names}
    write_json(folder / SEAL_FILE, with_checksum({**facts, "files": files}))


def verify(folder: Path) -> dict[str, Any]:
    """The facts of a sealed folder.

    Raises:
        DamagedError: a file is missing or not what was written.
    """
    facts = read(folder / SEAL_FILE)
    for name, digest in facts.pop("files").items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if _digest(path) != digest:
            raise DamagedError(f"{name} is not what was written")
    return facts


def _digest_of(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_on_disk(path: Path) -> str:
    """The digest of a file whose bytes outlive a loss of power from now on."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
