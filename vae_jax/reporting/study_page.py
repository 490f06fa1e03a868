"""Parts that make the report of a study answer: data for the script, and the script itself.

The page is whole without a script: the tables, the heat maps and the figures stand in it. The
script, ``assets/study.js``, adds what needs one: tables that sort and filter, heat maps that open
the pictures of a run, curves of chosen runs. It loads nothing and gets its data from the page.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from vae_jax.reporting import learning_curves, pictures, table
from vae_jax.reporting.pictures import Picture
from vae_jax.types import Row


class Material(NamedTuple):
    """Material of the page of a study, beside its results and figures.

    Attributes:
        metrics: rows of ``metrics.jsonl``.
        pictures: pictures of runs by their numbers.
    """

    metrics: Sequence[Row] = ()
    pictures: Mapping[int, Sequence[Picture]] = {}


NOTHING = Material()


def script() -> str:
    """Return the script of the page of a study."""
    return _asset("study.js")


def style() -> str:
    """Return the style of what a study has beyond a run."""
    return _asset("study.css")


def _asset(name: str) -> str:
    return (resources.files("vae_jax.reporting") / "assets" / name).read_text(encoding="utf-8")


def placeholders(material: Material, rows: Sequence[Row]) -> str:
    """Return where the script draws curves and pictures, hidden until it does so.

    Args:
        material: curves and pictures.
        rows: rows of the study.
    """
    curves = ""
    if material.metrics:
        note = learning_curves.note(_curves(material, rows), len(rows))
        words = f"Solid lines are of valid, dashed ones of train. {note}"
        heading = f"<h2>Curves of chosen runs</h2><p>{words}</p>"
        curves = f"<section id='curves' hidden>{heading}</section>"
    return f"{curves}<dialog id='run'></dialog><div id='tip' role='status' hidden></div>"


def data(material: Material, rows: Sequence[Row], swept: Sequence[str]) -> str:
    """Return the data of the script, as an element that a browser neither shows nor runs.

    Args:
        material: curves and pictures.
        rows: rows of the study.
        swept: names of the swept flags, the columns of the tables after the number of the run.

    Example:
        >>> data(Material(), [{"run": 0, "test_elbo": -1.0}], ["</script>"]).count("</script>")
        1
    """
    facts = {
        "swept": list(swept),
        "first": [row["run"] for row in table.ranking(rows)[:3]],
        "curves": _curves(material, rows),
        "pictures": {
            str(run): [_as_json(each) for each in own] for run, own in material.pictures.items()
        },
        "note": pictures.note(material.pictures, len(rows)),
    }
    return f"<script type='application/json' id='study'>{as_inert_json(facts)}</script>"


def as_inert_json(obj: object) -> str:
    r"""Return JSON that is text wherever it stands in a page: it cannot end the element around it.

    Example:
        >>> as_inert_json(["</script>", "<!--", "a & b"])
        '["\\u003c/script\\u003e","\\u003c!--","a \\u0026 b"]'
    """
    text = json.dumps(obj, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _curves(material: Material, rows: Sequence[Row]) -> dict[str, Any]:
    ranked = [row["run"] for row in table.ranking(rows)]
    others = [row["run"] for row in rows if table.has_diverged(row)]
    return learning_curves.collect(material.metrics, [*ranked, *others])


def _as_json(picture: Picture) -> dict[str, Any]:
    return {
        "title": picture.title,
        "caption": picture.caption,
        "width": picture.width,
        "labels": list(picture.labels),
        "png": base64.b64encode(picture.png).decode(),
    }
