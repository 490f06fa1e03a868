"""Metrics survive kills, curves do not double, and the terminal says the truth."""

import io
import json
import math
import struct
import time

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event, SessionLog

from vae_jax.pipeline import loggers
from vae_jax.runtime.errors import InputError


def row(step, run=0, **terms):
    return {"step": step, "run": run, "seconds": 0.5, **terms}


class TestJSONLines:
    def test_a_line_per_run_and_interval(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path / "new")
        metrics.log([row(10, 0, train_elbo=-3.5), row(10, 1, train_elbo=-4.0)])
        metrics.log([row(20, 0, train_elbo=-3.0), row(20, 1, train_elbo=-3.9)])
        lines = metrics.path.read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [10, 10, 20, 20]
        assert loggers.read(metrics.path)[1] == row(10, 1, train_elbo=-4.0)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), None])
    def test_what_is_not_finite_becomes_null(self, tmp_path, bad):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(1, valid_elbo=bad)])
        assert '"valid_elbo": null' in metrics.path.read_text()

    def test_numpy_numbers_keep_all_digits(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(np.int32(7), train_elbo=np.float32(0.1), train_kl=np.float64(0.1))])
        (read,) = loggers.read(metrics.path)
        assert read["step"] == 7
        assert np.float32(read["train_elbo"]) == np.float32(0.1)
        assert read["train_kl"] == 0.1

    def test_kill_and_resume_leaves_every_line_once(self, tmp_path):
        straight, killed = (
            loggers.JSONLinesLogger(tmp_path / "straight"),
            loggers.JSONLinesLogger(tmp_path / "killed"),
        )
        intervals = [
            [row(step, run, train_elbo=-step / 7) for run in (0, 1)] for step in (5, 10, 15)
        ]
        for visit in intervals:
            straight.log(visit)
            killed.log(visit)
        with killed.path.open("a") as file:
            file.write('{"step": 20, "run": 0, "train_')
        killed.truncate_after({0: 5, 1: 5})
        for visit in intervals[1:]:
            killed.log(visit)
        assert killed.path.read_bytes() == straight.path.read_bytes()
        assert [path.name for path in killed.path.parent.iterdir()] == ["metrics.jsonl"]

    @pytest.mark.parametrize("cut", range(1, 12))
    def test_a_last_line_cut_anywhere_is_dropped(self, tmp_path, cut):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5), row(6)])
        metrics.path.write_text(metrics.path.read_text()[: -1 - cut])
        metrics.truncate_after({0: 6})
        assert loggers.read(metrics.path) == [row(5)]

    def test_a_last_line_without_line_feed_gets_one_back(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5)])
        metrics.path.write_text(metrics.path.read_text().rstrip("\n"))
        metrics.truncate_after({0: 5})
        metrics.log([row(6)])
        assert loggers.read(metrics.path) == [row(5), row(6)]

    def test_without_a_checkpoint_nothing_is_kept(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.truncate_after({0: -1})
        assert not metrics.path.exists()
        metrics.log([row(0), row(5)])
        metrics.truncate_after({0: -1})
        assert loggers.read(metrics.path) == []

    def test_each_run_is_cut_at_its_own_checkpoint_and_others_keep_all(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        for step in (5, 10, 15):
            metrics.log([row(step, run) for run in range(4)])
        metrics.truncate_after({0: 10, 1: -1, 3: 99})
        kept = [(line["run"], line["step"]) for line in loggers.read(metrics.path)]
        assert sorted(kept) == [
            *((0, 5), (0, 10)),
            *((2, 5), (2, 10), (2, 15)),
            *((3, 5), (3, 10), (3, 15)),
        ]
        assert [step for _, step in kept] == [5, 5, 5, 10, 10, 10, 15, 15]

    def test_no_run_to_cut_still_drops_the_half_written_line(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5), row(6)])
        metrics.path.write_text(metrics.path.read_text()[:-5])
        metrics.truncate_after({})
        assert metrics.path.read_text() == json.dumps(row(5)) + "\n"

    def test_a_line_without_its_run_is_damage(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5)])
        metrics.path.write_text('{"step": 1}\n' + metrics.path.read_text())
        with pytest.raises(InputError, match=r"line 1 of metrics\.jsonl is damaged"):
            loggers.read(metrics.path)

    def test_damage_before_the_last_line_names_line_and_fix(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5)])
        metrics.path.write_text("{oops\n" + metrics.path.read_text())
        with pytest.raises(InputError, match=r"^workdir=.*: line 1 of metrics\.jsonl .* delete"):
            loggers.read(metrics.path)


