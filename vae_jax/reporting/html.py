"""Parts of a self-contained HTML page, which know nothing of models.

The page makes no request, is legible in light and dark mode, and prints. It needs no script; one
that it has may run because the policy of the page names its checksum, and nothing else may.
Arguments are plain text and are escaped here, except those that are documented as HTML.
"""

import base64
import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple

from vae_jax.reporting import format

Mark = Literal["best", "diverged"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="vae_jax">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src $allowed">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body><main>
$body
</main>$script</body>
</html>
"""

_CSS = """
:root { color-scheme: light dark; --ink: #22303c; --soft: #5f6c7b; --rule: #dfe4ea;
  --page: #ffffff; --card: #f4f7fa; --accent: #1c5d99; --warn: #fff4dc; --warn-edge: #d99a1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #9aa7b5; --rule: #34414f;
  --page: #161c23; --card: #1f2831; --accent: #7fb4e6; --warn: #3a2f17; --warn-edge: #d99a1c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: break-word; }
p.lead { max-width: none; }
.lead, .small, figcaption, dt, .cards span, small { color: var(--soft); }
.small, figcaption { font-size: .9rem; }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1.4rem; }
.cards div { flex: 1 1 12rem; background: var(--card); border-radius: 8px; padding: .9rem 1rem; }
.cards span, .cards strong { display: block; }
.cards span { font-size: .82rem; }
.cards strong { font-size: 1.5rem; white-space: nowrap; font-variant-numeric: tabular-nums;
  color: var(--accent); }
.cards small { font-size: .9rem; font-weight: 400; }
.notice, .note { border-left: 4px solid var(--rule); background: var(--card);
  padding: .7rem 1.1rem; margin: 1.4rem 0 0; border-radius: 0 8px 8px 0; }
.notice { border-color: var(--warn-edge); background: var(--warn); }
.notice p, .note p { margin: .15rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .6rem .4rem .4rem; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; }
td:last-child { white-space: normal; }
.best td { background: var(--card); font-weight: 600; }
.diverged td { color: var(--soft); opacity: .7; }
figure { margin: 2rem 0 0; }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--rule);
  border-radius: 6px; }
figcaption { margin-top: .4rem; max-width: 46rem; }
figcaption b { color: var(--ink); }
pre { background: var(--card); padding: .9rem 1.1rem; border-radius: 8px; overflow-x: auto; }
code { white-space: nowrap; }
pre, dd, code { font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace;
  font-size: .85rem; }
dl { columns: 20rem auto; column-gap: 2.5rem; margin: 0; }
dl div { display: flex; gap: 1rem; justify-content: space-between; break-inside: avoid;
  border-bottom: 1px solid var(--rule); padding: .25rem 0; }
dt { font-size: .9rem; white-space: nowrap; }
dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --soft: #444; --rule: #ccc; --page: #fff; --card: #f6f6f6;
  --accent: #000; --warn: #fff; } main { max-width: none; padding: 0; } body { font-size: 11pt; }
  figure, tr, pre, .cards { break-inside: avoid; } h2 { break-after: avoid; }
  pre { white-space: pre-wrap; } .wide { overflow: visible; } table { font-size: 8pt; }
  th, td { padding: .2rem .3rem; } }
"""


_FLAG = r"--[a-z_]+(=[a-z_0-9,.]*[a-z_0-9])?"


class Figure(NamedTuple):
    """PNG file with its title and caption.

    Attributes:
        path: path of the file.
        title: title in bold, without a full stop.
        caption: sentences after the title.
    """

    path: Path
    title: str
    caption: str


def document(title: str, parts: Iterable[str], style: str = "", script: str = "") -> str:
    """Return the whole page; `parts` are HTML.

    Args:
        title: title of the page.
        parts: HTML of the page from the top.
        style: CSS beyond that of every page.
        script: JavaScript at the end of the page, which must not hold the end of its own element.

    Example:
        >>> document("mnist", ["<h1>mnist</h1>"]).startswith("<!doctype html>")
        True
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_PAGE).substitute(
        title=escape(title),
        style=_CSS + style,
        body="\n".join(parts),
        script=f"<script>{script}</script>" if script else "",
        allowed=f"'sha256-{digest}'" if script else "'none'",
    )


