"""Turn the reStructuredText in docstrings into Markdown, before mkdocstrings reads them."""

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|data|func|meth|mod|attr):`~?([^`]+)`")
_MATH = re.compile(r"^\.\. math::\n((?:\n|[ ]+.*\n?)+)", re.MULTILINE)
_TABLE = re.compile(r"^=+(?: +=+)+\n(?:.*\n)+?=+(?: +=+)+$", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


def _math(match: re.Match[str]) -> str:
    return f"```latex\n{textwrap.dedent(match[1]).strip()}\n```\n\n"


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown.

    Roles become code; formulas and tables become code blocks, as they are readable without a
    library that would have to be loaded; ``Example:`` becomes the name that mkdocstrings knows.
    """
    text = _MATH.sub(_math, text)
    text = _TABLE.sub(lambda match: f"```text\n{match[0]}\n```", text)
    text = _EXAMPLE.sub("Examples:", text)
    return re.sub(r"::$", ":", _ROLE.sub(r"`\1`", text), flags=re.MULTILINE)


class Markdown(griffe.Extension):
    """Griffe's hook, called for each object that has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        del kwargs
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
