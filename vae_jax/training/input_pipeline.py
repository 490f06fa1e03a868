"""How training images come to the device: all at once, or in pieces gathered on the host.

Images that the device can hold lie there, and a program takes what it needs. Larger data stay on
the host, where grain reads a *piece* of several updates at a time, on each process its share of a
split batch, and sends it while the device works on the piece before. Which examples an update sees
is a function of (seed, step), computed as on the device, so both ways train the same numbers, and
the reader's position is the step that every checkpoint holds.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.runtime import libraries, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import batches
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.step import Batch, BatchKeys, TrainSpec, draw_batch

ON_DEVICE = ("auto", "yes", "no")
PIECE_BYTES = 2**26


class InputBlock(NamedTuple):
    """What some consecutive updates of all runs see.

    Attributes:
        examples: all of them, or those of these updates.
        num_steps: updates.
    """

    examples: Examples | PrefetchedBatches
    num_steps: int


@dataclass(frozen=True)
class ResidentInput:
    """Everything on the device.

    Attributes:
        examples: the training set.
        max_steps: most updates of a piece.
    """

    examples: Examples
    max_steps: int

    def sample(self, start: int) -> Examples:
        """The training set."""
        return self.examples

    def along(self, start: int, stops: Iterable[int]) -> Iterator[InputBlock]:
        """One piece to each stop."""
        for stop in stops:
            yield InputBlock(self.examples, stop - start)
            start = stop


@dataclass(frozen=True)
class StreamedInput:
    """Pieces that grain reads ahead of the device.

    Runs that share a seed see the same examples and share a stream.

    Attributes:
        spec: what is trained.
        data: images and, for conditional models, labels.
        seeds: of the runs, each once.
        place: :func:`vae_jax.runtime.mesh.place` on the devices.
        most_steps: updates between two visits of the host.
    """

    spec: TrainSpec
    data: Dataset
    seeds: tuple[int, ...]
    place: Callable[..., jax.Array]
    most_steps: int

    @functools.cached_property
    def max_steps(self) -> int:
        """As many updates as :data:`PIECE_BYTES` hold, but an equal share of ``most_steps``."""
        per_step = len(self.seeds) * self.spec.batch_size * math.prod(self.data.image_shape)
        fitting = max(1, min(self.most_steps, PIECE_BYTES // per_step))
        return -(-self.most_steps // -(-self.most_steps // fitting))

    def sample(self, start: int) -> PrefetchedBatches:
        """The piece that comes first."""
        return self._gathered(self._rows(start, start + 1))

    def along(self, start: int, stops: Iterable[int]) -> Iterator[InputBlock]:
        """Pieces of at most ``max_steps``; while one is used the next one is read."""
        from grain import MapDataset, ReadOptions  # a third of a second, for those who stream

        cuts = list(_cut(start, stops, self.max_steps))
        pieces = MapDataset.source(cuts).map(lambda cut: self._piece(*cut))
        reader = iter(pieces.to_iter_dataset(ReadOptions(num_threads=1, prefetch_buffer_size=1)))
        with contextlib.closing(reader):
            yield from reader

    def _piece(self, first: int, last: int) -> InputBlock:
        return InputBlock(self._gathered(self._rows(first, last)), last - first)

    def _rows(self, first: int, last: int) -> Int[np.ndarray, "streams steps batch"]:
        size, count = self.spec.batch_size, len(self.data.train)
        return np.stack([rows_of(seed, first, last, size, count) for seed in self.seeds])

    def _gathered(self, rows: Int[np.ndarray, "streams steps batch"]) -> PrefetchedBatches:
        """The images of these rows; what makes up for missing updates is never looked at."""
        streams, num_steps, size = rows.shape
        missing = [(0, 0), (0, self.max_steps - num_steps)]

        def at(index: tuple[slice, ...], values: Any) -> np.ndarray:
            found = values[rows[index[:3]]]
            return np.pad(found, missing + [(0, 0)] * (found.ndim - 2))

        shape = (streams, self.max_steps, size)
        pixels = self.place(
            (*shape, *self.data.image_shape),
            lambda index: batches.stored_pixels(
                self.spec.binarize, "train", at(index, self.data.train)
            ),
            axis=2,
        )
        seeds = self.place((streams,), lambda index: np.array(self.seeds, np.uint32)[index])
        labels = labels_given(self.spec, self.data)
        if labels is None:
            return PrefetchedBatches(pixels, seeds)
        return PrefetchedBatches(
            pixels, seeds, self.place(shape, lambda index: at(index, labels), axis=2)
        )


def make_input_pipeline(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    max_steps: int,
    devices: Devices,
    *,
    on_device: str = "auto",
) -> ResidentInput | StreamedInput:
    """The way for these data.

    Args:
        spec: what is trained.
        hparams: of all runs.
        data: images.
        max_steps: most updates between two visits of the host.
        devices: to which the images go.
        on_device: ``yes`` and ``no`` choose, ``auto`` asks whether they fit.

    Raises:
        InputError: static binarization, whose pixels are drawn once for all images together, of
            images that cannot lie on the device; streaming without grain.
    """
    if on_device == "yes" or (on_device == "auto" and mesh.fits(data.train.nbytes)):
        return ResidentInput(mesh.replicate(resident(spec, data), devices), max_steps)
    if spec.binarize == "static":
        raise InputError(
            "--binarize=static: draws all images at once on the device, where they have no place; "
            "give --binarize=dynamic or --data_on_device=yes"
        )
    libraries.require("grain", f"--data_on_device={on_device}")
    seeds = tuple(sorted({int(seed) for seed in np.atleast_1d(np.asarray(hparams.seed))}))
    place = functools.partial(mesh.place, devices=devices)
    return StreamedInput(spec, data, seeds, place, max_steps)


def resident(spec: TrainSpec, data: Dataset) -> Examples:
    """The training set as it lies on the device."""
    pixels = batches.stored_pixels(spec.binarize, "train", data.train[:])
    labels = labels_given(spec, data)
    return Examples(jnp.asarray(pixels), None if labels is None else jnp.asarray(labels))


def batch_at(spec: TrainSpec, hparams: HParams, data: Dataset, step: int) -> Batch:
    """What one update of one run sees, without the rest of the training set."""
    (rows,) = rows_of(int(hparams.seed), step, step + 1, spec.batch_size, len(data.train))
    if spec.binarize == "static":
        pixels = batches.stored_pixels(spec.binarize, "train", data.train)[rows]
    else:
        pixels = batches.stored_pixels(spec.binarize, "train", data.train[rows])
    labels = labels_given(spec, data)
    examples = Examples(jnp.asarray(pixels), None if labels is None else jnp.asarray(labels[rows]))
    return draw_batch(spec, BatchKeys.at(hparams, jnp.int32(step)), examples)


def rows_of(
    seed: int, first: int, last: int, batch_size: int, num_examples: int
) -> Int[np.ndarray, "steps batch"]:
    """Return the examples of updates ``first`` to ``last - 1``, as ``batches.batch_indices``."""
    position = np.arange(first * batch_size, last * batch_size)
    epochs, within = np.divmod(position, num_examples)
    parts = [
        _order(seed, int(epoch), num_examples)[within[epochs == epoch]]
        for epoch in range(epochs[0], epochs[-1] + 1)
    ]
    return np.concatenate(parts).reshape(-1, batch_size)


@functools.lru_cache(maxsize=16)
def _order(seed: int, epoch: int, num_examples: int) -> Int[np.ndarray, " n"]:
    """One epoch's order, by the same program."""
    with jax.default_device(_idle_device()), jax.transfer_guard("allow"):
        hparams = HParams.of(seed=seed)
        return np.asarray(_orders(hparams, jnp.int32(epoch), num_examples)[0])


@functools.partial(jax.jit, static_argnums=2)
def _orders(hparams: HParams, epoch: Array, num_examples: int) -> Array:
    return batches.epoch_orders(hparams, epoch, 1, num_examples, 1)


def _idle_device() -> Any:
    """A CPU, where nothing has to wait for the updates; the default where JAX was given none."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


def _cut(start: int, stops: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """First and last update of equal pieces, none longer than ``most``, up to each stop."""
    for stop in stops:
        num_pieces = -(-(stop - start) // most)
        bounds = [start + (stop - start) * k // num_pieces for k in range(num_pieces + 1)]
        yield from itertools.pairwise(bounds)
        start = stop


def labels_given(
    spec: TrainSpec, data: Dataset, split: batches.Split = "train"
) -> np.ndarray | None:
    """Labels of a split, for a model that is given them."""
    return data.labels_of(split) if spec.model.num_classes else None
