"""A workdir belongs to the project alone: other people's files are neither taken nor touched."""

import collections
import contextlib
import errno
import fcntl
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.robustness.conftest import STOPS_WITHIN, Study
from tests.robustness.processes import what_is_left
from vae_jax import cli
from vae_jax.pipeline import workdir
from vae_jax.pipeline.load import load_run
from vae_jax.runtime import lock
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint

pytestmark = STOPS_WITHIN


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, links as what they name."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = os.readlink(path).encode()
        elif path.is_file() and path.name != lock.LOCK_FILE:
            found[str(path)] = path.read_bytes()
    return found


FOREIGN = {
    "a table": {"results.csv": "my,own"},
    "a figure": {"figures/thesis.png": "thesis"},
    "weights": {"checkpoints/best.ckpt": "weights"},
    "numbered folders": {"checkpoints/000/12/weights.bin": "weights"},
    "a log": {"metrics.jsonl": "{}"},
    "a report": {"report.html": "<html>"},
    "flags": {"flags.txt": "--learning_rate=1"},
    "a list": {"notes.txt": "notes"},
    "all": {"results.csv": "my", "figures/a.png": "b", "checkpoints/c": "d", "code.py": "e"},
}


@pytest.mark.parametrize("more", [[], ["--restart"]])
@pytest.mark.parametrize("own", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_folder_of_others_is_refused_and_stays_as_it_is(fresh, own, more, monkeypatch):
    for name, content in own.items():
        path = fresh.workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    before = snapshot(fresh.workdir)
    monkeypatch.chdir(fresh.workdir)
    status, _, err = fresh.start("--workdir=.", *more)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "--workdir=.: is no folder of vae_jax and holds" in err
    assert "restart" not in err
    assert snapshot(fresh.workdir) == before


@pytest.mark.parametrize("name", ["notes.txt", "thesis/chapter.tex", "results.csv.bak"])
def test_a_workdir_that_holds_what_no_run_wrote_is_refused_and_stays_as_it_is(study, name):
    (study.workdir / name).parent.mkdir(exist_ok=True)
    (study.workdir / name).write_text("mine")
    before = snapshot(study.workdir)
    status, _, err = study.start("--num_steps=16")
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"holds {name.partition('/')[0]} beside the files of its runs" in err
    assert snapshot(study.workdir) == before
    (study.workdir / name).unlink()
    if "/" in name:
        (study.workdir / name).parent.rmdir()
    assert study.start()[0] == 0


def test_what_lies_in_the_folders_of_a_run_or_is_nobodys_is_left_alone(study):
    own = ["figures/mine.png", "evaluations/mine.json", "checkpoints/000/mine"]
    own += [".mine", ".DS_Store", "Thumbs.db"]
    for name in own:
        (study.workdir / name).parent.mkdir(exist_ok=True)
        (study.workdir / name).write_text("mine")
    shutil.rmtree(study.checkpoints / "12")
    (study.checkpoints / "4").mkdir()
    (study.checkpoints / "4" / "mine").write_text("mine")
    assert study.start()[0] == 0
    assert {(study.workdir / name).read_text() for name in own} == {"mine"}
    assert len(list(study.workdir.rglob("*mine*"))) == 5
    study.assert_whole()


NAMES = ["mine.partial/state/weights", "mine.discarded/seal.json", "x.partial", "5", "12.discarded"]
NAMES += ["007/state/weights", "000000012/weights", "12.partial.bak/state/weights"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_called_like_a_checkpoint_and_is_none_stays_and_stops_nothing(study, name):
    path = study.checkpoints / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    for more in ([], ["--num_steps=16"], ["--num_steps=20", "--restart"]):
        assert study.start(*more)[0] == 0
    assert path.read_text() == "mine"
    assert [step for step in checkpoint.steps(study.checkpoints) if step != 5] == [16, 20]


LINKS = [".lock", ".lock.held", ".results.csv.tmp", "metrics.jsonl", "tensorboard", "figures"]
LINKS += ["checkpoints", "evaluations", "results.csv", "report.html", "flags.txt"]
LINKS += ["checkpoints/000", "checkpoints/000/12/seal.json", "figures/samples.png", "exports"]


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_through_a_link(study, tmp_path, name, is_used):
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("my thesis")
    (home / "folder").mkdir()
    (home / "folder" / "samples.png").write_text("my picture")
    path = study.workdir / name
    if not is_used:
        shutil.rmtree(study.workdir)
    elif path.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(home / ("file" if "." in name else "folder"))
    before = snapshot(home), snapshot(study.workdir)
    status, _, err = study.start()
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"--workdir={study.workdir}: " in err
    assert (snapshot(home), snapshot(study.workdir)) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "results.csv", "checkpoints"])
