"""Every value that a run can write is declared, and everything declared is written."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

import vae_jax
from tests.oracles import tiny_data
from tests.pipeline.small import SMALL, read_csv, read_json, read_metrics, save_images
from vae_jax import api, cli
from vae_jax.config.flags import FLAGS
from vae_jax.evaluation import columns, evaluators, scoring
from vae_jax.evaluation.columns import CORE, MEASURED, SPLITS, Column
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.evaluation.metrics.representation import Labelled, accuracies
from vae_jax.hparams import HParams
from vae_jax.models.likelihoods import CategoricalLikelihood
from vae_jax.models.networks import MLP
from vae_jax.models.vae import VAE
from vae_jax.pipeline import draw, results
from vae_jax.training.spec import TrainSpec

UNITS = {
    *(columns.NATS, columns.BITS, columns.NUMBER),
    *("nats", "updates", "seconds", "milliseconds"),
}
ALL = results.declared()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """Two runs of 8-bit pixels, of which the second diverges."""
    folder = tmp_path_factory.mktemp("columns")
    flags = ["--likelihood=discretized_logistic", "--sweep=learning_rate=1e-3,1e30"]
    flags += ["--skip_norm=1e9"]
    flags += [f"--dataset={save_images(folder)}", f"--workdir={folder / 'run'}", "--num_steps=3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "draw_figures", lambda *args: [])
        assert cli.main([*SMALL, *flags]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def study() -> api.Study:
    data = tiny_data(40)
    spec = TrainSpec(
        VAE(data.image_shape, 2, MLP((4,)), likelihood=CategoricalLikelihood()), batch_size=8
    )
    hparams = HParams.of(latent_size=2, beta=[1.0, 2.0], skip_norm=1e9)
    return api.ablate(spec, hparams, data, 2, num_particles=3)


def test_what_every_run_writes_is_what_is_declared(workdir, study):
    """Of the evaluations beyond the NLL, tests/evaluation/test_evaluators.py holds the same.

    What is chosen on valid is written where it is asked for: tests/pipeline/test_selection.py.
    """
    written = {name for row in read_json(workdir)["runs"] for name in row}
    written |= {name for row in read_metrics(workdir) for name in row}
    data = tiny_data(40)
    for split in SPLITS:
        (row, _) = scoring.score(
            study.spec, study.hparams, study.state, data, split, num_particles=3
        )
        assert {f"{term}_se" for term in ("elbo", "nll")} <= {
            name.removeprefix(f"{split}_") for name in row
        }
        written |= row.keys()
    assert not written & {*columns.CHOSEN}
    assert written | {*columns.CHOSEN} == results.declared(["learning_rate"], ["nll"]).keys()


def test_the_columns_of_representation_are_those_with_enough_labels():
    rng = np.random.default_rng(0)
    train, test = (Labelled(rng.normal(size=(n, 1)), np.arange(n) % 2) for n in (1001, 20))
    declared = columns.by_name(EVALUATORS["representation"].columns)
    assert accuracies(train, test).keys() == declared.keys()


def test_python_gives_the_rows_of_results_csv(workdir, study):
    (head, *_) = read_csv(workdir)
    for row in study.table:
        assert set(head) <= row.keys() <= ALL.keys()
    (run, diverged) = read_json(workdir)["runs"]
    assert set(run) == study.table[0].keys()
    assert set(diverged) == {*run, "diverged_reason"}


def test_results_csv_begins_with_the_fixed_columns_and_json_declares_all(workdir):
    (row, _) = read_csv(workdir)
    evaluated = columns.by_name(EVALUATORS["nll"].columns)
    assert list(row) == [*columns.TABLE, *evaluated]
    found = read_json(workdir)
    described = columns.read(found["columns"])
    assert {name for run in found["runs"] for name in run} <= described.keys()
    assert described == {name: ALL[name] for name in described}
    assert found["evaluations"] == {"nll": [each.name for each in EVALUATORS["nll"].columns]}


@pytest.mark.parametrize("name", ALL)
def test_a_declaration_says_what_its_values_are(name):
    column = ALL[name]
    assert column.name == name
    assert column.meaning
    assert column.title
    assert column.unit in UNITS | {columns.TEXT}
    assert not column.source or re.search(r"\d{4}", column.source)
    assert ALL[column.error.name] == column.error if column.has_error else True


def test_the_units_of_all_numbers_are_known(workdir, study):
    rows = [*read_json(workdir)["runs"], *read_metrics(workdir), *study.table]
    values = [(name, value) for row in rows for name, value in row.items()]
    numeric = {name for name, value in values if isinstance(value, int | float | list)}
    assert numeric
    assert all(ALL[name].unit in UNITS for name in numeric)
    texts = {name for name, value in values if isinstance(value, str) and value}
    assert texts == {name for name in texts if ALL[name].unit == columns.TEXT}


def test_no_two_columns_share_a_name_or_a_title():
    gathered = [*MEASURED["test"].values(), *evaluators.columns(EVALUATORS.values())]
    own = {each for each in gathered if each not in CORE.values()}
    titles = [each.title for each in {*CORE.values(), *own}]
    assert len(titles) == len(set(titles))
    names = [each.name for each in columns.with_errors(evaluators.columns(EVALUATORS.values()))]
    assert len(names) == len(set(names))
    assert not {each.name for each in own} & CORE.keys()


def test_whatever_reads_a_row_asks_for_columns_that_are_declared():
    """A name that nobody writes would be a part of a report that is never there."""
    package = Path(vae_jax.__file__).parent
    paths = [*package.glob("reporting/**/*.py"), *package.glob("pipeline/**/*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in paths)
    gets = re.findall(r"""(?:\.get\(|(?:run|row|best)\[)f?["']([a-z_]+)["']""", sources)
    terms = re.findall(r"""["']((?:test|valid|train)_[a-z_]+)["']""", sources)
    documents = {"swept", "columns", "evaluations", "dataset", "flags", "diagnosis", "reading"}
    documents |= {"kl_per_latent", "title", "command", "notes", "seconds", "versions", "splits"}
    documents |= {"asked", "used", "binarize", "substitution", "warnings", "image_shape"}
    documents |= {"event_shape", "encoding", "recognised", "missing", "data", "shapes", "lines"}
    documents |= {"commit", "given", "workdir", "fresh", "left_over", "wandb"}
    documents |= {"kernel", "bias", "body", "layers"}  # parameters, in the explorer
    documents |= {"format", "study", "groups", "runs", "written_by", "log_var"}
    asked = {*gets, *terms} - documents
    assert len(asked) > 20
    assert asked <= ALL.keys() | FLAGS.keys()


@pytest.mark.parametrize("split", SPLITS)
def test_uniform_pixels_of_eight_bits_cost_eight_bits(study, split):
    """256 equal logits and a posterior equal to the prior: log 256 nats a pixel, no KL."""
    silent = study.state._replace(
        params={part: _zeros(tree) for part, tree in study.state.params.items()}
    )
    (row, _) = scoring.score(
        study.spec, study.hparams, silent, tiny_data(40), split, num_particles=3
    )
    assert row[f"{split}_kl"] == 0
    assert row[f"{split}_elbo"] == pytest.approx(-12 * math.log(256), rel=1e-6)
    assert row[f"{split}_bits_per_dim"] == pytest.approx(8.0, rel=1e-6)


def _zeros(tree):
    import jax

    return jax.tree.map(np.zeros_like, tree)


def test_bits_per_dim_is_the_elbo_in_another_unit_and_only_of_eight_bits(workdir, study):
    (row, _) = read_csv(workdir)
    for name in ("test_bits_per_dim", "test_bits_per_dim_se"):
        nats = float(row[name.replace("bits_per_dim", "elbo")])
        assert abs(float(row[name])) == pytest.approx(abs(nats) / (20 * math.log(2)), rel=1e-9)
    metrics = read_metrics(workdir)[-2]
    bits = -metrics["valid_elbo"] / (20 * math.log(2))
    assert metrics["valid_bits_per_dim"] == pytest.approx(bits, rel=1e-9)
    spec = dataclasses.replace(study.spec, model=VAE((3, 4, 1), 2, MLP((4,))))
    binary = api.ablate(spec, HParams.of(latent_size=2), tiny_data(40), 2)
    assert binary.table[0]["test_bits_per_dim"] is None
    assert "valid_bits_per_dim" not in binary.table[0]
    assert "8-bit" in ALL["test_bits_per_dim"].meaning


def test_a_column_knows_its_error_and_survives_json():
    column = Column("gain", "what is gained", columns.NATS, "gain", "Doe 2020", has_error=True)
    assert columns.read(columns.described([column])) == columns.by_name([column])
    assert list(columns.by_name([column])) == ["gain", "gain_se"]
    assert columns.without_errors(columns.by_name([column])) == [column]
    assert column.explanation == "what is gained (Doe 2020)"
