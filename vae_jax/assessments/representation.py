"""What the posterior mean knows of labels that the model never saw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vae_jax.assessments.base import EachRun, Row, Subject, Tell, with_errors

_NUMBERS = ("10", "100", "1000", "all")


@dataclass(frozen=True)
class Representation(EachRun):
    """Accuracy of simple classifiers of the posterior mean, with few labels and with all."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "unconditional", "sklearn"})
    columns: ClassVar[Mapping[str, str]] = with_errors(
        {
            f"{kind}_{number}": f"test accuracy of {words} on posterior means with {number} labels"
            for number in _NUMBERS
            for kind, words in (
                ("probe", "a logistic regression (M1 of Kingma et al. 2014)"),
                ("knn", "the nearest neighbours (Davidson et al. 2018)"),
            )
        }
    )

    def __call__(self, subject: Subject, tell: Tell) -> Row:
        """The accuracies; numbers of labels that the data do not allow are left out."""
        from vae_jax.metrics.representation import Labelled, accuracies

        train, test = subject.part("train"), subject.part("test")
        assert train.labels is not None
        assert test.labels is not None
        return accuracies(
            Labelled(subject.codes(train, lambda share: tell(0.3 * share)), train.labels),
            Labelled(subject.codes(test), test.labels),
            int(subject.trained.hparams.seed),
        )
