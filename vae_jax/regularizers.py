"""Penalties that may be added to any bound; each has a strength in ``HParams``.

They speak of the aggregate posterior q(z), the mean of q(z|x) over the data, as a batch shows it. A
new one is a class here, a row in ``REGULARIZERS`` and a strength in ``HParams``.
"""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from vae_jax.hparams import HParams
from vae_jax.objectives import Draws
from vae_jax.types import Active, Params, PRNGKey, Scalar


class Context(NamedTuple):
    """What a penalty may know beside the draws.

    Attributes:
        active: which columns of z the run uses.
        num_examples: of the training set.
        key: for what is drawn.
    """

    active: Active
    num_examples: int
    key: PRNGKey


@runtime_checkable
class Regularizer(Protocol):
    """A penalty on a batch: a frozen dataclass that hashes by value."""

    strengths: ClassVar[tuple[str, ...]]
    """Its fields of ``HParams``; a run with all of them zero goes without it."""
    needs_gaussian: ClassVar[bool]
    """Whether it asks for the mean and the variance of a diagonal Gaussian posterior."""

    def init(self, key: PRNGKey, active: Active) -> Params:
        """What it learns, before the first update; {} for nothing."""
        ...

    def __call__(self, hparams: HParams, params: Params, draws: Draws, context: Context) -> Scalar:
        """The penalty times its strength, in nats per example; the objective loses it.

        Args:
            hparams: of one run.
            params: from :meth:`init`, learned together with the model's.
            draws: of the batch.
            context: of the update.
        """
        ...


REGULARIZERS: dict[str, type[Regularizer]] = {}
"""Penalties by name; a flag for each of their strengths adds them."""
