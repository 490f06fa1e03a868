"""The evaluations of a workdir: which are due, which are kept from before, and how far they are.

``evaluations/RUN-NAME.json`` holds the numbers of one evaluation of one run, sealed, beside what
they depend on: the settings, the step, checksums of the parameters and of the data, and a format.
Only a file in which all of these agree is used, so an interruption costs one run at most and no
number is ever that of another model.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.config import build
from vae_jax.config.schema import Config, as_text
from vae_jax.data import Dataset
from vae_jax.evaluation import evaluators
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS, Evaluator, Runs
from vae_jax.pipeline import loggers, train
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.runtime import checksums, distributed, files, libraries
from vae_jax.runtime.checksums import DamagedError
from vae_jax.training import vectorized
from vae_jax.types import Row

FOLDER = "evaluations"
FORMAT = 3
"""To be raised with every change of a measure, so that what older code computed is not used."""

Mark = dict[str, Any]
"""What the numbers of an evaluation depend on, in the types of JSON."""


def selected(config: Config) -> list[str]:
    """Names of the evaluations that are made, in the order of their columns."""
    return [name for name in EVALUATORS if name in (*ALWAYS, *config.evaluate)]


def evaluate(config: Config, trained: Sequence[TrainedGroup], dataset: Dataset) -> dict[int, Row]:
    """The numbers of every run by its number; a diverged run has those of :data:`ALWAYS` alone."""
    found: dict[int, Row] = {run: {} for done in trained for run in done.group.runs}
    for name in selected(config):
        with loggers.EvaluationProgress(name, len(found)) as tally:
            finished = 0
            for done in trained:
                for run, row in _Task(name, config, done, dataset, tally, finished).numbers():
                    found[run] |= row
                finished += len(done.group.runs)
    return found


@dataclasses.dataclass(frozen=True)
class _Task:
    """One evaluation of one group of runs, after those of other groups."""

    name: str
    config: Config
    done: TrainedGroup
    dataset: Dataset
    tally: loggers.EvaluationProgress
    finished: int

    def numbers(self) -> Iterator[tuple[int, Row]]:
        """Each run with its numbers: those that are kept, then those that are due."""
        kept = dict(zip(self._places, distributed.from_first(self._all_kept), strict=True))
        known = {place: row for place, row in kept.items() if row is not None}
        due = [place for place in kept if place not in known]
        for place, row in known.items():
            yield self.done.group.runs[place], row
        before = self.finished + len(self.done.group.runs) - len(due)
        self.tally.skip(before)
        if not due:
            return
        rows = self._assessment.rows(self._runs.take(np.array(due, int)), self._tell(before))
        for place, row in zip(due, rows, strict=True):
            facts = {"mark": self._mark(place), "row": files.finite(row)}
            if distributed.is_first():
                files.write_json(self._path(place), checksums.with_checksum(facts))
            yield self.done.group.runs[place], facts["row"]

    def _tell(self, before: int) -> evaluators.OnProgress:
        return lambda done: self.tally.tell(float(before + done))

    @functools.cached_property
    def _assessment(self) -> Evaluator:
        return build.member(EVALUATORS[self.name], self.config)

    @functools.cached_property
    def _runs(self) -> Runs:
        group, spec, state = self.done[:3]
        return Runs(spec, group.hparams, state, self.dataset, train.layout_of(group, spec))

    @property
    def _places(self) -> list[int]:
        """Runs that are looked at, by their places in the group."""
        diverged = self.done.state.diverged.tolist()
        return [i for i, step in enumerate(diverged) if step < 0 or self.name in ALWAYS]

    def _path(self, place: int) -> Path:
        name = f"{self.done.group.runs[place]}-{self.name}.json"
        return Path(self.config.workdir) / FOLDER / name

    def _all_kept(self) -> list[Row | None]:
        return [self._kept(place) for place in self._places]

    def _kept(self, place: int) -> Row | None:
        """Numbers from before; a file that is damaged or of another model is made anew."""
        if not self._path(place).exists():
            return None
        try:
            facts = checksums.read(self._path(place))
        except DamagedError as error:
            print(f"NOTE: {FOLDER}/{error}; evaluating anew", flush=True)
            return None
        return facts["row"] if facts["mark"] == self._mark(place) else None

    def _mark(self, place: int) -> Mark:
        values = dataclasses.asdict(self._assessment)  # pyright: ignore[reportArgumentType]
        run = self._runs.hparams, self._runs.state.params
        return {
            "format": FORMAT,
            "evaluation": self.name,
            "settings": {name: as_text(value) for name, value in values.items()},
            "step": int(self.done.state.step[place]),
            "model": _checksum(jax.tree.leaves(vectorized.take(run, place))),
            "data": _checksum_of_data(self.dataset, self.done.spec.binarize),
        }


def _checksum(arrays: Sequence[Any]) -> int:
    total = 0
    for array in jax.device_get(arrays):
        total = zlib.crc32(np.ascontiguousarray(array).tobytes(), total)
    return total


@functools.lru_cache(maxsize=4)
def _checksum_of_data(dataset: Dataset, binarize: str) -> int:
    fields = [getattr(dataset, field.name) for field in dataclasses.fields(dataset)]
    arrays = [field for field in fields if isinstance(field, np.ndarray)]
    return zlib.crc32(binarize.encode(), _checksum(arrays))


def refused(config: Config, dataset: Dataset) -> str:
    """Why data or libraries do not allow an evaluation, as one line; "" where they allow all."""
    lacks = {"labels": dataset.train_labels is None, "factors": dataset.train_factors is None}
    has = {"labels": "labels", "factors": "factors of variation; --dataset=sprites has"}
    for name in selected(config):
        words = libraries.refusal("sklearn", f"--evaluate={name}")
        if words and "sklearn" in EVALUATORS[name].needs:
            return f"{words}, or leave {name} out"
        for need in sorted(EVALUATORS[name].needs):
            if lacks.get(need):
                return (
                    f"--evaluate={name}: --dataset={config.dataset} has no {has[need]}; leave "
                    f"{name} out"
                )
    return ""
