"""The columns of a study's rows: each is declared once, and everything that shows it reads that.

A *row* (:data:`vae_jax.types.Row`) is one run's mapping from names of columns to values: a line of
``metrics.jsonl``, a row of ``results.csv``, of ``vae_jax.score(...)`` and of
``vae_jax.ablate(...).table``. This module has the type :class:`Column`, the columns of every run
(:data:`CORE`) and the order of ``results.csv`` (:data:`TABLE`). An evaluator declares its own
columns in its class, ``vae_jax.evaluation.evaluators.columns`` collects them, and
``vae_jax.pipeline.results.declared`` adds the settings, which are declared with the flags.

Example:
    >>> column = CORE["test_elbo"]
    >>> column.label, column.unit, column.better
    ('Test ELBO', 'nats per example', 'higher')
    >>> [each.name for each in with_errors([column])]
    ['test_elbo', 'test_elbo_se']
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vae_jax.data.split_names import SPLITS, Split
from vae_jax.models.combinations import enumeration, names_with
from vae_jax.models.likelihoods import LIKELIHOODS
from vae_jax.settings import NUMBER
from vae_jax.types import Row

NATS = "nats per example"
BITS = "bits per dim"
TEXT = ""
"""Unit of values that are text."""
NOT_FINITE = "_not_finite"
"""Suffix of the columns that count examples whose values are not finite."""


@dataclass(frozen=True)
class Column:
    """Declaration of a column of a study's rows.

    Attributes:
        name: key in a row and head in ``results.csv``.
        meaning: explanation of its values in one phrase.
        unit: unit of its values; :data:`NUMBER` for counts, shares and scores, :data:`TEXT` for
            text.
        title: name in figures, tables and sentences.
        source: papers with their equations.
        better: ``higher`` or ``lower`` where one of two values is better, else ``neither``.
        has_error: True if a column ``NAME_se`` with its standard error follows.
        is_drawn: True if figures show it along the axes of a study.

    Example:
        >>> gap = Column("gap", "a gap", NATS, "gap", "Doe 2020", has_error=True)
        >>> gap.explanation, gap.error.name, gap.num_not_finite.name
        ('a gap (Doe 2020)', 'gap_se', 'gap_not_finite')
    """

    name: str
    meaning: str
    unit: str
    title: str
    source: str = ""
    better: Literal["higher", "lower", "neither"] = "neither"
    has_error: bool = False
    is_drawn: bool = False

    @property
    def label(self) -> str:
        """Title with a capital letter, for the head of a panel or a card."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def explanation(self) -> str:
        """Meaning with its source."""
        return f"{self.meaning} ({self.source})" if self.source else self.meaning

    @property
    def error(self) -> "Column":
        """Column of the standard error."""
        name, title = f"{self.name}_se", f"{self.title}, standard error"
        return Column(name, f"standard error of {self.name}", self.unit, title, better="lower")

    @property
    def num_not_finite(self) -> "Column":
        """Column that counts the examples whose value is not finite; written only if there are any.

        The mean over examples is not finite then either, so that this column itself is empty.
        """
        return Column(
            f"{self.name}{NOT_FINITE}",
            f"examples of which {self.name} is not finite, which leaves it empty",
            NUMBER,
            f"{self.title}, examples that are not finite",
            better="lower",
        )


def with_errors(columns: Iterable[Column]) -> list[Column]:
    """Return the columns, each followed by that of its standard error if it has one."""
    return [own for each in columns for own in ((each, each.error) if each.has_error else (each,))]


def by_name(columns: Iterable[Column]) -> dict[str, Column]:
    """Return the columns and those of their standard errors by their names.

    Example:
        >>> list(by_name([CORE["test_nll"], CORE["step"]]))
        ['test_nll', 'test_nll_se', 'step']
    """
    return {each.name: each for each in with_errors(columns)}


