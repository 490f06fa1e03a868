"""Objects built from flags: the data, the static spec, the hyperparameters, the intervals."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from vae_jax import data
from vae_jax.config.flags import Config, with_dashes
from vae_jax.config.members import KINDS, find
from vae_jax.config.validation import penalties
from vae_jax.data import Dataset, Provenance
from vae_jax.evaluation.evaluators import ALWAYS, EVALUATORS
from vae_jax.hparams import HParams
from vae_jax.models.latents import padded_width
from vae_jax.models.networks import Network
from vae_jax.models.posteriors import PosteriorFamily, Stacked
from vae_jax.models.priors import PriorFamily, StackedPrior
from vae_jax.models.vae import VAE
from vae_jax.objectives import FIXED
from vae_jax.objectives.regularizers import Regularizer
from vae_jax.runtime.errors import InputError
from vae_jax.settings import is_name, static_settings
from vae_jax.training.intervals import Intervals
from vae_jax.training.spec import TrainSpec
from vae_jax.types import default_float

T = TypeVar("T")


def train_spec(config: Config, event_shape: tuple[int, ...], num_classes: int = 0) -> TrainSpec:
    """Return the static spec: all that changes shapes or code, as the flags say.

    The parts that depend on values of hyperparameters are those of
    :meth:`vae_jax.training.spec.TrainSpec.specialized`, for all runs of a program together.

    Args:
        config: values of the flags.
        event_shape: shape of one example of the data.
        num_classes: classes of the data; only conditional models use them.

    Example:
        >>> spec = train_spec(Config(latent_size=2, hidden_sizes=(16,)), (8, 8, 1))
        >>> spec.model.max_latents, spec.batch_size
        (2, 128)
    """
    posterior, prior = posterior_and_prior(config)
    model = VAE(
        event_shape=event_shape,
        max_latents=config.latent_size,
        network=network(config),
        posterior=posterior,
        prior=prior,
        likelihood=chosen("likelihood", config),
        starts_at_mean=config.output_bias == "data_mean",
        num_classes=num_classes if config.conditional else 0,
    )
    return TrainSpec(
        model,
        chosen("objective", config),
        regularizers(config),
        chosen("optimizer", config, num_steps=config.num_steps),
        config.batch_size,
        config.binarize,
        config.keep,
    )


def configs_of(
    spec: TrainSpec, settings: Sequence[dict[str, Any]], num_classes: int, **more: Any
) -> tuple[Config, ...]:
    """Return the flags of runs of one program: what :func:`train_spec` and :func:`hparams` undo.

    Args:
        spec: specification that the runs share.
        settings: values of the hyperparameters of each run.
        num_classes: classes of the data.
        **more: flags that neither of them holds.

    Raises:
        InputError: no flags give this specification, as where a member cannot be imported.

    Example:
        >>> spec = train_spec(Config(latent_size=2, hidden_sizes=(16,)), (8, 8, 1))
        >>> (config,) = configs_of(spec, [{"latent_size": 2, "beta": 4.0}], 0)
        >>> config.hidden_sizes, config.beta
        ((16,), 4.0)
    """
    model, posterior = spec.model, spec.model.posterior
    flags: dict[str, Any] = {"batch_size": spec.batch_size, "binarize": spec.binarize} | more
    flags |= {
        "keep": spec.keep,
        "conditional": model.num_classes > 0,
        "output_bias": "data_mean" if model.starts_at_mean else "zeros",
        "compute_dtype": "bfloat16" if model.network.dtype == "bfloat16" else _real(),
    }
    if isinstance(posterior, Stacked):
        flags |= {"top_hidden_sizes": posterior.top_hidden_sizes}
        posterior = posterior.base
    prior = model.prior.top if isinstance(model.prior, StackedPrior) else model.prior
    members = {
        **{"network": model.network, "likelihood": model.likelihood, "posterior": posterior},
        **{"prior": prior, "objective": spec.objective, "optimizer": spec.optimizer},
    }
    for kind, own in members.items():
        flags |= {kind: _name_of(kind, own)} | _values_of(own)
    names = [_name_of("regularizer", each) for each in spec.regularizers]
    flags["regularizer"] = tuple(name for name in names if name not in KINDS["regularizer"])
    for regularizer in spec.regularizers:
        flags |= _values_of(regularizer)
    if flags.get("schedule", "constant") != "constant":
        flags["num_steps"] = spec.optimizer.num_steps
    configs = tuple(Config(**flags | own) for own in settings)
    widest = configs[0].replace(latent_size=model.max_latents)
    again = train_spec(widest, model.event_shape, num_classes)
    special = {"optimizer": spec.optimizer, "is_averaged": spec.is_averaged}
    special |= {"is_patient": spec.is_patient}
    if dataclasses.replace(again, **special) != spec:  # what the hyperparameters need follows them
        raise InputError(
            setting="spec",
            value=type(spec).__name__,
            problem="no flags describe it",
            advice="build it of the members that flags can name, or keep run.save(...) instead",
        )
    return configs


def _real() -> str:
    return str(default_float())


def _name_of(kind: str, own: object) -> str:
    """Return the name of a member in its registry, of several the first, or MODULE:CLASS."""
    family = type(own)
    fixed = FIXED if kind == "objective" else {}
    names = [
        name
        for name, each in KINDS[kind].items()
        if each is family and all(getattr(own, n) == v for n, v in fixed.get(name, {}).items())
    ]
    path = f"{family.__module__}:{family.__qualname__}"
    if names or (is_name({}, path) and find(kind, path) is family):
        return (*names, path)[0]
    raise InputError(
        setting=kind,
        value=family.__name__,
        problem="comes from outside and cannot be imported under a name",
        advice="define it on the top level of a module",
    )


def _values_of(own: Any) -> dict[str, Any]:
    """Return the settings of a member by their names."""
    return {each.name: getattr(own, each.name) for each in static_settings(own)}


def load_data(config: Config) -> Dataset:
    """Load the data that the flags name.

    Raises:
        InputError: anything that the user can correct, in one line.
    """
    return data.load(
        config.dataset,
        data_dir=config.data_dir or data.DEFAULT_DATA_DIR,
        offline_dataset=config.offline_dataset,
        num_valid=config.num_valid,
        encoding=config.encoding,
        resize=config.resize or None,
        image_mode=config.image_mode,
    )


def provenance(dataset: Dataset) -> Provenance:
    """Return the record of where the data came from, its sentences with the dashes of flags.

    Example:
        >>> record = provenance(data.load("digits"))
        >>> record.used, record.warnings
        ('digits', ())
    """
    record = dataset.record
    warnings = tuple(map(with_dashes, record.warnings))
    substitution = with_dashes(record.substitution)
    return dataclasses.replace(record, warnings=warnings, substitution=substitution)


def posterior_and_prior(config: Config) -> tuple[PosteriorFamily, PriorFamily]:
    """Return the families of q(z|x) and p(z), with a second stochastic layer where there is one."""
    posterior = chosen("posterior", config)
    prior = chosen("prior", config)
    if not config.top_latent_size:
        return posterior, prior
    layer = padded_width(config.top_latent_size), config.top_hidden_sizes
    return Stacked(posterior, *layer), StackedPrior(prior, *layer)


def member(family: type[T], config: Config, **more: object) -> T:
    """Return a member of a registry, its settings as the flags say.

    Args:
        family: class of the member, a frozen dataclass.
        config: values of the flags.
        **more: fields that are not taken from flags of their names.

    Example:
        >>> member(find("posterior", "iaf"), Config(num_flows=3)).num_flows
        3
    """
    own = {each.name: getattr(config, each.name) for each in static_settings(family)}
    return family(**own | more)


def chosen(kind: str, config: Config, **more: object) -> Any:
    """Return the member of a kind that the flags choose, see :func:`member`.

    Example:
        >>> chosen("network", Config(hidden_sizes=(16,))).hidden_sizes
        (16,)
    """
    return member(find(kind, getattr(config, kind)), config, **more)


def network(config: Config) -> Network:
    """Return the architecture that the flags name.

    Raises:
        InputError: one from outside computes in the precision of the parameters alone.
    """
    if config.compute_dtype != "bfloat16":
        return chosen("network", config)
    fields = {each.name for each in dataclasses.fields(find("network", config.network))}
    if "dtype" not in fields:
        problem = f"--network={config.network} has no field dtype; give float32"
        raise InputError(f"--compute_dtype=bfloat16: {problem}")
    return chosen("network", config, dtype="bfloat16")


def matmul_precision(config: Config, platform: str) -> str:
    """Return the precision of float32 matrix products, by the name that JAX gives it.

    ``default`` is the fastest: on a TPU one pass in bfloat16, which costs about one per cent of an
    ELBO, on recent GPUs TensorFloat-32, on a CPU float32 itself. ``high`` takes three bfloat16
    passes or TensorFloat-32, ``highest`` is float32 everywhere.

    Example:
        >>> matmul_precision(Config(), "tpu"), matmul_precision(Config(), "cpu")
        ('highest', 'default')
    """
    automatic = "highest" if platform == "tpu" else "default"
    return automatic if config.matmul_precision == "auto" else config.matmul_precision


def regularizers(config: Config) -> tuple[Regularizer, ...]:
    """Return the penalties whose weight is not zero."""
    return tuple(member(family, config) for family in penalties(config).values())


def hparams(configs: Sequence[Config]) -> HParams:
    """Return the hyperparameters of all runs, arrays ``[runs]``.

    Example:
        >>> hparams([Config(beta=1.0), Config(beta=4.0)]).beta.tolist()
        [1.0, 4.0]
    """
    members = (member for _, member in configs[0].members)
    values = {name: [getattr(each, name) for each in configs] for name in configs[0].arrays}
    return HParams.of(*members, **values)


def intervals(config: Config) -> Intervals:
    """Return the steps between which the device runs alone: chunks, evaluations, checkpoints."""
    return Intervals(
        config.num_steps, config.chunk_steps, config.eval_every, config.checkpoint_every
    )


def evaluations(config: Config) -> list[str]:
    """Return the names of the evaluations to be made, in the order of their columns."""
    wanted = (*ALWAYS, *config.evaluate)
    known = [name for name in EVALUATORS if name in wanted]
    return [*known, *(name for name in config.evaluate if name not in EVALUATORS)]
