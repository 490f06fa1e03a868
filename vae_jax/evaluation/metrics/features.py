"""Features of a small classifier trained here, for comparing samples with data.

They represent what distinguishes the labels and little else, and differ from data set to data set:
numbers made with them are comparable only on the same data.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Integer, Shaped
from sklearn.neural_network import MLPClassifier

from vae_jax.evaluation.metrics.estimates import Estimate, mean_of

HIDDEN_SIZES = (256, 64)
NUM_EPOCHS = 10
MOST_IMAGES = 20_000

Stored = Shaped[np.ndarray, "n *event"]


class Classifier(NamedTuple):
    """MLP 256-64 with ReLUs, without its last layer.

    Attributes:
        kernels: kernels of the two hidden layers.
        biases: biases of the two hidden layers.
        accuracy: accuracy on held-out images; features of a classifier that fails mean little.
    """

    kernels: tuple[Float[np.ndarray, "inputs outputs"], ...]
    biases: tuple[Float[np.ndarray, " outputs"], ...]
    accuracy: Estimate

    def features(self, pixels: Stored) -> Float32[np.ndarray, "n features"]:
        """Return the 64 activations before the last layer."""
        hidden = _flat(pixels)
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            hidden = np.maximum(hidden @ kernel + bias, 0)
        return hidden


def train_classifier(
    pixels: Stored,
    labels: Integer[np.ndarray, " n"],
    test_pixels: Shaped[np.ndarray, "m *event"],
    test_labels: Integer[np.ndarray, " m"],
    seed: int = 0,
) -> Classifier:
    """Train on the first 20,000 images for 10 epochs: Adam at 1e-3, batches of 200.

    Args:
        pixels: examples as they are stored; pixels as 0 to 255.
        labels: one each.
        test_pixels: held-out examples, of which the accuracy is measured.
        test_labels: one each.
        seed: seed of the initial weights and of the order of the images.

    Example:
        >>> from vae_jax import data
        >>> digits = data.load("digits")
        >>> split = (digits.train, digits.train_labels, digits.test, digits.test_labels)
        >>> classifier = train_classifier(*split)
        >>> classifier.features(digits.test).shape[1], classifier.accuracy.mean > 0.5
        (64, True)
    """
    model = MLPClassifier(HIDDEN_SIZES, random_state=seed)
    x, y, classes = _flat(pixels[:MOST_IMAGES]), labels[:MOST_IMAGES], np.unique(labels)
    for _ in range(NUM_EPOCHS):
        model.partial_fit(x, y, classes=classes)
    accuracy = mean_of(model.predict(_flat(test_pixels)) == test_labels)
    kernels, biases = model.coefs_[:-1], model.intercepts_[:-1]
    return Classifier(tuple(kernels), tuple(biases), accuracy)


def _flat(pixels: Stored) -> Float32[np.ndarray, "n inputs"]:
    rows = pixels.reshape(len(pixels), -1).astype(np.float32)
    return rows / np.float32(255) if pixels.dtype == np.uint8 else rows
