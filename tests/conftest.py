"""Strictness for every test: warnings and rank promotion raise, float64 is opt-in, no network."""

import gc
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

# Compiled programs of former sessions lie where pytest keeps its own things, never the user's.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
if version("jaxlib").startswith("0.10."):  # XLA ends the process at a flag that it does not know
    os.environ["XLA_FLAGS"] += (
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    )

# Every process that a test starts imports the same modules; with this set each compiles them anew.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""

import jax
import pytest

MOST_BYTES = 2**30  # of compiled programs
SLOWEST = (
    *("test_notebook.py", "benchmarks/test_accelerator.py", "evaluation/test_evaluators.py"),
    *("runtime/", "evaluation/", "pipeline/", "robustness/", "models/"),
)
"""Files and folders that are begun first, so that no worker waits for another at the end."""

# A suite that nohup starts is deaf to SIGHUP, and so were the runs that its tests stop with it.
for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

sys.dont_write_bytecode = False
jax.config.update("jax_numpy_rank_promotion", "raise")
# The tests spend their time compiling tiny programs, not running them.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; xdist hands out files in this order."""
    tests = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        name = item.path.as_posix().removeprefix(f"{tests.as_posix()}/")
        return next((i for i, each in enumerate(SLOWEST) if name.startswith(each)), len(SLOWEST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Search for garbage rarely, and not among what was imported: a fifth of a trace is that."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Forget a module's compiled programs; thousands exhaust the memory maps of a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def float64():
    """Everything in double precision, as under ``--compute_dtype=float64``."""
    from vae_jax.runtime import (
        jax_versions,  # not before the package is checked while it is imported
    )

    with jax_versions.enable_x64(True):
        yield


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes that share the suite, each taking whole files; one file alone needs no other."""
    files = {argument.partition("::")[0] for argument in config.args}
    return 0 if len(files) == 1 and files.pop().endswith(".py") else min(os.cpu_count() or 1, 4)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Forget the oldest programs when all together take too much room."""
    if hasattr(session.config, "workerinput"):
        return
    folder, total = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]), 0
    for program in sorted(folder.glob("*"), key=os.path.getmtime, reverse=True):
        total += program.stat().st_size
        if total > MOST_BYTES:
            program.unlink(missing_ok=True)
