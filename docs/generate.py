"""Make the reference pages from the code, each time that the site is built (a hook of mkdocs).

Flags and columns come from their declarations, members from their registries, streams, modules and
classes from the package, chapters of the tutorial from their notebooks. By hand are only the
sentences on files of a workdir, which nothing declares. A test asserts that no flag, column, file,
public name or module is missing.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # mkdocs looks in neither

import notebooks  # noqa: E402
import what_combines  # noqa: E402

import vae_jax  # noqa: E402
from vae_jax import rng  # noqa: E402
from vae_jax.config.flags import FLAGS, as_text  # noqa: E402
from vae_jax.config.members import KINDS, LOGGERS  # noqa: E402
from vae_jax.contract import outside  # noqa: E402
from vae_jax.data import Provenance  # noqa: E402
from vae_jax.evaluation import columns  # noqa: E402
from vae_jax.evaluation.columns import Column  # noqa: E402
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, Evaluator  # noqa: E402
from vae_jax.hparams import declarations  # noqa: E402
from vae_jax.models.likelihoods import Likelihood  # noqa: E402
from vae_jax.models.networks import Decoder, Network  # noqa: E402
from vae_jax.models.posteriors import PosteriorFamily  # noqa: E402
from vae_jax.models.priors import PriorFamily  # noqa: E402
from vae_jax.objectives import Objective  # noqa: E402
from vae_jax.objectives.regularizers import REGULARIZERS, Regularizer  # noqa: E402
from vae_jax.pipeline import results, workdir  # noqa: E402
from vae_jax.pipeline.loggers import Logger  # noqa: E402
from vae_jax.training.optimizers import Optimizer  # noqa: E402

INTERFACES: dict[str, tuple[type, ...]] = {
    "Likelihoods": (Likelihood,),
    "Posteriors": (PosteriorFamily,),
    "Priors": (PriorFamily,),
    "Objectives": (Objective,),
    "Regularizers": (Regularizer,),
    "Networks": (Network, Decoder),
    "Optimizers": (Optimizer,),
    "Loggers": (Logger,),
    "Evaluators": (Evaluator,),
    "Data": (Provenance,),
}
"""Base class of each kind of member; the other classes of its module are what a member is given."""

WORKDIR = {
    "runs.txt": "in place of `flags.txt` in a study that `study.save` wrote and whose runs are no "
    "product of values: the settings of each run, and how to go on",
    "flags.txt": "the resolved flags; `python run.py --flagfile=<workdir>/flags.txt` repeats the "
    "run",
    "metrics.jsonl": "one line per run and interval: step, run, seconds, `train_*` and `valid_*` "
    "terms",
    "results.csv": "one row per run; see [its columns](columns.md)",
    "results.json": "the same with everything else: data really used, sizes, units, versions, "
    "device, seconds, git commit, diagnostics",
    "checkpoints": "states of all runs, by orbax, each with a checksum of every file",
    "evaluations": "numbers that are kept, with all settings that they depend on",
    "exports": "what `--export` names of each run: codes, weights, functions, statistics; see "
    "[Take a model away](../how-to/take-away.md)",
    "init_from.json": "of runs that `--init_from` started: run, step, commit, checksum and flags "
    "of the source",
    "figures": "the pictures of the report as PNG files",
    "tensorboard": "the learning curves as TensorBoard events",
    "report.html": "the page to read: summary, diagnostics, tables and figures",
    "explorer.html": "the latent space to touch: the decoder runs in the page; see "
    "[Explore the latent space](../how-to/explorer.md)",
}


def pages() -> dict[str, str]:
    """Return every generated page by its path under ``docs/``."""
    return {
        "reference/flags.md": flags_page(),
        "reference/members.md": members_page(),
        "reference/columns.md": columns_page(),
        "reference/workdir.md": workdir_page(),
        "reference/streams.md": streams_page(),
        "reference/api.md": api_page(),
        "reference/interfaces.md": interfaces_page(),
        **package_pages(),
        **results_pages(),
    }


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site (called by mkdocs)."""
    from mkdocs.structure.files import File

    for path, text in (pages() | notebooks.pages()).items():
        files.append(File.generated(config, path, content=text))
    return files


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "&#124;") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def code(text: str) -> str:
    """Return text as a code span, or nothing for no text."""
    return f"`{text}`" if text else ""


