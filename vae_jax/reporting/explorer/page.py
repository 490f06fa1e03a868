"""The file ``explorer.html``: template, style, scripts and contents in one."""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from vae_jax.reporting.explorer.contents import ContextOf, contents
from vae_jax.runtime import files

SCRIPTS = ("packing.js", "layers.js", "distributions.js", "paths.js", "drawing.js", "page.js")
"""Scripts of the page in their order; each uses those before it."""


def write(path: Path, results: Mapping[str, Any], context_of: ContextOf) -> None:
    """Write the explorer of a run or study; a file that would hold the same is left as it is.

    Args:
        path: path of the HTML file.
        results: what ``results.json`` holds (see :mod:`vae_jax.reporting.report`).
        context_of: gives a run with its data, by the run's number.
    """
    page = files.encoded(document(contents(results, context_of)))
    if not (path.is_file() and path.read_bytes() == page):
        files.write_bytes(path, page)


def document(held: Mapping[str, Any]) -> str:
    """Return the page that holds these contents.

    Data are text to the browser: JSON in which no ``<`` can end the element around it, and which
    the scripts show as text alone. Each run is an element of its own, read when it is first shown.
    The page's policy lets nothing be loaded, and no other script run.

    Example:
        >>> page = document({"title": "</script><b>", "runs": {}})
        >>> "</script><b>" in page, "&lt;/script&gt;&lt;b&gt;: explorer</title>" in page
        (False, True)
    """
    script = "\n".join(map(_text, SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = {"contents": {name: value for name, value in held.items() if name != "runs"}}
    data |= {f"run-{number}": run for number, run in held["runs"].items()}
    return Template(_text("page.html")).substitute(
        title=escape(f"{held['title']}: explorer"),
        digest=digest,
        style=_text("page.css"),
        data="\n".join(_element(name, value) for name, value in data.items()),
        script=script,
    )


def _element(name: str, value: Any) -> str:
    """Return JSON in an element that no browser runs."""
    text = json.dumps(files.finite(value), allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _text(name: str) -> str:
    """Return a file of this folder, wherever the package is installed."""
    return (resources.files("vae_jax.reporting.explorer") / name).read_text(encoding="utf-8")
