"""Trackers hold exactly what the study holds, through a kill, a divergence and their own failures.

Each is real, without a network: wandb writes offline files, MLflow a database of SQLite, and both
are read back.
"""

import json
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import vae_jax
from tests.pipeline.small import SHORT, read_csv, read_metrics, save_images
from tests.robustness.processes import ENVIRONMENT
from vae_jax import cli
from vae_jax.pipeline import draw
from vae_jax.pipeline.loggers import StartedStudy
from vae_jax.pipeline.loggers.mlflow import MLflowLogger
from vae_jax.pipeline.loggers.tracker import RunResults
from vae_jax.reporting.html import Figure

wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytest.importorskip("alembic", reason="the extra mlflow is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of MLflow about SQLAlchemy
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FLAGS = [
    *(*SHORT, "--sweep=learning_rate=1e-3,1e30", "--sweep=seed=0,1", "--workdir=run"),
    *("--dataset=gray.npz", "--num_steps=16", "--loggers=wandb,mlflow"),
]
KILLED = """
import os, signal, sys
from vae_jax import cli
from vae_jax.pipeline.loggers import JSONLinesLogger
log = JSONLinesLogger.log

def log_and_die(self, rows):
    log(self, rows)
    if rows[0]["step"] == 12:  # its checkpoint is not written; that of step 4 is for certain
        os.kill(os.getpid(), signal.SIGKILL)

JSONLinesLogger.log = log_and_die
cli.main(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def _no_process_is_left():
    """End wandb's process, which a program that has imported wandb itself must do itself."""
    yield
    wandb.teardown()


def environment(folder: Path) -> dict[str, str]:
    """Return variables that keep the trackers in a folder and off the network."""
    places = {
        f"WANDB_{name}": str(folder) for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")
    }
    return {
        **places,
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "DO_NOT_TRACK": "true",
    }


def wandb_processes() -> set[int]:
    """Return the processes of wandb that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"wandb-core" in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def wandb_records(path: Path):
    """Read the log of an offline run: blocks of 32 KiB with pieces of records, as LevelDB has."""
    from wandb.proto import wandb_internal_pb2

    data, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 2**15 - position % 2**15 < 7:
            position += 2**15 - position % 2**15
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or last piece
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def wandb_runs(folder: Path) -> dict[int, dict]:
    """Return what the offline folders of each run hold, one after the other."""
    found: dict[int, dict] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run = found.setdefault(
            int(path.stem.rpartition("-")[2]),
            {"rows": [], "summary": {}, "config": {}, "files": [], "exits": [], "groups": set()},
        )
        for record in wandb_records(path):
            if record.HasField("history"):
                run["rows"].append(_values(record.history.item))
            elif record.HasField("summary"):
                run["summary"] |= _values(record.summary.update)
            elif record.HasField("run"):
                run["config"] |= _values(record.run.config.update)
                run["groups"].add((record.run.project, record.run.run_group, record.run.run_id))
            elif record.HasField("exit"):
                run["exits"].append(record.exit.exit_code)
            elif record.HasField("artifact"):
                run["files"] += [entry.path for entry in record.artifact.manifest.contents]
    return found


def _values(items) -> dict:
    found = {".".join(item.nested_key) or item.key: item.value_json for item in items}
    return {name: json.loads(text) for name, text in found.items()}


def mlflow_runs(folder: Path) -> dict[int, dict]:
    """Return what the database of MLflow holds of each run."""
    found = {}
    with sqlite3.connect(folder / "mlflow.db") as database:
        names = {uuid: json.loads(value) for uuid, value in database.execute(
            "select run_uuid, value from tags where key = 'study_run'"
        )}  # fmt: skip
        for uuid, run in names.items():
            curves: dict[int, dict] = {}
            rows = database.execute(
                "select step, key, value from metrics where run_uuid = ?", (uuid,)
            ).fetchall()
            for step, key, value in rows:
                assert key not in curves.setdefault(step, {}), "logged twice"
                curves[step][key] = value
            pairs = (f"select key, value from {t} where run_uuid = ?" for t in ("params", "tags"))
            params, tags = (dict(database.execute(text, (uuid,))) for text in pairs)
            (status,) = database.execute(
                "select status from runs where run_uuid = ?", (uuid,)
            ).fetchone()
            assert run not in found
            found[run] = {"rows": curves, "params": params, "tags": tags, "status": status}
    database.close()
    return found


def expected_rows(workdir: Path, run: int) -> dict[int, dict]:
    """Return the numbers of ``metrics.jsonl`` of a run by step, without what is null."""
    return {
        row["step"]: {
            name: value
            for name, value in row.items()
            if name not in ("run", "step") and value is not None
        }
        for row in read_metrics(workdir)
        if row["run"] == run
    }


def is_same_cell(text: str, found) -> bool:
    """Return whether a cell of ``results.csv`` is a number or text of a tracker."""
    return str(found) == text or (isinstance(found, int | float) and float(text) == found)


def one_figure(config, *_):
    """Draw a single small figure in place of all."""
    path = Path(config.workdir) / "figures" / "samples.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return [Figure(path, "Samples", "Of the prior.")]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """Return the folder of a study of 4 runs, 2 of which diverge, that was killed and went on."""
    folder, before = tmp_path_factory.mktemp("tracked"), wandb_processes()
    save_images(folder)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *FLAGS],
        cwd=folder,
        env=ENVIRONMENT | environment(folder),
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    end = time.monotonic() + 60
    while wandb_processes() - before and time.monotonic() < end:
        time.sleep(0.05)
    assert wandb_processes() <= before, "wandb outlives the killed process"
    (folder / "killed").write_text(
        json.dumps([wandb_steps(folder), {r: [*v["rows"]] for r, v in mlflow_runs(folder).items()}])
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        patch.chdir(folder)
        patch.setattr(draw, "draw_figures", one_figure)
        assert cli.main(FLAGS) == 0
    wandb.teardown()
    return folder


def wandb_steps(folder: Path) -> dict[int, list[int]]:
    return {run: [row["_step"] for row in own["rows"]] for run, own in wandb_runs(folder).items()}


def test_at_a_kill_a_tracker_has_rows_but_none_beyond_the_checkpoint(resumed):
    tracked, other = json.loads((resumed / "killed").read_text())
    assert len(tracked) == len(other) == 4
    assert all(steps in ([], [4], [4, 8]) for steps in tracked.values())  # it writes whole blocks
    assert all(steps in ([4], [4, 8]) for steps in other.values())


@pytest.mark.parametrize("run", range(4))
def test_the_rows_that_wandb_holds_are_those_of_the_study(resumed, run):
    found = wandb_runs(resumed)
    assert len(found) == 4
    rows = {row["_step"]: row for row in found[run]["rows"]}
    assert len(rows) == len(found[run]["rows"]) == 4, "each once"
    own = {
        step: {name: value for name, value in row.items() if not name.startswith("_")}
        for step, row in rows.items()
    }
    assert own == expected_rows(resumed / "run", run)


@pytest.mark.parametrize("run", range(4))
def test_the_rows_that_mlflow_holds_are_those_of_the_study(resumed, run):
    found = mlflow_runs(resumed)[run]["rows"]
    expected = expected_rows(resumed / "run", run)
    assert found.keys() == expected.keys()
    for step in (4, 8, 12):
        assert found[step] == expected[step]
    assert expected[16].items() <= found[16].items()  # results are at the last step


@pytest.mark.parametrize("run", range(4))
def test_the_results_are_the_row_of_the_table(resumed, run):
    row = {name: text for name, text in read_csv(resumed / "run")[run].items() if text}
    summary, config = (wandb_runs(resumed)[run][name] for name in ("summary", "config"))
    other = mlflow_runs(resumed)[run]
    other_values = other["params"] | other["tags"] | other["rows"][16]
    for name, text in row.items():
        assert is_same_cell(text, summary.get(name, config.get(name))), name
        assert is_same_cell(text, other_values[name]), name


def test_a_run_that_diverged_has_failed_and_says_where(resumed):
    tracked, other = wandb_runs(resumed), mlflow_runs(resumed)
    assert [tracked[run]["exits"][-1] for run in range(4)] == [0, 0, 1, 1]
    assert [other[run]["status"] for run in range(4)] == ["FINISHED"] * 2 + ["FAILED"] * 2
    assert tracked[2]["summary"]["diverged"] == 1
    assert other[2]["tags"]["diverged"] == "1"


def test_the_runs_are_of_one_group_with_flags_and_settings(resumed):
    (study,) = {json.loads((resumed / "run/checkpoints/study.json").read_text())["id"]}
    other = mlflow_runs(resumed)
    for run, own in wandb_runs(resumed).items():
        assert own["groups"] == {("vae_jax", f"run-{study}", f"{study}-{run}")}, "one run, resumed"
        assert other[run]["tags"]["study_id"] == study
        for config in (own["config"], other[run]["params"]):
            assert str(config["batch_size"]) == "16"
            assert float(config["learning_rate"]) == (1e-3 if run < 2 else 1e30)
            assert str(config["seed"]) == str(run % 2)


def test_figures_and_report_are_with_the_best_run(resumed):
    rows = read_csv(resumed / "run")
    best = max(rows[:2], key=lambda row: float(row["valid_elbo"]))["run"]
    drawn = {path.name for path in (resumed / "run" / "figures").iterdir()}
    assert drawn
    for run, own in wandb_runs(resumed).items():
        pictures = {name for name in own["summary"] if name.startswith("figures/")}
        is_best = str(run) == best
        assert pictures == ({f"figures/{Path(n).stem}" for n in drawn} if is_best else set())
        assert own["files"] == (["report.html"] if is_best else [])
    (report,) = (resumed / "mlruns").rglob("report.html")
    assert report.read_bytes() == (resumed / "run" / "report.html").read_bytes()
    assert {path.name for path in report.parent.glob("figures/*")} == drawn


def test_a_finished_study_started_again_sends_nothing(resumed, monkeypatch):
    for name, value in environment(resumed).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(resumed)
    monkeypatch.setattr(draw, "draw_figures", one_figure)
    before = sorted(resumed.glob("wandb/offline-*")), mlflow_runs(resumed)
    assert cli.main(FLAGS) == 0
    assert (sorted(resumed.glob("wandb/offline-*")), mlflow_runs(resumed)) == before


def test_a_study_from_python_goes_on_in_its_tracked_runs_within_the_same_second(
    tmp_path, monkeypatch
):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    data = vae_jax.load("digits")
    model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
    spec, hparams = vae_jax.TrainSpec(model, batch_size=8), vae_jax.HParams.of(latent_size=2)
    study = vae_jax.fit(spec, hparams, data, 1, eval_every=1, loggers=["wandb", "mlflow"])
    study.fit(data, 2, eval_every=1, loggers=["wandb", "mlflow"])
    wandb.teardown()
    assert wandb_steps(tmp_path) == {0: [1, 2]}
    assert [*mlflow_runs(tmp_path)[0]["rows"]] == [1, 2]


@pytest.mark.parametrize("is_uri_given", [False, True])
def test_started_in_the_workdir_mlflow_has_its_files_beside_it(tmp_path, monkeypatch, is_uri_given):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if is_uri_given:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "report.html").write_text("a report")
    monkeypatch.chdir(workdir)
    logger = MLflowLogger()
    logger.connect(StartedStudy(Path("."), {}, {0: {}}, {0: -1}, "abc", "run", []))
    logger.open(0, "run-0", {})
    logger.send_results(0, RunResults({"run": 0}, (), Path("report.html"), "finished", "mark"))
    assert [path.name for path in workdir.iterdir()] == ["report.html"]
    (report,) = (tmp_path / "mlruns").rglob("report.html")
    assert report.read_text() == "a report"
    assert (tmp_path / "mlflow.db").exists()


def test_nothing_is_written_into_the_workdir(resumed):
    assert not [*(resumed / "run").glob("wandb*"), *(resumed / "run").glob("ml*")]