def first_line(member: Any) -> str:
    """Return the summary of a docstring."""
    return (inspect.getdoc(member) or "").partition("\n")[0]


def flags_page() -> str:
    """Return all flags with default, meaning, range, and what their change means."""
    readers = _readers()
    rows = (
        (
            f'<span id="{name}"></span>`--{name}`',
            code(as_text(flag.default)),
            (f"{flag.doc} ({flag.source})" if flag.source else flag.doc).replace("*", r"\*"),
            flag.type.description.replace("*", r"\*"),
            _sweep_of(name),
            ", ".join(map(code, readers.get(name, []))),
        )
        for name, flag in FLAGS.items()
    )
    head = ("flag", "default", "meaning", "must be", "sweep", "read by")
    return (
        "---\nhide: [toc]\n---\n\n# Flags\n\nAll flags of `python run.py` and `vae-jax`, made from "
        "the declarations of the members and of `vae_jax/config/flags.py`; `--help` prints the "
        "same. Flags of a flagfile come first, later ones win. A flag that has no effect in the "
        "chosen combination is an error, never ignored: "
        "*read by* says which [members](members.md) use it, where not all do.\n\n"
        "*Sweep*: `array`: all its values share one compiled program; `program`: each value starts "
        "another program within the same study; `no`: it is one for the whole study. See "
        "[Run a study](../how-to/study.md).\n\n"
        + table(head, rows)
        + "\n`--sweep=NAME=V1,V2,...` is repeatable; the study is the product of all.\n\n"
        "`--flagfile=NAME` reads flags from a file, a line each, `#` for comments. It is looked up "
        "in the working directory, then among the flagfiles of `experiments/`, which are installed "
        "with the package. A flagfile may begin with another.\n"
    )


def _sweep_of(name: str) -> str:
    if not FLAGS[name].is_sweepable:
        return "no"
    return "array" if FLAGS[name].is_array else "program"


def _registries() -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return each registry's members by a title, with the flag that chooses among them."""
    titles = {
        "posterior": "Posteriors q(z|x)",
        "prior": "Priors p(z)",
        "likelihood": "Likelihoods p(x|z)",
        "objective": "Objectives",
        "network": "Networks",
        "optimizer": "Optimizers",
    }
    chosen = {title: (f"`--{flag}`", KINDS[flag]) for flag, title in titles.items()}
    return chosen | {
        "Regularizers": ("a positive weight (others: `--regularizer`)", REGULARIZERS),
        "Evaluators": ("`--evaluate`", EVALUATORS),
        "Loggers": ("`--loggers`", {name: outside(name, path) for name, path in LOGGERS.items()}),
    }


def _flags_of(member: Any) -> list[str]:
    """Return the flags that a member reads, in the order of their declarations."""
    own = {each.name for each in declarations(member)}
    return [name for name in FLAGS if name in own]


def _readers() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for _, members in _registries().values():
        for name, member in members.items():
            for flag in _flags_of(member):
                found.setdefault(flag, []).append(name)
    return found


def _traits(member: Any) -> list[str]:
    """Return the traits that are true of a member, and what it asks for."""
    words = [
        name.removeprefix("is_").removeprefix("has_").replace("_", " ")
        for name in sorted(dir(member))
        if name.startswith(("is_", "has_", "needs_")) and getattr(member, name) is True
    ]
    return [*words, *(f"needs {need}" for need in sorted(getattr(member, "needs", ())))]


def _dotted(member: Any) -> str:
    """Return where a class is, as a name that may be broken at its dots."""
    name = f"{member.__module__}.{member.__qualname__}"
    return f"<code>{name.replace('.', '.<wbr>')}</code>"


