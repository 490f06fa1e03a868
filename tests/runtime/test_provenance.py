"""The commit behind the numbers is that of this package, and of nothing around it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vae_jax.runtime import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with one commit, of a file ``project.py`` and a package ``own``."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").write_text("")
    (tmp_path / "project.py").write_text("")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message=first")
    return tmp_path


def test_a_tracked_package_has_the_commit_of_its_checkout(checkout):
    head = _git(checkout, "rev-parse", "--short=12", "HEAD")
    assert provenance.commit(checkout / "own") == head
    (checkout / "project.py").write_text("changed = True")
    assert provenance.commit(checkout / "own") == head
    (checkout / "own" / "__init__.py").write_text("changed = True")
    assert provenance.commit(checkout / "own") == f"{head}+"


@pytest.mark.parametrize("ignored", ["", "venv/"])
def test_a_package_installed_inside_another_checkout_has_none(checkout, ignored):
    (checkout / ".gitignore").write_text(ignored)
    installed = checkout / "venv" / "installed"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert provenance.commit(installed) == ""


def test_outside_a_checkout_there_is_none(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    assert provenance.commit(tmp_path) == ""
