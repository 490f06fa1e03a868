"""The documentation: names exist, what is generated is complete, what is to be copied runs."""

import functools
import importlib
import importlib.util
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vae_jax
from tests import skeletons
from tests.test_layout import LEVELS
from vae_jax.config import command_line
from vae_jax.config.flags import FLAGS
from vae_jax.evaluation import columns, evaluators
from vae_jax.evaluation.evaluators import EVALUATORS
from vae_jax.hparams import shipped
from vae_jax.pipeline import results, workdir

ROOT = Path(vae_jax.__file__).parents[1]
DOCS = ROOT / "docs"
PATTERNS = (
    *("*.md", "docs/**/*.md", "experiments/*.md", "experiments/*.flags", "benchmarks/*.md"),
    *("mkdocs.yml", ".ci/run", "docs/**/*.ipynb"),
)
TEXTS = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})
CODE_TABLES = ("README.md", "docs/explanation/mathematics.md", "docs/reference/evaluators.md")
"""Pages whose tables name functions, and the file of each beside them."""

PATH = r"(?:vae_jax|tests|docs|experiments|benchmarks)/[\w./-]*\w/?"
HOW_TO = sorted(path for path in (DOCS / "how-to").glob("*.md") if "```python" in path.read_text())

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="not a checkout")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def _coded(text: str) -> set[str]:
    """Return the contents of all code spans."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_flag_has_a_row(pages):
    assert {f"--{name}" for name in FLAGS} <= _coded(pages["reference/flags.md"])


def test_every_column_has_a_row_and_a_meaning(pages):
    page = pages["reference/columns.md"]
    assert results.declared().keys() - shipped().keys() <= _coded(page)
    assert set(columns.TABLE) <= _coded(page)
    assert not re.findall(r"^\| `[^|]+\|\s*\|$", page, re.MULTILINE)


def test_every_column_of_an_evaluator_is_explained():
    explained = _coded((DOCS / "reference" / "evaluators.md").read_text(encoding="utf-8"))
    assert {each.name for each in evaluators.columns(EVALUATORS.values())} <= explained


def test_every_file_of_a_workdir_and_every_public_name_is_listed(pages):
    assert set(workdir.CONTENTS) <= _coded(pages["reference/workdir.md"])
    listed = re.findall(r"^\| \[`vae_jax\.(\w+)`\]", pages["reference/api.md"], re.MULTILINE)
    assert sorted(listed) == sorted(vae_jax.__all__)


def test_every_module_is_on_the_page_of_its_package_and_every_page_in_the_menu(pages):
    modules = {module.name for module in pkgutil.walk_packages(vae_jax.__path__, "vae_jax.")}
    text = "\n".join(page for path, page in pages.items() if "packages/" in path)
    shown = set(re.findall(r"^(?:::: |# )(vae_jax\S+)$", text, re.MULTILINE))
    assert shown == modules - {"vae_jax.__main__"}
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(path in menu for path in pages)


@functools.cache
def _value(dotted: str) -> Any:
    """Return the module, class, function or attribute that a dotted name stands for."""
    module, names = dotted, []
    while importlib.util.find_spec(module.partition(".")[0]) is not None:
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
            continue
        return functools.reduce(_attribute, names, value)
    raise AttributeError(dotted)


def _attribute(owner: Any, name: str) -> Any:
    """Return an attribute; a field of a dataclass or ``NamedTuple`` counts too."""
    if name in getattr(owner, "__dataclass_fields__", ()):
        return owner.__dataclass_fields__[name]
    return getattr(owner, name)


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _text(path: Path) -> str:
    """Return a page; of a notebook its cells of Markdown, without outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def _each(pattern: str) -> list[Any]:
    """Return every occurrence of a pattern in the texts, with the page that it stands on."""
    found = [
        pytest.param(*match.groups(), id=f"{text.relative_to(ROOT)}:{match[0]}")
        for text in TEXTS
        for match in re.finditer(pattern, _text(text))
    ]
    return list({each.id: each for each in found}.values())


