"""Files of named arrays in the safetensors format, which every framework reads.

A file is the length of its header (8 bytes, little-endian), the header (JSON: dtype, shape and
byte range of each array by its name, and texts under ``__metadata__``), and the bytes of all
arrays. Nothing in it can run code. See https://github.com/huggingface/safetensors.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.runtime.files import write_bytes

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"},
}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}


def save(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write arrays and texts to a file, in one step.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "model.safetensors")
        ...     save(path, {"bias": np.ones(2, np.float32)}, {"beta": "4.0"})
        ...     arrays, metadata = load(path)
        >>> arrays["bias"].tolist(), metadata
        ([1.0, 1.0], {'beta': '4.0'})
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    body, offset = [], 0
    # numbers of eight bytes first, as the library lays them out: all are aligned
    order = sorted(arrays, key=lambda name: (-np.asarray(arrays[name]).dtype.itemsize, name))
    for name in order:
        shape = np.shape(arrays[name])
        array = np.ascontiguousarray(arrays[name])
        body.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
        ends = [offset, offset + len(body[-1])]
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(shape), "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    write_bytes(path, struct.pack("<Q", len(text)) + text + b"".join(body))


def metadata(path: Path) -> dict[str, str]:
    """Return the texts of a file; none where it is no file of this format."""
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = file.read(size) if 0 < size <= path.stat().st_size - 8 else b""
    try:
        return json.loads(text)["__metadata__"]
    except (ValueError, KeyError, TypeError):
        return {}


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a file by their names, and its texts."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    arrays = {
        name: np.frombuffer(
            data[8 + size + facts["data_offsets"][0] : 8 + size + facts["data_offsets"][1]],
            _DTYPES[facts["dtype"]],
        ).reshape(facts["shape"])
        for name, facts in header.items()
    }
    return arrays, metadata
