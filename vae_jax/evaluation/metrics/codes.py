"""What measures of disentanglement look at: codes, the factors behind them, and codes on request.

A code is the posterior mean of an image, active latents only. A factor is a whole number from 0.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Integer

Codes: TypeAlias = Float[np.ndarray, "n latents"]
Factors: TypeAlias = Integer[np.ndarray, "n factors"]
CodesAt: TypeAlias = Callable[[Factors], Codes]
"""The codes of the images that have the given factors."""


class Coded(NamedTuple):
    """Codes of images and the factors that the images were made from."""

    codes: Codes
    factors: Factors


def grid_lookup(codes: Float[np.ndarray, "grid latents"], sizes: tuple[int, ...]) -> CodesAt:
    """Codes on request from codes of a full factor grid, by index arithmetic.

    Args:
        codes: of all `prod(sizes)` combinations of factors, the last factor varying fastest.
        sizes: number of values of each factor in this grid.

    Raises:
        ValueError: another number of codes than the grid has places.
    """
    if len(codes) != np.prod(sizes):
        raise ValueError(f"{len(codes)} codes for a grid of {sizes}")
    return lambda factors: codes[np.ravel_multi_index(tuple(factors.T), sizes)]


def standardized(codes: Codes, reference: Float[np.ndarray, "m latents"]) -> Codes:
    """Codes scaled so that `reference` has mean 0 and variance 1; a constant latent becomes 0."""
    scale = reference.std(axis=0)
    centred = codes - reference.mean(axis=0)
    return np.where(scale > 0, centred / np.where(scale > 0, scale, 1.0), 0.0)
