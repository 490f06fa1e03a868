"""A study: its runs, their table and learning curves, whether trained here or read from a workdir.

:class:`Study` is what ``vae_jax.fit``, ``vae_jax.ablate`` and ``vae_jax.load_run`` return. Its runs
are in *parts*, each the runs of one compiled program (:class:`StudyPart`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vae_jax.config.flags import FLAGS, as_flag, as_text
from vae_jax.data import Dataset
from vae_jax.evaluation.elbo import NUM_PARTICLES
from vae_jax.evaluation.evaluators import Runs
from vae_jax.evaluation.evaluators.nll import ImportanceWeightedNLL
from vae_jax.hparams import HParams, declared_by
from vae_jax.models.vae import TrainedVAE
from vae_jax.pipeline import fitting, loggers, notebook, results, save, tracking
from vae_jax.pipeline.fitting import OnProgress
from vae_jax.pipeline.loggers import ALWAYS, Logger, TensorBoardLogger, opened
from vae_jax.pipeline.study_part import StudyPart, check_data, looks_every, settings_of
from vae_jax.pipeline.study_plots import StudyPlots
from vae_jax.pipeline.trained_run import TrainedRun
from vae_jax.pipeline.workdir import new_study_id
from vae_jax.reporting import table
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import OnPhase, phase
from vae_jax.settings import as_path, check_type, is_whole
from vae_jax.training import compatibility, memory, vectorized
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.types import Row


class Curve(NamedTuple):
    """Learning curve of one term of one run.

    Attributes:
        step: numbers of updates.
        value: values of the term after them, in nats per example; NaN of a run that diverged.
    """

    step: Int[np.ndarray, " points"]
    value: Float[np.ndarray, " points"]


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Runs with their table and learning curves.

    ``study[3]``, ``study.select(beta=4.0)`` and ``study.best`` are
    :class:`vae_jax.pipeline.trained_run.TrainedRun`; a study is a sequence of them. Weights are
    read when they are first asked for.

    Attributes:
        parts: the runs, by compiled program.
        table: one row per run with the keys of ``results.csv``
            (:mod:`vae_jax.evaluation.columns`); ``pandas.DataFrame(study.table)`` reads it.
        metrics: learning curves, the rows of ``metrics.jsonl``.
        swept: names of what differs between the runs.
        name: title of figures and reports.
        id: identifier under which loggers know it; empty before any did.
        flags: flags of the study; empty where they are not known.
        results: contents of ``results.json``, where there is one.
        read_data: returns the data that it was trained on.
        workdir: folder that it was opened from; empty for one trained here.

    Example:
        >>> import vae_jax
        >>> data = vae_jax.load("digits")
        >>> model = vae_jax.VAE(data.event_shape, max_latents=2, network=vae_jax.MLP((8,)))
        >>> spec = vae_jax.TrainSpec(model, batch_size=8)
        >>> study = vae_jax.ablate(spec, vae_jax.grid(latent_size=[1, 2]), data, num_steps=2)
        >>> len(study), study.select(latent_size=2).run, study.curve("valid_elbo").step.tolist()
        (2, 1, [2])
    """

    parts: tuple[StudyPart, ...]
    table: list[Row]
    metrics: list[Row]
    swept: tuple[str, ...] = ()
    name: str = "study"
    id: str = ""
    flags: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    read_data: Callable[[], Dataset] | None = None
    workdir: str = ""

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[TrainedRun]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, run: int) -> TrainedRun:
        """Return a run by its number; negative numbers count from the end.

        Raises:
            InputError: there is no such run.
        """
        index = self._number(run)
        row, part, i = self._places[index]
        state = part.state
        hparams, params = vectorized.take((part.hparams, state.eval_params), i)
        return TrainedRun(
            run=index,
            trained=TrainedVAE(part.spec.model, hparams, params),
            binarize=part.spec.binarize,
            encoding=part.encoding,
            row=row,
            flags=part.flags[i] if part.flags else {},
            step=int(state.eval_step[i]),
            diverged=int(state.diverged[i]),
            workdir=self.workdir,
        )

    @functools.cached_property
    def _places(self) -> dict[int, tuple[Row, StudyPart, int]]:
        """Row of each run by its number, the part that it is in, and its index there."""
        places = {run: (part, i) for part in self.parts for i, run in enumerate(part.runs)}
        return {row["run"]: (row, *places[row["run"]]) for row in self.table}

    def _number(self, run: int) -> int:
        """Return the number of a run, which may be counted from the end."""
        places = self._places
        number = run if not is_whole(run) or run in places else run + len(places)
        if not is_whole(run) or number not in places:
            raise InputError(
                setting="run",
                value=run,
                problem=f"the study has {len(places)} runs, 0 to {len(places) - 1}",
                advice="give the number of one, or study.select(name=value)",
            )
        return int(number)

    def take(self, run: int) -> TrainedRun:
        """Return a run by its number: the same as ``study[run]``."""
        return self[run]

    def select(self, **settings: Any) -> TrainedRun:
        """Return the run with the given settings.

        Args:
            **settings: values of columns of the table: ``beta=4.0, seed=0``.

        Raises:
            InputError: there is no such column, no such run, or more than one.
        """
        given = ", ".join(f"{name}={as_text(value)}" for name, value in settings.items())
        for name in settings.keys() - set().union(*self.table):
            known = ", ".join(self.swept) or "nothing"
            raise InputError(
                setting="select",
                value=given,
                problem=f"the table has no column {name}",
                advice=f"give values of what differs: {known}",
            )
        found = [row for row in self.table if _has(row, settings)]
        if len(found) != 1:
            differing = [name for name in self.swept if len({row[name] for row in found}) > 1]
            values = [f"{name} is {_values(self.table, name)}" for name in settings]
            advice = f"give {' and '.join(differing)} too" if found else "; ".join(values)
            runs = ", ".join(str(row["run"]) for row in found) or "no run"
            raise InputError(
                setting="select", value=given, problem=f"is {runs}, not one", advice=advice
            )
        return self[found[0]["run"]]

    @property
    def best(self) -> TrainedRun:
        """Run of the highest ELBO on valid, or on test where some run has none on valid.

        Raises:
            InputError: every run diverged.
        """
        row = table.leading(self.table)
        if row is None:
            raise InputError(
                setting="best",
                value=None,
                problem="every run diverged or has no result yet",
                advice="take one by its number",
            )
        return self[row["run"]]

    def curve(self, term: str, run: int | None = None) -> Curve:
        """Return the learning curve of a term: ``valid_elbo``, ``train_kl``, ...

        Args:
            term: key of the rows of ``metrics``.
            run: number of the run; None for the best.

        Raises:
            InputError: there is no such run, or no row has such a term.
        """
        number = self.best.run if run is None else self._number(run)
        points = [
            (row["step"], row[term]) for row in self.metrics if row["run"] == number and term in row
        ]
        if not points:
            known = sorted(set().union(*self.metrics) - {"step", "run", "seconds"})
            raise InputError(
                setting="term",
                value=term,
                problem=f"is not logged of run {number}",
                advice=f"give one of {', '.join(known)}",
            )
        steps, values = zip(*points, strict=True)
        return Curve(np.array(steps), np.array([np.nan if v is None else v for v in values], float))

    @property
    def spec(self) -> TrainSpec:
        """Specification that all runs share."""
        return self._only_part.spec

    @property
    def hparams(self) -> HParams:
        """Hyperparameters of all runs, ``[runs]``."""
        return self._only_part.hparams

    @property
    def state(self) -> TrainState:
        """State of all runs; every array leads with ``runs``."""
        return self._only_part.state

    @property
    def _only_part(self) -> StudyPart:
        if len(self.parts) != 1:
            raise InputError(
                setting="study",
                value=self.name,
                problem=f"its runs are {len(self.parts)} programs without a common state",
                advice="use study.parts, or a run: study[0]",
            )
        return self.parts[0]

    @property
    def data(self) -> Dataset:
        """Data that the study was trained on, loaded when first asked for.

        Raises:
            InputError: they cannot be loaded here, or are others by now.
        """
        return self._data

    @functools.cached_property
    def _data(self) -> Dataset:
        assert self.read_data is not None
        data = self.read_data()
        check_data(self.parts, data)
        return data

    @property
    def plot(self) -> StudyPlots:
        """Figures of the report, as figures of matplotlib: ``study.plot.samples()``."""
        own = [declared_by(part.spec) for part in self.parts]
        flags = {name: as_flag(each, "") for one in own for name, each in one.items()}
        return StudyPlots(
            runs=self.__getitem__,
            best=lambda: self.best,
            rows=self.table,
            metrics=self.metrics,
            swept=self.swept,
            results={"title": self.name, "flags": _texts(self.flags)} | self.results,
            data=lambda: self.data,
            flags={**flags, **FLAGS},
        )

    def fit(
        self,
        data: Dataset,
        num_steps: int,
        *,
        eval_every: int = 500,
        max_parallel_runs: int = 0,
        on_progress: OnProgress | None = None,
        loggers: Sequence[str | Logger] = (),
    ) -> "Study":
        """Train on until every run has ``num_steps`` updates; the old study stays as it is.

        The result is that of training without a break, to the bit. Test results are not known of
        it; see :meth:`evaluate`.

        Args:
            data: data that the study was trained on.
            num_steps: number of updates in all.
            eval_every: updates between evaluations on valid.
            max_parallel_runs: number of runs that advance together; 0 for the best of the device.
            on_progress: is called with the rows of each interval; None for a bar in a terminal or
                notebook, and nothing elsewhere.
            loggers: names as those of ``--loggers``, or loggers.

        Raises:
            InputError: other data, fewer updates than are done, or what cannot be trained.
        """
        return train_and_score(
            self,
            data,
            num_steps,
            eval_every=eval_every,
            max_parallel_runs=max_parallel_runs,
            on_progress=on_progress,
            loggers=loggers,
        )

    def _train(
        self,
        data: Dataset,
        num_steps: int,
        *,
        eval_every: int,
        max_parallel_runs: int,
        on_progress: OnProgress | None,
        log: Sequence[Logger],
    ) -> "Study":
        """Train on, as :meth:`fit` does, with loggers that were told of the study."""
        parts: list[StudyPart] = []
        rows: list[Row] = []
        reached: dict[int, int] = {}
        lines = results.by_run(self.metrics)
        for part in self.parts:
            state = part.read_state(data)
            step = int(mesh.to_host(state.step)[0])
            reached |= dict.fromkeys(part.runs, step)
            old = results.of_runs(lines, part.runs, step)
            trained, new = fitting.train(
                part.spec,
                part.hparams,
                data,
                state,
                num_steps,
                runs=part.runs,
                seconds=max((row["seconds"] for row in old), default=0.0),
                eval_every=eval_every,
                max_parallel_runs=max_parallel_runs,
                on_progress=on_progress,
                log=log,
            )
            parts.append(part.with_state(trained))
            rows += new
        rows = results.up_to(self.metrics, reached) + rows
        last: dict[int, Row | None] = {}
        lines = results.by_run(rows)
        for part in parts:
            last |= results.learned(results.of_runs(lines, part.runs), part.state, part.runs)
        settings = {row["run"]: row for part in parts for row in settings_of(part)}
        diverged = {
            run: step
            for part in parts
            for run, step in zip(part.runs, mesh.to_host(part.state.diverged).tolist(), strict=True)
        }
        table = [
            results.table_row(settings[run], last[run], {}, diverged[run])
            for run in sorted(settings)
        ]
        return dataclasses.replace(
            self,
            parts=tuple(parts),
            table=table,
            metrics=rows,
            results=self._origin,
            read_data=lambda: data,
        )

    def evaluate(
        self,
        data: Dataset,
        *,
        num_particles: int = NUM_PARTICLES,
        on_progress: OnPhase | None = None,
    ) -> "Study":
        """Return the study with its results on test in the table, as ``--evaluate=nll`` has them.

        Args:
            data: data that the study was trained on.
            num_particles: K of the importance-weighted bound behind ``test_nll``.
            on_progress: is called with a :class:`vae_jax.runtime.progress.Progress` as runs are
                done; None for a bar in a terminal or notebook, and nothing elsewhere.

        Raises:
            InputError: other data than the study was trained on, which
                :func:`vae_jax.score` scores.
        """
        fitting.check_numbers(num_particles=num_particles)
        _check_callback(on_progress)
        for part in self.parts:
            compatibility.check_data(part.spec, data, is_trained=True)
        check_data(self.parts, data)
        measured: dict[int, Row] = {}
        with loggers.shown(on_progress), phase("evaluating", len(self), "runs") as advance:
            for part in self.parts:
                layout = memory.layout_for(part.spec, part.hparams)
                runs = Runs(part.spec, part.hparams, part.state, data, layout)
                before = len(measured)
                rows = ImportanceWeightedNLL(num_particles).rows(
                    runs, lambda num_runs, before=before: advance(before + num_runs)
                )
                measured |= dict(zip(part.runs, rows, strict=True))
        return dataclasses.replace(
            self,
            table=[row | measured[row["run"]] for row in self.table],
            results=self._origin,
        )

    @property
    def _origin(self) -> dict[str, Any]:
        """Part of ``results.json`` on the origin of the weights, if it is another run."""
        return {name: self.results[name] for name in (results.ORIGIN,) if name in self.results}

    def save(self, workdir: str | Path) -> Path:
        """Write the study as a workdir, which ``load_run`` opens and the command line continues.

        Args:
            workdir: a new or empty folder.

        Returns:
            The folder.

        Raises:
            InputError: the folder holds something, or a part of the model is not one that flags
                can name.
        """
        return save.write(
            *(
                as_path("workdir", workdir),
                self.parts,
                self.table,
                self.metrics,
                self.swept,
                self.data,
            ),
            origin=self._origin.get(results.ORIGIN),
            study_id=self.id,
        )

    def __repr__(self) -> str:
        return notebook.as_text(self.name, self.table, self.swept)

    def _repr_html_(self) -> str:
        return notebook.as_html(self.name, self.table, self.swept, lambda: self.plot)


