"""Origin of weights: those of a trained run as the start of others.

``--init_from=WORKDIR[:RUN]``, and ``init_from=`` in Python, start every run of a study from the
parameters with which another run is evaluated. Their checksum belongs to the identity of the runs
(``run_groups.WEIGHTS``), so a study never goes on from other ones. Once each of its groups has a
checkpoint the source is not needed any more.
"""

import functools
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.config.flags import as_text
from vae_jax.models.latents import padded_width
from vae_jax.models.vae import VAE
from vae_jax.pipeline import plan_file, workdir
from vae_jax.pipeline.load import load_run
from vae_jax.pipeline.plan_file import Identity
from vae_jax.pipeline.run_groups import WEIGHTS
from vae_jax.pipeline.trained_run import TrainedRun
from vae_jax.runtime import files, mesh
from vae_jax.runtime.errors import InputError
from vae_jax.training import checkpoint, memory
from vae_jax.training.spec import TrainSpec
from vae_jax.training.step import named
from vae_jax.types import Params

_MOST_NAMED = 5  # parameters that a sentence names


@dataclass(frozen=True, eq=False)
class Origin:
    """Trained run whose weights others start from.

    Attributes:
        given: name of it as given.
        workdir: its workdir; empty where it was not opened from one.
        run: number of the run in its study.
        step: updates of the weights.
        commit: git commit of the code that evaluated it last; empty where it is not known.
        flags: its flags.
        model: its model.
        params: its parameters, on the host.
    """

    given: str
    workdir: str
    run: int
    step: int
    commit: str
    flags: dict[str, Any]
    model: VAE
    params: Params

    @functools.cached_property
    def checksum(self) -> str:
        """CRC-32 of names and values of all parameters."""
        total = 0
        for name, leaf in named(self.params).items():
            head = f"{name} {leaf.dtype.str}{leaf.shape}"
            total = zlib.crc32(
                np.ascontiguousarray(leaf).tobytes(), zlib.crc32(head.encode(), total)
            )
        return f"crc32 {total:08x}"

    @property
    def weights(self) -> str:
        """Text by which the weights are known, wherever they lie."""
        return f"{self.checksum}, run {self.run} at step {self.step}"

    def record(self, fresh: Iterable[str], left_over: Iterable[str]) -> dict[str, Any]:
        """Return where the weights came from, in the types of JSON.

        Args:
            fresh: names of parameters that start from the seed.
            left_over: names of parameters of the run that nothing takes.
        """
        names = ("given", "workdir", "run", "step", "commit", "checksum", "weights")
        flags = {name: as_text(value) for name, value in self.flags.items()}
        found = {name: getattr(self, name) for name in names} | {"flags": flags}
        return found | {"fresh": list(fresh), "left_over": list(left_over)}