TERMS = {
    each.name: each
    for each in (
        Column(
            "elbo",
            "ELBO, log-likelihood minus KL: a lower bound on log p(x), with beta = 1 whatever was "
            "trained",
            NATS,
            "ELBO",
            "Kingma & Welling 2014, eq. 3",
            "higher",
            has_error=True,
        ),
        Column(
            "log_likelihood",
            "E_q log p(x|z), minus the distortion",
            NATS,
            "log-likelihood",
            "Kingma & Welling 2014, eq. 3",
            has_error=True,
        ),
        Column(
            "kl",
            "KL(q(z|x) || p(z)), the rate: the information that the code carries about the image",
            NATS,
            "KL (rate)",
            "Kingma & Welling 2014, eq. 3",
            has_error=True,
        ),
        Column(
            "nll",
            "minus the importance-weighted bound on log p(x) with K = eval_particles, an upper "
            "bound on -log p(x) in expectation",
            NATS,
            "NLL",
            "Burda et al. 2016, eq. 8",
            "lower",
            has_error=True,
        ),
        Column(
            "bound_gain",
            "by how much the bound with K = eval_particles lies above the ELBO of the same "
            "examples, paired: a lower bound on KL(q(z|x) || p(z|x)) in expectation",
            NATS,
            "inference gap at least",
            "Burda et al. 2016",
            "lower",
            has_error=True,
        ),
        Column(
            "bits_per_dim",
            "minus the ELBO over D log 2, D being pixels times channels: an upper bound on the "
            "bits of a pixel; only of probabilities of 8-bit pixels (--likelihood="
            f"{enumeration(names_with(LIKELIHOODS, 'is_eight_bit'))}), empty for others, because "
            "binary pixels have other bits and a density has none",
            BITS,
            "bits per dim",
            "Theis, van den Oord & Bethge 2016, section 3.1",
            "lower",
            has_error=True,
        ),
        Column(
            "nll_bias",
            "by how much the NLL exceeds -log p(x), by the delete-one-of-20-blocks jackknife",
            NATS,
            "bias of the NLL",
            "Quenouille 1956; Nowozin 2018",
            "lower",
            has_error=True,
        ),
        Column(
            "ess_median",
            "median over examples of the effective sample size (sum w)^2 / sum w^2 of the K "
            "importance weights, 1 to K",
            NUMBER,
            "median effective sample size",
            "Kong 1992",
            "higher",
        ),
        Column(
            "ess_min",
            "the smallest effective sample size of any example",
            NUMBER,
            "smallest effective sample size",
            "Kong 1992",
            "higher",
        ),
        Column(
            "ess_low_share",
            "share of examples whose effective sample size is so small that the bias of the NLL, "
            "about (1/ESS - 1/K) / 2, exceeds 0.05 nats: below 10 for a large K",
            NUMBER,
            "share of small effective sample sizes",
            "Kong 1992; Nowozin 2018",
            "lower",
        ),
        Column(
            "nll_distrust",
            "why the NLL is not to be trusted; empty where nothing speaks against it",
            TEXT,
            "doubts about the NLL",
        ),
        Column(
            "active_units",
            "latents whose posterior mean has a variance above 0.01 over the examples",
            NUMBER,
            "active units",
            "Burda et al. 2016",
        ),
        Column(
            "kl_per_latent",
            "list of the KL of each latent that the run uses; empty where it is no sum over them",
            NATS,
            "KL of each latent",
        ),
        Column(
            "variance_per_latent",
            "list of the variance of the posterior's center of each latent over the examples",
            NUMBER,
            "variance of each latent's mean",
            "Burda et al. 2016",
        ),
    )
}
"""Columns measured on a split, by their names without the split."""

_OF_THE_MODEL = ("active_units", "kl_per_latent", "variance_per_latent")
_OF_TRAIN = {
    "elbo": "; in a run's rows the mean over the updates since the evaluation before",
    "nll": "; in results.csv on as many training examples as there are test ones, with 100 "
    "particles where eval_particles is larger",
}
_OF_TRAIN |= dict.fromkeys(("log_likelihood", "kl"), _OF_TRAIN["elbo"])


def name_on(split: Split, term: str) -> str:
    """Return the name of a term's column, such as ``valid_elbo``.

    Columns about the latents on the test split have no split in their names.

    Args:
        split: ``train``, ``valid`` or ``test``.
        term: a key of :data:`TERMS`, or such a key with ``_se``.

    Example:
        >>> name_on("valid", "elbo"), name_on("test", "active_units")
        ('valid_elbo', 'active_units')
    """
    return term if split == "test" and term in _OF_THE_MODEL else f"{split}_{term}"


def _on(split: Split, term: Column) -> Column:
    """Return the column of a term on a split."""
    title = term.title if split == "test" and term.name in _OF_THE_MODEL else None
    more = _OF_TRAIN.get(term.name, "") if split == "train" else ""
    return dataclasses.replace(
        term,
        name=name_on(split, term.name),
        meaning=f"{term.meaning}{more}; on {split}",
        title=title or f"{split} {term.title}",
    )


MEASURED = {split: {name: _on(split, term) for name, term in TERMS.items()} for split in SPLITS}
"""Columns of each split by their names without the split."""
TEST = MEASURED["test"]
"""Columns of the test split by their names without the split."""

LOGGED = ("elbo", "elbo_se", "log_likelihood", "kl", "bits_per_dim", "active_units")
"""Terms of the valid split that each evaluation in training logs to ``metrics.jsonl``."""