def members_page() -> str:
    """Return the members of every registry: what they are, which flags they read, their traits."""
    parts = [
        "# Members\n\nPosterior, prior, likelihood, objective, network and optimizer are chosen "
        "independently. What cannot go together is refused in one line, by the traits that the "
        "members declare. All penalties may be added to any objective.\n\n## What combines\n"
    ]
    for introduction, (head, rows) in what_combines.tables().items():
        parts.append(f"{introduction}\n\n{table(head, rows)}")
    for title, (chosen_by, members) in _registries().items():
        rows = [
            (
                code(name),
                first_line(member),
                ", ".join(f"[`--{flag}`](flags.md#{flag})" for flag in _flags_of(member)),
                ", ".join(_traits(member)),
                _dotted(member),
            )
            for name, member in members.items()
        ]
        head = ("name", "what it is", "flags it reads", "traits", "class")
        parts.append(f"## {title}\n\nChosen by {chosen_by}.\n\n{table(head, rows)}")
    return "\n".join(parts)


def columns_page() -> str:
    """Return every column that a row may have, as it is declared."""
    declared = results.declared()
    further = [each for name, each in columns.CORE.items() if name not in columns.TABLE]
    parts = [
        "# Columns of results.csv\n\nOne row per run, with the same keys in `results.csv`, "
        "`results.json`, `vae_jax.score` and `vae_jax.ablate(...).table`. Swept flags have a "
        "column of their name too. A number that the data or the model do not allow is empty. "
        "`NAME_se` is the standard error of `NAME` over examples.\n\n## In every table\n",
        _column_table([declared[name] for name in columns.TABLE]),
        "## In results.json and metrics.jsonl too\n",
        _column_table(further),
    ]
    for name, evaluator in EVALUATORS.items():
        when = "always measured" if name in ALWAYS else f"with `--evaluate={name}`"
        parts.append(f"## {name}\n\n{first_line(evaluator).removesuffix('.')} ({when}).\n")
        parts.append(_column_table(columns.with_errors(evaluator.columns)))
    return "\n".join(parts)


def _column_table(declared: Sequence[Column]) -> str:
    """Return a row for each column, in which that of its standard error stands too."""
    names = {each.name for each in declared}
    errors = {f"{each.name}_se" for each in declared if each.has_error} & names
    rows = (
        (
            f"`{each.name}`" + (f"<br>`{each.error.name}`" if each.error.name in errors else ""),
            each.meaning,
            "" if each.unit == columns.NUMBER else each.unit,
            "" if each.better == "neither" else each.better,
            each.source,
        )
        for each in declared
        if each.name not in errors
    )
    return table(("column", "what it is", "unit", "better", "source"), rows)


def workdir_page() -> str:
    """Return the files that a run leaves in its folder."""
    rows = ((code(name), WORKDIR[name]) for name in sorted(workdir.CONTENTS))
    return (
        "# Files of a workdir\n\nA workdir belongs to the project alone. It can be moved or copied "
        "with its data and goes on. Started again, an interrupted run resumes bit-exactly, and a "
        "finished one only evaluates and reports.\n\n"
        + table(("file", "what it holds"), rows)
        + "\nAll are replaced whole or not at all, and none is a pickle: nothing that is loaded "
        "can run code. One process owns a workdir at a time; see "
        "[What is promised](../explanation/promises.md).\n"
    )


def streams_page() -> str:
    """Return the named random streams, from the docstring that declares them."""
    text = inspect.getdoc(rng) or ""
    rows = [re.split(r"\s{2,}", line) for line in text.splitlines() if line.startswith("``")]
    body = table(("stream", "index", "what is drawn"), rows)
    return (
        "# Random streams\n\nA key is `fold_in(fold_in(key(seed), crc32(name)), index)`: a "
        "function of seed, name and index and of nothing else. See [Randomness and reproducibility]"
        f"(../explanation/randomness.md).\n\n{body}"
    )


def _reference(member: Any, title: str = "") -> str:
    """Return a link to the docstring of a class or function on the page of its package."""
    return f"[`{title or member.__qualname__}`][{member.__module__}.{member.__qualname__}]"


def api_page() -> str:
    """Return the public names of the package, each with its first line."""
    parts = [
        "# Python API\n\nWhat `import vae_jax` gives. [Work from Python](../how-to/python.md) "
        "shows the usual way. Everything else is open too, but may move: "
        + ", ".join(f"[`{page}`](packages/{page}.md)" for page in _packages())
        + ".\n"
    ]
    members = {name: getattr(vae_jax, name) for name in vae_jax.__all__}
    for title, is_class in (("Functions", False), ("Classes", True)):
        rows = (
            (_reference(member, f"vae_jax.{name}"), first_line(member))
            for name, member in members.items()
            if inspect.isclass(member) == is_class
        )
        parts.append(f"## {title}\n\n{table(('name', 'what it is'), rows)}")
    return "\n".join(parts)


