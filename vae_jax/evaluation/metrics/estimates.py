"""Estimates: means with their standard errors."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vae_jax.evaluation.elbo import standard_error


class Estimate(NamedTuple):
    """Mean and its standard error, NaN where a single value leaves it unknown.

    Attributes:
        mean: mean of the values.
        se: standard error of the mean.

    Example:
        >>> Estimate(2.0, 0.5).columns("mmd")
        {'mmd': 2.0, 'mmd_se': 0.5}
    """

    mean: float
    se: float

    def columns(self, name: str) -> dict[str, float]:
        """Return the mean as `name` and the error as `name_se`."""
        return {name: self.mean, f"{name}_se": self.se}


def mean_of(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> Estimate:
    """Return the mean of independent values with its standard error s / sqrt(n).

    Example:
        >>> mean_of(np.array([1.0, 3.0]))
        Estimate(mean=2.0, se=1.0)
    """
    exact = values.astype(np.float64)
    return Estimate(float(exact.mean()), standard_error(exact))
