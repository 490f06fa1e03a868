"""What pip is told, what an installed package finds, and which names the package gives."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vae_jax
from vae_jax.config import command_line
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError

ROOT = Path(vae_jax.__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"

pytestmark = pytest.mark.skipif(not PYPROJECT.exists(), reason="not a checkout")


def _project() -> dict:
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]


def _ranges(lines) -> set[str]:
    """Names and ranges, written in one way."""
    stripped = (line.partition("#")[0].replace(" ", "").lower() for line in lines)
    return {line.replace("_", "-") for line in stripped if line}


def test_requirements_are_the_run_dependencies_and_all_extras():
    project = _project()
    extras = {name: _ranges(lines) for name, lines in project["optional-dependencies"].items()}
    every = extras.pop("all")
    union = _ranges(project["dependencies"]).union(*extras.values())
    assert _ranges((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()) == union
    assert every == {f"vae-jax[{','.join(extras)}]"}


def test_the_extra_that_an_error_names_brings_the_library():
    extras = _project()["optional-dependencies"]
    for module, extra in libraries.EXTRAS.items():
        package = libraries.PACKAGES.get(module, module)
        assert any(line.startswith(package) for line in extras[extra]), module


def test_what_only_developers_need_is_not_installed_for_a_run():
    run = {line.partition(">")[0] for line in _ranges(_project()["dependencies"])}
    assert run == {
        *("jax", "flax", "optax", "orbax-checkpoint", "numpy", "absl-py", "jaxtyping"),
    }


def test_every_public_name_can_be_had():
    assert [getattr(vae_jax, name).__name__ for name in vae_jax.__all__] == vae_jax.__all__
    assert sorted(vae_jax._HOMES) == sorted(vae_jax.__all__)
    assert set(vae_jax.__all__) <= set(dir(vae_jax))
    with pytest.raises(AttributeError, match="VEA"):
        vae_jax.VEA  # noqa: B018


def test_the_command_line_sets_the_level_of_xlas_log_before_jax_does():
    """JAX sets one of its own when it is imported, and a level that the user sets is left alone."""
    code = (
        "import os, sys; import vae_jax.__main__ as door; assert 'jax' not in sys.modules;"
        "sys.argv = ['vae-jax', '--help']; assert door.run() == 0;"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    )
    for given, found in ((None, "3"), ("0", "0")):
        environment = {"PATH": "", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        environment |= {"TF_CPP_MIN_LOG_LEVEL": given} if given else {}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == found


class _Installed:
    """A file in pip's list of what it has installed."""

    def __init__(self, path: Path) -> None:
        self.suffix, self.locate = path.suffix, lambda: path


def test_an_installed_package_finds_the_flagfiles_that_pip_has_put_elsewhere(tmp_path, monkeypatch):
    path = tmp_path / "share" / "small.flags"
    path.parent.mkdir()
    path.write_text("--beta=2")
    monkeypatch.setattr(command_line, "_checkout_folder", lambda: tmp_path / "none")
    files = [_Installed(tmp_path / "vae_jax.py"), _Installed(path)]
    monkeypatch.setattr(command_line.importlib.metadata, "files", lambda name: files)
    assert command_line.parse(["--flagfile=small.flags"]).beta == 2
    with pytest.raises(InputError) as caught:
        command_line.parse(["--flagfile=no.flags"])
    assert str(caught.value) == (
        f"--flagfile=no.flags: no such file here or in {path.parent}; give one of small.flags"
    )


def test_without_any_shipped_flagfile_the_message_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(command_line, "_checkout_folder", lambda: tmp_path / "none")
    monkeypatch.setattr(command_line.importlib.metadata, "files", lambda name: None)
    with pytest.raises(InputError, match=r"no such file here or in .*none; give the path of one$"):
        command_line.parse(["--flagfile=no.flags"])


def test_a_package_holds_what_is_not_python_too():
    tools = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]
    held = {
        file
        for package, patterns in tools["setuptools"]["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = (file for file in (ROOT / "vae_jax").rglob("*") if file.is_file())
    others = {file for file in files if file.suffix not in (".py", ".pyc")}
    assert others == held
