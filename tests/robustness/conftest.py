"""Fixtures: an undisturbed small study for all tests to compare with, and one to disturb."""

import shutil
from pathlib import Path

import pytest

from tests.robustness.processes import save_images, what_is_left
from vae_jax import cli
from vae_jax.pipeline import draw, explore

SMALL = [
    *("--batch_size=16", "--hidden_sizes=8", "--eval_particles=3"),
    *("--num_steps=12", "--eval_every=4", "--checkpoint_every=4"),
]
FLAGS = [*SMALL, "--sweep=latent_size=2,3"]

STOPS_WITHIN = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
"""Mark of tests that stop a run within their process: its checkpoint's writer is left half done."""


@pytest.fixture(scope="session")
def straight(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a finished study of two runs in ``run``."""
    folder = tmp_path_factory.mktemp("straight")
    save_images(folder / "images.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "draw_figures", lambda *_: [])
        patch.setattr(explore, "write", lambda *_: None)
        argv = [f"--dataset={folder / 'images.npz'}", f"--workdir={folder / 'run'}", *FLAGS]
        assert cli.main(argv) == 0
    return folder


class Study:
    """Study in a folder of its own."""

    def __init__(self, straight: Path, workdir: Path, capsys):
        self.workdir, self.checkpoints = workdir, workdir / "checkpoints" / "000"
        self.argv = [f"--dataset={straight / 'images.npz'}", f"--workdir={workdir}", *FLAGS]
        self.expected, self._capsys = straight / "run", capsys

    def start(self, *more: str) -> tuple[int, str, str]:
        """Return status, stdout and stderr of the command, started in this process."""
        return cli.main([*self.argv, *more]), *self._capsys.readouterr()

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.workdir.rglob("*") if path.is_file()}

    def assert_whole(self) -> None:
        """Assert that the study equals the undisturbed one to the last bit."""
        assert what_is_left(self.workdir) == what_is_left(self.expected)

    def assert_refused(self, *words: str) -> None:
        """Assert that the command is refused in one line, with status 2, and touches no file."""
        before = self.files()
        status, _, err = self.start()
        assert (status, len(err.splitlines())) == (2, 1)
        for word in (f"--workdir={self.workdir}: ", *words):
            assert word in err
        assert self.files() == before


@pytest.fixture
def fresh(straight, tmp_path, capsys, monkeypatch) -> Study:
    """Return the study, not begun."""
    monkeypatch.setattr(draw, "draw_figures", lambda *_: [])
    monkeypatch.setattr(explore, "write", lambda *_: None)
    return Study(straight, tmp_path / "run", capsys)


@pytest.fixture
def study(straight, fresh) -> Study:
    """Return the study, finished."""
    shutil.copytree(straight / "run", fresh.workdir)
    return fresh
