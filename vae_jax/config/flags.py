"""Schema of the flags: one field of :class:`Config` each, with default, type and meaning.

All values are parsed and checked here, so that every mistake is reported in one line of the same
form, before anything is compiled.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from vae_jax.config.flag_types import (
    BOOLEAN,
    NON_EMPTY,
    TEXT,
    FlagType,
    one_of,
    real,
    sizes,
    some_of,
    whole,
)
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.evaluation.evaluators import AIS_STARTS, EVALUATORS
from vae_jax.models.likelihoods import LIKELIHOODS, SCALE_MODES
from vae_jax.models.networks import ACTIVATIONS, NETWORKS
from vae_jax.models.posteriors import POSTERIORS
from vae_jax.models.priors import PRIORS
from vae_jax.objectives import KL_MODES, KL_PENALTIES, OBJECTIVES
from vae_jax.objectives.gradient_estimators import ESTIMATORS
from vae_jax.objectives.regularizers import TC_ESTIMATORS
from vae_jax.runtime.errors import InputError
from vae_jax.training.batches import BINARIZATIONS
from vae_jax.training.input_pipeline import ON_DEVICE
from vae_jax.training.optimizers import SCHEDULES

MATMUL_PRECISIONS = ("default", "high", "highest")
"""Precisions of JAX's matrix products that a flag may name."""
EXPORTS = ("codes", "weights", "stablehlo", "latents")
"""Files that ``--export`` names; ``vae_jax.pipeline.export`` writes them."""
MOST_LAYERS = 1000  # each is compiled by itself


