"""Kills between any two operations on files, and disks that refuse any one of them."""

import errno
import os
import random
import resource
import sys
from pathlib import Path

import pytest

from tests.robustness.conftest import STOPS_WITHIN, Study
from vae_jax import cli
from vae_jax.pipeline import loggers
from vae_jax.runtime import files
from vae_jax.training import checkpoint

pytestmark = STOPS_WITHIN

OPERATIONS = [(os, "replace"), (os, "rename"), (os, "fsync"), (checkpoint, "_write_arrays")]


class KilledError(BaseException):
    """End of the process at this operation."""


class Instants:
    """Counter of operations on files, which fails at one of them, before or after it is done.

    From then on every operation fails, as a process that is dead does none.
    """

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int = -1, *, is_after: bool = False):
        self.count, self._fatal, self._is_after = 0, fatal, is_after
        for module, name in OPERATIONS:
            patch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, operation):
        def call(*arguments):
            if not sys._getframe(1).f_globals["__name__"].startswith("vae_jax"):
                return operation(*arguments)  # what other packages do while they are cleaned up
            number, self.count = self.count, self.count + 1
            if number == self._fatal and self._is_after:
                operation(*arguments)
            if 0 <= self._fatal <= number:
                raise KilledError
            return operation(*arguments)

        return call


@pytest.fixture(scope="module")
def num_instants(straight, tmp_path_factory) -> int:
    """Return the number of operations on files that a study makes."""
    folder = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
        instants = Instants(patch)
        assert cli.main(Study(straight, folder / "run", None).argv) == 0
    return instants.count


@pytest.mark.parametrize("number", range(6))
def test_a_study_that_dies_at_any_instant_is_finished_by_the_same_command(
    fresh, num_instants, number
):
    assert num_instants > 50
    chance = random.Random(number)
    fatal = chance.randrange(num_instants)
    with pytest.MonkeyPatch.context() as patch:
        Instants(patch, fatal, is_after=bool(number % 2))
        with pytest.raises(KilledError):
            fresh.start()
    status, _, err = fresh.start()
    assert (status, err) == (0, "")
    fresh.assert_whole()
    left = {path.name for path in fresh.checkpoints.iterdir()}
    assert left - {"4"} == {"group.json", "8", "12"}


@pytest.mark.parametrize("most_bytes", [0, 500, 9000])
def test_a_disk_that_is_full_is_one_line_and_loses_nothing(fresh, most_bytes):
    """Limit the size of files in place of a disk without space."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        status, _, err = fresh.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"--workdir={fresh.workdir}: cannot be written (File too large" in err
    assert "free some space" in err
    assert fresh.start()[0] == 0
    fresh.assert_whole()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("metrics", errno.ENOSPC),
        ("curves", errno.EROFS),
        ("checkpoint", errno.ENOSPC),
        ("results", errno.EROFS),
        ("report", errno.ENOSPC),
    ],
)
def test_a_failed_write_is_one_line_and_the_next_start_completes_the_study(
    fresh, monkeypatch, name, number
):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    def refuse_late(path: Path, data: bytes):
        return refuse() if name in path.name else write(path, data)

    write = files.write_bytes
    with monkeypatch.context() as patch:
        if name in ("results", "report"):
            patch.setattr(files, "write_bytes", refuse_late)
        else:
            holder = {"metrics": loggers.JSONLinesLogger, "curves": loggers.TensorBoardLogger}.get(
                name, checkpoint
            )
            patch.setattr(holder, "_reserve" if name == "checkpoint" else "log", refuse)
        status, _, err = fresh.start()
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"cannot be written ({os.strerror(number)})" in err
    assert fresh.start()[0] == 0
    fresh.assert_whole()


def test_unexpected_errors_keep_their_traceback_and_name_the_checkpoints(fresh, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loggers.TensorBoardLogger, "log", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as caught:
            fresh.start()
    assert "none yet" in caught.value.__notes__[0]
    assert fresh.start()[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("vae_jax.pipeline.results.write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as caught:
            fresh.start()
    assert "step 12 in 000" in caught.value.__notes__[0]


CHOOSING = ["--keep=best", "--patience=2", "--learning_rate=0.5", "--num_steps=40"]


@pytest.fixture(scope="module")
def chosen(straight, tmp_path_factory) -> Path:
    """Return a finished study that kept its best weights and stopped early."""
    study = Study(straight, tmp_path_factory.mktemp("chosen") / "run", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
        assert cli.main([*study.argv, *CHOOSING]) == 0
    return study.workdir


@pytest.mark.parametrize("fatal", [25, 45])
def test_a_study_that_dies_at_any_instant_chooses_on_valid_as_the_straight_one(
    fresh, chosen, fatal
):
    fresh.expected = chosen
    with pytest.MonkeyPatch.context() as patch:
        Instants(patch, fatal, is_after=True)
        with pytest.raises(KilledError):
            fresh.start(*CHOOSING)
    status, _, err = fresh.start(*CHOOSING)
    assert (status, err) == (0, "")
    fresh.assert_whole()
    rows = (chosen / "results.csv").read_text().splitlines()
    assert rows[0].endswith("best_step,stopped")
    assert any(not row.endswith(",") for row in rows[1:])
