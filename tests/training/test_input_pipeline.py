"""Training from images on the host gives the numbers of training from images on the device."""

import contextlib
import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from vae_jax.hparams import HParams
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import Devices
from vae_jax.training import batches, input_pipeline, loop
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout

DATA = tiny_data(50)
SPEC = TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic")
GRID = HParams.of(seed=[3, 0, 3], latent_size=4)
ALONE = Layout()
INTERVALS = Intervals(13, chunk_steps=5, eval_every=13, checkpoint_every=13)


def trained(on_device: str, spec: TrainSpec = SPEC, layout: Layout = ALONE, data=DATA):
    state = loop.initial_state(spec, GRID, data, layout)
    outputs = loop.train(spec, GRID, data, INTERVALS, state, layout=layout, on_device=on_device)
    rows = []
    for output in outputs:
        state, rows = output.state, rows + output.rows
    return jax.device_get(state), [row | {"seconds": 0} for row in rows]


@pytest.fixture
def small_blocks(monkeypatch):
    """Limit a block to two updates of two streams, so that chunks of five are cut."""
    monkeypatch.setattr(input_pipeline, "BLOCK_BYTES", 2 * 2 * 16 * 12)


def test_the_host_computes_the_batch_indices_of_the_device():
    hparams = HParams.of(seed=7)
    orders = batches.epoch_orders(hparams, jnp.int32(0), 5, 50, 5)
    for step in range(13):
        expected = batches.batch_indices(orders, jnp.int32(0), jnp.int32(step), 16)
        assert (
            input_pipeline.example_indices(7, step, step + 1, 16, 50)[0].tolist()
            == expected.tolist()
        )


@pytest.mark.parametrize("layout", [ALONE, Layout(run_devices=2)])
def test_streamed_and_resident_agree_to_the_bit(small_blocks, layout):
    state, rows = trained("yes", layout=layout)
    streamed, own_rows = trained("no", layout=layout)
    jax.tree.map(np.testing.assert_array_equal, streamed, state)
    for row, own in zip(rows, own_rows, strict=True):
        assert own == pytest.approx(row, rel=1e-6)


def test_streamed_and_resident_agree_in_float64(small_blocks, float64):
    data = dataclasses.replace(DATA, train_labels=np.arange(50, dtype=np.int32) % 3)
    spec = dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, num_classes=3))
    data = dataclasses.replace(data, valid_labels=np.zeros(len(DATA.valid), np.int32))
    spec = dataclasses.replace(spec, binarize="threshold")
    _, rows = trained("yes", spec, data=data)
    for layout in (ALONE, Layout(batch_devices=2)):
        _, own_rows = trained("no", spec, data=data, layout=layout)
        for row, own in zip(rows, own_rows, strict=True):
            assert own == pytest.approx(row, rel=1e-12)


def test_each_device_reads_only_its_share_of_the_examples():
    shares = []

    def read(index):
        shares.append(index[2].indices(16)[:2])
        return np.zeros((1, 3, 8, 12), np.uint8)

    array = mesh.array_from_shares((1, 3, 16, 12), read, Devices(1, 2), axis=2)
    assert sorted(shares) == [(0, 8), (8, 16)]
    assert array.shape == (1, 3, 16, 12)


def test_a_resumed_stream_goes_on_where_it_was(small_blocks):
    straight, _ = trained("no")
    state = loop.initial_state(SPEC, GRID, DATA, ALONE)
    for stop in (7, 13):
        intervals = dataclasses.replace(INTERVALS, num_steps=stop)
        for output in loop.train(SPEC, GRID, DATA, intervals, state, layout=ALONE, on_device="no"):
            state = output.state
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), straight)


def test_blocks_end_at_every_stop_and_fit(small_blocks):
    source = input_pipeline.make_input_pipeline(SPEC, GRID, DATA, 5, Devices(), on_device="no")
    assert source.max_steps == 2
    lengths = [block.num_steps for block in source.blocks(4, [9, 10])]
    assert lengths == [1, 2, 2, 1]
    sizes = {block.examples.pixels.shape for block in source.blocks(0, [3])}
    assert sizes == {(2, 2, 16, 3, 4, 1)}


def test_a_block_is_gathered_while_the_one_before_is_used(small_blocks, monkeypatch):
    gathered, following = [], threading.Event()
    gather = input_pipeline.StreamedInput._gather

    def counted(self, indices):
        gathered.append(indices)
        if len(gathered) == 2:
            following.set()
        return gather(self, indices)

    monkeypatch.setattr(input_pipeline.StreamedInput, "_gather", counted)
    source = input_pipeline.make_input_pipeline(SPEC, GRID, DATA, 5, Devices(), on_device="no")
    with contextlib.closing(source.blocks(0, [20])) as blocks:
        next(blocks)
        assert following.wait(60.0)
    assert len(gathered) == 2


def test_auto_streams_images_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(mesh, "fits", lambda num_bytes: num_bytes < DATA.train.nbytes)
    assert isinstance(
        input_pipeline.make_input_pipeline(SPEC, GRID, DATA, 5, Devices()),
        input_pipeline.StreamedInput,
    )
    monkeypatch.setattr(mesh, "fits", lambda num_bytes: num_bytes <= DATA.train.nbytes)
    assert isinstance(
        input_pipeline.make_input_pipeline(SPEC, GRID, DATA, 5, Devices()),
        input_pipeline.ResidentInput,
    )


def test_static_binarization_cannot_be_streamed():
    spec = dataclasses.replace(SPEC, binarize="static")
    with pytest.raises(InputError, match=r"^binarize=static: draws all images at once"):
        input_pipeline.make_input_pipeline(spec, GRID, DATA, 5, Devices(), on_device="no")


@pytest.mark.parametrize("mode", batches.BINARIZATIONS)
def test_the_batch_of_one_update_is_that_of_the_program(mode):
    spec, hparams = dataclasses.replace(SPEC, binarize=mode), HParams.of(seed=3)
    images = batches.as_observations(input_pipeline.resident(spec, DATA).pixels)
    x = input_pipeline.batch_at(spec, hparams, DATA, 4).x
    if mode == "dynamic":
        assert set(np.unique(x)) == {0.0, 1.0}
    else:
        assert (x == images[input_pipeline.example_indices(3, 4, 5, 16, 50)[0]]).all()