def _flag(
    default: Any,
    flag_type: FlagType,
    meaning: str,
    *,
    changes_run: bool = True,
    is_sweepable: bool | None = None,
    unit: str = columns.NUMBER,
) -> Any:
    """Return the field of a flag.

    Args:
        default: value where the flag is not given.
        flag_type: parser and range of its values.
        meaning: phrase for the help and the columns of a study.
        changes_run: whether the flag decides what is trained.
        is_sweepable: whether it may differ between the runs of a study; by default ``changes_run``.
        unit: unit of a number, as in ``evaluation.columns``.
    """
    metadata = {
        "type": flag_type,
        "help": meaning,
        "unit": unit if flag_type.is_number else columns.TEXT,
        "changes_run": changes_run,
        "is_sweepable": changes_run if is_sweepable is None else is_sweepable,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Values of all flags; each field's help text is its meaning.

    Attributes:
        sweep: texts of ``--sweep``, which may be repeated.

    Example:
        >>> Config(beta=4.0).beta, Config().latent_size
        (4.0, 20)
    """

    workdir: str = _flag(
        "", NON_EMPTY, "folder of the run; by default runs/NAME for NAME.flags", changes_run=False
    )
    dataset: str = _flag(
        "mnist",
        NON_EMPTY,
        "mnist_5k, digits, sprites, a name of tfds, or a path: .npz, IDX, images",
        is_sweepable=False,
    )
    data_dir: str = _flag(
        "", TEXT, "folder of prepared data sets, downloads and decoded copies", changes_run=False
    )
    offline_dataset: str = _flag(
        "", TEXT, "data set to use where --dataset cannot be downloaded", changes_run=False
    )
    num_valid: int = _flag(
        0,
        whole(0),
        "images held out for valid where the source has no valid split; 0: a sixth or a tenth",
        is_sweepable=False,
    )
    data_on_device: str = _flag(
        "auto",
        one_of(*ON_DEVICE),
        "keep all training images on the device; auto: if they fit",
        changes_run=False,
    )
    binarize: str = _flag(
        "none", one_of(*BINARIZATIONS), "method by which gray pixels become binary"
    )
    conditional: bool = _flag(False, BOOLEAN, "give the labels to encoder, decoder and prior")
    network: str = _flag("mlp", one_of(*NETWORKS), "architecture of encoder and decoder")
    hidden_sizes: tuple[int, ...] = _flag(
        (400,), sizes(0), "units of the dense layers, mirrored in the decoder"
    )
    channels: tuple[int, ...] = _flag(
        (32, 64), sizes(1), "channels of the convolutions of stride 2 (conv, resnet)"
    )
    num_blocks: int = _flag(
        1, whole(1, MOST_LAYERS), "residual blocks after each convolution (resnet)"
    )
    activation: str = _flag("relu", one_of(*ACTIVATIONS), "activation function between the layers")
    weight_norm: bool = _flag(False, BOOLEAN, "weight normalization of the hidden layers")
    output_bias: str = _flag(
        "data_mean", one_of("data_mean", "zeros"), "initial bias of each pixel in the decoder"
    )
    latent_size: int = _flag(20, whole(1), "coordinates of z that the run uses")
    top_latent_size: int = _flag(
        0, whole(0), "coordinates of a second stochastic layer above z; 0: none"
    )
    top_hidden_sizes: tuple[int, ...] = _flag(
        (100, 100), sizes(1), "units of the dense layers between the stochastic layers"
    )
    likelihood: str = _flag("bernoulli", one_of(*LIKELIHOODS), "p(x|z)")
    scale_mode: str = _flag("fixed", one_of(*SCALE_MODES), "source of the scale of p(x|z)")
    scale: float = _flag(
        1.0, real(0.0, is_open=True), "scale of p(x|z), or initial value of a learned one"
    )
    num_logistics: int = _flag(1, whole(1), "logistic components of a pixel (discretized_logistic)")
    posterior: str = _flag("gaussian", one_of(*POSTERIORS), "q(z|x)")
    num_flows: int = _flag(2, whole(1, MOST_LAYERS), "steps of the posterior's flow")
    flow_hidden_size: int = _flag(64, whole(1), "hidden units of a step of the posterior's flow")
    prior: str = _flag("normal", one_of(*PRIORS), "p(z)")
    num_components: int = _flag(10, whole(1), "components of the prior (mixture, vamp)")
    pseudo_inputs: str = _flag(
        "data", one_of("data", "noise"), "initial values of the pseudo-inputs (vamp)"
    )
    num_couplings: int = _flag(4, whole(1, MOST_LAYERS), "coupling layers of the prior (flow)")
    coupling_size: int = _flag(64, whole(1), "hidden units of a coupling layer")
    objective: str = _flag("elbo", one_of(*OBJECTIVES), "the bound that is maximised")
    num_particles: int = _flag(1, whole(1), "samples of z per example in a bound")
    num_bounds: int = _flag(1, whole(1), "bounds that are averaged (miwae)")
    estimator: str = _flag("standard", one_of(*ESTIMATORS), "estimator of the gradient")
    kl: str = _flag("auto", one_of(*KL_MODES), "computation of the KL term (elbo)")
    kl_penalty: str = _flag(
        "beta", one_of(*KL_PENALTIES), "form of the KL term in the objective (elbo)"
    )
    beta: float = _flag(1.0, real(0.0), "weight of the KL term")
    kl_warmup_steps: int = _flag(
        0, whole(0), "updates over which the weight of the KL term rises to beta", unit="updates"
    )
    free_bits: float = _flag(
        0.0, real(0.0), "nats of each latent's KL that cost nothing", unit="nats"
    )
    capacity: float = _flag(0.0, real(0.0), "nats that the KL is to reach at the end", unit="nats")
    capacity_steps: int = _flag(
        0, whole(0), "updates over which the capacity rises from 0", unit="updates"
    )
    tc_weight: float = _flag(
        0.0, real(0.0), "weight of the total correlation, beyond its share in the KL"
    )
    tc_estimator: str = _flag("weighted", one_of(*TC_ESTIMATORS), "minibatch estimate of log q(z)")
    dip_offdiagonal: float = _flag(0.0, real(0.0), "weight of the codes' covariances (DIP-VAE)")
    dip_diagonal: float = _flag(
        0.0, real(0.0), "weight of the distance of the codes' variances from 1"
    )
    dip_of: str = _flag(
        "means",
        one_of("means", "samples"),
        "codes that DIP-VAE compares: means (I) or samples (II)",
    )
    mmd_weight: float = _flag(0.0, real(0.0), "weight of the MMD between q(z) and p(z)")
    factor_weight: float = _flag(0.0, real(0.0), "weight of FactorVAE's total correlation")
    batch_size: int = _flag(128, whole(1), "examples per update")
    num_steps: int = _flag(5000, whole(1), "updates", changes_run=False)
    learning_rate: float = _flag(1e-3, real(0.0, is_open=True), "Adam's step size, at its peak")
    schedule: str = _flag("constant", one_of(*SCHEDULES), "learning rate after the warm-up")
    warmup_steps: int = _flag(
        0, whole(0), "updates over which the learning rate rises", unit="updates"
    )
    clip_norm: float = _flag(
        math.inf, real(0.0, is_open=True, or_infinite=True), "largest norm of the gradient"
    )
    seed: int = _flag(0, whole(0), "seed of weights, order of examples, binarized pixels and noise")
    compute_dtype: str = _flag(
        "float32",
        one_of("float32", "bfloat16", "float64"),
        "precision; float64: of everything, bfloat16: of the networks only",
        is_sweepable=False,
    )
    matmul_precision: str = _flag(
        "auto",
        one_of("auto", *MATMUL_PRECISIONS),
        "precision of float32 products; auto: highest on TPU (default costs nats), else default",
        changes_run=False,
    )
    chunk_steps: int = _flag(
        500, whole(1), "most updates in one call of the device", changes_run=False
    )
    eval_every: int = _flag(
        500, whole(1), "updates between evaluations on valid", changes_run=False
    )
    checkpoint_every: int = _flag(1000, whole(1), "updates between checkpoints", changes_run=False)
    max_parallel_runs: int = _flag(
        0, whole(0), "runs that advance together; 0: 1 on CPU, else what fits", changes_run=False
    )
    distributed: bool = _flag(
        False, BOOLEAN, "take part as one of several processes", changes_run=False
    )
    coordinator: str = _flag(
        "", TEXT, "HOST:PORT of the first process; empty: detected by JAX", changes_run=False
    )
    num_processes: int = _flag(
        0, whole(0), "number of processes; 0: detected by JAX", changes_run=False
    )
    process_id: int = _flag(0, whole(0), "index of this process", changes_run=False)
    run_devices: int = _flag(
        0,
        whole(0),
        "devices that the runs are split over; 0: all, at most one a run",
        changes_run=False,
    )
    batch_devices: int = _flag(
        0,
        whole(0),
        "devices that share each batch; 0: those left over, or 1 on a single CPU",
        changes_run=False,
    )
    eval_particles: int = _flag(
        100, whole(1), "importance samples K of the test NLL", changes_run=False
    )
    evaluate: tuple[str, ...] = _flag(
        ("nll",), some_of(*EVALUATORS), "evaluations after training", changes_run=False
    )
    decomposition_examples: int = _flag(
        10_000, whole(2), "test examples in the aggregate posterior", changes_run=False
    )
    ais_steps: int = _flag(1000, whole(1), "temperatures of a chain (ais, bdmc)", changes_run=False)
    ais_chains: int = _flag(16, whole(1), "chains for each example (ais, bdmc)", changes_run=False)
    ais_leapfrog: int = _flag(
        10, whole(1), "leapfrog steps of a transition (ais, bdmc)", changes_run=False
    )
    ais_start: str = _flag(
        "prior",
        one_of(*AIS_STARTS),
        "start of the path of distributions (ais, bdmc)",
        changes_run=False,
    )
    ais_examples: int = _flag(
        100, whole(1), "test examples, or samples of the model (ais, bdmc)", changes_run=False
    )
    gap_examples: int = _flag(100, whole(1), "test examples (gaps)", changes_run=False)
    gap_steps: int = _flag(
        500, whole(1), "updates of each example's own posterior (gaps)", changes_run=False
    )
    factor_values: int = _flag(
        16, whole(2), "most values of each factor on the grid (disentanglement)", changes_run=False
    )
    num_samples: int = _flag(
        5000, whole(10), "samples compared with test images", changes_run=False
    )
    export: tuple[str, ...] = _flag(
        (),
        some_of(*EXPORTS, or_none=True),
        "files for other programs, in exports/: codes, weights, functions, statistics of latents",
        changes_run=False,
    )
    export_runs: str = _flag(
        "best", one_of("best", "all"), "runs of which files are exported", changes_run=False
    )
    compilation_cache: str = _flag(
        "", TEXT, "folder of compiled programs, or none", changes_run=False
    )
    restart: bool = _flag(
        False,
        BOOLEAN,
        "train again from the start what no checkpoint can restore",
        changes_run=False,
    )
    debug_nans: bool = _flag(
        False, BOOLEAN, "name the operation at which a run diverged", changes_run=False
    )
    sweep: tuple[str, ...] = ()


FIELDS = {field.name: field for field in dataclasses.fields(Config) if field.metadata}
"""Fields of all flags by name; their metadata are the arguments of ``_flag``."""


def flag_column(name: str) -> Column:
    """Return the declaration of a flag as a column of a study's rows.

    Example:
        >>> flag_column("latent_size").title
        'latent size'
    """
    metadata = FIELDS[name].metadata
    return Column(name, metadata["help"], metadata["unit"], name.replace("_", " "))


def parse_value(name: str, text: str) -> Any:
    """Return the value of one flag from its text.

    Raises:
        InputError: text that does not parse or lies outside the flag's range.

    Example:
        >>> parse_value("beta", "4"), parse_value("hidden_sizes", "400,200")
        (4.0, (400, 200))
        >>> parse_value("beta", "-1")
        Traceback (most recent call last):
        ...
        vae_jax.runtime.errors.InputError: --beta=-1: must be a finite number of at least 0
    """
    flag_type: FlagType = FIELDS[name].metadata["type"]
    try:
        value = flag_type.parse(text)
    except ValueError:
        value = None
    if value is None or not flag_type.is_valid(value):
        raise InputError(f"--{name}={text}: must be {flag_type.description}")
    return value


def as_text(value: Any) -> str:
    """Return the text that a flag is given as on a command line.

    Example:
        >>> as_text((400, 200)), as_text(0.5)
        ('400,200', '0.5')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def help_text() -> str:
    """Return the help: for each flag its name, default, meaning and allowed values."""
    lines = ["python run.py --flagfile=NAME.flags [--name=value ...]", ""]
    for field in FIELDS.values():
        default, meaning = as_text(field.default), field.metadata["help"]
        allowed = field.metadata["type"].description
        lines.append(f"  --{field.name}={default}\n      {meaning}; {allowed}")
    lines.append("  --sweep=NAME=V1,V2,...\n      repeatable; the study is the product of all")
    return "\n".join(lines)
