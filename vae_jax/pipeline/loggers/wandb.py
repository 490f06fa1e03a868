"""Tracker for Weights & Biases: one run of theirs for each run of a study, grouped by the study."""

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from vae_jax.pipeline.loggers import wandb_files
from vae_jax.pipeline.loggers.base import StartedStudy
from vae_jax.pipeline.loggers.tracker import Known, Outcome, RunResults, Tracker
from vae_jax.runtime import files
from vae_jax.types import Row

PROJECT = "vae_jax"
"""Project where ``WANDB_PROJECT`` and wandb's settings name none."""

_RECORD = "vae_jax.json"
_EXIT = {"finished": 0, "diverged": 1, "stopped": 255}  # 255 as of Ctrl-C: "killed" on their pages


class WandbLogger(Tracker):
    """Logger to Weights & Biases: one run for each run of the study, in a group of the study.

    Where and how is up to wandb's own settings: ``WANDB_MODE=offline`` writes files only, into
    ``./wandb`` or below ``WANDB_DIR``, which ``wandb sync`` sends later; ``WANDB_PROJECT`` names
    the project, by default ``vae_jax``. Figures are images, the report is an artifact. Each folder
    of wandb gets a file ``vae_jax.json``, which says what it holds, since an offline run has no
    server to ask.
    """

    needs = ("wandb",)
    most_open: ClassVar[int] = 64
    _was_imported_here: ClassVar[bool] = False

    def connect(self, study: StartedStudy) -> None:
        """Read wandb's settings."""
        WandbLogger._was_imported_here |= "wandb" not in sys.modules
        import wandb

        settings = wandb.setup().settings
        self._id = study.id
        self._runs: dict[int, Any] = {}
        self._options: dict[str, Any] = {
            "project": settings.project or PROJECT,
            "group": f"{study.name[:100]}-{study.id}",
            "job_type": "train",
            "resume": "allow",
            "reinit": "create_new",  # several at once in one process
            "settings": wandb.Settings(
                silent=True, console="off", x_disable_stats=len(study.settings) > 1
            ),
        }
        folder = Path(settings.wandb_dir)
        if study.workdir and folder.resolve().is_relative_to(study.workdir.resolve()):
            folder = study.workdir.resolve().parent / "wandb"  # a workdir holds nothing else
            self._options["dir"] = str(folder.parent)
        self._folder = folder
        server = "" if settings.mode == "offline" else settings.base_url
        places = (settings.mode, server, settings.entity, self._options["project"])
        self._place = [text or "" for text in places]
        self._known = self._read_records()

    def known(self, run: int) -> Known:
        """Return what the folders of the run hold that were made in the same mode and project."""
        return self._known.get(run, Known())

    def _read_records(self) -> dict[int, Known]:
        """Return what all folders of the study hold, the earliest first."""
        found: dict[int, Known] = {}
        for path in sorted(self._folder.glob(f"*run-*-{self._id}-*/{_RECORD}")):
            with contextlib.suppress(Exception):  # what cannot be read is sent again
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["place"] == self._place:
                    known = _held(path.parent, record)
                    if known.step >= found.get(record["run"], Known()).step:
                        found[record["run"]] = known
        return found

    def open(self, run: int, name: str, config: Row) -> None:
        """Begin a run under an id that follows from the study and its number, or resume it."""
        import wandb

        run_id = f"{self._id}-{run}"
        self._runs[run] = wandb.init(id=run_id, name=name, config=config, **self._options)
        self._record(run, {})

    def send(self, run: int, rows: Sequence[Row]) -> None:
        """Log rows under their steps; those before the last one that the server has are known."""
        opened = self._runs[run]
        for row in rows:
            if row["step"] >= opened.starting_step:
                terms = {name: value for name, value in row.items() if name != "step"}
                opened.log(terms, step=row["step"], commit=True)  # or a kill would lose it
        self._known[run] = Known(rows[-1]["step"])

    def send_results(self, run: int, results: RunResults) -> None:
        """Write the summary; log figures as images and the report as an artifact."""
        import wandb

        opened = self._runs[run]
        opened.summary.update(results.row)
        if results.outcome == "diverged":
            opened.tags = tuple(dict.fromkeys([*(opened.tags or ()), "diverged"]))
        for figure in results.figures:
            image = wandb.Image(str(figure.path), caption=figure.title)
            opened.summary[f"figures/{figure.path.stem}"] = image
        if results.report is not None:
            artifact = wandb.Artifact(f"report-{self._id}", type="report")
            artifact.add_file(str(results.report))
            opened.log_artifact(artifact)
        self._known[run] = self.known(run)._replace(results=results.mark)

    def end(self, run: int, outcome: Outcome) -> None:
        """Finish a run, whose files are complete then, and note what they hold."""
        self._runs[run].finish(exit_code=_EXIT[outcome])
        self._record(run, self.known(run)._asdict())
        del self._runs[run]

    def disconnect(self) -> None:
        """End the process of wandb, unless others may use it."""
        wandb: Any = sys.modules.get("wandb")
        if wandb is not None and WandbLogger._was_imported_here and wandb.run is None:
            wandb.teardown()

    def _record(self, run: int, known: Mapping[str, Any]) -> None:
        """Note beside the files of wandb which run they are of, and what they hold."""
        folder = Path(self._runs[run].dir).parent
        if folder.parent.resolve() == self._folder.resolve():  # not of WANDB_MODE=disabled
            files.write_json(folder / _RECORD, {"run": run, "place": self._place, **known})


def _held(folder: Path, record: Mapping[str, Any]) -> Known:
    """Return what a folder holds; that of a killed process is asked itself.

    Of one that was online nothing is assumed: the server says where the run goes on.
    """
    if "step" in record:
        return Known(int(record["step"]), str(record["results"]))
    is_offline = folder.name.startswith("offline-")
    paths = folder.glob("*.wandb") if is_offline else ()
    steps = [wandb_files.last_step(path) for path in paths]
    return Known(max(steps, default=-1))