CORE = by_name(
    (
        Column("run", "number of the run in the study, from 0", NUMBER, "run"),
        Column("step", "updates done", "updates", "step"),
        Column("seconds", "time spent in training up to the step", "seconds", "seconds"),
        Column("ms_per_step", "seconds over step", "milliseconds", "ms per step", better="lower"),
        Column(
            "diverged",
            "update at which the objective was first not finite; empty where it never was",
            "updates",
            "diverged",
        ),
        Column(
            "diverged_reason",
            "the first array that was not finite, of a run that diverged",
            TEXT,
            "why it diverged",
        ),
        Column(
            "best_step",
            "updates before the look of the highest ELBO (log-likelihood where there is no "
            "density) on valid, whose weights are evaluated; only with keep = best",
            "updates",
            "best step",
        ),
        Column(
            "stopped",
            "update after which the run stopped, as its ELBO (log-likelihood where there is no "
            "density) on valid had not risen; empty where it did not; only with patience",
            "updates",
            "stopped early",
        ),
        Column(
            "train_objective",
            "what was maximised, a mean over the updates since the evaluation before; with beta "
            "and penalties, so only runs of equal settings compare",
            NATS,
            "train objective",
        ),
        Column(
            "train_skipped",
            "updates left out because the norm of the gradient exceeded skip_norm, since the "
            "evaluation before",
            NUMBER,
            "skipped updates",
        ),
        Column(
            "eval_particles",
            "K, importance samples behind the NLL",
            NUMBER,
            "importance samples",
            "Burda et al. 2016",
        ),
        *(column for split in SPLITS for column in MEASURED[split].values()),
    )
)
"""Columns of every run, beside its settings, by name."""

EXAMPLES_NOT_FINITE = by_name(
    (
        Column(f"{what}{NOT_FINITE}", f"test examples whose {what} are not finite", NUMBER, title)
        for what, title in (("codes", "codes not finite"), ("samples", "samples not finite"))
    )
)
"""Counts of test examples whose codes or samples are not finite, so that an evaluation of them has
no numbers; written only then."""

TABLE = (
    *("run", "beta", "latent_size", "learning_rate", "seed", "step", "diverged"),
    *("test_elbo", "test_elbo_se", "test_log_likelihood", "test_log_likelihood_se"),
    *("test_kl", "test_kl_se", "test_nll", "test_nll_se"),
    *("test_bits_per_dim", "test_bits_per_dim_se", "eval_particles", "active_units"),
    *("valid_elbo", "train_elbo", "seconds"),
)
"""Order of ``results.csv``; further swept settings and the columns of the evaluators follow."""


CHOSEN = ("best_step", "stopped")
"""Columns of what was chosen on valid, which ``results.csv`` has only where something was."""


def described(columns: Iterable[Column]) -> dict[str, dict[str, Any]]:
    """Return the declarations in the types of JSON, as ``results.json`` holds them.

    Example:
        >>> described([CORE["step"]])["step"]["unit"]
        'updates'
        >>> read(described([CORE["step"]])) == {"step": CORE["step"]}
        True
    """
    facts = [dataclasses.asdict(each) for each in with_errors(columns)]
    return {each["name"]: each for each in facts}


def read(described: dict[str, dict[str, Any]]) -> dict[str, Column]:
    """Return the declarations that :func:`described` wrote."""
    return {name: Column(**facts) for name, facts in described.items()}


def without_errors(columns: dict[str, Column]) -> list[Column]:
    """Return the columns that are not the standard error of another one.

    Example:
        >>> [each.name for each in without_errors(by_name([CORE["test_kl"]]))]
        ['test_kl']
    """
    errors = {f"{each.name}_se" for each in columns.values() if each.has_error}
    return [each for each in columns.values() if each.name not in errors]


def counts_not_finite(rows: Sequence[Row], columns: Iterable[Column]) -> dict[str, Column]:
    """Return the columns ``NAME_not_finite`` that any of the rows has, by their names.

    Args:
        rows: rows of a study.
        columns: declared columns whose counts are looked for, beside those of codes and samples.

    Example:
        >>> row = {"test_nll": None, "test_nll_not_finite": 3}
        >>> list(counts_not_finite([row], [CORE["test_elbo"], CORE["test_nll"]]))
        ['test_nll_not_finite']
    """
    own = [each.num_not_finite for each in columns if each.has_error]
    return {each.name: each for each in known_to(rows, [*EXAMPLES_NOT_FINITE.values(), *own])}


def known_to(rows: Sequence[Row], columns: Iterable[Column]) -> list[Column]:
    """Return the columns of which any of the rows has a value.

    Example:
        >>> [each.name for each in known_to([{"step": 3, "test_kl": None}], CORE.values())]
        ['step']
    """
    return [each for each in columns if any(row.get(each.name) is not None for row in rows)]
