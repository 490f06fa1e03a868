"""A number and how far it may be off."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vae_jax.evaluation.elbo import standard_error


class Estimate(NamedTuple):
    """A mean and its standard error, NaN where a single value leaves it unknown."""

    mean: float
    se: float

    def columns(self, name: str) -> dict[str, float]:
        """The mean as `name` and the error as `name_se`."""
        return {name: self.mean, f"{name}_se": self.se}


def mean_of(values: Float[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> Estimate:
    """Mean of independent values, s / sqrt(n) its error."""
    exact = values.astype(np.float64)
    return Estimate(float(exact.mean()), standard_error(exact))