def test_a_pipe_is_not_waited_for(study, name):
    path = study.workdir / name
    if path.exists():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.mkfifo(path)
    assert study.start()[0] == 2


def test_a_workdir_may_be_named_by_a_link(study, tmp_path):
    (tmp_path / "link").symlink_to(study.workdir)
    assert study.start(f"--workdir={tmp_path / 'link'}")[0] == 0


def test_a_copy_made_of_hard_links_changes_nothing_in_the_original(study, tmp_path):
    before = snapshot(study.workdir)
    shutil.copytree(study.workdir, tmp_path / "copy", copy_function=os.link)
    with lock.locked(study.workdir):
        assert study.start(f"--workdir={tmp_path / 'copy'}", "--num_steps=16")[0] == 0
    assert snapshot(study.workdir) == before


def test_a_workdir_among_the_images_is_refused(fresh, tmp_path):
    (tmp_path / "images").mkdir()
    argv = [f"--dataset={tmp_path / 'images'}", f"--workdir={tmp_path / 'images' / 'run'}"]
    status, _, err = fresh.start(*argv)
    assert status == 2
    assert "lies inside of --dataset=" in err


@pytest.mark.parametrize("name", ["data_dir", "compilation_cache"])
def test_no_other_folder_of_the_command_lies_in_the_workdir(fresh, monkeypatch, name):
    fresh.workdir.mkdir()
    monkeypatch.chdir(fresh.workdir)
    status, _, err = fresh.start(f"--{name}=store")
    assert (status, list(fresh.workdir.iterdir())) == (2, [])
    assert f"--{name}=store: lies inside of --workdir={fresh.workdir}" in err
    assert fresh.start("--workdir=.", "--compilation_cache=none")[0] == 0