def tensorboard(folder, resumed_from=None):
    board = loggers.TensorBoardLogger()
    board.start(loggers.StartedStudy(folder, {}, {}, resumed_from or {}))
    return board


def events(folder):
    """Reads event files back: records of length, checksum, bytes, checksum."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]


def curves(folder):
    """What TensorBoard draws: a START of step s purges what came before it at steps >= s."""
    points = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            points = [point for point in points if point[1] < event.step]
        points += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return points


class TestReadWhole:
    def test_what_is_whole_is_kept_wherever_the_damage_is(self, tmp_path):
        metrics = loggers.JSONLinesLogger(tmp_path)
        metrics.log([row(5), row(6), row(7)])
        lines = metrics.path.read_bytes().splitlines(keepends=True)
        lines[1] = b"\xff" + lines[1][1:]
        metrics.path.write_bytes(b"".join(lines))
        assert loggers.read_whole(metrics.path) == [row(5), row(7)]
        metrics.truncate_after({0: 6})
        assert metrics.path.read_bytes() == lines[0]

    def test_a_file_that_is_not_there_has_no_rows(self, tmp_path):
        assert loggers.read_whole(tmp_path / "metrics.jsonl") == []

    def test_a_step_that_is_no_number_is_damage(self, tmp_path):
        path = tmp_path / "metrics.jsonl"
        path.write_text('{"step": "5", "run": 0}\n{"step": true, "run": 0}\n[]\n')
        assert loggers.read_whole(path) == []

    @pytest.mark.parametrize(
        "line", ["[" * 99999, "9" * 9999, '{"step": 1, "run": 0, "sfconds": 1.5}', "\0"]
    )
    def test_what_no_run_wrote_is_damage(self, tmp_path, line):
        path = tmp_path / "metrics.jsonl"
        path.write_text(line + "\n" + json.dumps(row(5)) + "\n")
        assert loggers.read_whole(path) == [row(5)]


class TestTensorBoard:
    def test_a_folder_per_run_and_a_group_per_term(self, tmp_path):
        with tensorboard(tmp_path) as board:
            board.log([row(5, i, train_elbo=-1.0 - i, valid_log_likelihood=-2.0) for i in (0, 1)])
        assert curves(tmp_path / "tensorboard" / "run_1") == [
            ("elbo/train", 5, -2.0),
            ("log_likelihood/valid", 5, -2.0),
        ]

    def test_what_is_not_finite_is_left_out(self, tmp_path):
        with tensorboard(tmp_path) as board:
            board.log([row(5, train_elbo=math.nan, train_kl=None, valid_kl=np.float32(1.5))])
        assert curves(tmp_path / "tensorboard" / "run_0") == [("kl/valid", 5, 1.5)]

    @pytest.mark.parametrize("resumed_from", [-1, 5])
    def test_a_resumed_curve_does_not_double(self, tmp_path, monkeypatch, resumed_from):
        with tensorboard(tmp_path) as board:
            for step in (5, 10, 15):
                board.log([row(step, train_elbo=-float(step))])
        later = time.time() + 2
        monkeypatch.setattr(time, "time", lambda: later)
        with tensorboard(tmp_path, {0: resumed_from}) as board:
            for step in (5, 10, 15):
                if step > resumed_from:
                    board.log([row(step, train_elbo=-float(step))])
        expected = [("elbo/train", step, -float(step)) for step in (5, 10, 15)]
        assert curves(tmp_path / "tensorboard" / "run_0") == expected

    def test_only_runs_that_write_are_purged_each_from_its_own_step(self, tmp_path, monkeypatch):
        with tensorboard(tmp_path) as board:
            for step in (5, 10):
                board.log([row(step, run, train_elbo=-1.0) for run in range(3)])
        later = time.time() + 2
        monkeypatch.setattr(time, "time", lambda: later)
        with tensorboard(tmp_path, {0: 5, 2: 5}) as board:
            board.log([row(10, run, train_elbo=-2.0) for run in (0, 1)])
        first, second = ("elbo/train", 5, -1.0), ("elbo/train", 10, -1.0)
        assert curves(tmp_path / "tensorboard" / "run_0") == [first, ("elbo/train", 10, -2.0)]
        assert curves(tmp_path / "tensorboard" / "run_1") == [("elbo/train", 10, -2.0)]
        assert curves(tmp_path / "tensorboard" / "run_2") == [first, second]

    def test_a_clock_that_is_set_back_does_not_double_curves(self, tmp_path, monkeypatch):
        with tensorboard(tmp_path) as board:
            for step in (5, 10):
                board.log([row(step, train_elbo=-1.0)])
        monkeypatch.setattr(time, "time", lambda: 1e9)
        with tensorboard(tmp_path, {0: 5}) as board:
            board.log([row(10, train_elbo=-2.0)])
        points = [("elbo/train", 5, -1.0), ("elbo/train", 10, -2.0)]
        assert curves(tmp_path / "tensorboard" / "run_0") == points

    def test_rows_are_on_disk_before_the_files_are_closed(self, tmp_path):
        with tensorboard(tmp_path) as board:
            board.log([row(5, train_elbo=-1.0)])
            assert curves(tmp_path / "tensorboard" / "run_0") == [("elbo/train", 5, -1.0)]

    def test_without_rows_there_is_no_file(self, tmp_path):
        with tensorboard(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []


class TestFormatTerms:
    def test_one_run_shows_its_terms(self):
        terms = row(5, train_elbo=-99.123, train_kl=25.0, valid_elbo=-100.0, valid_kl=24.5)
        assert (
            loggers.format_terms([terms]) == "train elbo -99.12  valid elbo -100.00  valid kl 24.50"
        )

    def test_one_run_without_valid(self):
        assert loggers.format_terms([row(5, train_elbo=-9.0, train_kl=2.0)]) == (
            "train elbo -9.00  train kl 2.00"
        )

    def test_one_run_that_diverged(self):
        assert loggers.format_terms([row(5, train_elbo=math.nan)]) == "train elbo -"

    def test_several_runs_show_best_median_and_diverged(self):
        values = [-100.0, -98.0, -104.0, math.nan, None]
        rows = [row(5, run, train_elbo=0.0, valid_elbo=value) for run, value in enumerate(values)]
        assert loggers.format_terms(rows) == (
            "valid elbo best -98.00 (run 1), median -100.00, 2 of 5 diverged"
        )

    def test_several_runs_all_diverged(self):
        rows = [row(5, run, train_elbo=math.nan) for run in range(2)]
        assert loggers.format_terms(rows) == "2 of 2 diverged"

    def test_a_run_that_waits_for_its_first_valid_has_not_diverged(self):
        rows = [row(5, 0, train_elbo=-9.0, valid_elbo=-8.0), row(5, 1, train_elbo=-7.0)]
        assert loggers.format_terms(rows) == (
            "valid elbo best -8.00 (run 0), median -8.00, 0 of 2 diverged"
        )

    def test_a_run_that_diverged_since_its_last_valid_is_not_the_best(self):
        rows = [row(5, 0, train_elbo=None, valid_elbo=-8.0), row(5, 1, train_elbo=-9.0)]
        assert loggers.format_terms(rows) == (
            "train elbo best -9.00 (run 1), median -9.00, 1 of 2 diverged"
        )


class TestTrainingProgress:
    def test_one_plain_line_per_interval_when_there_is_no_terminal(self):
        console = Console(file=io.StringIO(), width=20)
        with loggers.TrainingProgress(2000, start=500, console=console) as progress:
            progress.message("data: mnist_5k [28, 28, 1]")
            progress.advance(1000, 3.4567)
            progress.log([row(1000, train_elbo=-120.0, valid_elbo=-121.0)])
            progress.advance(1500, 3.4)
        lines = console.file.getvalue().splitlines()
        assert lines[0] == "data: mnist_5k [28, 28, 1]"
        assert lines[1].startswith(
            "step 1,000 of 2,000  train elbo -120.00  valid elbo -121.00  3.46 ms/step"
        )
        assert len(lines) == 2

    def test_plain_lines_give_the_time_left(self, monkeypatch):
        console = Console(file=io.StringIO())
        with loggers.TrainingProgress(1000, console=console) as progress:
            monkeypatch.setattr(progress._bar, "get_time", iter(range(0, 1000, 10)).__next__)
            for step in (100, 200, 300):
                progress.advance(step, 100.0)
            progress.log([row(300, train_elbo=-1.0)])
        assert "1 min 10 s left" in console.file.getvalue()

    @pytest.mark.parametrize("is_terminal", [False, True])
    def test_a_study_shows_all_runs_seen_and_what_is_trained(self, is_terminal):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        with loggers.TrainingProgress(2000, label="program 2 of 3", console=console) as progress:
            progress.advance(1000, 3.4)
            progress.log([row(1000, run, train_elbo=-100.0 - run) for run in (3, 4)])
            progress.log([row(1000, run, train_elbo=-100.0 - run) for run in (5, 6)])
        text = console.file.getvalue()
        assert "program 2 of 3" in text
        assert "train elbo best -103.00 (run 3), median -104.50, 0 of 4 diverged" in text

    def test_a_terminal_gets_a_bar_with_terms_under_it(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with loggers.TrainingProgress(2000, console=console) as progress:
            progress.advance(1000, 3.4)
            progress.log([row(1000, train_elbo=-120.0, train_kl=20.0)])
            progress.log([row(1000, valid_elbo=-121.0, valid_kl=21.0)])
        text = console.file.getvalue()
        assert "step 1,000 of 2,000" in text
        assert "3.4 ms/step" in text
        assert "train elbo -120.00  valid elbo -121.00  valid kl 21.00" in text

    def test_the_bar_stops_when_training_fails(self):
        console = Console(file=io.StringIO(), force_terminal=True)
        progress = loggers.TrainingProgress(10, console=console)
        with pytest.raises(KeyboardInterrupt), progress:
            raise KeyboardInterrupt
        assert progress._bar.finished is False
        assert not progress._bar.live.is_started


class TestEvaluationProgress:
    def test_plain_lines_report_progress_every_ten_seconds(self, monkeypatch):
        now = iter([0.0, 5.0, 12.0, 15.0, 23.0, 30.0, 31.5]).__next__
        monkeypatch.setattr(time, "monotonic", now)
        console = Console(file=io.StringIO())
        with loggers.EvaluationProgress("ais", 3, console=console) as progress:
            monkeypatch.setattr(progress._bar, "get_time", iter(range(0, 1000, 10)).__next__)
            for runs in (0.5, 1.0, 1.5, 2.25, 3.0):
                progress.advance(runs)
        lines = console.file.getvalue().splitlines()
        assert [line.partition("  ")[0] for line in lines] == [
            "ais: run 2 of 3",
            "ais: run 3 of 3",
            "ais: done in 31.5 s",
        ]
        assert "33 % done" in lines[0]
        assert "75 % done" in lines[1]
        assert lines[1].endswith(" s left")

    def test_what_was_kept_does_not_count_for_the_speed(self):
        with loggers.EvaluationProgress("ais", 10, console=Console(file=io.StringIO())) as progress:
            progress.skip(8)
            assert progress._bar.tasks[0].completed == 8
            assert progress._bar.tasks[0].time_remaining is None

    def test_a_line_reports_that_all_runs_are_kept(self):
        console = Console(file=io.StringIO())
        with loggers.EvaluationProgress("ais", 3, console=console) as progress:
            progress.skip(3)
        assert console.file.getvalue() == "ais: kept from before\n"

    def test_a_terminal_gets_a_bar(self):
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with loggers.EvaluationProgress("decomposition", 4, console=console) as progress:
            progress.advance(3.0)
        text = console.file.getvalue()
        assert "decomposition" in text
        assert "3 of 4 runs" in text
        assert "75 %" in text

    def test_the_bar_stops_when_an_evaluation_fails(self):
        console = Console(file=io.StringIO())
        with (
            pytest.raises(KeyboardInterrupt),
            loggers.EvaluationProgress("ais", 1, console=console),
        ):
            raise KeyboardInterrupt
        assert console.file.getvalue() == ""
