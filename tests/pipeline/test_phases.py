"""What takes long is seen: in a terminal, in a notebook, by a callback; nowhere else."""

import contextlib
import io
import os
import sys
import time
import zlib

import IPython.display
from rich.console import Console

import vae_jax
from tests.oracles import tiny_data
from tests.pipeline.small import SHORT, gray_images
from vae_jax.pipeline import loggers
from vae_jax.pipeline.loggers import NotebookPhases, TerminalPhases, phases
from vae_jax.reporting import figures
from vae_jax.runtime import signals
from vae_jax.runtime.progress import phase, watched_by
from vae_jax.runtime.terminal import PatientStream

FOR_EVER = 1e6


def wait_for(condition):
    """Wait until another thread has done its part."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def terminal(file):
    return Console(file=file, force_terminal=True, width=100)


class TestTerminal:
    def test_a_phase_that_says_nothing_is_seen_and_vanishes(self):
        text = io.StringIO()
        with watched_by(TerminalPhases(terminal(text), patience=0.01)), phase("compiling [x]"):
            wait_for(lambda: "compiling [x]" in text.getvalue())
        assert text.getvalue().endswith("\x1b[2K")

    def test_amounts_and_phases_inside_are_seen(self):
        text = io.StringIO()
        with (
            watched_by(TerminalPhases(terminal(text), patience=0.01)),
            phase("reading", 20_000, "files") as advance,
        ):
            advance(12_345)
            wait_for(lambda: "reading: 12,345 of 20,000 files" in text.getvalue())
            with phase("decoding"):
                wait_for(lambda: "decoding" in text.getvalue())
            lines = len(text.getvalue())
            wait_for(lambda: len(text.getvalue()) > lines)
            assert "decoding" not in text.getvalue()[lines + 200 :]

    def test_a_short_phase_leaves_no_byte(self):
        text = io.StringIO()
        watcher = TerminalPhases(terminal(text), patience=FOR_EVER)
        with watched_by(watcher):
            for _ in range(3):
                with phase("short", 2) as advance:
                    advance(1)
        assert text.getvalue() == ""
        assert watcher._timer is None

    def test_no_terminal_no_byte(self):
        text = io.StringIO()
        with watched_by(TerminalPhases(Console(file=text), patience=0.0)), phase("long"):
            time.sleep(0.05)
        assert text.getvalue() == ""

    def test_a_phase_that_fails_leaves_the_terminal_as_it_was(self):
        text = io.StringIO()
        watcher = TerminalPhases(terminal(text), patience=0.01)
        with watched_by(watcher), contextlib.suppress(OSError), phase("writing"):
            wait_for(lambda: "writing" in text.getvalue())
            raise OSError("full")
        assert "\x1b[?25h" in text.getvalue()  # the cursor is shown again

    def test_a_terminal_that_takes_nothing_costs_its_lines(self):
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as file:
            stream = PatientStream(file, writer)
            stream.write("x" * 300_000)  # more than a pipe holds
            watcher = TerminalPhases(terminal(stream), patience=0.0)
            with watched_by(watcher), phase("long", 9) as advance:
                before = stream._num_waiting
                advance(5)
                wait_for(lambda: stream._num_waiting > before)
            stream.end()
            os.close(reader)


def test_a_phase_of_training_stands_under_the_bar():
    text = io.StringIO()
    with loggers.TrainingProgress(10, console=terminal(text)), phase("compiling"):
        wait_for(lambda: "compiling ... 0 s" in text.getvalue())


def test_a_signal_that_ends_the_process_shows_the_cursor_that_a_bar_hides(monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(text, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", text)
    with watched_by(TerminalPhases(terminal(text), patience=0.01)), phase("reading"):
        wait_for(lambda: "reading" in text.getvalue())
        assert sys.stdout is not text
        signals._last_words()
        assert "\x1b[?25h\n" in text.getvalue()


def test_a_notebook_shows_a_line_and_clears_it(monkeypatch):
    shown = []

    class Handle:
        def update(self, content):
            shown.append(content.data)

    def display(content, display_id):
        shown.append(content.data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    with watched_by(NotebookPhases(patience=0.01)), phase("a <b>", 4, "files"):
        wait_for(lambda: shown)
    assert shown == ["<progress value='0' max='4'></progress> a &lt;b&gt;: 0 of 4 files", ""]


def test_where_nothing_can_be_seen_nobody_watches(monkeypatch):
    with loggers.shown(), phase("a"):
        assert not phases.progress.is_watched()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with loggers.shown():
        assert phases.progress.is_watched()


def test_a_study_tells_of_every_part_that_takes_long(start, monkeypatch):
    monkeypatch.setattr(figures, "draw_study", lambda *_: [])
    seen, passes, crc32 = [], [], zlib.crc32

    def counted(content, *begun):
        passes.append(memoryview(content).nbytes)
        return crc32(content, *begun)

    monkeypatch.setattr(zlib, "crc32", counted)
    with watched_by(seen.append):
        options = ["--sweep=beta=0.5,1", "--export=latents", "--export_runs=all"]
        status, out, _ = start(*SHORT, *options)
    assert status == 0
    labels = [now.label.partition(" /")[0] for now in seen if not now.is_over]
    found = list(dict.fromkeys(labels))
    for label in (
        *("reading", "checking the data", "checksums of the data", "checking checkpoints"),
        *("preparing the runs", "sending the data to the device", "compiling"),
        *("evaluating valid", "gathering results", "diagnosing the runs"),
        *("writing the report", "exporting", "writing latents"),
    ):
        assert label in found, label
    assert seen[-1].is_over
    assert "━" not in out
    assert passes.count(gray_images(80, 1).nbytes) == 1  # of train: one serves all


def test_python_tells_a_callback():
    data = tiny_data()
    model = vae_jax.VAE(data.event_shape, 2, vae_jax.MLP((3,)))
    spec = vae_jax.TrainSpec(model, batch_size=4)
    study = vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), data, 1)
    seen = []
    study = study.evaluate(data, num_particles=2, on_progress=seen.append)
    assert seen[0].text == "evaluating: 0 of 1 runs"
    assert (seen[-1].done, seen[-1].is_over) == (1, True)
    seen.clear()
    vae_jax.score(spec, study.hparams, study.state, data, on_progress=seen.append)
    assert [now.is_over for now in seen] == [False, True]
