"""The documentation: what is generated is complete, and what is to be copied runs."""

import importlib.util
import re
from pathlib import Path
from unittest import mock

import pytest

import vae_jax
from vae_jax.config.schema import FIELDS
from vae_jax.data import DATASETS
from vae_jax.evaluation import columns, evaluators
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.hparams import HParams
from vae_jax.pipeline import results, workdir

DOCS = Path(vae_jax.__file__).parents[1] / "docs"
HOW_TO = sorted(path for path in (DOCS / "how-to").glob("*.md") if "```python" in path.read_text())

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not a checkout")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def _coded(text: str) -> set[str]:
    """What stands in code spans."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_flag_has_a_row(pages):
    assert {f"--{name}" for name in FIELDS} <= _coded(pages["reference/flags.md"])


def test_every_column_has_a_row_and_a_meaning(pages):
    page = pages["reference/columns.md"]
    assert results.declared().keys() - HParams._fields <= _coded(page)
    assert set(columns.TABLE) <= _coded(page)
    assert not re.findall(r"^\| `[^|]+\|\s*\|$", page, re.MULTILINE)


def test_every_column_of_an_evaluator_is_explained():
    told = _coded((DOCS / "reference" / "evaluators.md").read_text(encoding="utf-8"))
    assert {each.name for each in evaluators.columns(EVALUATORS)} <= told


def test_every_file_of_a_workdir_and_every_public_name_is_listed(pages):
    assert set(workdir.CONTENTS) <= _coded(pages["reference/workdir.md"])
    listed = re.findall(r"^::: .*\.(\w+)$", pages["reference/api.md"], re.MULTILINE)
    assert sorted(listed) == sorted(vae_jax.__all__)


@pytest.mark.parametrize("path", HOW_TO, ids=lambda path: path.stem)
def test_what_is_to_be_copied_runs(path, tmp_path, monkeypatch):
    """The blocks of a page run one after the other, and hold what they assert."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": path.stem}
    with mock.patch.dict(DATASETS):
        for block in blocks:
            exec(block, names)