def train_and_score(
    study: Study,
    data: Dataset,
    num_steps: int,
    *,
    num_particles: int | None = None,
    eval_every: int = 500,
    max_parallel_runs: int = 0,
    on_progress: OnProgress | None = None,
    loggers: Sequence[str | Logger] = (),
) -> Study:
    """Return a study trained on, and scored on test unless ``num_particles`` is None.

    Loggers get the rows of the table at the end. Their arguments are those of :meth:`Study.fit` and
    :meth:`Study.evaluate`.

    Raises:
        InputError: what cannot be trained, or a logger that cannot be had.
    """
    fitting.check_numbers(
        num_steps=num_steps, eval_every=eval_every, max_parallel_runs=max_parallel_runs
    )
    _check_callback(on_progress)
    check_type("loggers", loggers, list | tuple, 'give a list, as ["wandb"]')
    for part in study.parts:
        fitting.check(part.spec, part.hparams, data, num_steps, eval_every)
    check_data(study.parts, data)
    for part in study.parts:
        _check_looks(part, study.metrics, eval_every)
    _check_length(study, num_steps)
    _refuse_loggers_of_workdirs(loggers)
    with opened(loggers) as log:
        if log:
            study = dataclasses.replace(study, id=study.id or new_study_id())
            told = study.name, study.id, study.parts, study.metrics, study.swept
            origin = study._origin.get(results.ORIGIN)
            about = tracking.started(*told, data, num_steps, eval_every=eval_every, origin=origin)
            for logger in log:
                logger.start(about)
        done = study._train(
            data,
            num_steps,
            eval_every=eval_every,
            max_parallel_runs=max_parallel_runs,
            on_progress=on_progress,
            log=log,
        )
        if num_particles is not None:
            done = done.evaluate(data, num_particles=num_particles)
        for logger in log:
            logger.finish({"title": done.name, "swept": list(done.swept), "runs": done.table}, ())
    return done