def test_a_folder_whose_name_is_not_utf8_is_one_line(fresh, tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    monkeypatch.chdir(os.fsdecode(folder))
    status, _, err = fresh.start("--workdir=run")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "whose name is not UTF-8" in err
    assert os.listdir(folder) == []
    with pytest.raises(InputError, match="whose name is not UTF-8"):
        load_run("run")


class TestLock:
    def test_a_workdir_that_is_gone_is_noticed(self, tmp_path):
        folder = tmp_path / "w"
        folder.mkdir()
        with lock.locked(folder) as held:
            held.check()
            shutil.rmtree(folder)
            with pytest.raises(InputError, match="removed or replaced"):
                held.check()
            folder.mkdir()
            with pytest.raises(InputError, match="removed or replaced"), lock.locked(folder):
                held.check()

    @pytest.mark.parametrize("change", [Path.unlink, lambda path: path.rename(path.parent / "x")])
    def test_so_is_a_lock_that_is_gone_or_another(self, tmp_path, change):
        with lock.locked(tmp_path) as held:
            change(tmp_path / lock.LOCK_FILE)
            with pytest.raises(InputError, match=r"\.lock was removed or replaced"):
                held.check()
            with lock.locked(tmp_path) as second:
                second.check()
                with pytest.raises(InputError, match="removed or replaced"):
                    held.check()

    @pytest.mark.parametrize("when", ["metrics", "begin", "rename", "evaluation"])
    def test_a_workdir_taken_over_gets_nothing_from_its_former_owner(
        self, fresh, monkeypatch, when
    ):
        check, counts = lock.Lock.check, collections.Counter()
        places = {"metrics": (True, 3), "begin": (False, 1), "rename": (False, 2)}

        def check_after_removal(self):
            is_main = threading.current_thread() is threading.main_thread()
            counts[is_main] += 1
            if (is_main, counts[is_main]) == places.get(when, (True, 6)):
                shutil.rmtree(self.workdir)
                self.workdir.mkdir()
            check(self)

        with monkeypatch.context() as patch:
            patch.setattr(lock.Lock, "check", check_after_removal)
            status, _, err = fresh.start()
        assert (status, len(err.splitlines())) == (2, 1)
        assert "was removed or replaced while process" in err
        assert list(fresh.workdir.iterdir()) == []
        assert fresh.start()[0] == 0
        fresh.assert_whole()


class TestWithoutFlock:
    @pytest.fixture(autouse=True, params=["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
    def _no_flock(self, request, monkeypatch):
        number = getattr(errno, request.param)

        def refuse(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)

    def test_a_file_stands_for_the_lock(self, tmp_path):
        with lock.locked(tmp_path) as held:
            assert "no locks" in held.note
            words = f"in use by process {os.getpid()} on {socket.gethostname()};"
            with pytest.raises(InputError, match=words), lock.locked(tmp_path):
                pass
            with pytest.raises(InputError, match=words):
                lock.refuse_if_locked(tmp_path)
            held.check()
        assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK_FILE]
        lock.refuse_if_locked(tmp_path)

    def test_that_of_a_dead_process_is_taken_over(self, tmp_path):
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        held = tmp_path / lock.HELD_FILE
        held.write_text(f"process {dead.pid} on {socket.gethostname()}, started 1")
        lock.refuse_if_locked(tmp_path)
        with lock.locked(tmp_path):
            assert f"process {os.getpid()} on" in held.read_text()

    def test_another_host_is_alive_as_long_as_its_heart_beats(self, tmp_path):
        held = tmp_path / lock.HELD_FILE
        held.write_text("process 1 on elsewhere, started 7")
        with pytest.raises(InputError, match=r"in use by process 1 on elsewhere; .* 120 s"):
            lock.locked(tmp_path).__enter__()
        os.utime(held, (0, 0))
        with lock.locked(tmp_path):
            pass

    def test_a_machine_of_the_same_name_is_another(self, tmp_path):
        held = tmp_path / lock.HELD_FILE
        host = f"process {os.getpid()} on {socket.gethostname()}, started 7"
        held.write_text(f"{host} of another-kernel/1")
        with pytest.raises(InputError, match="in use by process"):
            lock.locked(tmp_path).__enter__()
        held.write_text(f"{host} of {lock._place()}")
        with lock.locked(tmp_path):
            assert held.read_text() == lock._own_name()

    def test_a_clock_that_is_set_back_keeps_no_dead_process_alive(self, tmp_path):
        held = tmp_path / lock.HELD_FILE
        held.write_text("process 1 on elsewhere, started 7")
        future = time.time() + 1e9
        os.utime(held, (future, future))
        with lock.locked(tmp_path):
            pass

    def test_whoever_has_flock_looks_for_those_that_have_not(self, tmp_path, monkeypatch):
        with lock.locked(tmp_path):
            monkeypatch.setattr(fcntl, "flock", lambda *_: None)
            words = f"in use by process {os.getpid()} on"
            with pytest.raises(InputError, match=words), lock.locked(tmp_path):
                pass
            with pytest.raises(InputError, match=words):
                lock.refuse_if_locked(tmp_path)
        with lock.locked(tmp_path):
            pass

    def test_its_heart_beats(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.005)
        with lock.locked(tmp_path):
            os.utime(tmp_path / lock.HELD_FILE, (0, 0))
            for _ in range(1000):
                if (tmp_path / lock.HELD_FILE).stat().st_mtime > 0:
                    break
                time.sleep(0.005)
            else:
                pytest.fail("no heartbeat")

    def test_a_lock_taken_over_is_noticed_and_not_released(self, tmp_path):
        held = tmp_path / lock.HELD_FILE
        with lock.locked(tmp_path) as first:
            held.unlink()
            held.write_text("process 1 on elsewhere, started 7")
            with pytest.raises(InputError, match="removed or replaced"):
                first.check()
        assert "elsewhere" in held.read_text()


def test_a_study_without_flock_says_so_and_is_the_same(fresh, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    status, out, err = fresh.start()
    assert (status, err) == (0, "")
    assert "NOTE: the file system of the workdir has no locks" in out
    fresh.assert_whole()


def test_a_damaged_checkpoint_never_replaces_an_older_one(study):
    for _ in range(2):
        newest = study.checkpoints / "12"
        (newest / "seal.json").unlink()
        assert study.start()[0] == 0
    names = {path.name for path in study.checkpoints.iterdir()}
    assert {"12.damaged", "12.damaged.2"} <= names
    assert checkpoint.steps(study.checkpoints) == [8, 12]


def test_every_name_that_a_run_leaves_is_known(study):
    workdir.refuse_foreign(study.workdir)


OTHER = "--learning_rate=0.01"


@pytest.fixture(scope="module")
def other(straight, tmp_path_factory):
    """Return the workdir of another study, which nobody disturbed."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_jax.pipeline.draw.draw_figures", lambda *_: [])
        assert cli.main([*Study(straight, workdir, None).argv, OTHER]) == 0
    return workdir


def _remove(workdir: Path) -> None:
    """Remove a workdir, again where its writer puts a file into it meanwhile."""
    while workdir.exists():
        shutil.rmtree(workdir, ignore_errors=True)


def _move_away(workdir: Path) -> None:
    workdir.rename(workdir.with_name(f"away-{len(list(workdir.parent.iterdir()))}"))


def _unlock(workdir: Path) -> None:
    (workdir / lock.LOCK_FILE).unlink()


def _fight(fresh, other, monkeypatch, number):
    """Let a second process use the path at a moment of the first, and be stopped in turn.

    Both are of this process: the second one runs while the first is between two operations, which
    is any order of theirs.
    """
    chance = random.Random(number)
    act = chance.choice([_remove, _move_away, _unlock, lambda workdir: None])
    moment, stopped_at = chance.randrange(1, 7), chance.choice([None, 3, 4])
    check, counts, statuses = lock.Lock.check, [0], []

    class StoppedError(BaseException):
        """End of the second process."""

    def check_and_fight(self):
        if threading.current_thread() is threading.main_thread():
            counts[-1] += 1
            if len(counts) == 1 and counts[0] == moment and fresh.workdir.exists():
                act(fresh.workdir)
                counts.append(0)
                with contextlib.suppress(StoppedError):
                    statuses.append(cli.main([*fresh.argv, OTHER]))
                counts.append(0)
            elif len(counts) == 2 and counts[1] == stopped_at:
                raise StoppedError
        check(self)

    with monkeypatch.context() as patch:
        patch.setattr(lock.Lock, "check", check_and_fight)
        status = fresh.start()[0]
    is_taken = act in (_remove, _move_away)
    assert status == (2 if is_taken or act is _unlock else 0), (number, act, moment)
    if is_taken:
        status, _, err = fresh.start(OTHER)
        assert status == 0, (number, err)
        assert what_is_left(fresh.workdir) == what_is_left(other)
    elif act is _unlock and moment == 1:  # the first had recorded nothing, and the second takes it
        assert statuses in ([0], []), number
        assert fresh.start()[0] == 2
        assert fresh.start(OTHER)[0] == 0
        assert what_is_left(fresh.workdir) == what_is_left(other)
    else:  # the second one found another study in a workdir that was in use or not
        assert statuses in ([2], []), (number, act, moment)
        assert fresh.start()[0] == 0
        fresh.assert_whole()


@pytest.mark.parametrize("number", range(3))
def test_two_that_fight_for_one_path_never_mix(fresh, other, monkeypatch, number):
    _fight(fresh, other, monkeypatch, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3, 53))
def test_two_that_fight_for_one_path_never_mix_in_fifty_trials(fresh, other, monkeypatch, number):
    _fight(fresh, other, monkeypatch, number)
