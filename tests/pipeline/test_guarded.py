"""A logger that fails anywhere costs a note; trackers send each row once, when it is final."""

import json
import os
import signal
from collections import defaultdict
from typing import ClassVar

import pytest

import vae_jax
from tests.pipeline.small import SHORT, read_metrics, without_seconds
from vae_jax.config.command_line import parse
from vae_jax.config.members import LOGGERS
from vae_jax.contract import outside_class
from vae_jax.pipeline import loggers
from vae_jax.pipeline.loggers import GuardedLogger, Logger, StartedStudy
from vae_jax.pipeline.loggers.tracker import Known, Tracker
from vae_jax.runtime import libraries
from vae_jax.runtime.errors import InputError


class Failing(Logger):
    """Logger that fails in one method, and counts its calls."""

    at = ""
    error: ClassVar[Exception] = RuntimeError("no route\nto host")
    called: ClassVar[list[str]] = []

    def __init__(self):
        self._call("make")

    def start(self, study):
        self._call("start")

    def log(self, rows):
        self._call("log")

    def saved(self, runs, step):
        self._call("saved")

    def finish(self, results, figures):
        self._call("finish")

    def close(self):
        self._call("close")

    def _call(self, name):
        self.called.append(name)
        if name == self.at:
            raise self.error


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(Failing, "called", [])
    return lambda at: monkeypatch.setattr(Failing, "at", at)


ORDER = ["make", "start", "log", "saved", "finish", "close"]


