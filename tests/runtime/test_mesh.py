"""A program computes the same on every mesh and sends only the shares of a gradient."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data
from vae_jax.config import command_line
from vae_jax.evaluation import scoring
from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE
from vae_jax.objectives import ImportanceWeighted
from vae_jax.objectives.regularizers import DIP, MMD, FactorVAE, TotalCorrelation
from vae_jax.runtime import jax_versions, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.mesh import AUTOMATIC, Devices
from vae_jax.training import input_pipeline, loop, memory, vectorized
from vae_jax.training import step as training_step
from vae_jax.training.batches import Examples
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout, grid

DATA = tiny_data(96, (6, 5, 1))
MODEL = VAE(DATA.image_shape, 5, MLP((12,)))
SPEC = TrainSpec(MODEL, batch_size=16, binarize="dynamic")


def _trained(spec, hparams, num_steps, layout):
    state = loop.initial_state(spec, hparams, DATA, layout)
    score = scoring.valid_scorer(spec, hparams, DATA, layout)
    rows, intervals = [], Intervals(num_steps)
    for output in loop.train(
        spec, hparams, DATA, intervals, state, layout=layout, score_valid=score
    ):
        state, rows = output.state, output.rows
    return rows


def _assert_equal(rows, expected, tolerance):
    for name in ("train_objective", "train_kl", "valid_elbo", "valid_elbo_se"):
        difference = [a[name] - b[name] for a, b in zip(rows, expected, strict=True)]
        assert np.abs(difference).max() <= tolerance, name


@pytest.fixture(scope="module")
def straight():
    """Return rows of three runs on one device, after 60 updates in double precision."""
    with jax_versions.enable_x64(True):
        return _trained(SPEC, _three(), 60, Layout())


def _three() -> HParams:
    return grid(beta=[0.5, 1.0, 4.0], latent_size=5)


@pytest.mark.parametrize(
    "layout",
    [
        *(Layout(2, 2, 2), Layout(1, 4, 2)),
        *(
            pytest.param(Layout(*more), marks=pytest.mark.slow)
            for more in ((1, 2, 1), (1, 1, 2), (1, 1, 8), (1, 8, 1), (3, 1, 4))
        ),
    ],
    ids=str,
)
def test_no_mesh_changes_what_is_learned(float64, straight, layout):
    _assert_equal(_trained(SPEC, _three(), 60, layout), straight, 1e-6)


def _objective(spec, hparams, devices):
    """Return the objective of the first update, penalties included."""
    data_mean, pixels = jnp.full(DATA.image_shape, 0.5), jnp.asarray(DATA.train)

    def first(shared, hparams):
        data_mean, pixels = shared
        state = training_step.init(spec, hparams, data_mean)
        batch = training_step.draw_batch(
            spec, training_step.BatchKeys.at(hparams, state.step), Examples(pixels), jnp.arange(16)
        )
        args = spec, hparams, state.step, state.params, batch.split(), len(pixels)
        return training_step.regularized_objective(*args)[0]

    def on_device(shared, hparams):
        return jax.lax.map(lambda own: first(shared, own), hparams)

    shared = mesh.replicate((data_mean, pixels), devices)
    mapped = mesh.pad_runs(hparams, devices)
    return mesh.to_host(jax.jit(mesh.over_devices(on_device, devices))(shared, mapped))


def test_bounds_and_penalties_that_compare_the_examples_of_a_batch(float64):
    penalties = TotalCorrelation(), DIP(), MMD(), FactorVAE()
    spec = TrainSpec(MODEL, ImportanceWeighted(3), penalties, batch_size=16)
    weights = {"tc_weight": 2.0, "dip_offdiagonal": 3.0, "mmd_weight": 5.0, "factor_weight": 2.0}
    hparams = grid(latent_size=5, **weights)
    found = _objective(spec, hparams, Devices(1, 4))
    np.testing.assert_allclose(found, _objective(spec, hparams, Devices()), rtol=1e-12)


def test_scores_of_a_split_over_the_mesh(float64):
    hparams, one, many = _three(), Layout(), Layout(1, 2, 4)
    state = loop.initial_state(SPEC, hparams, DATA, many)
    expected, scores = (
        scoring.score(SPEC, hparams, state, DATA, "train", num_particles=3, layout=layout)
        for layout in (one, many)
    )
    for name in ("train_nll", "train_elbo", "train_kl_per_latent", "train_variance_per_latent"):
        values = [[row[name] for row in rows] for rows in (scores, expected)]
        np.testing.assert_allclose(*values, rtol=1e-12)


def test_bits_do_not_depend_on_the_mesh():
    def draw(devices):
        def one(shared, hparams):
            return jax.lax.map(lambda h: _batch_of(h, *shared), hparams)

        fn = jax.jit(mesh.over_devices(one, devices))
        pixels, step = jnp.asarray(DATA.train), jnp.int32(3)
        shared = mesh.replicate((pixels, step), devices)
        return mesh.to_host(fn(shared, mesh.pad_runs(grid(seed=[0, 1]), devices)))

    alone = draw(Devices())
    for devices in (Devices(2, 1), Devices(2, 4)):
        jax.tree.map(np.testing.assert_array_equal, draw(devices), alone)


def _batch_of(hparams, pixels, step):
    batch = training_step.draw_batch(
        SPEC, training_step.BatchKeys.at(hparams, step), Examples(pixels), jnp.arange(16)
    ).split()
    return batch.x, batch.noise


def _compiled(layout: Layout) -> str:
    hparams = grid(seed=range(8), latent_size=5)
    state = loop.initial_state(SPEC, hparams, DATA, layout)
    shared = input_pipeline.resident(SPEC, DATA), jnp.int32(2)
    (hparams, state), (examples, steps) = mesh.to_devices(layout.devices, (hparams, state), shared)
    lowered = vectorized.train_chunk.lower(
        SPEC, hparams, state, examples, steps, max_steps=2, layout=layout
    )
    return lowered.compile().as_text()


def _collectives(text: str) -> list[tuple[str, str, str]]:
    """Return shapes, kind and groups of each collective."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    line = rf"= (.*?) ({kinds})(?:-start)?\(.*replica_groups=(\S+?), "
    return re.findall(line, text)


def test_runs_send_nothing():
    text = _compiled(Layout(1, 8))
    assert "num_partitions=8" in text
    assert not _collectives(text)
    assert "all-" not in text


def test_a_batch_sends_its_shares_of_the_gradient_and_nothing_else():
    text = _compiled(Layout(1, 4, 2))
    found = _collectives(text)
    assert {(kind, groups) for _, kind, groups in found} == {("all-reduce", "[4,2]<=[8]")}
    assert len(re.findall(r"all-\w+\(", text)) == len(found)
    shapes = [s for shapes, _, _ in found for s in re.findall(r"f32\[([\d,]*)\]", shapes)]
    mean = jnp.zeros(DATA.image_shape)
    one = jax.eval_shape(lambda: training_step.init(SPEC, HParams.of(), mean))
    gradient = sorted(leaf.size for leaf in jax.tree.leaves(one.params))
    sizes = sorted(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes)
    assert [size for size in sizes if size > 1] == gradient
    assert sizes.count(1) == 3  # objective, log-likelihood, KL


def test_a_transfer_that_was_not_requested_is_an_error(monkeypatch):
    state = loop.initial_state(SPEC, _three(), DATA)
    intervals = loop.train(
        SPEC, _three(), DATA, Intervals(2, chunk_steps=1), state, layout=Layout()
    )
    next(intervals)
    monkeypatch.setattr(mesh, "replicate", lambda tree, devices: tree)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        next(intervals)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends to have so many devices of a kind."""

    def pretend(num_devices: int, backend: str = "tpu", num_processes: int = 1) -> None:
        monkeypatch.setattr(jax, "device_count", lambda: num_devices)
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        monkeypatch.setattr(jax, "process_count", lambda: num_processes)

    return pretend


@pytest.mark.parametrize(
    ("num_runs", "batch_size", "requested", "expected"),
    [
        (12, 128, AUTOMATIC, (8, 1)),
        (8, 128, AUTOMATIC, (8, 1)),
        (4, 128, AUTOMATIC, (4, 2)),
        (3, 128, AUTOMATIC, (3, 2)),
        (1, 128, AUTOMATIC, (1, 8)),
        (1, 100, AUTOMATIC, (1, 5)),
        (1, 7, AUTOMATIC, (1, 7)),
        (1, 11, AUTOMATIC, (1, 1)),
        (12, 128, Devices(2, 0), (2, 4)),
        (12, 128, Devices(0, 4), (2, 4)),
        (12, 128, Devices(2, 2), (2, 2)),
        (12, 128, Devices(1, 1), (1, 1)),
    ],
)
def test_runs_come_first_then_the_batch_over_what_is_left(
    machine, num_runs, batch_size, requested, expected
):
    machine(8)
    assert mesh.choose_devices(num_runs, batch_size, requested) == expected


def test_on_one_cpu_a_batch_is_split_only_when_requested(machine):
    machine(8, "cpu")
    assert mesh.choose_devices(1, 128) == (1, 1)
    assert mesh.choose_devices(1, 128, Devices(0, 4)) == (1, 4)
    assert mesh.choose_devices(3, 128) == (3, 1)


@pytest.mark.parametrize(
    ("num_runs", "batch_size", "requested", "expected"),
    [
        (1, 128, AUTOMATIC, (1, 8)),
        (3, 128, AUTOMATIC, (2, 4)),
        (12, 128, AUTOMATIC, (8, 1)),
        (1, 100, AUTOMATIC, (2, 4)),
        (1, 11, AUTOMATIC, (8, 1)),
        (3, 128, Devices(4, 0), (4, 2)),
        (3, 128, Devices(0, 8), (1, 8)),
    ],
)
def test_the_mesh_of_several_hosts_takes_all_devices(
    machine, num_runs, batch_size, requested, expected
):
    machine(8, "cpu", num_processes=2)
    assert mesh.choose_devices(num_runs, batch_size, requested) == expected
    assert not mesh.problem_with(Devices(*expected))
    assert "must take all" in mesh.problem_with(Devices(3, 2))


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"batch_devices=5: takes 10 devices, and there are 8"):
        memory.layout_for(SPEC, _three(), requested=Devices(2, 5))


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    with pytest.raises(InputError, match=r"--batch_devices=3: does not divide --batch_size=128;"):
        command_line.parse(["--batch_devices=3"])
