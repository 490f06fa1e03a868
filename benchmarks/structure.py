"""Measure how easily a stranger finds the way: ``python benchmarks/structure.py [--tree=PATH]``.

Counts, for any checkout of this project:

* the modules in the root of the package, and its packages;
* the floors of imports: the longest chain of modules (and of packages) that import each other;
* the modules entered from ``cli.main`` to the first update of a tiny run, and the climbs: calls
  from a module into one that stands above it in the order of imports, as a callback does;
* the bytes of README.md;
* the docstrings, and those whose first line opens with a fragment instead of a verb or a noun.

The run is the only part that needs JAX; ``--static`` leaves it out.
"""

import argparse
import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FRAGMENT = re.compile(
    r"(Of|Those|What|Whether|In|From|Some|Itself|There|Where|Why|With|As|How|Which|Who|When|If|It|"
    r"So|Since|At|By|For|To|Their|Its|This|That|These|Everything|Nothing|The same|Another|Also|"
    r"Without)\b"
)
"""Words with which neither a sentence in the imperative nor a definition begins."""

PROBE = """
import collections, json, os, pathlib, sys, tempfile
import numpy as np
tree = pathlib.Path.cwd() / "vae_jax"
with tempfile.TemporaryDirectory() as folder:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 4, 4), np.uint8)
    np.savez(f"{folder}/d.npz", x_train=pixels, x_test=pixels[:20])
    from vae_jax import cli
    calls, entered, first = [], [], []

    def name(frame):
        path = frame.f_code.co_filename
        if not path.startswith(str(tree)):
            return None
        return os.path.relpath(path, tree)[:-3].replace(os.sep, ".").removesuffix(".__init__")

    def trace(frame, event, _):
        if event != "call" or first:
            return
        callee = name(frame)
        if callee is None:
            return
        caller = frame.f_back
        while caller is not None and name(caller) is None:
            caller = caller.f_back
        above = None if caller is None else name(caller)
        entered.append(callee)
        if above is not None and above != callee:
            calls.append((above, callee))
        if frame.f_code.co_name == "train_step":
            first.append(True)

    sys.setprofile(trace)
    cli.main([f"--dataset={folder}/d.npz", f"--workdir={folder}/run", "--num_steps=1",
              "--batch_size=4", "--hidden_sizes=2", "--latent_size=1", "--eval_particles=1",
              "--compilation_cache=none"])
    sys.setprofile(None)
print("PROBE " + json.dumps({"entered": entered, "calls": calls}))
"""


def modules(package: Path) -> dict[str, Path]:
    """Return the modules below a package by their dotted names; the package itself is ''."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        dotted = ".".join(path.relative_to(package).with_suffix("").parts)
        names[dotted.removesuffix("__init__").removesuffix(".")] = path
    return names


def imports(package: Path) -> dict[str, set[str]]:
    """Return for each module those that it imports, also inside of functions."""
    names = modules(package)
    return {name: set(_imported(path, names)) - {name, ""} for name, path in names.items()}


def libraries(path: Path) -> set[str]:
    """Return the first names of all that a module imports, the project's own among them."""
    return {name.partition(".")[0] for name in _dotted(path)}


def _dotted(path: Path) -> Iterator[str]:
    """Yield the dotted names of what a module imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imported(path: Path, names: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the project that a module imports: the longest in each dotted name."""
    for name in _dotted(path):
        inside, _, rest = name.partition(".")
        if inside == "vae_jax":
            while rest not in names:
                rest = rest.rpartition(".")[0]
            yield rest


def floors(edges: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each node: 0 where it imports nothing, else one above its highest."""

    @functools.cache
    def floor(name: str) -> int:
        return max((1 + floor(other) for other in edges.get(name, set())), default=0)

    return {name: floor(name) for name in edges}


def between_packages(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports between the packages of the first level; root modules stand alone."""
    found: dict[str, set[str]] = {}
    for name, others in edges.items():
        own = name.partition(".")[0]
        found.setdefault(own, set()).update(other.partition(".")[0] for other in others)
    return {name: others - {name} for name, others in found.items()}


def docstrings(package: Path) -> Iterator[tuple[str, str]]:
    """Yield where each docstring stands, and its first line."""
    for name, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                line = getattr(node, "lineno", 1)
                yield f"{name or '__init__'}:{line}", text.partition("\n")[0]


def fragments(package: Path) -> list[tuple[str, str]]:
    """Return the docstrings that open with a fragment."""
    return [(where, line) for where, line in docstrings(package) if FRAGMENT.match(line)]


def walk(tree: Path) -> tuple[int, int]:
    """Return the modules entered from the command to the first update, and the climbs."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tree, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("PROBE ")]
    if not lines:
        raise RuntimeError(f"the tiny run ended with status {done.returncode}: {done.stderr}")
    found = json.loads(lines[0].removeprefix("PROBE "))
    height = floors(imports(tree / "vae_jax"))
    climbs = {(a, b) for a, b in found["calls"] if height[b] > height[a]}
    return len(set(found["entered"])), len(climbs)


def main() -> None:
    """Print the table of one checkout."""
    parser = argparse.ArgumentParser(description="Measure how easily a stranger finds the way.")
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--static", action="store_true", help="leave out the tiny run")
    options = parser.parse_args()
    package = options.tree / "vae_jax"
    edges = imports(package)
    packages = between_packages({n: o for n, o in edges.items() if n})
    folders = [p for p in package.iterdir() if p.is_dir() and any(p.glob("*.py"))]
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in modules(package).values())
    rows = {
        "modules in the root of the package": len(list(package.glob("*.py"))),
        "packages": len(folders),
        "modules, lines": f"{len(edges)}, {lines:,}",
        "floors of imports between modules": 1 + max(floors(edges).values()),
        "README.md, bytes": f"{(options.tree / 'README.md').stat().st_size:,}",
        "docstrings": len(list(docstrings(package))),
        "docstrings that open with a fragment": len(fragments(package)),
    }
    try:
        rows["floors of imports between packages"] = 1 + max(floors(packages).values())
        arrows = sum(len(others) for others in packages.values())
        rows["imports between packages"] = arrows
    except RecursionError:
        rows["floors of imports between packages"] = "circular"
    if not options.static:
        entered, climbs = walk(options.tree)
        rows["modules entered up to the first update"] = entered
        rows["calls that climb on the way (pairs of modules)"] = climbs
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
