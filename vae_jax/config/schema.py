"""The flags: one field of :class:`Config` each, with its range and its meaning.

All values are parsed and checked here, so that every mistake gets one line in the same words,
before anything is compiled.
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
MOST_LAYERS = 1000  # each is compiled by itself


def _flag(
    default: Any,
    kind: FlagType,
    words: str,
    *,
    changes_run: bool = True,
    is_sweepable: bool | None = None,
    unit: str = columns.NUMBER,
) -> Any:
    is_sweepable = changes_run if is_sweepable is None else is_sweepable
    metadata = {"kind": kind, "help": words, "unit": unit if kind.is_number else columns.TEXT}
    metadata |= {"changes_run": changes_run, "is_sweepable": is_sweepable}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All flags with their defaults.

    ``changes_run`` says which ones decide what is trained, ``is_sweepable`` which ones may differ
    between the runs of a study. ``sweep`` holds the texts of ``--sweep``, which may be repeated.
    """

    workdir: str = _flag(
        "", NON_EMPTY, "where the run lives; runs/NAME of NAME.flags", changes_run=False
    )
    dataset: str = _flag(
        "mnist",
        NON_EMPTY,
        "tfds name, mnist_5k, digits, sprites, or a path: .npz, IDX, images",
        is_sweepable=False,
    )
    data_dir: str = _flag("", TEXT, "where prepared data sets live", changes_run=False)
    offline_dataset: str = _flag(
        "", TEXT, "what to use where --dataset cannot be had", changes_run=False
    )
    num_valid: int = _flag(
        0,
        whole(0),
        "images held out for valid where the data have none; 0: a sixth or a tenth",
        is_sweepable=False,
    )
    data_on_device: str = _flag(
        "auto",
        one_of(*ON_DEVICE),
        "keep all training images there; auto: if they fit",
        changes_run=False,
    )
    binarize: str = _flag("none", one_of(*BINARIZATIONS), "how gray pixels become binary")
    conditional: bool = _flag(False, BOOLEAN, "give the labels to encoder, decoder and prior")
    network: str = _flag("mlp", one_of(*NETWORKS), "architecture of encoder and decoder")
    hidden_sizes: tuple[int, ...] = _flag((400,), sizes(0), "dense layers, mirrored in the decoder")
    channels: tuple[int, ...] = _flag((32, 64), sizes(1), "convolutions of stride 2 (conv, resnet)")
    num_blocks: int = _flag(
        1, whole(1, MOST_LAYERS), "residual blocks after each convolution (resnet)"
    )
    activation: str = _flag("relu", one_of(*ACTIVATIONS), "between the layers")
    weight_norm: bool = _flag(False, BOOLEAN, "weight normalization of the hidden layers")
    output_bias: str = _flag(
        "data_mean", one_of("data_mean", "zeros"), "where the decoder's per-pixel bias starts"
    )
    latent_size: int = _flag(20, whole(1), "active coordinates of z")
    top_latent_size: int = _flag(0, whole(0), "of a second stochastic layer above z; 0: none")
    top_hidden_sizes: tuple[int, ...] = _flag(
        (100, 100), sizes(1), "dense layers between the stochastic layers"
    )
    likelihood: str = _flag("bernoulli", one_of(*LIKELIHOODS), "p(x|z)")
    scale_mode: str = _flag("fixed", one_of(*SCALE_MODES), "where the scale of p(x|z) comes from")
    scale: float = _flag(
        1.0, real(0.0, is_open=True), "of p(x|z): its value, or where a learned one starts"
    )
    num_logistics: int = _flag(1, whole(1), "components of a pixel (discretized_logistic)")
    posterior: str = _flag("gaussian", one_of(*POSTERIORS), "q(z|x)")
    num_flows: int = _flag(2, whole(1, MOST_LAYERS), "steps of the posterior's flow")
    flow_hidden_size: int = _flag(64, whole(1), "hidden units of a step of the posterior's flow")
    prior: str = _flag("normal", one_of(*PRIORS), "p(z)")
    num_components: int = _flag(10, whole(1), "of the prior (mixture, vamp)")
    pseudo_inputs: str = _flag("data", one_of("data", "noise"), "what they start from (vamp)")
    num_couplings: int = _flag(4, whole(1, MOST_LAYERS), "coupling layers of the prior (flow)")
    coupling_size: int = _flag(64, whole(1), "hidden units of a coupling layer")
    objective: str = _flag("elbo", one_of(*OBJECTIVES), "the bound that is maximised")
    num_particles: int = _flag(1, whole(1), "samples of z per example in a bound")
    num_bounds: int = _flag(1, whole(1), "bounds that are averaged (miwae)")
    estimator: str = _flag("standard", one_of(*ESTIMATORS), "of the gradient")
    kl: str = _flag("auto", one_of(*KL_MODES), "how the KL term is computed (elbo)")
    kl_penalty: str = _flag("beta", one_of(*KL_PENALTIES), "what is made of the KL term (elbo)")
    beta: float = _flag(1.0, real(0.0), "weight of the KL term")
    kl_warmup_steps: int = _flag(
        0, whole(0), "updates over which that weight rises to beta", unit="updates"
    )
    free_bits: float = _flag(
        0.0, real(0.0), "nats of each latent's KL that cost nothing", unit="nats"
    )
    capacity: float = _flag(0.0, real(0.0), "nats to which the KL is drawn at the end", unit="nats")
    capacity_steps: int = _flag(
        0, whole(0), "updates over which the capacity rises from 0", unit="updates"
    )
    tc_weight: float = _flag(0.0, real(0.0), "of the total correlation, beyond its share in the KL")
    tc_estimator: str = _flag("weighted", one_of(*TC_ESTIMATORS), "minibatch estimate of log q(z)")
    dip_offdiagonal: float = _flag(0.0, real(0.0), "weight of the codes' covariances (DIP-VAE)")
    dip_diagonal: float = _flag(0.0, real(0.0), "weight of the codes' variances' distance from 1")
    dip_of: str = _flag("means", one_of("means", "samples"), "codes of DIP-VAE I, II")
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
    seed: int = _flag(0, whole(0), "of weights, order, pixels and noise")
    compute_dtype: str = _flag(
        "float32",
        one_of("float32", "bfloat16", "float64"),
        "float64: everything; bfloat16: networks only",
        is_sweepable=False,
    )
    matmul_precision: str = _flag(
        "auto",
        one_of("auto", *MATMUL_PRECISIONS),
        "of float32 matrix products; auto: highest on TPU, where default costs nats, else default",
        changes_run=False,
    )
    chunk_steps: int = _flag(500, whole(1), "most updates between host visits", changes_run=False)
    eval_every: int = _flag(500, whole(1), "updates between looks at valid", changes_run=False)
    checkpoint_every: int = _flag(1000, whole(1), "updates between checkpoints", changes_run=False)
    max_parallel_runs: int = _flag(
        0, whole(0), "runs that advance together; 0: 1 on CPU, else what fits", changes_run=False
    )
    distributed: bool = _flag(False, BOOLEAN, "be one of several processes", changes_run=False)
    coordinator: str = _flag(
        "", TEXT, "HOST:PORT of the first process; empty: as JAX detects", changes_run=False
    )
    num_processes: int = _flag(0, whole(0), "of the run; 0: as JAX detects", changes_run=False)
    process_id: int = _flag(0, whole(0), "of this process", changes_run=False)
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
    eval_particles: int = _flag(100, whole(1), "K of the test NLL", changes_run=False)
    evaluate: tuple[str, ...] = _flag(
        ("nll",), some_of(*EVALUATORS), "what is measured at the end", changes_run=False
    )
    decomposition_examples: int = _flag(
        10_000, whole(2), "test examples in the aggregate posterior", changes_run=False
    )
    ais_steps: int = _flag(1000, whole(1), "temperatures (ais, bdmc)", changes_run=False)
    ais_chains: int = _flag(16, whole(1), "for each example (ais, bdmc)", changes_run=False)
    ais_leapfrog: int = _flag(10, whole(1), "steps of a transition (ais, bdmc)", changes_run=False)
    ais_start: str = _flag(
        "prior", one_of(*AIS_STARTS), "where the path begins (ais, bdmc)", changes_run=False
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
    compilation_cache: str = _flag(
        "", TEXT, "folder of compiled programs, or none", changes_run=False
    )
    restart: bool = _flag(
        False, BOOLEAN, "train anew what no checkpoint can bring back", changes_run=False
    )
    debug_nans: bool = _flag(
        False, BOOLEAN, "name the operation at which a run diverged", changes_run=False
    )
    sweep: tuple[str, ...] = ()


FIELDS = {field.name: field for field in dataclasses.fields(Config) if field.metadata}


def setting(name: str) -> Column:
    """Return the declaration of a flag as a column of a study's rows."""
    facts = FIELDS[name].metadata
    return Column(name, facts["help"], facts["unit"], name.replace("_", " "))


def parse_value(name: str, text: str) -> Any:
    """The value of one flag from its text.

    Raises:
        InputError: text that does not parse or lies outside the flag's range.
    """
    kind: FlagType = FIELDS[name].metadata["kind"]
    try:
        value = kind.parse(text)
    except ValueError:
        value = None
    if value is None or not kind.is_valid(value):
        raise InputError(f"--{name}={text}: must be {kind.words}")
    return value


def as_text(value: Any) -> str:
    """A flag's value as one would type it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def help_text() -> str:
    """One line for each flag: name, default, meaning, allowed values."""
    lines = ["python run.py --flagfile=NAME.flags [--name=value ...]", ""]
    for field in FIELDS.values():
        default = as_text(field.default)
        kind: FlagType = field.metadata["kind"]
        lines.append(f"  --{field.name}={default}\n      {field.metadata['help']}; {kind.words}")
    lines.append("  --sweep=NAME=V1,V2,...\n      repeatable; the study is the product of all")
    return "\n".join(lines)
