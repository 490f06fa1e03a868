"""Loggers of a study that is trained from Python: what they are told of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.config.validation import as_flags
from vae_jax.data import Dataset
from vae_jax.pipeline import results, save
from vae_jax.pipeline.loggers import StartedStudy
from vae_jax.pipeline.study_part import StudyPart, settings_of
from vae_jax.runtime.errors import InputError
from vae_jax.types import Row


def started(
    name: str,
    study_id: str,
    parts: Sequence[StudyPart],
    metrics: Sequence[Row],
    swept: Sequence[str],
    data: Dataset,
    num_steps: int,
    *,
    eval_every: int,
    origin: dict[str, Any] | None,
) -> StartedStudy:
    """Return a study as loggers are told of it before its next update.

    Its flags are those of the command line that trains the same, or the number of updates alone
    where a model is not one that flags can name.

    Args:
        name: title of the study.
        study_id: its identifier.
        parts: its runs.
        metrics: learning curves so far.
        swept: names of what differs between the runs.
        data: data that it is trained on.
        num_steps: number of updates in all.
        eval_every: updates between evaluations on valid.
        origin: where the weights came from that the runs began with; None for their seeds.
    """
    last = {row["run"]: row["step"] for row in metrics}
    flags, settings = {"num_steps": str(num_steps)}, {}
    for part in parts:
        own = [{n: value for n, value in row.items() if n != "run"} for row in settings_of(part)]
        try:
            configs = save.configs_of(part, num_steps, Path("study"), data, metrics, origin)
        except InputError:
            pass
        else:
            flags |= as_flags(configs[0].replace(eval_every=eval_every))
            own = [results.settings_of(config, swept) for config in configs]
        settings |= dict(zip(part.runs, own, strict=True))
    flags = {n: text for n, text in flags.items() if n not in (*swept, "workdir")}
    steps = {run: last.get(run, -1) for run in settings}
    return StartedStudy(None, flags, settings, steps, study_id, name, metrics)
