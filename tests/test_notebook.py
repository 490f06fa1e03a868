"""The notebook for Colab runs from top to bottom, twice, on this machine's CPU."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "experiments" / "colab_tpu.ipynb"
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
    """A study of four runs and four updates instead of the real one, and nothing installed."""
    (tmp_path / "tiny.flags").write_text(TINY)
    monkeypatch.setenv("VAE_JAX_FLAGFILE", str(tmp_path / "tiny.flags"))
    monkeypatch.setenv("VAE_JAX_WORKDIR", str(tmp_path / "run"))
    monkeypatch.setenv("VAE_JAX_INSTALL", "no")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_trains_shows_and_goes_on_where_it_was(tiny):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    train = next(n for n, cell in enumerate(notebook.cells) if "status = main" in cell.source)
    notebook.cells.insert(train + 1, notebook.cells[train].copy())
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "experiments")}}
    )
    client.execute()
    outputs = [cell.get("outputs", []) for cell in client.nb.cells]
    texts = ["".join(out.get("text", "") for out in of_cell) for of_cell in outputs]
    assert "beta_latent" not in texts[train]
    assert "test ELBO" in texts[train]
    assert "finished: checkpoint at step 4 of 4" in texts[train + 1]
    images = [out for out in outputs[-1] if "image/png" in out.get("data", {})]
    assert len(images) == 2
    assert "test_elbo" in texts[-1]


def test_the_notebook_is_saved_without_results():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
