"""Codes of images and the factors behind them, which measures of disentanglement compare.

A code is the posterior mean of an image, in the latents that the run uses. A factor is a whole
number from 0.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Integer

Codes: TypeAlias = Float[np.ndarray, "n latents"]
Factors: TypeAlias = Integer[np.ndarray, "n factors"]
CodesAt: TypeAlias = Callable[[Factors], Codes]
"""Function from factors to the codes of the images that have these factors."""


class Coded(NamedTuple):
    """Codes of images and the factors that the images were made from.

    Attributes:
        codes: ``[n, latents]``.
        factors: ``[n, factors]``.
    """

    codes: Codes
    factors: Factors


def grid_lookup(codes: Float[np.ndarray, "grid latents"], sizes: tuple[int, ...]) -> CodesAt:
    """Return a function from factors to codes, given the codes of a full grid of factors.

    Args:
        codes: codes of all `prod(sizes)` combinations of factors, the last factor varying fastest.
        sizes: number of values of each factor in this grid.

    Raises:
        ValueError: the number of codes is not that of the grid's points.

    Example:
        >>> codes_at = grid_lookup(np.arange(6.0)[:, None], sizes=(2, 3))
        >>> codes_at(np.array([[0, 2], [1, 0]])).ravel().tolist()
        [2.0, 3.0]
    """
    if len(codes) != np.prod(sizes):
        raise ValueError(f"{len(codes)} codes for a grid of {sizes}, which has {np.prod(sizes)}")
    return lambda factors: codes[np.ravel_multi_index(tuple(factors.T), sizes)]


def standardized(codes: Codes, reference: Float[np.ndarray, "m latents"]) -> Codes:
    """Return codes scaled so that `reference` has mean 0 and variance 1.

    A latent that is constant in `reference` becomes 0.

    Example:
        >>> standardized(np.array([[3.0, 5.0]]), np.array([[0.0, 5.0], [2.0, 5.0]])).tolist()
        [[2.0, 0.0]]
    """
    scale = reference.std(axis=0)
    centred = codes - reference.mean(axis=0)
    return np.where(scale > 0, centred / np.where(scale > 0, scale, 1.0), 0.0)
