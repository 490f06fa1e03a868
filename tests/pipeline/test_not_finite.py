"""Numbers of a finished run that are not finite: left empty with a reason, never a traceback."""

import jax.numpy as jnp
import numpy as np

from tests.pipeline.small import SMALL, read_csv, read_json
from vae_jax.evaluation.elbo import mean_columns
from vae_jax.evaluation.evaluators.base import NotFiniteError
from vae_jax.evaluation.evaluators.decomposition import Decomposition
from vae_jax.evaluation.metrics import evidence

BRIEF = [*SMALL, "--num_steps=6", "--eval_every=6"]


def test_an_elbo_without_an_nll_is_reported_as_just_that(start, tmp_path, monkeypatch):
    bound = evidence.bound
    monkeypatch.setattr(evidence, "bound", lambda *args: bound(*args).at[0].set(jnp.nan))
    status, out, _ = start(*BRIEF, "--eval_particles=4")
    assert status == 0
    (row,) = read_csv(tmp_path / "run")
    assert (row["diverged"], row["test_nll"], row["test_nll_se"], row["nll_gap"]) == ("",) * 4
    assert np.isfinite(float(row["test_elbo"]))
    assert "NLL(K=4) not finite" in out
    (run,) = read_json(tmp_path / "run")["runs"]
    assert (run["test_nll_not_finite"], run["train_nll_not_finite"]) == (1, 1)
    (sentences,) = read_json(tmp_path / "run")["diagnosis"]
    (why,) = [sentence for sentence in sentences if "test_nll" in sentence]
    assert "test_nll (on 1 example)" in why
    assert "--compute_dtype=float64" in why
    assert why.split(":")[0] in (tmp_path / "run" / "report.html").read_text()


def test_an_evaluation_that_has_nothing_to_work_on_leaves_its_columns_empty(
    start, tmp_path, monkeypatch
):
    def fail(self, context, on_progress):
        raise NotFiniteError("codes", 3)

    monkeypatch.setattr(Decomposition, "__call__", fail)
    status, _, _ = start(*BRIEF, "--evaluate=decomposition")
    assert status == 0
    (row,) = read_csv(tmp_path / "run")
    assert row["mutual_information"] == ""
    assert float(row["test_nll"])
    (sentences,) = read_json(tmp_path / "run")["diagnosis"]
    assert any("codes (on 3 examples)" in sentence for sentence in sentences)


def test_a_mean_counts_the_examples_that_leave_it_empty():
    row = mean_columns("nll", np.array([1.0, np.inf, -np.inf, np.nan]))
    assert np.isnan(row["nll"])
    assert row["nll_not_finite"] == 3
    assert mean_columns("nll", np.array([1.0, 3.0])) == {"nll": 2.0, "nll_se": 1.0}
