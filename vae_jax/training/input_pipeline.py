"""Input pipeline: the training set on the device, or blocks of prefetched batches from the host.

A training set that fits stays on the device, where each update gathers its batch
(:class:`ResidentInput`). A larger one stays on the host. There grain gathers *blocks*, each with
the batches of several updates, on each process its share of a split batch, and sends one while the
device works on the one before (:class:`StreamedInput`). The examples of an update are a function of
(seed, step) that both compute alike, so both train the same numbers, and the position in the stream
is the step that every checkpoint holds.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from vae_jax.data import Dataset
from vae_jax.data.split_names import Split
from vae_jax.hparams import HParams
from vae_jax.runtime import libraries, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import batches
from vae_jax.training.batches import Examples, PrefetchedBatches
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import Batch, BatchKeys, draw_batch

ON_DEVICE = ("auto", "yes", "no")
"""Choices of where the training set is kept: yes or no for the device, auto for what fits."""
BLOCK_BYTES = 2**26
"""Size that the examples of a block may have, 64 MiB; one update is taken in any case."""


class InputBlock(NamedTuple):
    """Input of consecutive updates of all runs.

    Attributes:
        examples: the training set, or the prefetched batches of these updates.
        num_steps: number of updates.
    """

    examples: Examples | PrefetchedBatches
    num_steps: int


@dataclass(frozen=True)
class ResidentInput:
    """Training set that stays on the device.

    Attributes:
        examples: the training set.
        max_steps: largest number of updates of a block.

    Example:
        >>> examples = Examples(jnp.zeros((5, 2, 2, 1), jnp.uint8))
        >>> source = ResidentInput(examples, max_steps=4)
        >>> [block.num_steps for block in source.blocks(0, [4, 6])]
        [4, 2]
    """

    examples: Examples
    max_steps: int

    def template(self, start: int) -> Examples:
        """Return the training set, which every block contains."""
        return self.examples

    def blocks(self, start: int, stops: Iterable[int]) -> Iterator[InputBlock]:
        """Yield one block up to each stop."""
        for stop in stops:
            yield InputBlock(self.examples, stop - start)
            start = stop


@dataclass(frozen=True)
class StreamedInput:
    """Training set on the host, from which grain prefetches blocks for the device.

    Runs with equal seeds use the same examples, so they share a stream.

    Attributes:
        spec: model and training.
        data: examples and, for conditional models, labels.
        seeds: seeds of the runs, each once, one for each stream.
        devices: shape of the mesh.
        max_chunk_steps: largest number of updates between two stops.
    """

    spec: TrainSpec
    data: Dataset
    seeds: tuple[int, ...]
    devices: Devices
    max_chunk_steps: int

    @functools.cached_property
    def max_steps(self) -> int:
        """Number of updates of a block: an equal share of a chunk that fits ``BLOCK_BYTES``."""
        per_example = math.prod(self.data.event_shape) * self.data.train.dtype.itemsize
        per_step = len(self.seeds) * self.spec.batch_size * per_example
        fitting = max(1, min(self.max_chunk_steps, BLOCK_BYTES // per_step))
        return -(-self.max_chunk_steps // -(-self.max_chunk_steps // fitting))

    def template(self, start: int) -> PrefetchedBatches:
        """Return prefetched batches of the shape that every block has."""
        return self._gather(self._indices(start, start + 1))

    def blocks(self, start: int, stops: Iterable[int]) -> Iterator[InputBlock]:
        """Yield blocks of at most ``max_steps`` updates up to each stop.

        While the caller uses a block, the next one is gathered.
        """
        from grain import MapDataset, ReadOptions  # a third of a second, for those who stream

        bounds = list(_block_bounds(start, stops, self.max_steps))
        blocks = MapDataset.source(bounds).map(lambda bound: self._block(*bound))
        reader = iter(blocks.to_iter_dataset(ReadOptions(num_threads=1, prefetch_buffer_size=1)))
        with contextlib.closing(reader):
            yield from reader

    def _block(self, first: int, last: int) -> InputBlock:
        """Return the block of updates ``first`` to ``last - 1``."""
        return InputBlock(self._gather(self._indices(first, last)), last - first)

    def _indices(self, first: int, last: int) -> Int[np.ndarray, "streams steps batch"]:
        """Return the examples of updates ``first`` to ``last - 1``."""
        size, count = self.spec.batch_size, len(self.data.train)
        return np.stack([example_indices(seed, first, last, size, count) for seed in self.seeds])

    def _gather(self, indices: Int[np.ndarray, "streams steps batch"]) -> PrefetchedBatches:
        """Return the examples and labels of these examples, with zeros up to ``max_steps`` updates.

        The program never reads the zeros, because it is given the number of updates.
        """
        streams, num_steps, size = indices.shape
        padding = [(0, 0), (0, self.max_steps - num_steps)]

        def padded(share: tuple[slice, ...], values: Any) -> np.ndarray:
            found = values[indices[share[:3]]]
            return np.pad(found, padding + [(0, 0)] * (found.ndim - 2))

        def pixels_of(share: tuple[slice, ...]) -> np.ndarray:
            pixels = padded(share, self.data.train)
            return batches.stored_pixels(self.spec.binarize, "train", pixels)

        on_devices = functools.partial(mesh.array_from_shares, devices=self.devices)
        shape, all_seeds = (streams, self.max_steps, size), np.array(self.seeds, np.uint32)
        pixels = on_devices((*shape, *self.data.event_shape), pixels_of, axis=2)
        seeds = on_devices((streams,), lambda share: all_seeds[share])
        labels = labels_given(self.spec, self.data)
        if labels is None:
            return PrefetchedBatches(pixels, seeds)
        return PrefetchedBatches(
            pixels, seeds, on_devices(shape, lambda share: padded(share, labels), axis=2)
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
    """Return the input pipeline for a training set.

    Args:
        spec: model and training.
        hparams: hyperparameters of all runs, ``[runs]``.
        data: data set.
        max_steps: largest number of updates between two stops.
        devices: shape of the mesh.
        on_device: ``yes`` to keep the training set on the device, ``no`` to stream it from the
            host, ``auto`` to stream it only if it does not fit
            (:func:`vae_jax.runtime.mesh.fits`).

    Raises:
        InputError: streamed images with static binarization, which draws the pixels of all images
            together on the device; streaming without the library grain.
    """
    if on_device == "yes" or (on_device == "auto" and mesh.fits(data.train.nbytes)):
        return ResidentInput(mesh.replicate(resident(spec, data), devices), max_steps)
    if spec.binarize == "static":
        raise InputError(
            "binarize=static: draws all images at once, for which they must be on the device; "
            "give binarize=dynamic or data_on_device=yes"
        )
    libraries.require("grain", f"data_on_device={on_device}")
    seeds = tuple(sorted({int(seed) for seed in np.atleast_1d(np.asarray(hparams.seed))}))
    return StreamedInput(spec, data, seeds, devices, max_steps)


def resident(spec: TrainSpec, data: Dataset) -> Examples:
    """Return the training set as the device stores it."""
    pixels = batches.stored_pixels(spec.binarize, "train", data.train[:])
    labels = labels_given(spec, data)
    return Examples(jnp.asarray(pixels), None if labels is None else jnp.asarray(labels))


def batch_at(spec: TrainSpec, hparams: HParams, data: Dataset, step: int) -> Batch:
    """Return the batch of one update of one run, made without the rest of the training set."""
    (indices,) = example_indices(
        int(hparams.seed), step, step + 1, spec.batch_size, len(data.train)
    )
    if spec.binarize == "static":
        pixels = batches.stored_pixels(spec.binarize, "train", data.train)[indices]
    else:
        pixels = batches.stored_pixels(spec.binarize, "train", data.train[indices])
    labels = labels_given(spec, data)
    own_labels = None if labels is None else jnp.asarray(labels[indices])
    examples = Examples(jnp.asarray(pixels), own_labels)
    return draw_batch(spec, BatchKeys.at(hparams, jnp.int32(step)), examples)


def example_indices(
    seed: int, first: int, last: int, batch_size: int, num_examples: int
) -> Int[np.ndarray, "steps batch"]:
    """Return the indices of the examples of updates ``first`` to ``last - 1``.

    The same numbers as :func:`vae_jax.training.batches.batch_indices`, computed on the host.

    Example:
        >>> indices = example_indices(seed=0, first=0, last=3, batch_size=2, num_examples=6)
        >>> indices.shape, sorted(indices.ravel().tolist())
        ((3, 2), [0, 1, 2, 3, 4, 5])
    """
    position = np.arange(first * batch_size, last * batch_size)
    epochs, within = np.divmod(position, num_examples)
    parts = [
        _order(seed, int(epoch), num_examples)[within[epochs == epoch]]
        for epoch in range(epochs[0], epochs[-1] + 1)
    ]
    return np.concatenate(parts).reshape(-1, batch_size)


@functools.lru_cache(maxsize=16)
def _order(seed: int, epoch: int, num_examples: int) -> Int[np.ndarray, " n"]:
    """Return the order of one epoch, from the function that the device uses."""
    with jax.default_device(_idle_device()), jax.transfer_guard("allow"):
        hparams = HParams.of(seed=seed)
        return np.asarray(_orders(hparams, jnp.int32(epoch), num_examples)[0])


@functools.partial(jax.jit, static_argnums=2)
def _orders(hparams: HParams, epoch: Array, num_examples: int) -> Array:
    """Return the order of one epoch as the only row of an array."""
    return batches.epoch_orders(hparams, epoch, 1, num_examples, 1)


def _idle_device() -> Any:
    """Return a CPU, which the updates do not keep busy, or the default device if JAX has no CPU."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


def _block_bounds(start: int, stops: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of equal blocks, none longer than ``most`` updates, up to each stop."""
    for stop in stops:
        num_blocks = -(-(stop - start) // most)
        bounds = [start + (stop - start) * k // num_blocks for k in range(num_blocks + 1)]
        yield from itertools.pairwise(bounds)
        start = stop


def labels_given(spec: TrainSpec, data: Dataset, split: Split = "train") -> np.ndarray | None:
    """Return the labels of a split for a conditional model, None for any other model."""
    return data.labels_of(split) if spec.model.num_classes else None
