"""Data set `sprites`: a white shape on black whose five factors are known, drawn here.

The grid is that of dSprites (Matthey et al. 2017): 3 shapes x 6 scales x 40 orientations x 32 x 32
positions, 737,280 binary images of 64 x 64 pixels. A pixel is white where its centre lies inside
the shape, without antialiasing. Neighbouring positions are one pixel apart, so every image is a
window of one of 720 canvases, and the 3 GB of all images are never held: `render` cuts windows out.

A square repeats itself every quarter turn and an ellipse every half turn, here as in dSprites, so
their orientation cannot be read from the image; that of a heart can.
"""

import functools
import math
import re
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int32, Integer, UInt8

from vae_jax.data.dataset import RawDataset, RawSplit
from vae_jax.data.splits import permutation
from vae_jax.runtime.errors import InputError

FACTORS: dict[str, int] = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
"""Name and number of values of every factor; the last varies fastest along the grid."""
SHAPES = ("square", "ellipse", "heart")
IS_ORDERED = (False, True, True, True, True)
"""True for the factors that are quantities; the shape is a name."""
NUM_IMAGES = math.prod(FACTORS.values())

IMAGE_SIZE = 64
NUM_TRAIN, NUM_VALID, NUM_TEST = 50_000, 5_000, 10_000
_MOST_TRAIN = NUM_IMAGES - NUM_VALID - NUM_TEST

_SCALES = np.linspace(0.5, 1.0, FACTORS["scale"])
_ANGLES = np.arange(FACTORS["orientation"]) * (2 * math.pi / FACTORS["orientation"])
_FIRST_CENTRE = (IMAGE_SIZE - FACTORS["x"]) // 2  # pixel on which the leftmost sprite is centred
_REACH = _FIRST_CENTRE + FACTORS["x"] - 1  # most pixels between a sprite's centre and the frame
_HALF_SIDE, _HALF_AXES, _HEART = 10.9, (15.4, 8.2), 11.7  # pixels, at scale 1

Plane = Float64[np.ndarray, "canvas canvas"]


def is_sprites(name: str) -> bool:
    """Return whether a data set's name is `sprites` or `sprites/NUM_TRAIN`."""
    return name.partition("/")[0] == "sprites"


def read_sprites(name: str, label: str) -> RawDataset:
    """Draw the data set `sprites` (50,000 images to train on) or `sprites/N` (N of them).

    The fixed permutation of the grid gives 10,000 test images first, then 5,000 valid ones, then
    those of train, so that test and valid are the same for every N. The label is the shape; all
    five factors stand beside the images.

    Raises:
        InputError: N is no number from 1 to 722,280, all that is left for train.
    """
    num_train = _num_train(name, label)
    rows = permutation(NUM_IMAGES)[: NUM_TEST + NUM_VALID + num_train]
    test, valid, train = np.split(rows, [NUM_TEST, NUM_TEST + NUM_VALID])
    splits = {"train": _split(train), "valid": _split(valid), "test": _split(test)}
    return RawDataset(
        splits,
        f"{len(rows):,} of the {NUM_IMAGES:,} sprites that this project draws "
        f"({', '.join(FACTORS)}); squares repeat each quarter turn, ellipses each half turn",
        SHAPES,
    )


def _num_train(name: str, label: str) -> int:
    if name == "sprites":
        return NUM_TRAIN
    number = name.removeprefix("sprites/")
    if not re.fullmatch("[0-9]{1,9}", number) or not 1 <= int(number) <= _MOST_TRAIN:
        raise InputError(
            f"{label}: {number or 'nothing'} is no number of training images; "
            f"give sprites or sprites/N with N from 1 to {_MOST_TRAIN}"
        )
    return int(number)


def _split(rows: np.ndarray) -> RawSplit:
    factors = factors_of(rows)
    return RawSplit(render(factors), factors[:, 0], factors)


