"""Fixtures that run the command line in this process, on images of 4x5 pixels."""

from pathlib import Path

import jax
import pytest

from tests.pipeline.small import SHORT, save_images
from vae_jax import cli
from vae_jax.pipeline import explore
from vae_jax.reporting import figures


@pytest.fixture(autouse=True)
def _single_precision_afterwards():
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def no_figures(monkeypatch):
    """Draw nothing, for tests that need numbers alone; write no page whose decoders run either."""
    monkeypatch.setattr(figures, "draw", lambda *args, **kwargs: [])
    monkeypatch.setattr(explore, "write", lambda *args: None)


@pytest.fixture
def start(tmp_path, capsys, no_figures):
    """Return a function that runs the command line on gray images: status, stdout, stderr."""
    images = save_images(tmp_path)

    def run(*argv: str) -> tuple[int, str, str]:
        status = cli.main([f"--dataset={images}", f"--workdir={tmp_path / 'run'}", *argv])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Return a finished run with its figures, read by several tests and changed by none."""
    folder = tmp_path_factory.mktemp("finished")
    images = save_images(folder)
    assert cli.main([f"--dataset={images}", f"--workdir={folder / 'run'}", *SHORT]) == 0
    return folder / "run"
