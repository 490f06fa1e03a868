"""Skeletons of the how-to pages: modules to copy, each with the command line that chooses it."""

import contextlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import vae_jax

ROOT = Path(vae_jax.__file__).parents[1]
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))


def modules(page: Path) -> dict[str, str]:
    """Return the text of each file that a page gives to copy, by its name."""
    pattern = r'```python title="(\w+\.py)"\n(.*?)```'
    return dict(re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL))


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each ``python run.py`` that a page shows."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[2:] for line in lines if "python run.py" in line]


@contextlib.contextmanager
def written(folder: Path) -> Iterator[Path]:
    """Write all skeletons into a folder, and leave no module of their names to other tests."""
    texts = {name: text for page in HOW_TO for name, text in modules(page).items()}
    names = [name.removesuffix(".py") for name in texts]
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield folder
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
