"""A row of a study equals the run trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data
from vae_jax import api
from vae_jax.config import command_line, sweeps
from vae_jax.evaluation import elbo, scoring
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import BernoulliLikelihood, GaussianLikelihood
from vae_jax.models.networks import MLP, Conv
from vae_jax.models.vae import VAE
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.training import input_pipeline, loop, step, vectorized
from vae_jax.training.batches import Examples
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout, grid, take

DATA = tiny_data(96, (6, 5, 1))
EXAMPLES = Examples(jnp.asarray(DATA.train))
NETWORKS = {"mlp": MLP((24,)), "conv": Conv((4, 8), (16,))}
GRID = grid(beta=[0.5, 4.0], latent_size=[3, 17])


def _spec(max_latents: int, network: str = "mlp") -> TrainSpec:
    model = VAE(DATA.image_shape, max_latents, NETWORKS[network])
    return TrainSpec(model, batch_size=16, binarize="dynamic")


def _trained(spec, hparams, num_steps, layout):
    state = loop.initial_state(spec, hparams, DATA, layout)
    for output in loop.train(spec, hparams, DATA, Intervals(num_steps), state, layout=layout):
        state = output.state
    return state, scoring.score(spec, hparams, state, DATA, num_particles=3, layout=layout)


def _assert_rows(rows, expected, tolerance):
    for name in ("test_elbo", "test_log_likelihood", "test_kl", "test_nll", "test_elbo_se"):
        difference = [a[name] - b[name] for a, b in zip(rows, expected, strict=True)]
        assert np.abs(difference).max() <= tolerance, name


@pytest.mark.parametrize("network", NETWORKS)
def test_a_row_is_the_run_alone_to_the_bit(network):
    _, rows = _trained(_spec(17, network), GRID, 12, Layout())
    alone = [
        _trained(_spec(int(size), network), take(GRID, run), 12, Layout())[1][0]
        for run, size in enumerate(GRID.latent_size)
    ]
    _assert_rows(rows, alone, 0.0)
    for row, single in zip(rows, alone, strict=True):
        assert row["kl_per_latent"] == single["kl_per_latent"]


@pytest.fixture
def optimized():
    """Compile as users do; tests compile without most optimizations, which fuse and hoist."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize(
    ("num_classes", "likelihood"), [(3, BernoulliLikelihood()), (0, GaussianLikelihood())]
)
def test_a_row_is_scored_as_the_run_alone_to_the_bit(
    optimized, num_particles, num_classes, likelihood
):
    """Pixels are those of all runs; what the label or the decoder adds to them is a run's own."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (23, 7, 5, 1)).astype(np.uint8)
    model = VAE((7, 5, 1), 3, MLP((24,)), likelihood=likelihood, num_classes=num_classes)
    hparams, spec = grid(latent_size=3, seed=[0, 1]), elbo.EvalSpec(model, num_particles)
    params = jax.vmap(lambda own: model.init(own, jnp.full((7, 5, 1), 0.4)))(hparams)
    params = jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape).astype("f4"), params)
    labels = (np.arange(23) % 3).astype(np.int32) if num_classes else None
    data = elbo.in_batches(pixels, 1000, labels)

    def scored(runs):
        some = jax.tree.map(lambda a: a[runs], (hparams, params))
        found = scoring.evaluate_runs(spec, *some, data, num_examples=23, layout=Layout())
        return jax.tree.map(lambda a: np.asarray(a)[0], found)

    for both, alone in zip(*map(jax.tree.leaves, map(scored, (slice(2), slice(1)))), strict=True):
        np.testing.assert_array_equal(both, alone)


@pytest.mark.parametrize("network", NETWORKS)
def test_vmapped_rows_agree_in_float32_for_twenty_steps(network):
    spec = _spec(17, network)
    _, expected = _trained(spec, GRID, 20, Layout())
    _, rows = _trained(spec, GRID, 20, Layout(max_parallel_runs=4))
    _assert_rows(rows, expected, 1e-3)


@pytest.mark.parametrize("network", ["mlp", pytest.param("conv", marks=pytest.mark.slow)])
def test_in_float64_no_layout_matters(float64, network):
    hparams, spec = grid(beta=[0.5, 4.0], latent_size=[3, 17]), _spec(17, network)
    _, expected = _trained(spec, hparams, 300, Layout())
    for layout in (Layout(4, 1), Layout(2, 3)):
        _, rows = _trained(spec, hparams, 300, layout)
        _assert_rows(rows, expected, 1e-6)


def test_permuted_values_permute_the_rows():
    spec = _spec(17)
    _, rows = _trained(spec, GRID, 5, Layout())
    backwards = jax.tree.map(lambda a: a[::-1], GRID)
    _, permuted = _trained(spec, backwards, 5, Layout())
    _assert_rows(permuted[::-1], rows, 0.0)


def test_a_study_compiles_once():
    before = vectorized.train_chunk._cache_size()
    spec, examples = _spec(17), EXAMPLES
    for hparams in (GRID, grid(beta=[1.0, 2.0], learning_rate=[1e-3, 1e-1])):
        state = vectorized.init(spec, hparams, jnp.full(DATA.image_shape, 0.4))
        vectorized.train_chunk(spec, hparams, state, examples, jnp.int32(2), max_steps=3)
    assert vectorized.train_chunk._cache_size() == before + 1


def test_a_study_over_devices_has_no_collective():
    layout, spec = Layout(1, 4), _spec(17)
    hparams = grid(seed=range(8))
    arguments_ = mesh.to_devices(
        layout.devices,
        (hparams, loop.initial_state(spec, hparams, DATA, layout)),
        (EXAMPLES, jnp.int32(2)),
    )
    (hparams, state), (examples, steps) = arguments_
    lowered = vectorized.train_chunk.lower(
        spec, hparams, state, examples, steps, max_steps=2, layout=layout
    )
    text = lowered.compile().as_text()
    assert "num_partitions=4" in text
    for name in ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter"):
        assert name not in text


@pytest.mark.parametrize("layout", [Layout(), Layout(max_parallel_runs=3)])
def test_a_run_that_diverges_moves_no_bit_of_its_neighbours(layout):
    spec = _spec(4)
    calm = HParams.of(learning_rate=[1e-3, 1e-2, 1e-3], latent_size=4)
    wild = calm._replace(learning_rate=jnp.array([1e-3, 1e30, 1e-3]))
    state, rows = _trained(spec, wild, 8, layout)
    _, expected = _trained(spec, calm, 8, layout)
    _assert_rows([rows[0], rows[2]], [expected[0], expected[2]], 0.0)
    assert state.diverged.tolist()[::2] == [-1, -1]
    assert 0 < int(state.diverged[1]) < 8
    assert {rows[1][name] for name in ("test_elbo", "test_nll", "test_kl", "active_units")} == {
        None
    }
    hparams, alone = take((wild, state), 1)
    batch = input_pipeline.batch_at(spec, hparams, DATA, int(alone.diverged))
    name = step.first_not_finite(spec, hparams, alone, batch, len(DATA.train))
    assert name.split("/")[0] in ("params", "posterior", "z", "outputs", "terms")


def test_grid_order_and_defaults():
    hparams = grid(beta=[1, 2], seed=range(3), latent_size=5)
    assert hparams.beta.tolist() == [1, 1, 1, 2, 2, 2]
    assert hparams.seed.tolist() == [0, 1, 2, 0, 1, 2]
    assert hparams.latent_size.tolist() == [5] * 6
    assert (hparams.learning_rate == HParams.of().learning_rate).all()


def _values(text: str) -> tuple:
    return sweeps.axes(command_line.parse([f"--sweep={text}"]))[0].values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("beta=0.5,1,2", (0.5, 1.0, 2.0)),
        ("seed=0:4", (0, 1, 2, 3)),
        ("latent_size=2,8", (2, 8)),
        ("learning_rate=log:1e-4:1e-2:3", (1e-4, 1e-3, 1e-2)),
        ("beta=lin:0:1:3", (0.0, 0.5, 1.0)),
        ("hidden_sizes=400/400,200", ((400,), (400, 200))),
        ("network=mlp,conv", ("mlp", "conv")),
    ],
)
def test_values_of_a_sweep(text, values):
    assert _values(text) == values


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["bta=1,2"], "did you mean beta?"),
        (["workdir=a,b"], "workdir cannot be swept"),
        (["num_steps=1,2"], "num_steps cannot be swept"),
        (["beta="], "no values"),
        (["beta"], "no values"),
        (["beta=1,1.0"], "a value occurs twice"),
        (["beta=1,x"], "--beta=x: must be"),
        (["beta=1,,2"], "--beta=: must be"),
        (["latent_size=0,2"], "--latent_size=0: must be"),
        (["seed=3:3"], "3:3 is empty"),
        (["beta=log:0:1:3"], "above 0 for log"),
        (["beta=log:1:2"], "LOW:HIGH:NUMBER"),
        (["beta=1,2", "beta=3"], "beta is swept twice"),
        (["channels=8/16"], "has no effect with --network=mlp"),
    ],
)
def test_a_bad_sweep_is_refused_in_one_line(texts, message):
    with pytest.raises(InputError) as error:
        sweeps.configs(command_line.parse([f"--sweep={text}" for text in texts]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_are_the_product_with_the_last_sweep_fastest():
    rows = sweeps.configs(
        command_line.parse(["--sweep=network=mlp,conv", "--sweep=seed=0:2", "--channels=8"])
    )
    assert [(row.network, row.seed) for row in rows] == [
        ("mlp", 0),
        ("mlp", 1),
        ("conv", 0),
        ("conv", 1),
    ]


def test_an_ablation_is_one_call_with_a_table_and_single_models():
    spec = _spec(3)
    found = api.ablate(spec, grid(beta=[0.5, 2.0], latent_size=3), DATA, 5)
    assert [row["beta"] for row in found.table] == [0.5, 2.0]
    alone = api.ablate(spec, grid(beta=2.0, latent_size=3), DATA, 5)
    assert alone.table[0]["test_elbo"] == found.table[1]["test_elbo"]
    key, shape = jax.random.key(0), (7, *DATA.image_shape)
    samples = [each.take(run).sample(key, 7) for each, run in ((found, 1), (alone, 0))]
    assert samples[0].shape == shape
    np.testing.assert_array_equal(*samples)
    assert (np.asarray(found.take(0).sample(key, 7)) != np.asarray(samples[0])).any()
