"""Small pictures of each run of a study, for the report that opens them by a click.

They are PNGs of a few kilobytes: reconstructions, samples from the prior, and traversals, drawn as
the figures of the best run are, one pixel for each of x. Together they take at most
:data:`MOST_BYTES`, whatever the number of the runs and the size of x.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vae_jax.reporting import format, table
from vae_jax.types import Row

MOST_RUNS = 200
"""Runs of which there are pictures."""
MOST_BYTES = 2_500_000
"""Bytes of all pictures of a study; a page holds a third more, in base64."""
MOST_BYTES_OF_RUN = 60_000
_SHADES = {1: 16, 3: 32}  # shades of each channel, by the number of channels
_GAP = 1  # pixels between images
_SMALLEST_TILE = 8  # pixels to which a picture is not made smaller


class Picture(NamedTuple):
    """Picture of a run.

    Attributes:
        title: title, such as "Samples".
        caption: sentence on what is seen.
        png: bytes of the PNG file.
        width: width of the PNG in pixels.
        labels: labels of the lines of images, where they have some.
    """

    title: str
    caption: str
    png: bytes
    width: int
    labels: tuple[str, ...] = ()


class Tiles(NamedTuple):
    """Images that become one picture.

    Attributes:
        title: title of the picture.
        caption: sentence on what is seen.
        images: ``[lines, columns, height, width, channels]`` in [0, 1] of one or three channels.
        labels: labels of the lines.
    """

    title: str
    caption: str
    images: Float[np.ndarray, "lines columns height width channels"]
    labels: tuple[str, ...] = ()


def chosen(rows: Sequence[Row], swept: Sequence[str], most: int = MOST_RUNS) -> list[int]:
    """Return the numbers of the runs that are shown: every setting before every seed.

    Of more settings than fit some are taken, evenly spaced in their order, and the best run always.

    Args:
        rows: rows of a study.
        swept: names of the swept flags.
        most: number of runs at most.

    Example:
        >>> rows = [{"run": i, "beta": i // 2, "seed": i % 2, "test_elbo": i} for i in range(6)]
        >>> chosen(rows, ["beta", "seed"], most=3), chosen(rows, ["beta", "seed"], most=4)
        ([1, 3, 5], [1, 3, 4, 5])
    """
    finished = [row for row in rows if not table.has_diverged(row)]
    best = table.best(rows)
    if best is None:
        return []
    finished.sort(key=lambda row: (row is not best, row.get("seed") != best.get("seed")))
    by_setting: dict[tuple[object, ...], list[int]] = {}
    for row in finished:
        setting = tuple(row[name] for name in table.axes(swept))
        by_setting.setdefault(setting, []).append(row["run"])
    firsts = [own[0] for own in by_setting.values()]
    others = [run for own in by_setting.values() for run in own[1:]]
    spread = [firsts[i] for i in table.evenly(len(firsts), most)]
    return sorted([*spread, *others[: most - len(spread)]])


def encoded(
    runs: Sequence[int], tiles_of: Callable[[int], Sequence[Tiles]]
) -> Iterator[tuple[int, list[Picture]]]:
    """Yield the pictures of each run, made as small as the bound asks for.

    Args:
        runs: numbers of the runs.
        tiles_of: returns the images of a run.
    """
    most = min(MOST_BYTES // max(len(runs), 1), MOST_BYTES_OF_RUN)
    for run in runs:
        yield run, _fitting(tiles_of(run), most)


def _fitting(tiles: Sequence[Tiles], most_bytes: int) -> list[Picture]:
    """Return the pictures of a run, with images halved until they fit; the last left out if not."""
    tiles = list(tiles)
    while tiles:
        drawn = [_picture(each) for each in tiles]
        if sum(len(each.png) for each in drawn) <= most_bytes:
            return drawn
        is_small = min(min(each.images.shape[2:4]) for each in tiles) < 2 * _SMALLEST_TILE
        tiles = tiles[:-1] if is_small else [_halved(each) for each in tiles]
    return []


def _halved(tiles: Tiles) -> Tiles:
    """Return images of half the size, each pixel the mean of four."""
    height, width = (2 * (size // 2) for size in tiles.images.shape[2:4])
    even = tiles.images[:, :, :height, :width]
    parts = [even[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return tiles._replace(images=np.mean(parts, axis=0))


def _picture(tiles: Tiles) -> Picture:
    """Return images as one picture, line by line with white between them; NaN is white."""
    gaps = [(0, 0), (0, 0), (0, _GAP), (0, _GAP), (0, 0)]
    pixels = np.pad(np.nan_to_num(tiles.images, nan=1.0).clip(0, 1), gaps, constant_values=1.0)
    lines, columns, height, width, channels = pixels.shape
    joined = pixels.transpose(0, 2, 1, 3, 4).reshape(lines * height, columns * width, channels)
    inner = joined[:-_GAP, :-_GAP]
    png = as_png(np.round(255 * inner).astype(np.uint8))
    return Picture(tiles.title, tiles.caption, png, inner.shape[1], tiles.labels)


def as_png(pixels: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """Return a PNG of 16 grays, or of 32 shades of each of three colours.

    A pixel of gray takes four bits before it is compressed, which halves the bytes of a smooth
    image; 16 grays are seen as such only in large even areas.

    Example:
        >>> as_png(np.zeros((2, 3, 1), np.uint8))[1:4]
        b'PNG'
    """
    height, width, channels = pixels.shape
    top = _SHADES[channels] - 1
    shades = np.round(pixels * (top / 255)).astype(np.uint8)
    if channels == 1:
        pairs = np.pad(shades[..., 0], [(0, 0), (0, width % 2)]).reshape(height, -1, 2)
        lines = pairs[..., 0] << 4 | pairs[..., 1]
        depth, color, filter_type, filtered = 4, 0, 0, lines
    else:
        lines = np.round(shades * (255 / top)).astype(np.uint8).reshape(height, -1)
        # each line is the difference from the one above, PNG's filter "up"
        depth, color, filter_type = 8, 2, 2
        filtered = np.diff(lines, axis=0, prepend=np.zeros((1, lines.shape[1]), np.uint8))
    marked = np.pad(filtered, [(0, 0), (1, 0)], constant_values=filter_type)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(marked.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def note(pictures: Mapping[int, Sequence[Picture]], num_runs: int) -> str:
    """Return a sentence on the runs that have no pictures, empty where all have some.

    Example:
        >>> note({}, 300)
        'Pictures are of 0 of 300 runs.'
    """
    if len(pictures) == num_runs:
        return ""
    return f"Pictures are of {format.count(len(pictures))} of {format.count(num_runs, 'run')}."
