"""Run the notebooks of the tutorial at full budget and store them with their outputs.

    python docs/tutorial/execute.py            # all chapters
    python docs/tutorial/execute.py c-elbo     # one of them

Every claim of a chapter is an assertion in one of its cells, so a chapter whose claim fails is not
stored, and the program ends with its error. Each chapter should take at most three minutes on two
cores.
"""

import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def execute(path: Path) -> None:
    """Run one notebook in a folder of its own, then store its outputs in it."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if not _is_progress(output)]
            cell.outputs = _joined(kept)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data = {"image/png": _small(output.data["image/png"])}
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},  # without it ruff passes the cells over
    }
    nbformat.write(notebook, path)


def _is_progress(output: nbformat.NotebookNode) -> bool:
    """Return whether an output is the bar of a training, which has ended, or a program's log."""
    is_bar = "<progress" in output.get("data", {}).get("text/html", "")
    return is_bar or output.get("name") == "stderr"


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return the outputs with texts that were printed one after the other as one."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _small(png: str) -> str:
    """Return a picture with 64 colours, which takes a third of the bytes."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(64, dither=0)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main(names: list[str]) -> None:
    """Execute the named chapters, or all."""
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["VAE_JAX_TUTORIAL_BUDGET"] = "full"
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        began = time.monotonic()
        execute(path)
        size = path.stat().st_size / 1000
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {size:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