@pytest.mark.parametrize("at", ORDER)
@pytest.mark.parametrize(
    "error", [RuntimeError("no\nroute"), OSError(28, "disk full"), MemoryError()]
)
def test_a_failure_anywhere_is_one_line_and_the_logger_is_only_closed_then(
    failing, at, error, capsys, monkeypatch
):
    failing(at)
    monkeypatch.setattr(Failing, "error", error)
    with GuardedLogger("my:Failing", Failing) as logger:
        logger.start(StartedStudy(None, {}, {}, {}))
        logger.log([])
        logger.saved([0], 4)
        logger.finish({}, [])
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert line.startswith(f"NOTE: logger my:Failing is left out from here ({type(error).__name__}")
    assert line.endswith("all else goes on")
    assert err == ""
    assert Failing.called == (
        ["make"] if at == "make" else ORDER[: ORDER.index(at) + 1] + ["close"] * (at != "close")
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_signals_are_no_failures(failing, monkeypatch, error):
    failing("log")
    monkeypatch.setattr(Failing, "error", error())
    with pytest.raises(error), GuardedLogger("my:Failing", Failing) as logger:
        logger.log([])


@pytest.mark.parametrize("at", ["start", "log", "finish"])
def test_a_study_with_a_failing_logger_is_whole_and_its_status_is_0(start, failing, tmp_path, at):
    failing(at)
    status, out, err = start(*SHORT, f"--loggers={__name__}:Failing")
    assert (status, err) == (0, "")
    assert out.count("NOTE: logger ") == 1
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [4, 8, 12]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_of_the_registry_fulfils_the_contract(name):
    found = outside_class(f"--loggers={name}", LOGGERS[name], Logger, is_spec=False)
    assert found.needs
    assert found.__doc__


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_without_its_library_is_refused_before_anything_is_done(
    start, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(libraries, "is_installed", lambda module: False)
    status, _, err = start(*SHORT, f"--loggers={name}")
    package = {"tensorboard": "tensorboardX", "mlflow": "mlflow-skinny"}.get(name, name)
    assert status == 2
    assert err.startswith(f"run.py: --loggers={name}: needs the package ")
    assert err.endswith(f"run `pip install {package}`, or leave {name} out\n")
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_not_written_twice_where_it_is_named():
    with loggers.opened(["tensorboard"], but=loggers.ALWAYS) as opened:
        assert opened == []
    with pytest.raises(InputError, match=r"^--loggers=tensorbord: must be .* tensorboard, wandb"):
        parse(["--loggers=tensorbord"])


STORE: dict = {}


class Memory(Tracker):
    """Tracker into a dictionary, which outlives it as a server does."""

    most_open = 3

    def connect(self, study):
        self.runs = STORE.setdefault(study.id, defaultdict(lambda: {"rows": [], "ends": []}))
        self.num_open = 0

    def known(self, run):
        own = self.runs[run]
        steps = [row["step"] for row in own["rows"]]
        return Known(max(steps, default=-1), own.get("mark", ""))

    def open(self, run, name, config):
        self.num_open += 1
        assert self.num_open <= self.most_open
        self.runs[run] |= {"name": name, "config": config}

    def send(self, run, rows):
        self.runs[run]["rows"] += rows

    def send_results(self, run, results):
        self.runs[run] |= {"row": results.row, "mark": results.mark}

    def end(self, run, outcome):
        self.num_open -= 1
        self.runs[run]["ends"].append(outcome)


@pytest.fixture
def store():
    STORE.clear()
    return STORE


def rows(step, runs=2, **terms):
    return [{"step": step, "run": run, "seconds": 0.5, **terms} for run in range(runs)]


def started(runs=2, metrics=(), workdir=None):
    settings = {run: {"beta": 1.0, "seed": run} for run in range(runs)}
    flags = {"batch_size": "16", "conditional": "False", "likelihood": "bernoulli"}
    return StartedStudy(workdir, flags, settings, {}, "abc", "mnist", metrics)


def steps(store, run=0):
    return [row["step"] for row in store["abc"][run]["rows"]]


def test_a_row_is_sent_when_a_checkpoint_holds_it_and_not_before(store):
    tracker = Memory()
    tracker.start(started())
    tracker.log(rows(4))
    tracker.log(rows(8))
    assert steps(store) == []
    tracker.saved([0, 1], 4)
    assert steps(store) == steps(store, 1) == [4]
    tracker.saved([1], 8)
    assert (steps(store), steps(store, 1)) == ([4], [4, 8])
    tracker.close()
    assert (steps(store), store["abc"][0]["ends"]) == ([4], ["stopped"])


def test_a_tracked_run_that_goes_on_gets_what_it_lacks_and_nothing_twice(store):
    with Memory() as tracker:
        tracker.start(started())
        tracker.log(rows(4))
        tracker.saved([0], 4)
    with Memory() as tracker:
        tracker.start(started(metrics=[*rows(4), *rows(8)]))
        assert (steps(store), steps(store, 1)) == ([4, 8], [4, 8])
        tracker.log(rows(8))  # as after going back to an earlier checkpoint
        tracker.log(rows(12))
        tracker.saved([0, 1], 12)
    assert (steps(store), steps(store, 1)) == ([4, 8, 12], [4, 8, 12])


def test_results_are_sent_once_and_again_when_they_change(store):
    table = [{"run": 0, "seed": 0, "step": 4, "diverged": "", "test_nll": 9.0}]
    table += [{"run": 1, "seed": 1, "step": 4, "diverged": 3, "test_nll": None}]
    for nll, ends in ((9.0, 1), (9.0, 1), (8.0, 2)):
        table[0]["test_nll"] = nll
        with Memory() as tracker:
            tracker.start(started(metrics=rows(4)))
            tracker.finish({"runs": table}, [])
        assert store["abc"][0]["ends"] == ["finished"] * ends or ends == 1
        assert store["abc"][0]["row"]["test_nll"] == nll
    assert set(store["abc"][1]["ends"]) <= {"diverged", "stopped"}
    assert store["abc"][1]["row"] == {"run": 1, "step": 4, "diverged": 3}


def test_runs_that_are_trained_on_are_open_before_the_first_row_and_finished_ones_are_not(store):
    study = started()._replace(flags={"num_steps": "8"}, resumed_from={0: 4, 1: 8})
    with Memory() as tracker:
        tracker.start(study)
        assert (tracker.num_open, list(store["abc"])) == (1, [0])


def test_terms_that_are_no_numbers_are_left_out(store):
    tracker = Memory()
    tracker.start(started())
    tracker.log(rows(4, train_elbo=float("nan"), train_kl=None, valid_kl=1.5))
    tracker.saved([0], 4)
    assert store["abc"][0]["rows"] == [{"step": 4, "seconds": 0.5, "valid_kl": 1.5}]


def test_config_is_typed_and_the_name_says_what_differs(store):
    tracker = Memory()
    tracker.start(started())
    tracker.log(rows(4))
    tracker.saved([1], 4)
    assert store["abc"][1]["name"] == "mnist-1 seed=1"
    assert store["abc"][1]["config"] == {
        **{"batch_size": 16, "conditional": False, "likelihood": "bernoulli"},
        **{"beta": 1.0, "seed": 1, "run": 1},
    }


@pytest.mark.parametrize("has_workdir", [True, False])
def test_a_study_of_more_runs_than_may_be_open_is_sent_at_the_end_one_after_the_other(
    store, tmp_path, has_workdir
):
    with Memory() as tracker:
        tracker.start(started(runs=5, workdir=tmp_path if has_workdir else None))
        metrics = loggers.JSONLinesLogger(tmp_path)
        for step in (4, 8):
            metrics.log(rows(step, 5))
            tracker.log(rows(step, 5))
            tracker.saved(range(5), step)
            assert tracker.num_open == 0
        tracker.finish({"runs": [{"run": run, "step": 8} for run in range(5)]}, [])
    assert [steps(store, run) for run in range(5)] == [[4, 8]] * 5
    assert [store["abc"][run]["ends"] for run in range(5)] == [["finished"]] * 5


@pytest.fixture(scope="module")
def from_python():
    """Return a specification, a grid of two runs, and the data."""
    data = vae_jax.load("digits")
    model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
    return (
        vae_jax.TrainSpec(model, batch_size=8),
        vae_jax.grid(beta=[1.0, 4.0], latent_size=2),
        data,
    )


def test_a_study_from_python_is_tracked_and_goes_on_also_as_a_workdir(store, from_python, tmp_path):
    spec, grid, data = from_python
    study = vae_jax.ablate(
        spec, grid, data, 2, eval_every=1, loggers=[Memory(), f"{__name__}:Failing"]
    )
    runs = store[study.id]
    for run, row in enumerate(study.table):
        own = [each for each in study.metrics if each["run"] == run]
        assert [each["train_elbo"] for each in runs[run]["rows"]] == [r["train_elbo"] for r in own]
        assert runs[run]["row"]["test_elbo"] == row["test_elbo"]
        assert runs[run]["config"]["beta"] == (1.0, 4.0)[run]
        assert (runs[run]["config"]["batch_size"], runs[run]["config"]["eval_every"]) == (8, 1)
        assert runs[run]["config"]["init_from"] == ""
    loaded = vae_jax.load_run(study.save(tmp_path / "study"))
    assert loaded.id == study.id
    again = loaded.fit(data, 3, eval_every=1, loggers=[f"{__name__}:Memory"])
    assert (again.id, len(store)) == (study.id, 1)
    assert [each["step"] for each in runs[1]["rows"]] == [1, 2, 3]
    assert runs[1]["ends"] == ["finished", "finished"]
    assert "test_elbo" not in runs[1]["row"]
    assert vae_jax.fit(spec, grid, data, 1).id == ""
    begun = vae_jax.fit(spec, grid, data, 1, init_from=loaded[1], loggers=[Memory()])
    assert store[begun.id][0]["config"]["init_from"] == f"{tmp_path / 'study'}:1"


def test_loggers_from_python_fail_with_a_note_and_are_refused_like_flags(
    failing, from_python, capsys
):
    failing("log")
    study = vae_jax.fit(*from_python, 1, loggers=[Failing()])
    assert len(study.metrics) == 2
    assert "NOTE: logger Failing is left out from here" in capsys.readouterr().out
    for given, words in (
        (["tensorboard"], r"^loggers=tensorboard: writes into a workdir, .* run\.py$"),
        (["wandbx"], r"^loggers=wandbx: must be one of tensorboard, wandb, mlflow, MODULE:CLASS"),
        ([f"{__name__}:Failin"], r"^loggers=.*: the module .* has no Failin; did you mean"),
    ):
        with pytest.raises(InputError, match=words):
            vae_jax.fit(*from_python, 1, loggers=given)


class Stopping(Memory):
    """Tracker during whose second interval the process is asked to stop."""

    def log(self, rows):
        super().log(rows)
        if rows[0]["step"] == 8:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_study_that_is_stopped_and_moved_goes_on_with_its_tracked_run(start, store, tmp_path):
    flags = [*SHORT, "--num_steps=16", f"--workdir={tmp_path / 'first'}"]
    status, _, _ = start(*flags, f"--loggers={__name__}:Stopping")
    assert status == 128 + signal.SIGTERM
    (run,) = next(iter(store.values())).values()
    logged = [row["step"] for row in read_metrics(tmp_path / "first")]
    assert ([row["step"] for row in run["rows"]], run["ends"]) == (logged, ["stopped"])
    assert 8 <= logged[-1] < 16
    (tmp_path / "first").rename(tmp_path / "run")
    status, out, err = start(*SHORT, "--num_steps=16", f"--loggers={__name__}:Memory")
    assert (status, err) == (0, "")
    assert "NOTE: logger " not in out
    assert len(store) == 1
    assert run["ends"] == ["stopped", "finished"]
    logged = without_seconds(read_metrics(tmp_path / "run"))
    assert without_seconds(run["rows"]) == [
        {name: value for name, value in row.items() if name != "run"} for row in logged
    ]
    assert run["config"]["batch_size"] == 16
    assert (
        run["row"]["test_elbo"]
        == json.loads((tmp_path / "run" / "results.json").read_text())["runs"][0]["test_elbo"]
    )
