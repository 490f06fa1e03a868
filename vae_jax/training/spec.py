"""Static specification of a training: the choices that change shapes or code."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vae_jax import contract
from vae_jax.hparams import HParam, HParams, declared_by, shipped, unread_by
from vae_jax.models.combinations import Spelling
from vae_jax.models.vae import VAE
from vae_jax.objectives import Elbo, Objective
from vae_jax.objectives.combinations import (
    refused_batch,
    refused_objectives,
    refused_regularizer,
)
from vae_jax.objectives.regularizers import Regularizer
from vae_jax.runtime import mesh
from vae_jax.runtime.errors import InputError
from vae_jax.settings import (
    BOOLEAN,
    check_settings,
    check_type,
    check_value,
    one_of,
    real,
    setting,
    whole,
)
from vae_jax.training import batches, selection
from vae_jax.training.optimizers import Adam, Optimizer


@dataclass(frozen=True)
class TrainSpec:
    """Static specification of a training: choices that change shapes or code.

    Choices that are arrays are :class:`vae_jax.hparams.HParams`; they need no new compilation.

    Attributes:
        model: model to train.
        objective: bound to maximise.
        regularizers: penalties, subtracted from the objective.
        optimizer: optimizer of all parameters.
        batch_size: examples per update.
        binarize: mode by which gray pixels become binary, one of ``batches.BINARIZATIONS``.
        keep: weights that evaluation uses: ``last``, or ``best`` for those of the highest bound on
            valid (:mod:`vae_jax.training.selection`).
        is_averaged: True to keep a moving average of the parameters, which evaluation uses; set it
            with :meth:`specialized`.
        is_patient: True to stop runs whose bound on valid does not rise any more; set it with
            :meth:`specialized`.

    Example:
        >>> import vae_jax
        >>> model = vae_jax.VAE((28, 28, 1), max_latents=8, network=vae_jax.MLP((200,)))
        >>> spec = vae_jax.TrainSpec(model, vae_jax.ImportanceWeighted(5), binarize="dynamic")
        >>> spec.batch_size, spec.objective.num_draws
        (128, 5)
    """

    model: VAE
    objective: Objective = Elbo()
    regularizers: tuple[Regularizer, ...] = ()
    optimizer: Optimizer = Adam()
    batch_size: int = setting(128, whole(1), "examples per update")
    binarize: str = setting(
        "none", one_of(*batches.BINARIZATIONS), "method by which gray pixels become binary"
    )
    keep: str = setting(
        selection.LAST,
        one_of(*selection.KEPT),
        "weights that are evaluated, exported and opened; best: those of the highest bound on "
        "valid",
    )
    is_averaged: bool = False
    is_patient: bool = False

    hparams: ClassVar[tuple[HParam, ...]] = (
        HParam(
            "ema",
            0.0,
            real(0.0, below=1.0),
            "decay of the moving average of the parameters that evaluation uses; 0: none",
        ),
        HParam(
            "patience",
            0,
            whole(0),
            "evaluations on valid without a rise of the ELBO after which a run stops; 0: never",
        ),
        HParam(
            "seed",
            0,
            whole(0),
            "seed of weights, order of examples, binarized pixels and noise",
            dtype="uint32",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse what is no member, settings out of range, and what the posterior does not allow.

        Raises:
            InputError: something lacks what its base class asks for (:mod:`vae_jax.contract`), a
                value is out of range, or the traits of objective, regularizers and posterior do not
                fit (:mod:`vae_jax.objectives.combinations`).
        """
        check_type("model", self.model, VAE, "give a vae_jax.VAE")
        check_type(
            *("regularizers", self.regularizers, tuple),
            "give a tuple of regularizers, as (TotalCorrelation(),)",
        )
        for name in ("is_averaged", "is_patient"):
            check_value(name, getattr(self, name), BOOLEAN)
        contract.check("objective", self.objective, Objective)
        contract.check("optimizer", self.optimizer, Optimizer)
        for penalty in self.regularizers:
            contract.check("regularizers", penalty, Regularizer)
        check_value("num_steps", self.optimizer.num_steps, whole(0))
        for name in ("is_clipped", "skips", "reads_rule"):
            check_value(name, getattr(self.optimizer, name), BOOLEAN)
        posterior, objective = self.model.posterior, self.objective
        check_settings(self)
        own = {"objective": type(objective).__name__} | vars(objective)
        spell = Spelling(own | dict(self.model.spelling.values))
        refused = refused_objectives(posterior, self.model.prior, objective, spell)
        names = [f"regularizers={type(each).__name__}" for each in self.regularizers]
        penalties = (
            refused_regularizer(posterior, each, name, spell)
            for each, name in zip(self.regularizers, names, strict=True)
        )
        batches_of_codes = refused_batch(self.batch_size, names, spell)
        for message in itertools.chain(refused, *penalties, batches_of_codes):
            raise InputError(message)
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name}: counts twice; give one with the sum of the weights")

    def specialized(self, hparams: HParams) -> "TrainSpec":
        """Return the specification with the parts that these hyperparameters need, and no others.

        These are the average of the parameters, the end of runs that do not rise any more, and the
        parts of the optimizer, see :meth:`vae_jax.training.optimizers.Optimizer.specialized`.

        Args:
            hparams: hyperparameters of all runs, with known values.

        Raises:
            InputError: the model has fewer latents, or nothing reads a value that is given.
        """
        self._check(hparams)
        is_averaged = bool((mesh.to_host(hparams.ema) > 0).any())
        is_patient = bool((mesh.to_host(hparams.patience) > 0).any())
        optimizer = self.optimizer.specialized(hparams)
        return dataclasses.replace(
            self, optimizer=optimizer, is_averaged=is_averaged, is_patient=is_patient
        )

    @property
    def has_record(self) -> bool:
        """True where a run remembers its looks at valid, for its weights or for its end."""
        return self.keep == selection.BEST or self.is_patient

    @property
    def valid_bound(self) -> str:
        """Name of the logged term by which runs choose on valid."""
        return "valid_elbo" if self.model.posterior.has_density else "valid_log_likelihood"

    def _check(self, hparams: HParams) -> None:
        """Refuse hyperparameters that this specification cannot use."""
        check_type("hparams", hparams, HParams, "make them with HParams.of or grid")
        declared, shipped_ones = declared_by(self), shipped()
        for name in sorted(declared.keys() - set(hparams._fields)):
            raise InputError(
                setting=name,
                value=None,
                problem="is missing from the hyperparameters",
                advice="give HParams.of or grid the specification as well",
            )
        read = declared.keys() - unread_by(self)
        for name, array in hparams._asdict().items():
            values = mesh.to_host(array)
            if name in declared:
                _check_range(declared[name], values)
            default = values.dtype.type(shipped_ones[name].default) if name in shipped_ones else 0
            if name not in read and (values != default).any():
                needed = f" without {declared[name].only_with}" if name in declared else ""
                problem = f"no member of the specification reads it{needed}"
                advice = "give the member that does, or leave it out"
                value = values[values != default].flat[0]
                raise InputError(setting=name, value=value, problem=problem, advice=advice)
        largest = int(mesh.to_host(hparams.latent_size).max())
        if largest > self.model.max_latents:
            problem = f"the model has max_latents={self.model.max_latents}"
            advice = f"give at most {self.model.max_latents} (the default is 20), or a wider model"
            raise InputError(setting="latent_size", value=largest, problem=problem, advice=advice)


def _check_range(hparam: HParam, values: np.ndarray) -> None:
    """Refuse values out of range, as ``HParams._replace`` takes them; float32 may round one up."""
    for value in values.flat:
        lower = np.nextafter(value, 0) if values.dtype.kind == "f" else value
        if not hparam.type.is_valid(lower.item()):
            hparam.array(value)
