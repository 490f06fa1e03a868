"""Trackers: loggers with one tracked run for each run of a study, which goes on when that does.

What all of them share is here: which rows are sent when, and what a tracked run is given at its
end. A tracker says how.
"""

import abc
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from vae_jax.pipeline.loggers import jsonl
from vae_jax.pipeline.loggers.base import Logger, StartedStudy
from vae_jax.pipeline.loggers.terms import is_number
from vae_jax.pipeline.workdir import METRICS_FILE, REPORT_FILE
from vae_jax.reporting import table
from vae_jax.reporting.html import Figure
from vae_jax.types import Row

Outcome: TypeAlias = Literal["finished", "diverged", "stopped"]
"""How a tracked run ends; one that stopped may go on."""


class Known(NamedTuple):
    """Steps and results that a tracker has of a run already.

    Attributes:
        step: step of the last row, -1 for none.
        results: mark of the results, "" for none.
    """

    step: int = -1
    results: str = ""


class RunResults(NamedTuple):
    """Results of one run as its tracked run is given them.

    Attributes:
        row: numbers and texts of ``results.csv`` that are there and finite, without the settings.
        figures: PNG files; those of a study are with its best run.
        report: the page ``report.html`` with the best run, None elsewhere.
        outcome: how the run ended.
        mark: changes when the results do.
    """

    row: Row
    figures: Sequence[Figure]
    report: Path | None
    outcome: Outcome
    mark: str


