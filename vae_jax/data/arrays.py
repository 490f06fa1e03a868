"""Arrays of one file: `.npy`, MATLAB's `.mat` and HDF5, read by the names that `.npz` has."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.archive_size import refuse_size
from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.npz import UNREADABLE, from_arrays, passed_over
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError

_BYTES = {"logical": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2}
_BYTES |= {"single": 4, "int32": 4, "uint32": 4, "char": 4}
"""Bytes of a number of MATLAB's classes; 8 of all others."""


def read_npy(path: Path, label: str) -> RawDataset:
    """Read the array of a `.npy` file as the training examples.

    Raises:
        InputError: a damaged file, or one of objects.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        raise _unreadable(label, ".npy", error) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{label}: is an archive of arrays; call it .npz")
    return RawDataset({"train": RawSplit(array)}, f"the array of the file {path.name}")


def read_mat(path: Path, label: str) -> RawDataset:
    """Read the arrays of a MATLAB file, of version 7.3 (which is HDF5) or older.

    Raises:
        InputError: the package scipy is missing, a damaged file, or names that say nothing.
    """
    with path.open("rb") as file:
        if b"MATLAB 7.3" in file.read(128):
            return read_hdf5(path, label, is_matlab=True)
    libraries.require("scipy", label)
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        sizes = (math.prod(shape) * _BYTES.get(kind, 8) for _, shape, kind in whosmat(path))
        refuse_size(sum(sizes), path, label)
        arrays = {k: v for k, v in loadmat(path).items() if isinstance(v, np.ndarray)}
    except InputError:
        raise
    except (*UNREADABLE, NotImplementedError, MatReadError) as error:
        raise _unreadable(label, ".mat", error) from None
    return from_arrays(arrays, f"arrays of the file {path.name}", label)


def read_hdf5(path: Path, label: str, *, is_matlab: bool = False) -> RawDataset:
    """Read the arrays at the root of an HDF5 file.

    Args:
        path: path of the file.
        label: `name=value`, which begins every error.
        is_matlab: whether MATLAB wrote it, whose axes lie there in reverse order.

    Raises:
        InputError: the package h5py is missing, a damaged file, or names that say nothing.
    """
    libraries.require("h5py", label)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            nodes = [node for node in file.values() if isinstance(node, h5py.Dataset)]
            refuse_size(sum(node.size * node.dtype.itemsize for node in nodes), path, label)
            found: dict[str, Any] = {
                name: _hdf5_array(node).T if is_matlab else _hdf5_array(node)
                for name, node in file.items()
                if isinstance(node, h5py.Dataset)
            }
            passed = passed_over(str(name) for name in file if name not in found)
    except InputError:
        raise
    except (*UNREADABLE, AttributeError) as error:
        raise _unreadable(label, "HDF5", error) from None
    if not found and passed:
        raise InputError(
            f"{label}: holds no arrays but groups ({passed[0]}); save the training examples as "
            "x_train at the root"
        )
    raw = from_arrays(found, f"arrays of the file {path.name}", label)
    return raw._replace(recognised=(*raw.recognised, *passed))


def _hdf5_array(node: Any) -> np.ndarray:
    """Return a data set of HDF5, texts as texts of numpy."""
    import h5py

    is_text = h5py.check_string_dtype(node.dtype) is not None
    return np.asarray(node.asstr()[()], str) if is_text else np.asarray(node[()])


def _unreadable(label: str, kind: str, error: BaseException) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{label}: cannot be read as {kind} ({reason}); save it again")
