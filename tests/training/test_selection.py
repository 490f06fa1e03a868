"""Weights of the best look at valid are kept, and runs without a rise stop, within one program."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracles import tiny_data, tiny_vae
from vae_jax.hparams import HParams
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint, loop, memory, selection, vectorized
from vae_jax.training.checkpoint import Checkpoints
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.training.vectorized import Layout, grid

DATA = tiny_data()
LAST = TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic")
BEST = TrainSpec(tiny_vae(), batch_size=16, binarize="dynamic", keep="best")
GRID = grid(seed=[0, 1, 2], latent_size=4, patience=2)
ALONE = Layout()
BOUNDS = ([-9.0, -8.0, -8.5, -8.5, -1.0], [-9.0, -8.0, -7.0, -6.0, -5.0], [-9.0, np.nan, -9.5, -1])
"""Bounds of three runs at their looks: the first stops after the fourth, the last after the third.
"""


def _scripted(bounds):
    """Return what scores valid as it is written, whatever the parameters are."""
    looks = iter(range(100))

    def score(params):
        look = next(looks)
        return [{"valid_elbo": own[min(look, len(own) - 1)]} for own in bounds]

    return score


def _outputs(spec, hparams, num_looks, bounds=BOUNDS, layout=ALONE, state=None):
    """Return the outputs of a training with a look every two updates."""
    spec = spec.specialized(hparams)
    state = loop.initial_state(spec, hparams, DATA, layout) if state is None else state
    intervals = Intervals(2 * num_looks, eval_every=2)
    scorer, outputs = _scripted(bounds), []
    for output in loop.train(
        spec, hparams, DATA, intervals, state, layout=layout, score_valid=scorer
    ):
        outputs.append(output._replace(state=jax.tree.map(np.array, output.state)))
    return outputs


def _assert_same(left, right) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


class TestLook:
    @pytest.mark.parametrize("bound", [np.nan, np.inf, -np.inf, -3.0])
    def test_only_a_finite_higher_bound_is_a_rise(self, bound):
        record = selection.start({"w": jnp.zeros(1)}, is_best_kept=True)
        record = selection.look(record, 0, jnp.float32(-3.0), 5, {"w": jnp.ones(1)}, False)
        after = selection.look(record, 0, jnp.float32(bound), 10, {"w": jnp.full(1, 2.0)}, False)
        assert (int(after.step), float(after.bound), int(after.num_since)) == (5, -3.0, 1)
        _assert_same(after.params, {"w": jnp.ones(1)})

    def test_without_any_finite_bound_the_last_weights_are_kept_and_patience_ends(self):
        record = selection.start({"w": jnp.zeros(1)}, is_best_kept=True)
        for step in (5, 10):
            record = selection.look(
                record, 2, jnp.float32(np.nan), step, {"w": jnp.full(1, step)}, False
            )
        assert (int(record.step), int(record.stopped)) == (10, 10)
        assert float(record.params["w"][0]) == 10

    def test_of_a_run_that_diverged_or_stopped_nothing_changes(self):
        record = selection.start({"w": jnp.zeros(1)}, is_best_kept=True)
        after = selection.look(record, 1, jnp.float32(-1.0), 5, {"w": jnp.ones(1)}, True)
        _assert_same(after, record)
        stopped = record._replace(stopped=jnp.int32(4))
        after = selection.look(stopped, 1, jnp.float32(-1.0), 5, {"w": jnp.ones(1)}, False)
        _assert_same(after, stopped)


@pytest.mark.parametrize("layout", [Layout(), Layout(max_parallel_runs=3)])
def test_a_run_without_a_rise_is_frozen_and_the_others_go_on(layout):
    outputs = _outputs(BEST, GRID, 5, layout=layout)
    assert [output.step for output in outputs] == [2, 4, 6, 8, 10]
    final = outputs[-1].state
    assert final.valid.stopped.tolist() == [8, -1, 6]
    assert final.valid.step.tolist() == [4, 10, 2]
    assert final.step.tolist() == [10] * 3
    for run, (best, stop) in enumerate([(4, 8), (10, 10), (2, 6)]):
        own = vectorized.take(final, run)
        at_stop, at_best = (
            vectorized.take(outputs[step // 2 - 1].state, run) for step in (stop, best)
        )
        _assert_same((own.params, own.opt_state), (at_stop.params, at_stop.opt_state))
        _assert_same(own.valid.params, at_best.params)
    logged = [[row["run"] for row in output.rows] for output in outputs]
    assert logged == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1], [1]]


def test_kept_weights_are_the_last_of_a_run_that_ends_at_the_best_look():
    kept = vectorized.take(_outputs(BEST, GRID, 4)[-1].state, 0)
    straight = _outputs(LAST, GRID._replace(patience=np.zeros(3)), 2)[-1].state
    _assert_same(kept.eval_params, vectorized.take(straight, 0).eval_params)
    assert straight.valid == ()
    assert int(kept.eval_step) == 4


def test_the_average_of_the_parameters_is_what_is_kept_and_frozen():
    averaged = GRID._replace(ema=np.full(3, 0.9))
    outputs = _outputs(BEST, averaged, 5)
    final = outputs[-1].state
    for run, (best, stop) in enumerate([(4, 8), (10, 10), (2, 6)]):
        own = vectorized.take(final, run)
        _assert_same(own.average, vectorized.take(outputs[stop // 2 - 1].state.average, run))
        _assert_same(own.eval_params, vectorized.take(outputs[best // 2 - 1].state.average, run))


def test_a_training_ends_when_every_run_has_stopped_and_is_not_begun_again():
    outputs = _outputs(BEST, GRID, 50, bounds=[[-1.0]] * 3)
    assert [(output.step, output.is_last) for output in outputs] == [
        (2, False),
        (4, False),
        (6, True),
    ]
    state = jax.tree.map(jnp.asarray, outputs[-1].state)
    assert _outputs(BEST, GRID, 50, state=state) == []


def test_a_run_that_stopped_does_not_diverge_any_more():
    hparams, layout = GRID._replace(learning_rate=np.full(3, 1e30)), Layout(max_parallel_runs=3)
    spec = BEST.specialized(hparams)
    state = loop.initial_state(spec, hparams, DATA, layout)
    state = state._replace(valid=state.valid._replace(stopped=jnp.array([-1, 0, -1])))
    final = _outputs(BEST, hparams, 5, bounds=[[-1.0]] * 3, layout=layout, state=state)[-1].state
    assert final.diverged[1] == -1
    assert (final.diverged[[0, 2]] >= 0).all()


def test_two_ways_to_stop_are_one_result():
    """Compare the loop that leaves out updates of a run alone with the one that holds them."""
    alone, together = (
        _outputs(BEST, GRID, 5, layout=Layout(max_parallel_runs=n))[-1].state for n in (1, 3)
    )
    assert alone.valid.stopped.tolist() == together.valid.stopped.tolist()
    assert alone.step.tolist() == together.step.tolist()
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(together.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_choosing_on_valid_changes_no_update():
    chosen = _outputs(BEST, GRID._replace(patience=np.full(3, 99)), 3)[-1].state
    plain = _outputs(LAST, GRID._replace(patience=np.zeros(3)), 3)[-1].state
    _assert_same((chosen.params, chosen.opt_state), (plain.params, plain.opt_state))


def test_what_is_chosen_on_valid_needs_its_evaluation():
    spec = BEST.specialized(GRID)
    state = loop.initial_state(spec, GRID, DATA, Layout())
    with pytest.raises(InputError, match=r"keep=best: .* chosen on valid, which is not evaluated"):
        list(loop.train(spec, GRID, DATA, Intervals(2), state))


def test_memory_grows_by_one_copy_of_the_parameters():
    hparams = HParams.of(latent_size=4)
    plain = loop.initial_state(LAST, hparams, DATA, Layout())
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(plain.params))
    intervals = Intervals(2)
    grown = memory.least_bytes(BEST, 1, 64, intervals) - memory.least_bytes(LAST, 1, 64, intervals)
    assert grown == size + 16  # and four numbers
    assert memory.bytes_per_run(BEST) > memory.bytes_per_run(LAST)
    patient = LAST.specialized(hparams._replace(patience=3))
    assert memory.least_bytes(patient, 1, 64, intervals) - grown < memory.least_bytes(
        LAST, 1, 64, intervals
    )


@pytest.mark.parametrize("spec", [LAST, BEST])
def test_a_checkpoint_holds_a_record_only_where_something_is_chosen(spec, tmp_path):
    state = loop.initial_state(spec, HParams.of(latent_size=4), DATA, Layout())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state, {})
    stored = json.loads((tmp_path / "0" / "state" / "_METADATA").read_text())["tree_metadata"]
    names = {entry["key_metadata"][0]["key"] for entry in stored.values()}
    assert ("valid" in names) == (spec.keep == "best")
    assert names >= {"step", "params", "opt_state", "diverged", "average"}
    restored = Checkpoints(tmp_path).restore(0, state)
    _assert_same(restored, state)
    weights = checkpoint.restore_weights(tmp_path, 0)
    _assert_same(weights.eval_params, state.eval_params)
    assert (weights.record is None) == (spec.keep == "last")