def interfaces_page() -> str:
    """Return the interfaces that members of each family fulfil."""
    parts = [
        "# Interfaces of members\n\nThe classes that a new member subclasses, and those that it is "
        "given or returns. The how-to pages have a skeleton of each.\n"
    ]
    for title, bases in INTERFACES.items():
        classes = dict.fromkeys(found for base in bases for found in _classes_beside(base))
        rows = ((_reference(each), first_line(each), _methods(each)) for each in classes)
        parts.append(f"## {title}\n\n{table(('class', 'what it is', 'members'), rows)}")
    return "\n".join(parts)


def _classes_beside(base: type) -> Iterator[type]:
    """Yield the public classes of a base class's module, without members, in their order."""
    for name, value in vars(sys.modules[base.__module__]).items():
        is_own = inspect.isclass(value) and value.__module__ == base.__module__
        is_member = is_own and base in value.__mro__[1:] and not inspect.isabstract(value)
        if is_own and name[0] != "_" and not is_member:
            yield value


def _methods(owner: type) -> str:
    """Return the names of a class's own fields, properties and methods, without private ones."""
    names = [*getattr(owner, "__annotations__", {}), *vars(owner)]
    public = (name for name in dict.fromkeys(names) if name[0] != "_" or name == "__call__")
    hidden = {"count", "index"}
    return ", ".join(f"`{name}`" for name in public if name not in hidden)


def _packages() -> dict[str, list[str]]:
    """Return the modules of each package on the first level; those of the root stand together."""
    found: dict[str, list[str]] = {"vae_jax": []}
    for module in pkgutil.walk_packages(vae_jax.__path__, "vae_jax."):
        own = ".".join(module.name.split(".")[:2])
        is_in_package = module.ispkg or own != module.name
        if not module.name.endswith("__main__"):
            found.setdefault(own if is_in_package else "vae_jax", []).append(module.name)
    return found


def package_pages() -> dict[str, str]:
    """Return a page for each package: the docstrings of its modules, classes and functions."""
    return {
        f"reference/packages/{package}.md": _package_page(package, modules)
        for package, modules in _packages().items()
    }


def _package_page(package: str, modules: list[str]) -> str:
    """Return the page of one package; what a package re-exports stands where it is defined."""
    title = "Modules of the root" if package == "vae_jax" else package
    parts = [f"# {title}\n"]
    for name in modules:
        options = ["heading_level: 2", "show_root_full_path: true", "show_submodules: false"]
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            options.append(f"members: {_defined_in(module) or 'false'}")
        parts.append(f"::: {name}\n    options:\n      " + "\n      ".join(options) + "\n")
    return "\n".join(parts)


def _defined_in(module: ModuleType) -> list[str]:
    """Return the public names that a package's ``__init__`` defines itself, in their order."""
    nodes = ast.parse(inspect.getsource(module)).body
    targets = (
        target
        for node in nodes
        for target in (getattr(node, "targets", None) or [getattr(node, "target", node)])
    )
    names = (getattr(target, "name", getattr(target, "id", "")) for target in targets)
    return [name for name in names if isinstance(name, str) and name and name[0] != "_"]


def results_pages() -> dict[str, str]:
    """Return the measured tables that lie beside what they measure, as pages."""
    sources = {
        "results-experiments.md": ROOT / "experiments" / "README.md",
        "results-benchmarks.md": ROOT / "benchmarks" / "README.md",
        "results-scaling.md": ROOT / "experiments" / "SCALING.md",
    }
    return {page: _with_links(path.read_text(encoding="utf-8")) for page, path in sources.items()}


def _with_links(text: str) -> str:
    """Return the text with links between those files as links between pages."""
    text = re.sub(r"\]\((?:\.\./)?(?:experiments/)?SCALING\.md\)", "](results-scaling.md)", text)
    return re.sub(r"\]\(\.\./benchmarks/README\.md\)", "](results-benchmarks.md)", text)