class Tracker(Logger):
    """Logger with one tracked run for each run of a study.

    A row is sent when a checkpoint holds its step, so that a kill leaves no row in a tracker that
    the study does not have; after one the tracked run goes on, and gets what it lacks. So curves
    follow the checkpoints. A tracker that is named for a finished study gets all of it. A term that
    is None or not finite is left out. A run that diverged ends as failed.

    A tracker defines what is abstract here, and inherits the rest.

    Attributes:
        most_open: number of tracked runs that may be open at once. The runs of a larger study are
            sent when all are trained, one after the other.
    """

    most_open: ClassVar[int] = 2**31

    @abc.abstractmethod
    def connect(self, study: StartedStudy) -> None:
        """Find the place of the study; nothing is open yet."""

    @abc.abstractmethod
    def known(self, run: int) -> Known:
        """Return what there is of a run already."""

    @abc.abstractmethod
    def open(self, run: int, name: str, config: Row) -> None:
        """Begin the tracked run of a run, or go on with it.

        Args:
            run: number of the run.
            name: name for people.
            config: flags and settings.
        """

    @abc.abstractmethod
    def send(self, run: int, rows: Sequence[Row]) -> None:
        """Send rows to an open tracked run: ``step``, ``seconds`` and terms, all finite."""

    @abc.abstractmethod
    def send_results(self, run: int, results: RunResults) -> None:
        """Send the results to an open tracked run."""

    @abc.abstractmethod
    def end(self, run: int, outcome: Outcome) -> None:
        """End an open tracked run."""

    def disconnect(self) -> None:
        """Release what is held for all runs; nothing by default."""

    def start(self, study: StartedStudy) -> None:
        """Connect, open the runs that are trained on, and send what rows tracked runs lack."""
        self._study = study
        self._pending: dict[int, list[Row]] = {}
        self._sent: dict[int, int] = {}
        self._open: dict[int, None] = {}
        self._is_live = len(study.settings) <= self.most_open
        self._differing = _differing(study.settings.values())
        self.connect(study)
        if self._is_live:
            for run in filter(self._goes_on, study.settings):
                self._ensure_open(run)  # so that what is wrong with it is said before training
            for run, rows in _by_run(study.metrics).items():
                self._catch_up(run, rows)

    def log(self, rows: Sequence[Row]) -> None:
        """Keep the rows until a checkpoint holds them."""
        if self._is_live or self._study.workdir is None:
            for run, own in _by_run(rows).items():
                self._pending.setdefault(run, []).extend(own)

    def saved(self, runs: Sequence[int], step: int) -> None:
        """Send the rows of runs up to a step."""
        for run in runs if self._is_live else ():
            kept = self._pending.get(run, [])
            self._catch_up(run, [row for row in kept if row["step"] <= step])
            self._pending[run] = [row for row in kept if row["step"] > step]

    def finish(self, results: Mapping[str, Any], figures: Sequence[Figure]) -> None:
        """Send what rows are left, then the results of each run, which ends.

        A tracked run that has all of it already is not opened.
        """
        rows: list[Row] = list(results["runs"])
        best = table.best(rows) or rows[0]
        logged = _by_run(self._logged())
        for row in rows:
            run = row["run"]
            given = figures if row is best else ()
            self._finish(run, logged.get(run, []), self._results(row, given, is_best=row is best))

    def close(self) -> None:
        """End the tracked runs that are still open, as stopped, and disconnect."""
        try:
            for run in list(getattr(self, "_open", ())):
                self._end(run, "stopped")
        finally:
            self.disconnect()

    def _finish(self, run: int, rows: Sequence[Row], results: RunResults) -> None:
        """Bring one tracked run to its end."""
        self._catch_up(run, rows)
        if run in self._open or self.known(run).results != results.mark:
            self._ensure_open(run)
            self.send_results(run, results)
            self._end(run, results.outcome)

    def _results(self, row: Row, figures: Sequence[Figure], *, is_best: bool) -> RunResults:
        settings = self._study.settings.get(row["run"], {})
        own = {name: _plain(value) for name, value in row.items() if name not in settings}
        is_diverged = row.get("diverged", "") not in ("", None)
        report = (self._study.workdir or Path()) / REPORT_FILE
        content = json.dumps([own, sorted(figure.path.name for figure in figures)], sort_keys=True)
        return RunResults(
            {name: value for name, value in own.items() if value not in (None, "")},
            [figure for figure in figures if figure.path.exists()],
            report if is_best and self._study.workdir and report.exists() else None,
            "diverged" if is_diverged else "finished",
            hashlib.sha256(content.encode()).hexdigest()[:16],
        )

    def _logged(self) -> Sequence[Row]:
        """Return all rows of the study that its checkpoints hold."""
        if self._study.workdir is None:
            return [*self._study.metrics, *(row for own in self._pending.values() for row in own)]
        return jsonl.read_whole(self._study.workdir / METRICS_FILE)

    def _catch_up(self, run: int, rows: Sequence[Row]) -> None:
        """Send those of a run's rows that the tracked run lacks."""
        if run not in self._sent:
            self._sent[run] = self.known(run).step
        new = [_finite(row) for row in rows if row["step"] > self._sent[run]]
        if new:
            self._ensure_open(run)
            self.send(run, new)
            self._sent[run] = new[-1]["step"]

    def _goes_on(self, run: int) -> bool:
        """Return whether a run has updates left."""
        num_steps = int(self._study.flags.get("num_steps", -1))
        return self._study.resumed_from.get(run, -1) < num_steps

    def _ensure_open(self, run: int) -> None:
        if run not in self._open:
            settings = self._study.settings.get(run, {})
            own = ", ".join(f"{name}={settings[name]}" for name in self._differing)
            name = f"{self._study.name}-{run}" + (f" {own}" if own else "")
            flags = {name: _typed(text) for name, text in self._study.flags.items()}
            self.open(run, name[:128], flags | dict(settings) | {"run": run})
            self._open[run] = None

    def _end(self, run: int, outcome: Outcome) -> None:
        self._open.pop(run)
        self.end(run, outcome)


def _by_run(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["run"], []).append(row)
    return found


def _finite(row: Row) -> Row:
    """Return the numbers of a row that are there and finite, in the types of Python."""
    own = {name: value for name, value in row.items() if name != "run" and is_number(value)}
    return {n: int(v) if n == "step" else float(v) for n, v in own.items()}


def _differing(settings: Iterable[Row]) -> list[str]:
    """Return the settings that are not the same in all runs.

    Example:
        >>> _differing([{"beta": 1.0, "seed": 0}, {"beta": 4.0, "seed": 0}])
        ['beta']
    """
    values: dict[str, set[str]] = {}
    for own in settings:
        for name, value in own.items():
            values.setdefault(name, set()).add(str(value))
    return [name for name, found in values.items() if len(found) > 1]


def _typed(text: str) -> bool | int | float | str:
    """Return the number or truth value that a text is, else the text.

    Example:
        >>> [_typed(text) for text in ("4.0", "128", "True", "mlp", "nan")]
        [4.0, 128, True, 'mlp', 'nan']
    """
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if is_number(value) else text
    return text


def _plain(value: Any) -> Any:
    """Return a cell as a number, a text, or None where it is neither or not finite."""
    if isinstance(value, str | bool):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    is_whole = not isinstance(value, float) and number.is_integer()
    return (int(number) if is_whole else number) if is_number(number) else None