def section(title: str, body: str) -> str:
    """Return `body`, which is HTML, under a heading; nothing where it is empty.

    Example:
        >>> section("Data", "<p>4,000 images</p>"), section("Data", "")
        ('<section><h2>Data</h2><p>4,000 images</p></section>', '')
    """
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def paragraphs(sentences: Iterable[str]) -> str:
    """Return a paragraph per sentence, in which flags stand out and are not broken.

    Example:
        >>> paragraphs(["Try --prior=vamp."])
        '<p>Try <code>--prior=vamp</code>.</p>'
    """
    lines = (re.sub(_FLAG, r"<code>\g<0></code>", escape(sentence)) for sentence in sentences)
    return "".join(f"<p>{line}</p>" for line in lines)


def is_own(path: Path) -> bool:
    """Return whether a file is a page that this project wrote."""
    with path.open("rb") as file:
        return b'<meta name="generator" content="vae_jax">' in file.read(1024)


def box(style: Literal["notice", "note"], body: str) -> str:
    """Return `body`, which is HTML, in a box; a "notice" is prominent.

    Example:
        >>> box("note", "<p>a</p>"), box("note", "")
        ("<div class='note'><p>a</p></div>", '')
    """
    return f"<div class='{style}'>{body}</div>" if body else ""


def card(name: str, value: str, note: str) -> str:
    """Return a card with one main number; `value` is HTML.

    Example:
        >>> card("Runs", "8", "none diverged")
        '<div><span>Runs</span><strong>8</strong><span>none diverged</span></div>'
    """
    above, below = f"<span>{escape(name)}</span>", f"<span>{escape(note)}</span>"
    return f"<div>{above}<strong>{value}</strong>{below}</div>"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    marks: Mapping[int, Mark] | None = None,
    name: str = "",
) -> str:
    """Return a table.

    Args:
        columns: heads of the columns.
        rows: cells of each row, which are HTML.
        marks: marks of rows by their index.
        name: name by which a script finds it.

    Example:
        >>> table(["run"], [["0"]], {0: "best"}).count("<tr class='best'><td>0</td></tr>")
        1
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{cell}</td>" for cell in row)
        mark = (marks or {}).get(i)
        lines.append(f"<tr class='{mark}'>{cells}</tr>" if mark else f"<tr>{cells}</tr>")
    opening = f"<table class='{escape(name)}'>" if name else "<table>"
    parts = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class='wide'>{opening}{parts}</table></div>"


def figure(content: Figure) -> str:
    """Return a figure with its PNG inside, at three quarters of its size so that it is sharp."""
    png = content.path.read_bytes()
    (width,) = struct.unpack(">I", png[16:20])  # where the header of every PNG has it
    return (
        f"<figure>{image(png, width=width * 3 // 4, title=content.title)}"
        f"<figcaption><b>{escape(content.title)}.</b> {escape(content.caption)}</figcaption>"
        "</figure>"
    )


def image(png: bytes, *, width: int, title: str = "") -> str:
    """Return an image with its PNG inside.

    Example:
        >>> image(b"png", width=30, title="a")
        "<img alt='a' width='30' src='data:image/png;base64,cG5n'>"
    """
    content = base64.b64encode(png).decode()
    return f"<img alt='{escape(title)}' width='{width}' src='data:image/png;base64,{content}'>"


def pairs(values: Mapping[str, Any]) -> str:
    """Return names and values as a list in columns, without what is empty.

    Example:
        >>> pairs({"beta": 4.0, "prior": None})
        '<dl><div><dt>beta</dt><dd>4</dd></div></dl>'
    """
    items = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(format.setting(value))}</dd></div>"
        for name, value in values.items()
        if value not in (None, "")
    ]
    return f"<dl>{''.join(items)}</dl>" if items else ""