def _refuse_loggers_of_workdirs(given: Sequence[str | Logger]) -> None:
    """Refuse the logger that writes into a workdir, which a study from Python has not."""
    if any(each == ALWAYS or isinstance(each, TensorBoardLogger) for each in given):
        raise InputError(
            setting="loggers",
            value=ALWAYS,
            problem="writes into a workdir, and a study from Python has none",
            advice="leave it out, or train by run.py",
        )


def begin(
    spec: TrainSpec,
    hparams: HParams,
    data: Dataset,
    given: Mapping[str, np.ndarray] | None = None,
    origin: dict[str, Any] | None = None,
) -> Study:
    """Return the study of one program before its first update.

    Args:
        spec: static specification of the model and its training.
        hparams: hyperparameters of one run (scalars) or of a study (``[runs]``).
        data: data to train on.
        given: parameters by their names that all runs start from, instead of those of their seeds.
        origin: where these came from.

    Raises:
        InputError: what the model and its hyperparameters do not allow together. The data are
            checked by :meth:`Study.fit`.
    """
    hparams = hparams.as_study()
    spec = spec.specialized(hparams)
    _refuse_idle_regularizers(spec, hparams)

    def state(data: Dataset) -> TrainState:
        return fitting.initial_state(spec, hparams, data, given)

    numbers = tuple(range(len(hparams.seed)))
    part = StudyPart(
        *(numbers, spec, hparams, lambda: state(data), state), encoding=data.encoding, data=data
    )
    rows = settings_of(part)
    swept = [name for name in hparams._fields if len({row[name] for row in rows}) > 1]
    table = [results.table_row(own, None, {}, -1) for own in rows]
    return Study(
        *((part,), table, [], tuple(swept), data.record.used),
        results={} if origin is None else {results.ORIGIN: origin},
        read_data=lambda: data,
    )


