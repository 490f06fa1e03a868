"""A terminal in any state costs its lines, and nothing else."""

import contextlib
import errno
import io
import os
import subprocess
import sys
import threading
import time

import pytest

from vae_jax.runtime import terminal
from vae_jax.runtime.terminal import PatientStream


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):  # closed by the test
            os.close(descriptor)


def stream_to(descriptor: int) -> PatientStream:
    return PatientStream(open(descriptor, "w", closefd=False), descriptor)


class TestPatientStream:
    def test_all_is_written_in_order(self, pipe):
        reader, writer = pipe
        stream, received = stream_to(writer), []
        thread = threading.Thread(target=lambda: received.append(os.read(reader, 10**6)))
        for i in range(100):
            print(i, file=stream)
        assert stream.drain(5.0)
        thread.start()
        thread.join()
        assert received[0].decode().split() == [str(i) for i in range(100)]
        stream.end()

    def test_a_full_pipe_loses_what_it_does_not_take(self, pipe):
        stream = stream_to(pipe[1])
        for _ in range(50):
            assert stream.write("x" * 100_000) == 100_000
        assert not stream.drain(0.05)
        assert stream._num_waiting <= terminal.MOST_BYTES
        began = time.monotonic()
        stream.end()
        assert stream.drain(60.0)
        assert time.monotonic() - began < 30.0
        os.close(pipe[0])  # ends the thread

    def test_a_pipe_that_is_read_late_gets_all(self, pipe):
        reader, writer = pipe
        stream = stream_to(writer)
        stream.write("x" * 300_000)
        assert not stream.drain(0.02)
        received = 0
        while received < 300_000:
            received += len(os.read(reader, 10**6))
        assert stream.drain(5.0)
        stream.end()

    def test_a_pipe_that_nobody_reads_any_more(self, pipe):
        os.close(pipe[0])
        stream = stream_to(pipe[1])
        for _ in range(10):
            print("a line", file=stream, flush=True)
            assert stream.drain(5.0)

    def test_a_closed_one(self):
        stream = PatientStream(None, None)
        print("a line", file=stream, flush=True)
        assert not stream.isatty()
        assert stream.drain(1.0)

    def test_one_that_fails(self):
        class Broken(io.StringIO):
            def write(self, text):
                raise OSError(errno.EIO, "hung up")

        print("a line", file=PatientStream(Broken(), None), flush=True)

    @pytest.mark.parametrize(
        ("encoding", "expected"), [("ascii", b"\\xe9"), ("utf-8", b"\xc3\xa9")]
    )
    def test_characters_that_it_does_not_know_are_escaped(self, encoding, expected):
        raw = io.BytesIO()
        text = io.TextIOWrapper(raw, encoding=encoding)
        print("\xe9 \udce9", end="", file=PatientStream(text, None), flush=True)
        assert raw.getvalue() == expected + b" \\udce9"


def test_the_streams_come_back(capsys):
    before = sys.stdout, sys.stderr
    with terminal.patient():
        print("one")
        print("two", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("one\n", "two\n")


PRINTS = """
import os, sys
from vae_jax.runtime import terminal
terminal.PATIENCE_SECONDS = 0.2
with terminal.patient():
    for _ in range(2000):
        print("x" * 99)
        print("\\u00e9", file=sys.stderr)
    opened = os.open(os.devnull, os.O_RDONLY)
assert opened > 2, opened
sys.exit(7)
"""


@pytest.mark.parametrize(
    "shell", ["{} | head -1", "{} >&- 2>&-", "{} >/dev/full 2>&1", "{} | sleep 20", "{} <&- >&-"]
)
def test_no_state_of_a_terminal_changes_the_exit_status(shell, tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS)
    command = shell.format(f"{{ {sys.executable} {tmp_path / 'prints.py'}; echo $? >&3; }}")
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "LC_ALL": "C", "PYTHONIOENCODING": ""}
    status = tmp_path / "status"
    popen = subprocess.Popen(
        ["bash", "-c", f"exec 3>{status}; {command}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 60.0
    while not (status.exists() and status.read_text().strip()) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(popen.pid, 9)
    popen.wait()
    assert status.read_text().strip() == "7"
