"""Evaluator ``representation``: accuracy of classifiers of the posterior mean."""

from dataclasses import dataclass
from typing import ClassVar

from vae_jax.evaluation.columns import NUMBER, Column
from vae_jax.evaluation.evaluators.base import EvalContext, OnProgress, PerRunEvaluator
from vae_jax.types import Row

_NUMBERS = ("10", "100", "1000", "all")


@dataclass(frozen=True)
class Representation(PerRunEvaluator):
    """Accuracy of simple classifiers of the posterior mean, with few labels and with all.

    The model itself saw no label.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "unconditional", "sklearn"})
    fewest_classes: ClassVar[int] = 2
    figures: ClassVar[frozenset[str]] = frozenset({"embedding"})
    columns: ClassVar[tuple[Column, ...]] = tuple(
        Column(
            f"{kind}_{number}",
            f"test accuracy of {words} on posterior means with {number} labels",
            NUMBER,
            f"{title} with {number} labels",
            source,
            "higher",
            has_error=True,
            is_drawn=(kind, number) == ("probe", "all"),
        )
        for number in _NUMBERS
        for kind, words, title, source in (
            (
                "probe",
                "a logistic regression",
                "accuracy of a linear probe",
                "M1 of Kingma et al. 2014",
            ),
            (
                "knn",
                "the nearest neighbours",
                "accuracy of nearest neighbours",
                "Davidson et al. 2018",
            ),
        )
    )

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return the accuracies, without those of more labels than the data have."""
        from vae_jax.evaluation.metrics.representation import Labelled, accuracies

        train, test = context.subset("train"), context.subset("test")
        assert train.labels is not None
        assert test.labels is not None
        return accuracies(
            Labelled(context.codes(train, lambda share: on_progress(0.3 * share)), train.labels),
            Labelled(context.codes(test), test.labels),
            int(context.trained.hparams.seed),
        )
