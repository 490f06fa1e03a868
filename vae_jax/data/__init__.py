"""Data for training: three splits of arrays and a record of where they came from.

`load` (module `registry`) takes the name of a data set or a path. All of it runs on the host, with
numpy. There is one module per source, which only reads and gives a `RawDataset`:

* `packaged`: digits inside Python packages; `sprites`: images that are drawn here;
* `npz`, `arrays`, `table`, `idx`, `image_folder`: files of the user;
* `tfds`: data sets that tensorflow-datasets knows by name; `download`: those of them that can be
  fetched and decoded without TensorFlow.

`checks`, `encodings` and `splits` treat the examples of all sources alike; `cache` and
`memory_mapped` keep decoded copies.
"""

from vae_jax.data.dataset import Dataset, Provenance, RawDataset, RawSplit
from vae_jax.data.encodings import ENCODINGS, Standardization
from vae_jax.data.registry import DATASETS, DEFAULT_DATA_DIR, load

__all__ = [
    "DATASETS",
    "DEFAULT_DATA_DIR",
    "ENCODINGS",
    "Dataset",
    "Provenance",
    "RawDataset",
    "RawSplit",
    "Standardization",
    "load",
]
