import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.oracles import tiny_data, tiny_vae
from vae_jax import api
from vae_jax.evaluation import scoring
from vae_jax.hparams import HParams
from vae_jax.models.networks import MLP
from vae_jax.objectives import Elbo, ImportanceWeighted
from vae_jax.runtime.mesh import Devices
from vae_jax.training import input_pipeline, loop, memory, vectorized
from vae_jax.training import step as training_step
from vae_jax.training.batches import Examples, epochs_touched
from vae_jax.training.intervals import Intervals
from vae_jax.training.optimizers import Adam
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import Batch
from vae_jax.training.vectorized import Layout

SPEC = TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic")
DATA = tiny_data()

_init = jax.jit(training_step.init, static_argnums=0)
_step = jax.jit(training_step.train_step, static_argnums=(0, 4))


@functools.partial(jax.jit, static_argnums=0)
def _noise(spec, hparams, step):
    data = Examples(jnp.zeros((spec.batch_size, 3, 4, 1), jnp.uint8))
    return training_step.draw_batch(spec, training_step.BatchKeys.at(hparams, step), data).noise


def _leaves(state) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def _assert_same(left, right) -> None:
    for a, b in zip(_leaves(left), _leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_step_is_adams_first_step(float64):
    """Check the first update against Adam's by hand: -lr * g / (|g| + eps)."""
    hparams = HParams.of(latent_size=4, learning_rate=0.01, seed=2)
    state = _init(SPEC, hparams, jnp.full((3, 4, 1), 0.4))
    x, noise = jnp.ones((16, 3, 4, 1)), _noise(SPEC, hparams, state.step)

    def loss(params):
        terms = Elbo()(SPEC.model, hparams, params, x, noise, state.step).terms
        return -terms.elbo.mean()

    gradient = jax.jit(jax.grad(loss))(state.params)
    stepped, terms = _step(SPEC, hparams, state, Batch(x, noise, jax.random.key(0)), 64)
    expected = jax.tree.map(lambda p, g: p - 0.01 * g / (abs(g) + 1e-8), state.params, gradient)
    for a, b in zip(_leaves(stepped.params), _leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert float(terms.objective) == pytest.approx(-float(loss(state.params)))


def test_many_steps_are_optaxs_adam(float64):
    """Compare with optax: the barrier behind which moments are updated changes no number."""
    hparams, params = HParams.of(learning_rate=0.01), {"a": jnp.ones(5), "b": jnp.zeros((2, 3))}
    samples = np.random.default_rng(0).normal(size=(20, 11)) * np.logspace(-6, 2, 11)
    gradients = [{"a": g[:5], "b": g[5:].reshape(2, 3)} for g in jnp.asarray(samples)]

    def train(transformation: optax.GradientTransformation):
        def step(carry, gradient):
            updates, state = transformation.update(gradient, carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        start = params, transformation.init(params)
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *gradients)
        return jax.jit(lambda: jax.lax.scan(step, start, stacked)[0][0])()

    ours = train(Adam().transformation(hparams, jnp.int32(0)))
    for a, b in zip(_leaves(ours), _leaves(train(optax.adam(0.01))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_training_raises_the_elbo():
    hparams = HParams.of(latent_size=2, learning_rate=0.01)
    start = loop.initial_state(SPEC, hparams, DATA)
    before = scoring.score(SPEC, hparams, start, DATA)[0]["test_elbo"]
    after = scoring.score(SPEC, hparams, api.fit(SPEC, hparams, DATA, 200).state, DATA)[0][
        "test_elbo"
    ]
    assert after > before + 0.5


@pytest.mark.parametrize(
    "intervals", [Intervals(13, 13, 13, 13), Intervals(13, 4, 5, 6), Intervals(13, 1)]
)
def test_intervals_change_no_bit(intervals):
    hparams = HParams.of(latent_size=3)
    straight = api.fit(SPEC, hparams, DATA, 13).state
    state = loop.initial_state(SPEC, hparams, DATA)
    steps = []
    for output in loop.train(SPEC, hparams, DATA, intervals, state):
        steps.append(output.step)
        state = output.state
    _assert_same(state, straight)
    assert steps == sorted(set(steps))
    assert steps[-1] == 13


@pytest.mark.parametrize(
    "intervals",
    [Intervals(9000, 10**9, 700, 900), Intervals(2000, 600, 10**9, 7), Intervals(80, 13, 50, 20)],
)
def test_a_program_is_built_for_the_longest_chunk(intervals):
    steps = [0, *intervals.after(0)]
    assert max(b - a for a, b in itertools.pairwise(steps)) <= intervals.longest_chunk
    assert intervals.longest_chunk <= 700


def test_the_least_memory_is_that_of_the_arrays_that_there_are():
    hparams, intervals = HParams.of(latent_size=3, seed=[0, 1]), Intervals(9, 4)
    state = loop.initial_state(SPEC, hparams, DATA)
    pixels = 4 * 16 * 3 * 4
    order = 4 * len(DATA.train) * epochs_touched(4, 16, len(DATA.train))
    least = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2 * pixels + order
    assert memory.least_bytes(SPEC, 2, len(DATA.train), intervals) == least


class _Accelerator(NamedTuple):
    """Device whose free memory JAX reports."""

    free: int
    platform: str = "tpu"

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": self.free + 1000, "bytes_in_use": 1000}


def test_an_accelerator_advances_as_many_runs_as_four_fifths_of_its_memory_hold(monkeypatch):
    hparams, needed = HParams.of(latent_size=3, seed=list(range(9))), memory.bytes_per_run(SPEC)
    for num_runs, expected in [(0.9, 1), (3.1, 3), (100, 9)]:
        device = _Accelerator(int(num_runs * needed / 0.8))
        monkeypatch.setattr(jax, "local_devices", lambda device=device: [device])
        layout = memory.layout_for(SPEC, hparams, requested=Devices(1, 1))
        assert layout.max_parallel_runs == expected


def test_a_cpu_advances_one_run_at_a_time_and_estimates_nothing(monkeypatch):
    monkeypatch.setattr(memory, "bytes_per_run", None)
    hparams = HParams.of(latent_size=3, seed=list(range(9)))
    assert memory.layout_for(SPEC, hparams, requested=Devices(1, 1)) == Layout()


def test_the_memory_of_a_run_follows_the_batch_of_an_update_or_of_an_evaluation():
    """Compare batches with an evaluation's thousand examples, below which the estimate is flat."""

    def estimate(**changed: Any) -> int:
        return memory.bytes_per_run(dataclasses.replace(SPEC, **changed))

    assert estimate(batch_size=16) == pytest.approx(estimate(batch_size=32), rel=0.05)
    large = estimate(batch_size=1000)
    assert 1.5 < estimate(batch_size=2000) / large < 2.0
    assert estimate(batch_size=1000, objective=ImportanceWeighted(2)) > 1.5 * large


def test_training_on_from_a_state_is_training_straight():
    hparams = HParams.of(latent_size=3)
    state = api.fit(SPEC, hparams, DATA, 5).state
    for output in loop.train(SPEC, hparams, DATA, Intervals(9), state):
        state = output.state
    _assert_same(state, api.fit(SPEC, hparams, DATA, 9).state)


def test_new_values_do_not_compile_anew():
    state = api.fit(SPEC, HParams.of(latent_size=3), DATA, 2).state
    examples = input_pipeline.resident(SPEC, DATA)
    before = vectorized.train_chunk._cache_size()
    for hparams, steps in [
        (HParams.of(latent_size=[3]), 2),
        (HParams.of(latent_size=[1], beta=7, learning_rate=0.5, seed=9, warmup_steps=4), 3),
    ]:
        spec = TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic")
        state, _ = vectorized.train_chunk(
            spec, hparams, state, examples, jnp.int32(steps), max_steps=4
        )
    assert vectorized.train_chunk._cache_size() == before + 1


def test_a_run_that_diverges_stores_the_number_of_the_update():
    state = api.fit(SPEC, HParams.of(latent_size=3, learning_rate=1e30), DATA, 6).state
    assert 0 < int(state.diverged[0]) < 6
    assert int(api.fit(SPEC, HParams.of(latent_size=3), DATA, 6).state.diverged[0]) == -1


def test_an_update_that_is_not_finite_leaves_the_state_before_it(float64):
    hparams = HParams.of(latent_size=4)
    state = _init(SPEC, hparams, jnp.full((3, 4, 1), 0.4))
    encoder = state.params["encoder"]
    head = encoder["log_var"] | {"bias": jnp.full_like(encoder["log_var"]["bias"], jnp.inf)}
    broken = state._replace(params=state.params | {"encoder": encoder | {"log_var": head}})
    batch = Batch(jnp.ones((16, 3, 4, 1)), _noise(SPEC, hparams, state.step), jax.random.key(0))
    stepped, _ = _step(SPEC, hparams, broken, batch, 64)
    assert int(stepped.diverged) == 0
    _assert_same((stepped.params, stepped.opt_state), (broken.params, broken.opt_state))


def test_the_terms_of_a_chunk_are_means_over_its_updates(float64):
    hparams = HParams.of(latent_size=[3])
    rows = []
    for intervals in (Intervals(4, 1), Intervals(4)):
        state = loop.initial_state(SPEC, hparams, DATA)
        rows.append(
            [output.rows[0] for output in loop.train(SPEC, hparams, DATA, intervals, state)]
        )
    single, whole = rows
    for name in ("train_elbo", "train_kl", "train_log_likelihood"):
        assert whole[-1][name] == pytest.approx(np.mean([row[name] for row in single]), rel=1e-12)


def test_many_particles_lower_the_noise_of_the_objective():
    spread, objective = [], jax.jit(Elbo(), static_argnums=0)
    for num_particles in (1, 64):
        spec = TrainSpec(tiny_vae(), Elbo(num_particles), batch_size=8)
        hparams = HParams.of(latent_size=4)
        params = _init(spec, hparams, jnp.full((3, 4, 1), 0.4)).params
        x = jnp.ones((8, 3, 4, 1))
        values = [
            objective(spec.model, hparams, params, x, _noise(spec, hparams, jnp.int32(s)), s)
            for s in range(20)
        ]
        spread.append(np.std([value.objective for value in values], axis=0).mean())
    assert spread[1] < 0.3 * spread[0]


def test_schedule_and_warm_up():
    hparams = HParams.of(warmup_steps=10)
    rates = [float(Adam().rate(hparams, jnp.int32(step))) for step in (0, 4, 9, 50)]
    np.testing.assert_allclose(rates, [0.1, 0.5, 1, 1], rtol=1e-6)
    cosine = Adam("cosine", num_steps=110)
    rates = [float(cosine.rate(hparams, jnp.int32(step))) for step in (0, 10, 60, 110)]
    np.testing.assert_allclose(rates, [0.1, 1, 0.5, 0], atol=1e-6)
    reference = optax.cosine_decay_schedule(1.0, 110)
    unwarmed = HParams.of()
    for step in (0, 17, 109):
        assert float(cosine.rate(unwarmed, jnp.int32(step))) == pytest.approx(
            float(reference(step)), rel=1e-5
        )


def test_clipping_bounds_the_gradient_and_infinity_does_nothing():
    params = {"w": jnp.zeros(2)}
    gradient = {"w": jnp.array([3.0, 4.0])}
    for clip_norm, expected in ((1.0, [0.6, 0.8]), (jnp.inf, [3.0, 4.0])):
        clip = optax.clip_by_global_norm(HParams.of(clip_norm=clip_norm).clip_norm)
        clipped, _ = clip.update(gradient, clip.init(params))
        np.testing.assert_allclose(clipped["w"], expected, rtol=1e-6)
    hparams = HParams.of(latent_size=4, clip_norm=1e-9)
    spec = TrainSpec(tiny_vae(), optimizer=Adam(is_clipped=True), batch_size=16)
    state = api.fit(spec, hparams, DATA, 1).state
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim > 1]
    assert max(float(abs(leaf).max()) for leaf in moments) <= 1e-10


def test_noise_is_prefix_stable():
    hparams, step = HParams.of(seed=4), jnp.int32(3)
    narrow = _noise(TrainSpec(tiny_vae(3)), hparams, step)
    wide = _noise(TrainSpec(tiny_vae(17)), hparams, step)
    np.testing.assert_array_equal(narrow[..., :3], wide[..., :3])


def test_spec_of_another_architecture_is_another_value():
    assert TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic") == SPEC
    assert SPEC.model.network != MLP((9,), "tanh")
