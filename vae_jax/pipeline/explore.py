"""The explorer of a run or study, as a file of its workdir: runs with their data, for the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.config.flags import Config
from vae_jax.data import Dataset
from vae_jax.evaluation.evaluators import EvalContext
from vae_jax.pipeline import workdir
from vae_jax.pipeline.train import TrainedGroup
from vae_jax.reporting import explorer


def write(
    config: Config, trained: Sequence[TrainedGroup], data: Dataset, results: Mapping[str, Any]
) -> None:
    """Write ``explorer.html``, unless it is there already with the same contents.

    Args:
        config: flags of the study.
        trained: all groups.
        data: data that they were trained on.
        results: contents of ``results.json``.
    """
    models = {
        run: (model, done.spec.binarize) for done in trained for run, model in done.models.items()
    }

    def context_of(run: int) -> EvalContext:
        model, binarize = models[run]
        hparams = jax.tree.map(jnp.asarray, model.hparams)  # its arrays are on the host
        return EvalContext(model._replace(hparams=hparams), data, binarize)

    explorer.write(Path(config.workdir) / workdir.EXPLORER_FILE, results, context_of)
