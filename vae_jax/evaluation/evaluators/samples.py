"""Evaluator ``samples``: two-sample measures of samples from the prior and of codes of images."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from vae_jax import rng
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import NUMBER, Column
from vae_jax.evaluation.evaluators.base import (
    BATCH_SIZE,
    EvalContext,
    ExampleSubset,
    OnProgress,
    PerRunEvaluator,
    check_finite,
)
from vae_jax.hparams import HParams
from vae_jax.models.vae import VAE
from vae_jax.settings import setting, whole
from vae_jax.training import batches
from vae_jax.types import Labels, Latents, Observations, Params, PRNGKey, Row, Stored

LEAST_EXAMPLES = 6
"""Images of train and of test without which there are no five nearest neighbours."""
_MEASURES = (
    Column(
        "mmd",
        "squared MMD between samples and test images",
        NUMBER,
        "MMD of samples",
        "Gretton et al. 2012, lemma 6",
        "lower",
        has_error=True,
    ),
    Column(
        "precision",
        "samples within the 5-neighbour balls of test images",
        NUMBER,
        "precision of samples",
        "Kynkaanniemi et al. 2019",
        "higher",
        has_error=True,
    ),
    Column(
        "recall",
        "test images within the 5-neighbour balls of samples",
        NUMBER,
        "recall of samples",
        "Kynkaanniemi et al. 2019",
        "higher",
        has_error=True,
    ),
    Column(
        "density",
        "balls of test images that a sample lies in, over 5",
        NUMBER,
        "density of samples",
        "Naeem et al. 2020",
        has_error=True,
    ),
    Column(
        "coverage",
        "balls of test images that hold a sample",
        NUMBER,
        "coverage by samples",
        "Naeem et al. 2020",
        "higher",
        has_error=True,
    ),
)
_WITHOUT_PRIOR = ("mmd", "precision")
"""Measures of samples from the aggregate posterior, too."""
_SPACES = {
    "pixels": ("in pixels", ""),
    "features": ("in features", " of a small classifier trained here"),
    "aggregate": (
        "from the aggregate posterior",
        ", z ~ q(z|x) of training images, in pixels: what is left of it is not the prior's",
    ),
}
"""Spaces in which samples and images are compared: a phrase for each, and its explanation."""


def _in_space(measure: Column, space: str) -> Column:
    """Return the column of a measure in a space."""
    where, more = _SPACES[space]
    is_drawn = space == "pixels" and measure.name in ("mmd", "precision", "recall")
    return dataclasses.replace(
        measure,
        name=f"{measure.name}_{space}",
        meaning=f"{measure.meaning}, {where}{more}",
        title=f"{measure.title} {where}",
        is_drawn=is_drawn,
    )


@dataclass(frozen=True)
class Samples(PerRunEvaluator):
    """Two-sample measures between test images and as many samples of the model.

    Samples are drawn as the test images are: pixels from p(x|z), but the means of a binary
    likelihood that was trained on gray pixels, which it cannot draw. Samples of a conditional model
    have the labels of the test images.

    Attributes:
        num_samples: number of samples, and of the first test images.
    """

    num_samples: int = setting(5000, whole(10), "samples compared with test images")

    needs: ClassVar[frozenset[str]] = frozenset({"prior", "sklearn"})
    fewest_examples: ClassVar[int] = LEAST_EXAMPLES
    columns: ClassVar[tuple[Column, ...]] = (
        *(_in_space(each, space) for space in ("pixels", "features") for each in _MEASURES),
        *(_in_space(each, "aggregate") for each in _MEASURES if each.name in _WITHOUT_PRIOR),
        Column(
            "num_samples",
            "samples, and test images, that were compared",
            NUMBER,
            "compared samples",
        ),
        Column(
            "classifier_accuracy",
            "test accuracy of the classifier behind the features; where it fails they mean little",
            NUMBER,
            "accuracy of the features' classifier",
            better="higher",
        ),
    )

    def __call__(self, context: EvalContext, on_progress: OnProgress) -> Row:
        """Return all measures; those in features only where there are labels."""
        from vae_jax.evaluation.metrics import samples

        test, train = context.subset("test", self.num_samples), context.subset("train")
        num = min(len(test.pixels), len(train.pixels))
        test = test.take(slice(num))
        drawn = prior_samples(context, test.labels, num)
        aggregate = aggregate_samples(context, train.take(slice(num)))
        on_progress(0.3)
        row = samples.compare(_rows(test.pixels), _rows(drawn), "pixels")
        on_progress(0.6)
        codes = samples.compare(_rows(test.pixels), _rows(aggregate), "aggregate")
        on_progress(0.9)
        known = columns.by_name(self.columns)
        row |= {name: value for name, value in codes.items() if name in known}
        return row | _in_features(context, test, drawn) | {"num_samples": num}


def _in_features(
    context: EvalContext, test: ExampleSubset, drawn: Shaped[np.ndarray, "n *event"]
) -> Row:
    from vae_jax.evaluation.metrics import features, samples

    train, whole = context.subset("train"), context.subset("test")
    if train.labels is None or whole.labels is None or len(np.unique(train.labels)) < 2:
        return {}
    classifier = features.train_classifier(
        train.pixels, train.labels, whole.pixels, whole.labels, seed=0
    )
    reference, generated = classifier.features(test.pixels), classifier.features(drawn)
    accuracy = {"classifier_accuracy": classifier.accuracy.mean}
    return samples.compare(reference, generated, "features") | accuracy


def _rows(stored: Shaped[np.ndarray, "n *event"]) -> Float[np.ndarray, "n dims"]:
    """Return x with all dimensions on one axis."""
    rows = stored.reshape(len(stored), -1).astype(np.float32)
    return rows / np.float32(255) if stored.dtype == np.uint8 else rows


def prior_samples(
    context: EvalContext, labels: np.ndarray | None, num: int
) -> Shaped[np.ndarray, "n *event"]:
    """Draw examples of the model for z from its prior, as they are stored."""
    model, hparams, params = context.trained
    z_key, _ = _sample_keys(hparams, 0)
    z = model.sample_prior(hparams, params, z_key, num, context.model_labels(labels))
    return _draw(context, z, labels, 0)


def aggregate_samples(
    context: EvalContext, subset: ExampleSubset
) -> Shaped[np.ndarray, "n *event"]:
    """Draw examples of the model for z ~ q(z|x), one for each given one, as they are stored."""
    model, hparams, params = context.trained
    z_key, _ = _sample_keys(hparams, 1)
    noise = model.noise(z_key, len(subset.pixels))
    drawn = []
    for start in range(0, len(subset.pixels), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        some = subset.take(rows)
        y = context.model_labels(some.labels)
        drawn.append(_code(model, hparams, params, some.pixels, noise[rows], y))
    return _draw(context, jnp.concatenate(drawn), subset.labels, 1)


def _sample_keys(hparams: HParams, index: int) -> tuple[PRNGKey, PRNGKey]:
    first, second = jax.random.split(rng.stream(hparams.seed, "compare", index))
    return first, second


def _draw(
    context: EvalContext, z: Latents, labels: np.ndarray | None, index: int
) -> Shaped[np.ndarray, "n *event"]:
    """Draw examples at the given z, as they are stored: pixels as 0 to 255."""
    model, hparams, params = context.trained
    _, key = _sample_keys(hparams, index)
    as_means = _are_gray(context) and model.likelihood.is_binary
    images = []
    for start in range(0, len(z), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        y = context.model_labels(None if labels is None else labels[rows])
        own = jax.random.fold_in(key, start)
        image = _decode(model, hparams, params, z[rows], y, own, as_means=as_means)
        images.append(np.asarray(image))
    drawn = check_finite("samples", np.concatenate(images))
    if context.data.encoding != "pixels":
        return drawn.astype(context.data.test.dtype)
    return np.round(255 * drawn.clip(0, 1)).astype(np.uint8)


def _are_gray(context: EvalContext) -> bool:
    return (
        context.data.encoding == "pixels"
        and not np.isin(context.subset("test").pixels, (0, 255)).all()
    )


@functools.partial(jax.jit, static_argnames="model")
def _code(
    model: VAE,
    hparams: HParams,
    params: Params,
    pixels: Stored,
    noise: Latents,
    y: Labels | None,
) -> Latents:
    return model.encode(hparams, params, batches.as_observations(pixels), y).sample(noise)


@functools.partial(jax.jit, static_argnames=("model", "as_means"))
def _decode(
    model: VAE,
    hparams: HParams,
    params: Params,
    z: Latents,
    y: Labels | None,
    key: PRNGKey,
    *,
    as_means: bool,
) -> Observations:
    decoder_dist = model.decode(hparams, params, z, y)
    return decoder_dist.mean() if as_means else decoder_dist.sample(key)
