"""The notebook for Colab runs from top to bottom, twice, on this machine's CPU."""

import importlib
import importlib.metadata
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "experiments" / "colab_tpu.ipynb"
COLAB = ROOT / "experiments" / "colab.txt"
TINY = """
--dataset=digits
--hidden_sizes=8
--num_steps=4
--eval_every=4
--eval_particles=2
--sweep=beta=1,4
--sweep=latent_size=2,3
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A study of four runs and four updates instead of the real one."""
    (tmp_path / "tiny.flags").write_text(TINY)
    monkeypatch.setenv("VAE_JAX_FLAGFILE", str(tmp_path / "tiny.flags"))
    monkeypatch.setenv("VAE_JAX_WORKDIR", str(tmp_path / "run"))
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return tmp_path


def _versions() -> dict[str, str]:
    """Those of what Colab ships that are installed here."""
    importlib.invalidate_caches()
    lines = COLAB.read_text(encoding="utf-8").splitlines()
    names = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    here = {package.name: package.version for package in importlib.metadata.distributions()}
    return {name: version for name, version in here.items() if name in names}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_one_cell_installs_trains_and_goes_on_where_it_was_and_the_next_shows(tiny):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    train = next(n for n, cell in enumerate(notebook.cells) if "status = main" in cell.source)
    assert "pip" in notebook.cells[train].source
    notebook.cells.insert(train + 1, notebook.cells[train].copy())
    versions = _versions()
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "experiments")}}
    )
    client.execute()
    assert _versions() == versions
    assert "jax" in versions
    outputs = [cell.get("outputs", []) for cell in client.nb.cells]
    texts = ["".join(out.get("text", "") for out in of_cell) for of_cell in outputs]
    assert f"jax {versions['jax']}" in texts[train]
    assert "beta_latent" not in texts[train]
    assert "test ELBO" in texts[train]
    assert "installed: nothing" in texts[train + 1]
    assert "finished: checkpoint at step 4 of 4" in texts[train + 1]
    data = [out.get("data", {}) for out in outputs[-1]]
    assert sum("image/png" in found for found in data) == 2
    (table,) = [found["text/html"] for found in data if "text/html" in found]
    assert "<th>test_elbo</th>" in table
    assert table.count("<tr>") == 5


def test_google_drive_is_a_choice():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (source,) = [cell.source for cell in notebook.cells if "drive.mount" in cell.source]
    assert "USE_DRIVE = False  # @param" in source
    assert source.index("if USE_DRIVE:") < source.index("import drive")


def test_the_notebook_is_saved_without_results():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_notebook_on_taking_a_model_away_holds_what_it_asserts(tmp_path, monkeypatch):
    """Its cells run one after the other in this process, with few updates."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_JAX_NUM_STEPS", "3")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    names: dict = {"__name__": "notebook"}
    for cell in nbformat.read(ROOT / "docs" / "how-to" / "take-away.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert names["walk"].shape == (9, 8, 8, 1)
