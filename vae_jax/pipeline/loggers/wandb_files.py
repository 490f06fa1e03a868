"""Reader of wandb's offline files, which says what is left of a run whose process was killed.

A file is a header of 7 bytes and blocks of 32 KiB with pieces of records, each with checksum,
length and kind, as in the logs of LevelDB; a record is a message of protobuf. wandb writes whole
blocks, so a kill loses what is in the last one.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER, _BLOCK, _PIECE = 7, 2**15, struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


def last_step(path: Path) -> int:
    """Return the step of the last row that a file holds, -1 for none."""
    from wandb.proto import wandb_internal_pb2  # protobuf makes its names when imported

    messages: Any = wandb_internal_pb2
    step = -1
    for data in _records(path.read_bytes()):
        record = messages.Record.FromString(data)
        for item in record.history.item if record.HasField("history") else ():
            if "_step" in (item.key, *item.nested_key):
                step = max(step, int(json.loads(item.value_json)))
    return step


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a file.

    Example:
        >>> piece = lambda kind, text: _PIECE.pack(0, len(text), kind) + text
        >>> list(_records(b"header." + piece(1, b"one") + piece(2, b"t") + piece(4, b"wo")))
        [b'one', b'two']
        >>> list(_records(b"header." + piece(1, b"one")[:-1]))
        []
    """
    position, record = _HEADER, b""
    while position + _PIECE.size <= len(data):
        left = _BLOCK - position % _BLOCK
        _, length, kind = _PIECE.unpack_from(data, position)
        if left < _PIECE.size:  # too little for a piece: filled with zeros
            position += left
            continue
        position += _PIECE.size
        record += data[position : position + length]
        position += length
        if position > len(data) or kind == 0:
            return
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
