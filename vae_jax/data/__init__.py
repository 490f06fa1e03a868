"""Images for training: three splits of uint8 arrays and a record of where they came from.

`load` takes the name of a data set or a path. Everything here runs on the host with numpy; the
sources (`packaged`, `files`, `folders`, `catalog`) only read, and `arrays` checks and splits what
any of them read, in one place.
"""

from vae_jax.data.dataset import Dataset, Record
from vae_jax.data.sources import DEFAULT_DATA_DIR, load

__all__ = ["DEFAULT_DATA_DIR", "Dataset", "Record", "load"]
