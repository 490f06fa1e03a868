"""Tracker for MLflow: one run of theirs for each run of a study, found again by its tags."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.pipeline.loggers.base import StartedStudy
from vae_jax.pipeline.loggers.tracker import Known, Outcome, RunResults, Tracker
from vae_jax.types import Row

EXPERIMENT = "vae_jax"
"""Experiment where ``MLFLOW_EXPERIMENT_NAME`` names none."""

_STUDY, _RUN, _RESULTS = "study_id", "study_run", "study_results"
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "stopped": "KILLED"}
_MOST_PARAMS, _MOST_METRICS, _MOST_LETTERS = 100, 1000, 500  # of one request, which MLflow asks for
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MLflowLogger(Tracker):
    """Logger to MLflow: one run for each run of the study, with the tag ``study_id``.

    Where is up to MLflow's own settings: ``MLFLOW_TRACKING_URI``, by default ``mlflow.db`` and
    ``mlruns`` in the working directory, or beside the workdir where that holds the working
    directory, and ``MLFLOW_EXPERIMENT_NAME``, by default ``vae_jax``.
    Flags and settings are params; one that changes when a run goes on keeps its first value there,
    and its present one is a tag. Figures and report are artifacts. A server that does not answer is
    given up after two retries of 20 s, so that training need not wait minutes for it; MLflow's own
    variables of the environment change that.
    """

    needs = ("mlflow",)

    def connect(self, study: StartedStudy) -> None:
        """Find or make the experiment, and find the runs of the study there."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)  # they report each table and retry
        from mlflow import MlflowClient

        self._study = study
        self._client: Any = MlflowClient(_store(study.workdir))
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self._experiment = self._found_experiment(name)
        self._runs = {int(run.data.tags[_RUN]): run for run in self._found()}

    def _found_experiment(self, name: str) -> str:
        """Return the id of the experiment, which is made where there is none."""
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        place = _artifacts(self._study.workdir, name, self._client.tracking_uri)
        return self._client.create_experiment(name, artifact_location=place)

    def _found(self) -> Iterator[Any]:
        """Yield the runs of the study, a page after the other."""
        token, text = None, f"tags.`{_STUDY}` = '{self._study.id}'"
        while True:
            page = self._client.search_runs([self._experiment], text, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def known(self, run: int) -> Known:
        """Return the last step of ``seconds``, which every row has, and the mark in the tags."""
        if (found := self._runs.get(run)) is None:
            return Known()
        points = self._client.get_metric_history(found.info.run_id, "seconds")
        steps = (point.step for point in points)
        tags = self._client.get_run(found.info.run_id).data.tags
        return Known(max(steps, default=-1), tags.get(_RESULTS, ""))

    def open(self, run: int, name: str, config: Row) -> None:
        """Make a run with its params, or go on with the one that there is."""
        tags = {_STUDY: self._study.id, _RUN: str(run)}
        if run not in self._runs:
            self._runs[run] = self._client.create_run(self._experiment, tags=tags, run_name=name)
        else:
            self._client.update_run(self._id(run), status="RUNNING")
        self._send_config(run, {n: str(value)[:_MOST_LETTERS] for n, value in config.items()})

    def _send_config(self, run: int, config: Mapping[str, str]) -> None:
        """Log params that are new, and tags of those that changed."""
        from mlflow.entities import Param

        params = self._runs[run].data.params
        new = [Param(name, text) for name, text in config.items() if name not in params]
        for i in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(self._id(run), params=new[i : i + _MOST_PARAMS])
        for name, text in config.items():
            if params.get(name, text) != text:
                self._client.set_tag(self._id(run), name, text)

    def send(self, run: int, rows: Sequence[Row]) -> None:
        """Log rows under their steps, ``seconds`` last: a row that has it is complete."""
        for row in rows:
            names = [name for name in row if name not in ("step", "seconds")]
            self._log(run, {name: row[name] for name in [*names, "seconds"]}, row["step"])

    def _log(self, run: int, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        for i in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id(run), metrics=metrics[i : i + _MOST_METRICS])

    def send_results(self, run: int, results: RunResults) -> None:
        """Log the numbers that are there no curve of, as metrics, texts as tags, and the files."""
        run_id, row = self._id(run), results.row
        there = self._client.get_run(run_id).data.metrics
        numbers = {n: v for n, v in row.items() if not isinstance(v, str | bool)}
        new = {n: float(v) for n, v in numbers.items() if n != "run" and there.get(n) != float(v)}
        self._log(run, new, int(row.get("step", 0)))
        tags = {name: str(v)[:_MOST_LETTERS] for name, v in row.items() if isinstance(v, str)}
        if results.outcome == "diverged":
            tags["diverged"] = str(row["diverged"])
        for name, text in tags.items():
            self._client.set_tag(run_id, name, text)
        for figure in results.figures:
            self._client.log_artifact(run_id, str(figure.path), "figures")
        if results.report is not None:
            self._client.log_artifact(run_id, str(results.report))
        self._client.set_tag(run_id, _RESULTS, results.mark)

    def end(self, run: int, outcome: Outcome) -> None:
        """Set the status of a run."""
        self._client.set_terminated(self._id(run), _STATUS[outcome])

    def _id(self, run: int) -> str:
        return self._runs[run].info.run_id


def _store(workdir: Path | None) -> str | None:
    """Return the address of a store beside a workdir in which MLflow's own default would lie."""
    import mlflow

    if (folder := _beside(workdir)) is None or mlflow.is_tracking_uri_set():
        return None
    return f"sqlite:///{folder / 'mlflow.db'}"


def _artifacts(workdir: Path | None, experiment: str, uri: str) -> str | None:
    """Return a folder for artifacts, likewise: with a database it is by default in ``.``."""
    if (folder := _beside(workdir)) is None or not uri.startswith("sqlite:"):
        return None
    return (folder / "mlruns" / experiment).as_uri()


def _beside(workdir: Path | None) -> Path | None:
    """Return the folder that holds a workdir, where the working directory lies in that workdir."""
    if workdir is None or not Path.cwd().resolve().is_relative_to(workdir.resolve()):
        return None
    return workdir.resolve().parent
