"""Small images and the files that hold them, for the tests of data."""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from vae_jax.data import Dataset

RNG = np.random.default_rng(0)


def numbered(count: int, start: int = 0) -> np.ndarray:
    """Return images `[count, 4, 5]` that differ: the first pixels hold the image's number."""
    images = np.full((count, 4, 5), 200, np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(start, start + count), 256)
    return images


def numbers(images: np.ndarray) -> list[int]:
    return (images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 1, 0]).tolist()


def save_npz(folder: Path, **arrays) -> Path:
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files() -> dict[str, bytes]:
    """Return the files of a small MNIST: 12 training and 3 test images, gzipped."""
    arrays = {
        "train-images-idx3-ubyte.gz": numbered(12),
        "train-labels-idx1-ubyte.gz": np.arange(12, dtype=np.uint8),
        "t10k-images-idx3-ubyte.gz": numbered(3, start=12),
        "t10k-labels-idx1-ubyte.gz": np.arange(12, 15, dtype=np.uint8),
    }
    return {name: gzip.compress(idx_bytes(array)) for name, array in arrays.items()}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def image_folder(folder: Path) -> Path:
    """Write splits with two classes each; the images of class b are brighter."""
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for index in range(count):
            for bright, name in enumerate("ab"):
                pixels = np.full((3, 4), 100 * bright + 10 * index, np.uint8)
                save_image(folder / split / name / f"{index}.png", pixels)
    return folder


def all_numbers(data: Dataset) -> list[int]:
    return numbers(data.train) + numbers(data.valid) + numbers(data.test)
