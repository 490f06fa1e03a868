"""Turn the reStructuredText in docstrings into Markdown, before mkdocstrings reads them."""

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|data|func|meth|mod):`~?([^`]+)`")
_MATH = re.compile(r"^\.\. math::\n((?:\n|[ ]+.*\n?)+)", re.MULTILINE)


def _math(match: re.Match[str]) -> str:
    return f"```latex\n{textwrap.dedent(match[1]).strip()}\n```\n\n"


def as_markdown(text: str) -> str:
    """Return a docstring with its roles as code, and its formulas and examples as code blocks."""
    text = _MATH.sub(_math, text)
    return re.sub(r"::$", ":", _ROLE.sub(r"`\1`", text), flags=re.MULTILINE)


class Markdown(griffe.Extension):
    """Griffe's hook, called for each object that has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        del kwargs
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
