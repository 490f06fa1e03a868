"""Real processes with real signals, and two of them on one folder."""

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.robustness.conftest import Study
from tests.robustness.processes import ENVIRONMENT, Process
from vae_jax.pipeline import loggers
from vae_jax.runtime import lock, signals
from vae_jax.runtime.errors import InputError

LONG = ["--num_steps=2000", "--chunk_steps=50", "--eval_every=100", "--checkpoint_every=200"]


def test_a_study_that_is_stopped_and_killed_ends_as_the_straight_one(
    straight, fresh, tmp_path, capsys
):
    """Test all in one run, because every process takes seconds to start."""
    undisturbed = Study(straight, tmp_path / "undisturbed", capsys)
    assert undisturbed.start(*LONG)[0] == 0
    fresh.expected = undisturbed.workdir
    argv = [*fresh.argv, *LONG]

    first = Process(argv)
    first.wait_for("step 100 of 2,000")
    status, _, err = fresh.start(*LONG)
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"in use by process {first.pid} on {socket.gethostname()}; " in err
    first.send(signal.SIGTERM)
    assert first.wait(30.0) == 143
    assert "SIGTERM: stopping after this chunk" in first.output
    assert "the same command goes on from there" in first.output.splitlines()[-1]

    second = Process(argv)
    second.wait_for("resuming: checkpoint at step")
    time.sleep(random.Random(0).uniform(0.0, 1.0))
    second.send(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL

    assert fresh.start(*LONG)[0] == 0
    fresh.assert_whole()


class TestSignals:
    @pytest.fixture(autouse=True)
    def _not_ignored(self):
        """Restore SIGINT, which a shell ignores for processes in the background."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def test_the_first_is_noted_and_the_second_ends(self, monkeypatch):
        ended = _ends(monkeypatch)
        with signals.watched() as stop, stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            _wait(lambda: stop.is_wanted)
            assert ended == []
            os.kill(os.getpid(), signal.SIGTERM)
            _wait(lambda: ended)
        assert ended == [143]

    def test_one_that_has_nothing_to_wait_for_ends_at_once(self, monkeypatch):
        ended = _ends(monkeypatch)
        with signals.watched() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            _wait(lambda: ended)
            assert not stop.is_wanted
        assert ended == [130]

    def test_a_chunk_that_takes_too_long_is_not_waited_for(self, monkeypatch):
        ended = _ends(monkeypatch)
        monkeypatch.setattr(signals, "GRACE_SECONDS", 0.01)
        with signals.watched() as stop, stop.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            _wait(lambda: ended)
        assert ended == [130]

    def test_afterwards_all_is_as_before(self):
        before = [signal.getsignal(number) for number in signals.SIGNALS]
        with signals.watched():
            pass
        assert [signal.getsignal(number) for number in signals.SIGNALS] == before
        assert signal.set_wakeup_fd(-1) == -1

    def test_what_was_ignored_stays_ignored(self, monkeypatch):
        ended = _ends(monkeypatch)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with signals.watched() as stop, stop.deferred():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
                assert not stop.is_wanted
        finally:
            signal.signal(signal.SIGINT, before)
        assert ended == []

    @pytest.mark.parametrize("number", signals.SIGNALS)
    def test_the_state_is_saved_where_no_checkpoint_is_due(self, fresh, monkeypatch, number):
        advance = loggers.TrainingProgress.advance

        def interrupted(self, done, milliseconds):
            advance(self, done, milliseconds)
            if done == 4:
                os.kill(os.getpid(), number)
                time.sleep(0.1)

        with monkeypatch.context() as patch:
            patch.setattr(loggers.TrainingProgress, "advance", interrupted)
            status, _, err = fresh.start("--checkpoint_every=12")
        assert status == 128 + number
        words = "stopped at step 4; the same command goes on from there"
        assert err == f"run.py: {number.name}: {words}\n"
        status, out, _ = fresh.start()
        assert "changed since the last start: checkpoint_every 12 -> 4" in out
        assert "resuming: checkpoint at step 4 of 12" in out
        fresh.assert_whole()


def _ends(monkeypatch) -> list[int]:
    """Return a list to which the statuses are added with which the process would have ended."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    return ended


def _wait(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


INTERRUPTED = """
import os, signal, sys
from vae_jax import __main__

class Interrupting:
    def find_spec(self, name, *_):
        if name == "vae_jax.cli":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["run.py", "--help"]
__main__.run()
"""


def test_an_interrupt_during_the_imports_is_no_traceback():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], env=ENVIRONMENT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


class TestLock:
    def test_a_second_process_is_refused_with_the_name_of_the_first(self, tmp_path):
        words = f"in use by process {os.getpid()} on {socket.gethostname()}; "
        with lock.locked(tmp_path):
            with pytest.raises(InputError, match=words), lock.locked(tmp_path):
                pass
            with pytest.raises(InputError, match=words):
                lock.refuse_if_locked(tmp_path)
        with lock.locked(tmp_path):
            pass

    def test_testing_for_a_lock_leaves_no_file(self, tmp_path):
        lock.refuse_if_locked(tmp_path)
        lock.refuse_if_locked(tmp_path / "no such folder")
        assert list(tmp_path.iterdir()) == []

    def test_what_a_dead_process_left_is_taken_over(self, tmp_path):
        (tmp_path / lock.LOCK_FILE).write_text("process 1 on elsewhere, which is no more")
        with lock.locked(tmp_path):
            assert (tmp_path / lock.LOCK_FILE).read_text().startswith(f"process {os.getpid()} on")

    def test_a_lock_without_a_name_is_a_lock(self, tmp_path):
        with (tmp_path / lock.LOCK_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(InputError, match="in use by another process; "):
                lock.refuse_if_locked(tmp_path)
