"""The Python interface, as its users are told to use it."""

import re
from pathlib import Path

import pytest

import vae_jax
from tests.oracles import tiny_data

README = Path(vae_jax.__file__).parent.parent / "README.md"


def _run_example(code: str, monkeypatch) -> dict:
    """Execute an example with small data, few steps and few particles."""
    monkeypatch.setattr(vae_jax, "load", lambda *args, **kwargs: tiny_data(200))
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    short = re.sub(r"num_steps=[\d_]+", "num_steps=3", code)
    names: dict = {}
    exec(re.sub(r"num_particles=[\d_]+", "num_particles=2", short), names)
    return names


def test_the_example_of_the_docstring_runs(monkeypatch):
    code = "import vae_jax\n" + vae_jax.__doc__.partition("::\n")[2].replace("\n    ", "\n")
    (row,) = _run_example(code, monkeypatch)["table"]
    assert row["eval_particles"] == 2
    assert row["test_nll"] > 0


@pytest.mark.skipif(not README.exists(), reason="no README.md")
def test_the_example_of_the_readme_runs(monkeypatch):
    text = README.read_text(encoding="utf-8")
    found = _run_example(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], monkeypatch)
    assert [row["beta"] for row in found["study"].table] == [1.0, 4.0]
    assert all(row["eval_particles"] == 2 for row in found["study"].table)
    assert found["images"].shape == (16, 3, 4, 1)
