"""Observation models p(x|z): families that give the decoder's outputs their meaning.

A new likelihood is a file here with two classes: the family (a frozen dataclass) and the
distribution that it makes of the decoder's outputs (a ``NamedTuple`` of arrays). It also needs a
row in ``LIKELIHOODS`` and a row in the table of its tests. The methods of both are in ``base``.

Numbers may be compared only within one of three groups: ``bernoulli`` gives the probability of a
binary image, ``discretized_logistic`` and ``categorical`` that of an 8-bit image, the others a
density of x in [0, 1]. The relation between the last two groups is explained in ``eight_bit``.
"""

from vae_jax.models.likelihoods.base import Distribution, Likelihood, Outputs
from vae_jax.models.likelihoods.bernoulli import BernoulliLikelihood
from vae_jax.models.likelihoods.categorical import CategoricalLikelihood
from vae_jax.models.likelihoods.continuous_bernoulli import ContinuousBernoulliLikelihood
from vae_jax.models.likelihoods.discretized_logistic import DiscretizedLogisticLikelihood
from vae_jax.models.likelihoods.eight_bit import bits_per_dim
from vae_jax.models.likelihoods.gaussian import GaussianLikelihood
from vae_jax.models.likelihoods.laplace import LaplaceLikelihood
from vae_jax.models.likelihoods.scales import SCALE_MODES, ScaleMode
from vae_jax.models.likelihoods.student_t import StudentTLikelihood

__all__ = [
    "LIKELIHOODS",
    "SCALE_MODES",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ContinuousBernoulliLikelihood",
    "DiscretizedLogisticLikelihood",
    "Distribution",
    "GaussianLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "Outputs",
    "ScaleMode",
    "StudentTLikelihood",
    "bits_per_dim",
]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
    "student_t": StudentTLikelihood,
    "discretized_logistic": DiscretizedLogisticLikelihood,
    "categorical": CategoricalLikelihood,
}
"""Families by name, the values of the setting ``likelihood``."""
