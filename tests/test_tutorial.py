"""The tutorial: its notebooks hold what they claim, are stored as they ran, and become pages."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import nbformat
import pytest

import vae_jax

ROOT = Path(vae_jax.__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorial"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 4_000_000  # of all notebooks, pictures included

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not a checkout")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def converter():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cells(path: Path, kind: str) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


@pytest.mark.parametrize(
    "budget", ["small", pytest.param("full", marks=pytest.mark.slow)], ids=lambda budget: budget
)
@each_notebook
def test_a_chapter_holds_what_it_asserts(path, budget, tmp_path, monkeypatch):
    """Its cells run one after the other in this process."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_JAX_TUTORIAL_BUDGET", budget)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names: dict = {"__name__": path.stem}
    with jax.numpy_rank_promotion("allow"):  # as readers have it
        for cell in _cells(path, "code"):
            exec(cell.source, names)
    assert names["IS_FULL"] == (budget == "full")


@each_notebook
def test_a_chapter_is_stored_as_it_ran_from_top_to_bottom(path):
    code = _cells(path, "code")
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" for output in outputs)
    texts = [str(output.get("text", "")) + str(output.get("data", "")) for output in outputs]
    assert not any(str(ROOT) in text or str(Path.home()) in text for text in texts)


@each_notebook
def test_a_chapter_asserts_something_at_every_budget(path):
    lines = "\n".join(cell.source for cell in _cells(path, "code")).splitlines()
    assert sum(line.startswith("assert ") for line in lines) >= 2


def test_all_chapters_together_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES


@each_notebook
def test_a_chapter_opens_in_colab_and_installs_itself_as_the_others_do(path):
    notebook = nbformat.read(path, as_version=4)
    badge, setup = [c for c in notebook.cells if "setup" in c.metadata.get("tags", ())]
    assert f"/OWNER/vae_jax/blob/main/docs/tutorial/{path.name})" in badge.source
    first = nbformat.read(NOTEBOOKS[0], as_version=4)
    assert setup.source in [cell.source for cell in first.cells]


def test_the_first_cell_of_a_chapter_finds_the_checkout_it_lies_in():
    setup = _cells(NOTEBOOKS[0], "code")[0].source
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", f"{setup}\nimport vae_jax\nprint(vae_jax.__file__)"],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == vae_jax.__file__


@each_notebook
def test_a_formula_has_a_line_of_code_beside_it(path):
    """A cell with a formula on its own line names a function, or says that the next cell is it."""
    is_named = re.compile(r"`[\w.]+` in\s+`vae_jax/[\w/]+\.py`|the\s+cell\s+below", re.IGNORECASE)
    with_formulas = [c.source for c in _cells(path, "markdown") if "$$" in c.source]
    assert with_formulas
    for text in with_formulas:
        assert is_named.search(text), text


@each_notebook
def test_a_chapter_becomes_a_page_without_latex_or_network(path, converter):
    made = converter.page(path)
    page = made.pop(f"tutorial/{path.stem}.md")
    text = re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
    assert "<math" in text
    assert "$" not in text
    assert "\\" not in text  # a command that the converter does not know stays as it is
    assert "http" not in text.replace("http://www.w3.org/1998/Math/MathML", "")
    assert made
    assert all(picture in page for picture in (name.split("/")[1] for name in made))


def test_formulas_become_mathml_and_code_is_left_alone(converter):
    page = converter.as_page("# A\n\n$x^2$ and `$y$`: `VAE.init` in `vae_jax/models/vae.py`")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in page
    assert "`$y$`" in page
    assert "[`VAE.init`][vae_jax.models.vae.VAE.init] in `vae_jax/models/vae.py`" in page
    hidden = "`Elbo.__call__` in `vae_jax/objectives/elbo.py`"  # the reference lists none
    assert converter.as_page(hidden) == hidden
