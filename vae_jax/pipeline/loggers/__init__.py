"""Loggers of a run while it trains: ``metrics.jsonl``, TensorBoard curves and the terminal.

All take the same *rows*: one mapping per run of the study, with ``step``, ``run``, ``seconds`` and
terms in nats per example (``train_elbo``, ``valid_kl``, ...). :class:`Logger` is their contract.
``--loggers`` names those of :data:`vae_jax.config.members.LOGGERS`, and ``MODULE:CLASS`` for one
from outside. Trackers are not imported here: their libraries need not be installed.
"""

from vae_jax.pipeline.loggers.base import Logger, StartedStudy
from vae_jax.pipeline.loggers.guarded import ALWAYS, GuardedLogger, logger_class, opened
from vae_jax.pipeline.loggers.jsonl import JSONLinesLogger, read, read_whole
from vae_jax.pipeline.loggers.notebook import NotebookProgress, progress_bar
from vae_jax.pipeline.loggers.phases import NotebookPhases, TerminalPhases, shown
from vae_jax.pipeline.loggers.progress import EvaluationProgress, TrainingProgress
from vae_jax.pipeline.loggers.tensorboard import TensorBoardLogger
from vae_jax.pipeline.loggers.terms import format_terms

__all__ = [
    "ALWAYS",
    "EvaluationProgress",
    "GuardedLogger",
    "JSONLinesLogger",
    "Logger",
    "NotebookPhases",
    "NotebookProgress",
    "StartedStudy",
    "TensorBoardLogger",
    "TerminalPhases",
    "TrainingProgress",
    "format_terms",
    "logger_class",
    "opened",
    "progress_bar",
    "read",
    "read_whole",
    "shown",
]
