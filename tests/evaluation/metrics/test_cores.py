"""A machine whose physical cores cannot be counted, as in many containers, gets no warning."""

import numpy as np
import pytest
from joblib.externals.loky.backend import context
from sklearn.utils import _openmp_helpers

from vae_jax.evaluation.metrics import cores, representation, samples
from vae_jax.evaluation.metrics.representation import Labelled

ROWS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
LABELLED = Labelled(ROWS, np.arange(64) % 2)


@pytest.fixture
def uncountable(monkeypatch):
    """Nothing was counted before, and nothing can be."""
    cores.count_quietly.cache_clear()
    monkeypatch.setattr(context, "physical_cores_cache", None)
    monkeypatch.setattr(context, "_count_physical_cores_linux", lambda: 0)
    monkeypatch.setattr(context, "_cpu_count_user", lambda count: count)
    monkeypatch.setattr(_openmp_helpers, "_CPU_COUNTS", {})
    yield
    cores.count_quietly.cache_clear()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: representation.knn(LABELLED, LABELLED),
        lambda: representation.embed(ROWS),
        lambda: representation.linear_probe(LABELLED, LABELLED),
        lambda: samples.neighbourhoods(ROWS, ROWS[:32]),
        lambda: samples.mmd(ROWS, ROWS[:32]),
    ],
    ids=["knn", "embed", "linear_probe", "neighbourhoods", "mmd"],
)
def test_cores_that_cannot_be_counted_are_no_warning(uncountable, capsys, ask):
    ask()
    assert capsys.readouterr().err == ""


def test_the_count_of_logical_cores_stands_in(uncountable):
    assert cores.count_quietly() >= 1