@dataclass(frozen=True)
class Fitted:
    """Weights as a model takes them.

    Attributes:
        params: parameters that both have, by their names.
        fresh: names of parameters that the model alone has; they start from the seed.
        left_over: names of parameters that the source alone has.
    """

    params: Mapping[str, np.ndarray]
    fresh: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Sentences on parameters that only one of the two has."""
        named = (("start fresh, as the source has none", self.fresh),)
        named += (("are left over, as the model has none", self.left_over),)
        return [f"init_from: {_listed(names)} {what}" for what, names in named if names]


def opened(given: str) -> Origin:
    """Open the run that ``WORKDIR:RUN`` names, or the best run of ``WORKDIR``.

    Args:
        given: folder of the study, with or without the number of the run.

    Raises:
        InputError: there is no such run, or no weights of it.
    """
    folder, run = _parsed(given)
    try:
        study = load_run(folder)
        chosen = study[0] if len(study) == 1 and run is None else None
        chosen = chosen or (study.best if run is None else study[run])
    except InputError as error:
        problem = error.problem or str(error)
        advice = error.advice or "give the workdir of a trained run"
        if error.setting == "run":
            advice = f"give init_from={folder}:RUN with one of them"
        raise InputError(setting="init_from", value=given, problem=problem, advice=advice) from None
    return of_run(chosen, given, commit=str(study.results.get("commit") or ""))


def of_run(run: TrainedRun, given: str = "", *, commit: str = "") -> Origin:
    """Return a run as the origin of others.

    Args:
        run: a trained run.
        given: name of it as given; by default its workdir with its number.
        commit: git commit of its code.

    Raises:
        InputError: it diverged.
    """
    given = given or (f"{run.workdir}:{run.run}" if run.workdir else "(a run in Python)")
    if run.diverged >= 0:
        raise InputError(
            setting="init_from",
            value=given,
            problem=f"run {run.run} diverged at update {run.diverged}",
            advice="give another run",
        )
    params = mesh.to_host(run.params)
    return Origin(given, run.workdir, run.run, run.step, commit, run.flags, run.model, params)


def fitted(origin: Origin, spec: TrainSpec, encoding: str) -> Fitted:
    """Return the weights of a run as a model takes them.

    Args:
        origin: the run.
        spec: model and training that start from it.
        encoding: encoding of the data of this training.

    Raises:
        InputError: a parameter of another shape, which is named with both, or none in common.
    """
    wanted, found = named(memory.state_shapes(spec, encoding).params), named(origin.params)
    common = {name: found[name] for name in wanted if name in found}
    for name, leaf in common.items():
        if leaf.shape != wanted[name].shape:
            problem = f"{name} has shape {leaf.shape} there and {wanted[name].shape} here"
            widths = [padded_width(model.max_latents) for model in (origin.model, spec.model)]
            is_of_z = widths[0] != widths[1] and set(widths) & {*leaf.shape, *wanted[name].shape}
            sizes = "the sizes of that run"
            if is_of_z:
                problem += f"; z has {widths[0]} columns there and {widths[1]} here"
                sizes = f"latent_size={origin.model.max_latents}, of the widest run of its program"
            advice = f"give {sizes}, or another run"
            raise InputError(
                setting="init_from", value=origin.given, problem=problem, advice=advice
            )
    if not common:
        raise InputError(
            setting="init_from",
            value=origin.given,
            problem="no parameter of that run has a name that the model has",
            advice="give a run of the same --network",
        )
    params = {name: leaf.astype(wanted[name].dtype) for name, leaf in common.items()}
    fresh = tuple(name for name in wanted if name not in found)
    left_over = tuple(name for name in found if name not in wanted)
    return Fitted(params, fresh, left_over)


class StartingPoint:
    """Weights from which the runs of a workdir start, read only while a group needs them.

    Attributes:
        given: value of ``--init_from``.
        facts: what decides about the runs: the weights by their checksum.
        fresh: names of parameters that start from the seed, of the models checked so far.
        left_over: names of parameters of the source that no model has, likewise.
    """

    def __init__(self, given: str, folder: Path, encoding: str) -> None:
        """Read the weights, unless every group of the workdir has a checkpoint.

        Args:
            given: value of ``--init_from``.
            folder: the workdir of the runs.
            encoding: encoding of their data.

        Raises:
            InputError: there is no such run, or it is one of this workdir.
        """
        self.given, self._folder, self._encoding = given, folder, encoding
        self.fresh: dict[str, None] = {}
        self.left_over: dict[str, None] = {}
        source = _parsed(given)[0]
        if source.resolve() == folder.resolve():
            raise InputError(
                setting="init_from",
                value=given,
                problem="is the --workdir itself",
                advice="give another --workdir",
            )
        self._recorded = _recorded(folder, given)
        self.facts: Identity = {WEIGHTS: self._recorded or self.origin.weights}

    @functools.cached_property
    def origin(self) -> Origin:
        """The run, opened when it is first needed.

        Raises:
            InputError: its weights are not those that runs of the workdir began with.
        """
        origin = opened(self.given)
        if self._recorded not in (None, origin.weights):
            raise InputError(
                setting="init_from",
                value=self.given,
                problem=f"the workdir began with other weights ({self._recorded}) than are there "
                f"now ({origin.weights})",
                advice="restore them, or give another --workdir",
            )
        return origin

    def params_for(self, spec: TrainSpec) -> Mapping[str, np.ndarray]:
        """Return the weights as a model takes them.

        Raises:
            InputError: they do not fit.
        """
        found = fitted(self.origin, spec, self._encoding)
        self.fresh |= dict.fromkeys(found.fresh)
        self.left_over |= dict.fromkeys(found.left_over)
        return found.params

    def check(self, spec: TrainSpec) -> None:
        """Refuse weights that do not fit a model, unless no group needs them any more.

        Raises:
            InputError: they do not.
        """
        if self._recorded is None:
            self.params_for(spec)

    def record(self) -> dict[str, Any]:
        """Return where the weights came from, and write it to the workdir where it is not there.

        The file holds it for later starts, when the source may be gone.
        """
        path = self._folder / workdir.ORIGIN_FILE
        if "origin" in vars(self):
            found = self.origin.record(self.fresh, self.left_over)
            files.write_json(path, found)
            return found
        return workdir.read_origin(self._folder) or {"given": self.given, "weights": self._recorded}

    @property
    def lines(self) -> list[str]:
        """Lines for the terminal: the run, and what only one of the two has."""
        if "origin" not in vars(self):
            return []
        origin = self.origin
        notes = Fitted({}, tuple(self.fresh), tuple(self.left_over)).notes
        return [
            f"start: weights of run {origin.run} of {origin.workdir}, step {origin.step:,}, "
            f"{origin.checksum}",
            *(f"NOTE: --{note}" for note in notes),
        ]


def _recorded(folder: Path, given: str) -> str | None:
    """Return the weights that all runs of a workdir began with, if they need them no more.

    None where a group has no checkpoint yet, or where another source was given.
    """
    plan = plan_file.read(folder) if folder.is_dir() else None
    if plan is None or not plan.groups or plan.lost:
        return None
    facts = {(own.get("init_from"), own.get(WEIGHTS)) for g in plan.groups for own in g.identities}
    folders = (folder / workdir.CHECKPOINTS / group.name for group in plan.groups)
    if len(facts) != 1 or not all(map(checkpoint.steps, folders)):
        return None
    ((source, weights),) = facts
    return weights if source == given else None


def _parsed(given: str) -> tuple[Path, int | None]:
    """Return folder and number of ``WORKDIR:RUN``, None for the number where there is none."""
    folder, colon, number = given.rpartition(":")
    if colon and folder and number.isascii() and number.isdecimal() and not Path(given).exists():
        return Path(folder), int(number)
    return Path(given), None


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
