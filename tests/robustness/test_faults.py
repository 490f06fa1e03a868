"""A kill, or an error of the disk, at any operation on files of a study's whole life."""

import errno
import random
import shutil
from typing import ClassVar

import pytest

from tests.robustness.conftest import STOPS_WITHIN, Study
from tests.robustness.probe import KilledError, Probe, probing
from tests.robustness.test_damage import _flip

pytestmark = STOPS_WITHIN

ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOSYS)
LONGER = "--num_steps=16"
LIFE = {
    "planning, training, evaluation, report": (lambda study: None, [LONGER]),
    "extension": (lambda study: study.finish(), [LONGER]),
    "another run": (lambda study: study.finish(LONGER), [LONGER, "--sweep=seed=0,1"]),
    "restart": (lambda study: study.damage(), [LONGER, "--restart"]),
    "evaluation and report alone": (lambda study: study.forget(), [LONGER]),
}
"""Phases: what was there before, and the flags of the start that is disturbed."""


class Story(Study):
    """Study in one of the phases of its life."""

    cache: ClassVar[dict] = {}

    def finish(self, *more: str) -> None:
        """Bring the workdir to a finished study, as a copy of one that was made before."""
        key = tuple(more)
        if key not in self.cache:
            assert self.start(*more)[0] == 0
            kept = self.expected.with_name(f"kept-{len(self.cache)}")
            shutil.copytree(self.workdir, kept)
            self.cache[key] = kept
        else:
            shutil.copytree(self.cache[key], self.workdir)

    def damage(self) -> None:
        self.finish(LONGER)
        for step in ("12", "16"):
            _flip(self.checkpoints / step / "seal.json")

    def forget(self) -> None:
        self.finish(LONGER)
        shutil.rmtree(self.workdir / "evaluations")
        (self.workdir / "report.html").unlink()


@pytest.fixture(scope="module")
def lives(straight, tmp_path_factory):
    """Return, for each phase, its operations and what an undisturbed start leaves."""
    found = {}
    Story.cache = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
        for name in LIFE:
            found[name] = _undisturbed(straight, tmp_path_factory.mktemp("life") / "run", name)
    return found


class _NoCapture:
    def readouterr(self) -> tuple[str, str]:
        return "", ""


def _undisturbed(straight, workdir, phase):
    prepare, flags = LIFE[phase]
    story = Story(straight, workdir, _NoCapture())
    prepare(story)
    with probing(Probe(workdir)) as probe:
        assert story.start(*flags)[0] == 0
    return probe.count, workdir


def _disturbed(straight, tmp_path, capsys, lives, phase, probe):
    """Return the outcome of a disturbed start, after checking that the next one completes it."""
    prepare, flags = LIFE[phase]
    story = Story(straight, tmp_path / "run", capsys)
    story.expected = lives[phase][1]
    prepare(story)
    capsys.readouterr()
    with probing(probe):
        try:
            outcome = story.start(*flags)
        except KilledError:
            outcome = None
    if outcome is not None:
        assert outcome[0] in (0, 1, 2), outcome
        assert "Traceback" not in outcome[2]
        assert len(outcome[2].splitlines()) == int(outcome[0] > 0), (outcome, probe.names[-1:])
    capsys.readouterr()
    assert story.start(*flags)[0] == 0, (probe.names[-3:], capsys.readouterr())
    story.assert_whole()
    return outcome


def _check(straight, tmp_path, capsys, monkeypatch, lives, number):
    """Kill at one operation, and let another fail, drawn from a phase that is drawn, too."""
    monkeypatch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
    chance = random.Random(number)
    phase = chance.choice(list(LIFE))
    fatal, error = chance.randrange(lives[phase][0]), chance.choice(ERRORS)
    kind = None if number % 2 else error
    probe = Probe(tmp_path / "run", fatal, kind)
    _disturbed(straight, tmp_path, capsys, lives, phase, probe)
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize("number", range(4))
def test_a_study_survives_a_kill_or_an_error_at_any_operation(
    straight, tmp_path, capsys, monkeypatch, lives, number
):
    _check(straight, tmp_path, capsys, monkeypatch, lives, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4, 204))
def test_a_study_survives_a_hundred_kills_and_a_hundred_errors(
    straight, tmp_path, capsys, monkeypatch, lives, number
):
    _check(straight, tmp_path, capsys, monkeypatch, lives, number)


def test_the_probe_sees_every_kind_of_operation(straight, tmp_path, monkeypatch, lives):
    assert all(count > 40 for count, _ in lives.values())
    with probing(Probe(tmp_path)) as probe:
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
    kinds = [name.partition(" ")[0] for name in probe.names]
    assert kinds == ["open", "os.rename", "os.remove"]
