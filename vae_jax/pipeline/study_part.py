"""Runs of a study that share one compiled program, and where their weights come from."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vae_jax.data import Dataset
from vae_jax.hparams import HParams
from vae_jax.pipeline import loggers, run_groups
from vae_jax.reporting import format
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.runtime.progress import phase
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import TrainState
from vae_jax.types import Row


@dataclass(frozen=True, eq=False)
class StudyPart:
    """Runs of a study that share one compiled program.

    Attributes:
        runs: numbers of the runs in the study.
        spec: specification that they share.
        hparams: hyperparameters ``[runs]``.
        read_weights: returns their state, without that of the optimizer where it is read from a
            workdir; it is called when weights are first asked for.
        read_state: returns the whole state, with which training can go on.
        flags: flags of each run that decide what is trained; empty where they are not known.
        encoding: encoding of the data.
        data: data that they are trained on, or their fingerprint
            (:func:`vae_jax.pipeline.run_groups.fingerprint_of`); "" where it is not known.
    """

    runs: tuple[int, ...]
    spec: TrainSpec
    hparams: HParams
    read_weights: Callable[[], TrainState]
    read_state: Callable[[Dataset], TrainState]
    flags: tuple[dict[str, Any], ...] = ()
    encoding: str = "pixels"
    data: Dataset | str = field(default="", repr=False)

    @functools.cached_property
    def state(self) -> TrainState:
        """State of the runs; every array leads with ``runs``."""
        with (
            loggers.shown(),
            phase(f"reading the weights of {format.count(len(self.runs), 'run')}"),
        ):
            return self.read_weights()

    def with_state(self, state: TrainState) -> "StudyPart":
        """Return the same runs in another state."""
        return dataclasses.replace(self, read_weights=lambda: state, read_state=lambda data: state)


def looks_every(part: StudyPart, metrics: Sequence[Row]) -> int | None:
    """Return after how many updates runs that choose on valid look at it; None where none did.

    Args:
        part: the runs.
        metrics: rows of ``metrics.jsonl``.
    """
    name, runs = part.spec.valid_bound, set(part.runs)
    looks = [row["step"] for row in metrics if row["run"] in runs and name in row]
    return math.gcd(*looks) if part.spec.has_record and looks else None  # some may be lost


def settings_of(part: StudyPart) -> list[Row]:
    """Return the number and the hyperparameters of each run of a part, as Python numbers."""
    arrays = mesh.to_host(part.hparams)._asdict()
    return [
        {"run": run} | {name: values[i].item() for name, values in arrays.items()}
        for i, run in enumerate(part.runs)
    ]


def check_data(parts: Sequence[StudyPart], data: Dataset) -> None:
    """Refuse other data than those that a study is trained on; what decides is the content.

    Args:
        parts: all runs of the study.
        data: data that were given; their checksum is taken once for all parts.

    Raises:
        InputError: they are others.
    """
    given = ""
    for own in (part.data for part in parts if part.data is not data and part.data != ""):
        given = given or run_groups.fingerprint_of(data)
        known = own if isinstance(own, str) else run_groups.fingerprint_of(own)
        if given != known:
            raise InputError(
                setting="data",
                value=data.record.used,
                problem=f"is not what the study was trained on ({known} there but {given} now)",
                advice="give the same data; vae_jax.score scores others",
            )
