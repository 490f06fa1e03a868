"""Files that other programs read, each written whole or not at all: JSON, CSV, text, bytes."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from vae_jax.runtime.errors import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step: a reader, or a kill, finds the old file or the new one.

    Folders above it are made. Nothing is written through a link.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "new", "data.bin")
        ...     write_bytes(path, b"abc")
        ...     path.read_bytes()
        b'abc'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _create(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a loss of power could leave the new name without bytes
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(name: str, path: Path, is_own: Callable[[Path], bool]) -> Iterator[None]:
    """Refuse to replace what this project did not write; make errors of the disk one line.

    Args:
        name: name of the argument that is the path.
        path: file that the block writes.
        is_own: returns whether a file that is there was written by this project.

    Raises:
        InputError: there is a folder, a link, or a file of others, or it cannot be written.
    """
    try:
        there = "a link" if path.is_symlink() else "a folder" if path.is_dir() else ""
        if not there and path.exists() and not is_own(path):
            there = "a file that vae_jax did not write"
        if there:
            raise InputError(
                setting=name, value=path, problem=f"is {there}", advice="give another name"
            )
        yield
    except OSError as error:
        raise InputError(
            setting=name,
            value=path,
            problem=f"cannot be written ({error.strerror or error})",
            advice="give another name, or mend that",
        ) from None


def _create(path: Path) -> IO[bytes]:
    """Create a file in place of one that a kill left, or of a link, which is not followed."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file to append to it, which is made if need be; not through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "ab")


class NoFileError(OSError):
    """Error of a path at which there is a folder, a pipe, a socket or a device, and no file."""


def read_bytes(path: Path, most: int = -1) -> bytes:
    """Return the bytes of a file; what is no file is refused, because it might have no end.

    Args:
        path: path of the file.
        most: number of bytes after which the rest is left out; -1 for all.

    Raises:
        NoFileError: there is a folder, a pipe, a socket or a device.

    Example:
        >>> try:
        ...     read_bytes(Path("/dev/zero"))
        ... except NoFileError as error:
        ...     print(error.strerror)
        Not a file
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NoFileError(errno.EINVAL, "Not a file", str(path))
    with path.open("rb") as file:
        return file.read(most)


def read_text(path: Path, most: int = -1) -> str:
    """Return the text of a file in UTF-8, with a mark in place of bytes that are none.

    Args:
        path: path of the file.
        most: number of bytes after which the rest is left out; -1 for all.

    Raises:
        NoFileError: there is a folder, a pipe, a socket or a device.
    """
    return read_bytes(path, most).decode("utf-8", "replace")


def reason(error: OSError) -> str:
    """Return what the system refused, and at which file: where one was to be put, or is.

    Example:
        >>> reason(OSError(28, "No space left on device", "runs/a"))
        'No space left on device at runs/a'
    """
    name = error.filename2 or error.filename
    return f"{error.strerror}{f' at {name}' if name else ''}"


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8 in one step; line ends are written as they are.

    Bytes of a name that is not UTF-8, which Python holds as lone surrogates, are written as
    backslash escapes, which are valid in JSON.
    """
    write_bytes(path, encoded(text))


def encoded(text: str) -> bytes:
    """Return `text` in UTF-8, with a backslash escape for what is no character.

    Example:
        >>> encoded("caf" + chr(0xDCE9)) == b"caf" + bytes([92]) + b"udce9"
        True
    """
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, obj: object) -> None:
    """Write `obj` as indented JSON in one step; numbers that are not finite become `null`."""
    write_text(path, json.dumps(finite(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write the named `columns` of `rows` in one step.

    A cell that is absent from a row, or not a number, stays empty; an infinite one is `inf`.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "rows.csv")
        ...     rows = [{"clip_norm": float("inf"), "test_elbo": float("nan")}]
        ...     write_csv(path, rows, ["clip_norm", "test_elbo"])
        ...     path.read_text().splitlines()
        ['clip_norm,test_elbo', 'inf,']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    write_text(path, text.getvalue())


def _cell(value: object) -> Any:
    """Return a value as a cell of a table: "" for none, infinity in the spelling of flags."""
    if isinstance(value, float | np.floating) and math.isinf(value):
        return str(float(value))
    cell = finite(value)
    return "" if cell is None else cell


def json_line(obj: object) -> str:
    """Return `obj` as one line of JSON, line feed included.

    Example:
        >>> json_line({"step": 1, "train_elbo": float("inf")}).rstrip()
        '{"step": 1, "train_elbo": null}'
    """
    return json.dumps(finite(obj), ensure_ascii=False, allow_nan=False) + "\n"


def finite(obj: object) -> Any:
    """Return `obj` in the types of JSON, with None wherever a number is not finite.

    numpy scalars and arrays become Python numbers and lists, at full precision.

    Example:
        >>> finite({"kl": np.float64(1.5), "per_latent": [float("nan"), 2]})
        {'kl': 1.5, 'per_latent': [None, 2]}
    """
    if isinstance(obj, np.ndarray | np.generic):
        return finite(obj.tolist())
    if isinstance(obj, Mapping):
        return {str(key): finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [finite(value) for value in obj]
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    return obj
