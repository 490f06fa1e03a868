"""Pages of the executed notebooks in ``docs/tutorial/``: Markdown, formulas as MathML, pictures.

A browser shows MathML by itself, so a page needs no script and no network; in Jupyter and Colab
the same formulas are LaTeX. Nothing here runs a notebook: ``docs/tutorial/execute.py`` does, and
its outputs are stored.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml import converter

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial"

_FORMULA = re.compile(r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
_NAMED = re.compile(r"`((?:[A-Za-z]\w*\.?)+)` in\s+`(vae_jax/[\w/]+\.py)`")  # none is private
_BETTER = {
    r"(<mi>(?:log|ln|exp)</mi>)(?=<m(?:i|n|sup|sub|frac)\b)": r'\1<mspace width="0.167em" />',
    r'columnalign="(\w+)"': r'style="text-align: \1"',
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mi>&#x02016;</mi>": '<mo stretchy="false">&#x02016;</mo>',
}
"""What latex2mathml writes, and what browsers show better."""


def pages() -> dict[str, str | bytes]:
    """Return the page and the pictures of every chapter, by their paths under ``docs/``."""
    found: dict[str, str | bytes] = {}
    for path in sorted(TUTORIAL.glob("*.ipynb")):
        found |= page(path)
    return found


def page(path: Path) -> dict[str, str | bytes]:
    """Return the page of one notebook and its pictures.

    Cells with the tag ``setup`` (the badge of Colab, the installation) are left out: a line under
    the title says where they are.
    """
    cells = [cell for cell in read(path) if "setup" not in cell["metadata"].get("tags", ())]
    pictures: dict[str, str | bytes] = {}
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(as_page(text))
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            parts += _shown(output, path.stem, pictures)
    title, _, first = parts[0].partition("\n")
    download = f"*[Download the notebook]({path.name}), or open it in Colab from there.*"
    parts[0] = f"{title}\n\n{download}\n{first}"
    return {f"tutorial/{path.stem}.md": "\n\n".join(parts) + "\n", **pictures}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _shown(output: dict[str, Any], name: str, pictures: dict[str, str | bytes]) -> Iterator[str]:
    """Yield an output as Markdown; a picture is added to the others.

    Raises:
        ValueError: the cell failed.
    """
    if output["output_type"] == "error":
        raise ValueError(f"{name}: {output['ename']}: {output['evalue']}")
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        file = f"{name}-{len(pictures) + 1}.png"
        pictures[f"tutorial/{file}"] = base64.b64decode(data["image/png"])
        yield f"![what the cell above draws]({file})"
    else:
        yield f"``` {{ .text .output }}\n{''.join(data['text/plain']).rstrip()}\n```"


def as_page(text: str) -> str:
    """Return a cell's Markdown for a page.

    Formulas between dollar signs become MathML, and names that are said to be in a file of the
    package lead to their reference. Code is left alone.
    """
    text = _FORMULA.sub(lambda found: found[1] or _mathml(found[2], found[3]), text)
    return _NAMED.sub(_link, text)


def _mathml(block: str | None, inline: str | None) -> str:
    display = "inline" if block is None else "block"
    text = converter.convert((block or inline or "").strip(), display=display)
    for pattern, better in _BETTER.items():
        text = re.sub(pattern, better, text)
    return f"<span>{text}</span>"  # a line that begins with an unknown element would be a block


def _link(found: re.Match[str]) -> str:
    module = found[2].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return f"[`{found[1]}`][{module}.{found[1]}] in `{found[2]}`"