def _check_callback(on_progress: Any) -> None:
    """Refuse what cannot be called, before anything is trained."""
    if on_progress is not None and not callable(on_progress):
        raise InputError(
            setting="on_progress",
            value=on_progress,
            problem="cannot be called",
            advice="give a function of what is told, or None",
        )


def _check_length(study: Study, num_steps: int) -> None:
    """Refuse fewer updates than are done."""
    done = max((row["step"] for row in study.table), default=0)
    if done > num_steps:
        raise InputError(
            setting="num_steps",
            value=num_steps,
            problem=f"the study already holds {done} updates",
            advice="give at least that many, or train anew",
        )


def _refuse_idle_regularizers(spec: TrainSpec, hparams: HParams) -> None:
    """Refuse a regularizer whose weights are zero in all runs, as one that was forgotten."""
    for penalty in spec.regularizers:
        strengths = type(penalty).strengths()
        if not any(mesh.to_host(getattr(hparams, name)).any() for name in strengths):
            raise InputError(
                setting="regularizers",
                value=type(penalty).__name__,
                problem=f"has no effect without {' or '.join(strengths)}",
                advice="give a weight, or leave it out",
            )


def _check_looks(part: StudyPart, metrics: Sequence[Row], eval_every: int) -> None:
    """Refuse other intervals than those by which the runs have chosen on valid so far."""
    before = looks_every(part, metrics)
    if before not in (None, eval_every):
        raise InputError(
            setting="eval_every",
            value=eval_every,
            problem=f"the runs have looked at valid every {before} updates so far",
            advice=f"give {before}",
        )


def _has(row: Row, settings: dict[str, Any]) -> bool:
    return all(_equal(row.get(name), value) for name, value in settings.items())


def _equal(found: Any, wanted: Any) -> bool:
    """Return whether a cell has a value; numbers to the precision of float32."""
    if table.is_ordered(found) and table.is_ordered(wanted):
        return bool(np.isclose(found, wanted, rtol=1e-6, atol=0.0))
    return found == wanted or as_text(found) == as_text(wanted)


def _values(rows: Sequence[Row], name: str) -> str:
    return " or ".join(dict.fromkeys(as_text(row.get(name)) for row in rows))


def _texts(flags: dict[str, Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in flags.items()}
