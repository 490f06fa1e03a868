"""Arrays as text in a page: base64 of float16 or, in half the room, of 8 bits a number.

With 8 bits a number of entry ``j`` of the last axis is ``scale[j] * q``, q from -127 to 127: one
scale for all weights that make one output.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

import numpy as np

from vae_jax.reporting.explorer.layers import Layer

Storage: TypeAlias = Literal["float16", "int8"]
"""Types in which kernels are stored; all else is float16."""
BYTES: dict[Storage, int] = {"float16": 2, "int8": 1}
"""Bytes of a number."""
WORDS: dict[Storage, str] = {"float16": "float16", "int8": "8 bits and a scale for each output"}
"""What a page says of the storage of its weights."""


class Packed(TypedDict):
    """Array in a page.

    Attributes:
        shape: axes.
        type: type of the stored numbers.
        data: base64 of the numbers, in rows, the least significant byte first.
        scale: base64 of the float32 scales, only of ``int8``.
    """

    shape: list[int]
    type: str
    data: str
    scale: NotRequired[str]


def pack(values: np.ndarray, storage: str = "float16") -> Packed:
    """Return an array as text.

    Example:
        >>> pack(np.array([1.0, -2.0]))
        {'shape': [2], 'type': 'float16', 'data': 'ADwAwA=='}
        >>> np.round(unpack(pack(np.array([[1.0, 3.0], [0.5, -2.0]]), "int8")), 1).tolist()
        [[1.0, 3.0], [0.5, -2.0]]
    """
    values = np.asarray(values)
    shape = list(values.shape)
    if storage != "int8":
        with np.errstate(over="ignore"):  # what is not finite is seen in the error, and refused
            return {"shape": shape, "type": storage, "data": _text(values.astype(storage))}
    largest = np.max(np.abs(values), axis=tuple(range(values.ndim - 1)))
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / np.float32(127)
    numbers = np.clip(np.round(values / scale.reshape(_last(values, scale))), -127, 127)
    data = _text(numbers.astype(np.int8))
    return {"shape": shape, "type": storage, "data": data, "scale": _text(scale)}


def unpack(packed: Packed) -> np.ndarray:
    """Return the array that a page will compute with."""
    numbers = np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]))
    values = numbers.astype(np.float32).reshape(packed["shape"])
    if "scale" not in packed:
        return values
    scale = np.frombuffer(base64.b64decode(packed["scale"]), np.float32)
    return values * scale.reshape(_last(values, scale))


def pack_layers(layers: Sequence[Layer], storage: Storage) -> list[Layer]:
    """Return layers with their kernels as text in the given storage, and their biases."""
    return _with_arrays(
        layers, lambda name, values: pack(values, storage if name == "kernel" else "float16")
    )


def unpack_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return packed layers as the page will compute them."""
    return _with_arrays(layers, lambda name, packed: unpack(packed))


def _with_arrays(layers: Sequence[Layer], change: Callable[[str, Any], Any]) -> list[Layer]:
    found = []
    for layer in layers:
        arrays = {
            name: change(name, layer[name])
            for name in ("kernel", "bias")
            if layer.get(name) is not None
        }
        inner = {"layers": _with_arrays(layer["layers"], change)} if "layers" in layer else {}
        found.append(layer | arrays | inner)
    return found


def _last(values: np.ndarray, scale: np.ndarray) -> tuple[int, ...]:
    """Return the shape in which the scales multiply the last axis."""
    return (1,) * (values.ndim - 1) + scale.shape


def _text(values: np.ndarray) -> str:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode()