def factors_of(rows: Integer[np.ndarray, " n"]) -> Int32[np.ndarray, "n factors"]:
    """Return the factors of images by their index in the grid, 0 to 737,279.

    Example:
        >>> factors_of(np.array([0, NUM_IMAGES - 1])).tolist()
        [[0, 0, 0, 0, 0], [2, 5, 39, 31, 31]]
    """
    return np.stack(np.unravel_index(rows, tuple(FACTORS.values())), axis=-1).astype(np.int32)


def thinned_grid(sizes: tuple[int, ...]) -> Int32[np.ndarray, "n factors"]:
    """Return the factors of a coarser grid: evenly spread values of each factor.

    Args:
        sizes: number of values of each factor, at most as many as it has.

    Returns:
        All `prod(sizes)` combinations, the last factor fastest. The values are those of the full
        grid, so that `render` takes them.

    Raises:
        ValueError: more values than a factor has, or none.

    Example:
        >>> thinned_grid((1, 1, 1, 2, 2)).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 16], [0, 0, 0, 16, 0], [0, 0, 0, 16, 16]]
    """
    values = [_spread(size, full) for size, full in zip(sizes, FACTORS.values(), strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=-1)


def _spread(size: int, full: int) -> Int32[np.ndarray, " size"]:
    if not 1 <= size <= full:
        raise ValueError(f"{size} of {full} values")
    return (np.arange(size) * full // size).astype(np.int32)


def render(factors: Integer[np.ndarray, "n factors"]) -> UInt8[np.ndarray, "n 64 64"]:
    """Return the images of sprites, 0 and 255.

    Args:
        factors: columns in the order of `FACTORS`, each value below the factor's size. x counts
            pixels to the right, y downwards, the orientation steps of 9 degrees from x towards y.

    Raises:
        ValueError: values outside the grid.

    Example:
        >>> square = render(np.array([[0, 5, 0, 16, 16]]))
        >>> square.shape, int((square == 255).sum()) == 21**2
        ((1, 64, 64), True)
    """
    if np.any(factors < 0) or np.any(factors >= np.array(list(FACTORS.values()))):
        raise ValueError("factors outside the grid")
    shape, scale, orientation, x, y = factors.T
    canvas = (shape * len(_SCALES) + scale) * len(_ANGLES) + orientation
    first = _REACH - _FIRST_CENTRE
    return _windows()[canvas, first - y, first - x]


@functools.cache
def _windows() -> UInt8[np.ndarray, "canvases top left 64 64"]:
    """Return a view of all windows of all canvases; nothing is copied."""
    frame = (IMAGE_SIZE, IMAGE_SIZE)
    canvases = np.where(_levels() <= 0, np.uint8(255), np.uint8(0))
    return np.lib.stride_tricks.sliding_window_view(canvases, frame, axis=(1, 2))


def _levels() -> Float64[np.ndarray, "canvases canvas canvas"]:
    """Return every shape's implicit function at the pixels' centres; it is negative inside."""
    offsets = np.arange(-_REACH, _REACH + 1.0)
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    return np.stack(
        [
            implicit(*_turned(right / scale, down / scale, angle))
            for implicit in _IMPLICIT
            for scale in _SCALES
            for angle in _ANGLES
        ]
    )


def _turned(right: Plane, down: Plane, angle: float) -> tuple[Plane, Plane]:
    """Return coordinates in the frame of a sprite that is turned by `angle`."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * right + sin * down, cos * down - sin * right


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) / _HALF_SIDE - 1


def _ellipse(x: Plane, y: Plane) -> Plane:
    return (x / _HALF_AXES[0]) ** 2 + (y / _HALF_AXES[1]) ** 2 - 1


def _heart(x: Plane, y: Plane) -> Plane:
    """Return (x^2 + y^2 - 1)^3 - x^2 y^3, the sextic whose zeros are a heart, its tip downwards."""
    x, y = x / _HEART, -y / _HEART
    return (x**2 + y**2 - 1) ** 3 - x**2 * y**3


_IMPLICIT: tuple[Callable[[Plane, Plane], Plane], ...] = (_square, _ellipse, _heart)