@pytest.mark.parametrize("path", _each(rf"(?<![\w./<>-])({PATH})"))
def test_a_path_that_is_named_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", _each(r"(?<![\w/.-])(vae_jax(?:\.\w+)+)(?![\w/])"))
def test_a_dotted_name_that_is_named_exists(name):
    assert _value(name) is not None


@pytest.mark.parametrize(
    ("name", "path"), _each(r"`([\w.]+)`\s+(?:of|in)\s+`((?:vae_jax|tests)/[\w/]+\.py)`")
)
def test_what_is_said_to_be_in_a_file_is_there(name, path):
    if path.startswith("tests/"):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert _value(f"{_module_of(path)}.{name}") is not None


def _code_rows() -> Iterator[tuple[str, str]]:
    """Yield names and their file from tables whose last column is "`name`, `path`"."""
    for page in CODE_TABLES:
        path = ""
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
            cell = line.rstrip("| ").rpartition(" | ")[2]
            named = re.findall(r"`([^`]+)`", cell)
            if named and named[-1].startswith("vae_jax/"):
                path = named.pop()
            elif not cell.endswith("the same"):
                continue
            yield from ((name, path) for name in named)


@pytest.mark.parametrize(("name", "path"), sorted(set(_code_rows())))
def test_the_line_that_says_it_is_in_its_file(name, path):
    assert _value(f"{_module_of(path)}.{name}") is not None


def test_every_promise_names_a_test():
    page = (DOCS / "explanation" / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    assert all(re.search(r"`tests/[\w/]+\.py", row.split(" | ")[1]) for row in rows)
    assert all((ROOT / path).is_file() for path in re.findall(r"`(tests/[\w/]+\.py)`", page))


def test_the_renames_in_the_changelog_lead_from_what_is_gone_to_what_is_there():
    page = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", page, re.MULTILINE)
    assert rows
    for old, new in rows:
        assert _value(f"vae_jax.{new}") is not None
        with pytest.raises(AttributeError):
            _value(f"vae_jax.{old}")


def test_the_picture_of_the_floors_has_the_packages_of_the_layout_from_the_top_down():
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    known = set().union(*LEVELS)
    picture = next(
        block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if "pipeline" in block
    )
    drawn = [
        set(re.findall(r"\w+", line.partition("  ")[0])) & known for line in picture.splitlines()
    ]
    assert [floor for floor in drawn if floor] == [floor - {"__main__"} for floor in LEVELS[::-1]]


def test_the_readme_is_a_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.encode()) <= 7 * 1024


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> Iterator[Path]:
    """Yield a folder with all skeletons, as a user saves them."""
    with skeletons.written(tmp_path_factory.mktemp("outside")) as folder:
        yield folder


@pytest.mark.parametrize("path", HOW_TO, ids=lambda path: path.stem)
def test_what_is_to_be_copied_runs(path, outside, tmp_path, monkeypatch):
    """The blocks of a page run one after the other, and hold what they assert.

    Skeletons are imported as modules that lie outside of the package, and a few updates are done.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(outside)
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    names = {"__name__": path.stem}
    for block in blocks:
        exec(block, names)
    for module in skeletons.modules(path):
        assert Path(sys.modules[module.removesuffix(".py")].__file__).parent == outside


@pytest.mark.parametrize("path", skeletons.HOW_TO, ids=lambda path: path.stem)
def test_the_commands_of_a_how_to_page_are_command_lines(path, outside, monkeypatch):
    monkeypatch.chdir(outside)
    monkeypatch.syspath_prepend(outside)
    shown = [argv for argv in skeletons.commands(path) if "..." not in " ".join(argv)]
    for argv in shown:
        assert command_line.parse(argv).workdir
    for module in skeletons.modules(path):
        name = module.removesuffix(".py")
        assert any(f"={name}:" in text or f",{name}:" in text for argv in shown for text in argv)
