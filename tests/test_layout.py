"""The layout: which package imports which, who owns a library, and that each idea has one place."""

import ast
import itertools
import re
import sys
from pathlib import Path

import pytest

import vae_jax
from benchmarks import structure
from vae_jax.config.members import KINDS

PACKAGE = Path(vae_jax.__file__).parent
SOURCES = structure.modules(PACKAGE)
IMPORTS = structure.imports(PACKAGE)

LEVELS = (
    {"runtime"},
    {"types", "rng", "settings", "hparams", "contract"},
    {"data", "models"},
    {"objectives"},
    {"training"},
    {"evaluation"},
    {"reporting", "config"},
    {"pipeline"},
    {"api", "cli", "__main__"},
)
"""From the ground up: a package imports only those of lower levels."""
ROOT = {"types", "rng", "settings", "hparams", "contract", "api", "cli", "__main__"}
"""Modules in the root of the package, which may import those of their own level."""

PURE = (
    *("types", "rng", "settings", "hparams", "models", "objectives", "training.step"),
    "training.spec",
    *("training.vectorized", "training.batches", "training.optimizers", "evaluation.elbo"),
    *("evaluation.metrics.evidence", "evaluation.metrics.hmc", "evaluation.metrics.ais"),
    *("evaluation.metrics.gaps", "evaluation.metrics.decomposition"),
)
"""Modules and packages of pure functions, which jit and know nothing of files or terminals."""

OWNERS = {
    "flax": {"models.networks"},
    "optax": {"training.optimizers", "training.step", "evaluation.metrics"},
    "tensorflow_datasets": {"data"},
    "requests": {"data"},
    "PIL": {"data"},
    "orbax": {"training.checkpoint"},
    "absl": {"config.command_line"},
    "h5py": {"data"},
    "sklearn": {"evaluation.metrics"},
    "matplotlib": {"reporting.plots"},
    "rich": {"pipeline.loggers"},
    "tensorboardX": {"pipeline.loggers"},
    "wandb": {"pipeline.loggers"},
    "mlflow": {"pipeline.loggers"},
}
"""Libraries, and the only modules or packages that import them."""


def _level(module: str) -> int:
    package = module.partition(".")[0]
    return next(i for i, packages in enumerate(LEVELS) if package in packages)


def _is_in(module: str, places: set[str] | tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def _code(path: Path) -> str:
    """Return a module's text without the examples of its docstrings."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(">>>"))


def _libraries(module: str) -> set[str]:
    return structure.libraries(SOURCES[module]) - set(sys.stdlib_module_names) - {"vae_jax"}


def test_the_package_consists_of_the_packages_of_the_levels():
    found = {name.partition(".")[0] for name in SOURCES if name}
    assert found == set(itertools.chain(*LEVELS))
    assert len(list(PACKAGE.glob("*.py"))) <= 9


@pytest.mark.parametrize("module", [name for name in SOURCES if name])
def test_a_package_imports_only_packages_of_lower_levels(module):
    own = module.partition(".")[0]
    for other in IMPORTS[module]:
        package = other.partition(".")[0]
        is_beside = package == own or {package, own} <= ROOT
        assert _level(other) < _level(module) + is_beside, f"{module} imports {other}"


def test_imports_have_no_circles():
    assert max(structure.floors(IMPORTS).values()) < len(SOURCES)


@pytest.mark.parametrize("module", [name for name in SOURCES if _is_in(name, PURE)])
def test_pure_modules_know_jax_and_nothing_of_the_host(module):
    assert _libraries(module) <= {"jax", "flax", "optax", "jaxtyping", "numpy"}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_only_by_its_owners(library):
    users = {module for module in SOURCES if library in _libraries(module)}
    assert users
    assert {module for module in users if not _is_in(module, OWNERS[library])} == set()
    assert all(any(_is_in(module, {place}) for module in users) for place in OWNERS[library])


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        (r"lax\.map\(", {"training.vectorized"}),
        (r"\bdef over_runs\(", {"training.vectorized"}),
        (r"shard_map\(|make_mesh\(|jax\.sharding", {"runtime.mesh"}),
        (r"compilation_cache_dir", {"runtime.compilation_cache"}),
        (r"jax\.grad\(|value_and_grad\(", {"training.step", "evaluation.metrics.gaps"}),
        (r"hparams\.beta", {"objectives.base"}),
    ],
)
def test_an_idea_has_one_place(words, modules):
    found = {name for name, path in SOURCES.items() if re.search(words, _code(path))}
    assert found == modules


def test_there_is_no_module_for_odds_and_ends():
    names = {name.rpartition(".")[2] for name in SOURCES}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


MEMBERS_OF = {name: kind for kind in KINDS for name in KINDS[kind]}
"""Kinds of the registered members by their names."""


def _compared_names(path):
    """Yield the names of members that a module compares something with."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            for each in ast.walk(node):
                if isinstance(each, ast.Constant) and each.value in MEMBERS_OF:
                    yield each.value, node.lineno


@pytest.mark.parametrize("package", ["training", "reporting", "config", "pipeline"])
def test_no_rule_outside_of_the_members_names_one(package):
    """What differs between members is a trait that they declare, which holds from outside too."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line} compares with {name}, a {MEMBERS_OF[name]}"
        for path in sorted((PACKAGE / package).rglob("*.py"))
        for name, line in _compared_names(path)
    ]
    assert found == []


def test_no_module_but_those_of_the_priors_asks_whether_a_posterior_is_gaussian():
    asked = re.compile(r"isinstance\([^()]*\bGaussian\b")
    found = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if asked.search(path.read_text(encoding="utf-8")) and path.parent.name != "priors"
    ]
    assert found == []
