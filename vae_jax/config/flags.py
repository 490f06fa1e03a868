"""Flags: what members declare, and the flags that no member owns, with their values.

A member's settings are declared where it reads them (:mod:`vae_jax.settings`,
:mod:`vae_jax.hparams`); here they become flags. Which flags there are depends on the members that
are chosen: a member from outside of the package brings its own, and where two members have a
setting of the same name, the declaration of the chosen one holds.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vae_jax.config.members import KINDS, LOGGERS, SPECS, Chosen, chosen, swept
from vae_jax.data.encodings import CHOICES as ENCODING_CHOICES
from vae_jax.data.image_folder import IMAGE_MODES
from vae_jax.evaluation import columns
from vae_jax.evaluation.columns import Column
from vae_jax.hparams import HParam, declarations, declared_by, shipped
from vae_jax.runtime.errors import InputError
from vae_jax.settings import (
    BOOLEAN,
    IMAGE_SIZE,
    NON_EMPTY,
    TEXT,
    Setting,
    ValueType,
    key_of,
    keys_of,
    one_of,
    some_of,
    whole,
)
from vae_jax.training.input_pipeline import ON_DEVICE

MATMUL_PRECISIONS = ("default", "high", "highest")
"""Precisions of JAX's matrix products that a flag may name."""


EXPORTS = ("codes", "weights", "stablehlo", "latents")
"""Files that ``--export`` names; ``vae_jax.pipeline.export`` writes them."""


@dataclass(frozen=True)
class Flag(Setting):
    """Setting as a flag of the command line.

    Attributes:
        changes_run: whether it decides what is trained.
        is_sweepable: whether it may differ between the runs of a study.
        is_array: whether all its values share one compiled program.
    """

    changes_run: bool = True
    is_sweepable: bool = True
    is_array: bool = False

    @property
    def column(self) -> Column:
        """Declaration of the flag as a column of a study's rows.

        Example:
            >>> FLAGS["latent_size"].column.title
            'latent size'
        """
        unit = self.unit if self.type.is_number else columns.TEXT
        return Column(self.name, self.doc, unit, self.name.replace("_", " "))

    def parse(self, text: str) -> Any:
        """Return the value of the flag from its text.

        Raises:
            InputError: text that does not parse or lies outside the flag's range.

        Example:
            >>> FLAGS["beta"].parse("4"), FLAGS["hidden_sizes"].parse("400,200")
            (4.0, (400, 200))
            >>> FLAGS["beta"].parse("-1")
            Traceback (most recent call last):
            ...
            vae_jax.runtime.errors.InputError: --beta=-1: must be a finite number of at least 0
        """
        try:
            value = self.type.parse(text)
        except ValueError:
            raise self._out_of_range(text) from None
        return self.checked(value, text)

    def checked(self, value: Any, text: str | None = None) -> Any:
        """Return a value that the flag may take.

        Raises:
            InputError: a value outside the flag's range.
        """
        if not self.type.is_valid(value):
            raise self._out_of_range(as_text(value) if text is None else text)
        return value

    def _out_of_range(self, text: str) -> InputError:
        return InputError(f"--{self.name}={text}: must be {self.type.description}")


def _flag(
    name: str,
    default: Any,
    value_type: ValueType,
    doc: str,
    *,
    changes_run: bool = True,
    is_sweepable: bool | None = None,
    only_with: str = "",
) -> Flag:
    """Return a flag that no member owns; by default one that changes the run can be swept."""
    may_differ = changes_run if is_sweepable is None else is_sweepable
    return Flag(
        *(name, default, value_type, doc),
        only_with=only_with,
        changes_run=changes_run,
        is_sweepable=may_differ,
    )


OWN: tuple[Flag, ...] = (
    _flag(
        "workdir",
        "",
        NON_EMPTY,
        "folder of the run; by default runs/NAME for NAME.flags",
        changes_run=False,
    ),
    _flag(
        "dataset",
        "mnist",
        NON_EMPTY,
        "mnist_5k, digits, sprites, a set of tensorflow-datasets, a path, or MODULE:FUNCTION",
        is_sweepable=False,
    ),
    _flag(
        "data_dir",
        "",
        TEXT,
        "folder of prepared data sets, downloads and decoded copies",
        changes_run=False,
    ),
    _flag(
        "offline_dataset",
        "",
        TEXT,
        "data set to use where --dataset cannot be downloaded",
        changes_run=False,
    ),
    _flag(
        "num_valid",
        0,
        whole(0),
        "images held out for valid where the source has no valid split; 0: a sixth or a tenth",
        is_sweepable=False,
    ),
    _flag(
        "encoding",
        "auto",
        one_of(*ENCODING_CHOICES),
        "meaning of the numbers of --dataset; auto: recognised, and said",
        changes_run=False,
    ),
    _flag(
        "resize",
        (),
        IMAGE_SIZE,
        "size that the images of a folder are scaled to cover, the rest cut off",
        changes_run=False,
    ),
    _flag(
        "image_mode",
        "as_is",
        one_of(*IMAGE_MODES),
        "channels of the images of a folder",
        changes_run=False,
    ),
    _flag(
        "data_on_device",
        "auto",
        one_of(*ON_DEVICE),
        "keep all training images on the device; auto: if they fit",
        changes_run=False,
    ),
    _flag("conditional", False, BOOLEAN, "give the labels to encoder, decoder and prior"),
    _flag("network", "mlp", key_of(KINDS["network"]), "architecture of encoder and decoder"),
    _flag(
        "output_bias",
        "data_mean",
        one_of("data_mean", "zeros"),
        "initial bias of each pixel in the decoder",
    ),
    _flag("likelihood", "bernoulli", key_of(KINDS["likelihood"]), "p(x|z)"),
    _flag("posterior", "gaussian", key_of(KINDS["posterior"]), "q(z|x)"),
    _flag("prior", "normal", key_of(KINDS["prior"]), "p(z)"),
    _flag("objective", "elbo", key_of(KINDS["objective"]), "the bound that is maximised"),
    _flag(
        "regularizer",
        (),
        keys_of({}),
        "further penalties from outside of the package",
    ),
    _flag(
        "init_from",
        "",
        TEXT,
        "WORKDIR or WORKDIR:RUN with the weights to start from, by default of its best run; "
        "empty: from the seed",
        is_sweepable=False,
    ),
    _flag("optimizer", "adam", key_of(KINDS["optimizer"]), "optimizer of all parameters"),
    _flag("num_steps", 5000, whole(1), "updates", changes_run=False),
    _flag(
        "compute_dtype",
        "float32",
        one_of("float32", "bfloat16", "float64"),
        "precision; float64: of everything, bfloat16: of the networks only",
        is_sweepable=False,
    ),
    _flag(
        "matmul_precision",
        "auto",
        one_of("auto", *MATMUL_PRECISIONS),
        "precision of float32 products; auto: highest on TPU (default costs nats), else default",
        changes_run=False,
    ),
    _flag(
        "chunk_steps", 500, whole(1), "most updates in one call of the device", changes_run=False
    ),
    _flag("eval_every", 500, whole(1), "updates between evaluations on valid", changes_run=False),
    _flag("checkpoint_every", 1000, whole(1), "updates between checkpoints", changes_run=False),
    _flag(
        "max_parallel_runs",
        0,
        whole(0),
        "runs that advance together; 0: 1 on CPU, else what fits",
        changes_run=False,
    ),
    _flag(
        "distributed", False, BOOLEAN, "take part as one of several processes", changes_run=False
    ),
    _flag(
        "coordinator",
        "",
        TEXT,
        "HOST:PORT of the first process; empty: detected by JAX",
        only_with="distributed",
        changes_run=False,
    ),
    _flag(
        "num_processes",
        0,
        whole(0),
        "number of processes; 0: detected by JAX",
        only_with="coordinator",
        changes_run=False,
    ),
    _flag(
        "process_id",
        0,
        whole(0),
        "index of this process",
        only_with="coordinator",
        changes_run=False,
    ),
    _flag(
        "run_devices",
        0,
        whole(0),
        "devices that the runs are split over; 0: all, at most one a run",
        changes_run=False,
    ),
    _flag(
        "batch_devices",
        0,
        whole(0),
        "devices that share each batch; 0: those left over, or 1 on a single CPU",
        changes_run=False,
    ),
    _flag(
        "evaluate",
        ("nll",),
        keys_of(KINDS["evaluate"]),
        "evaluations after training",
        changes_run=False,
    ),
    _flag(
        "export",
        (),
        some_of(*EXPORTS, or_none=True),
        "files for other programs, in exports/: codes, weights, functions, statistics of latents",
        changes_run=False,
    ),
    _flag(
        "export_runs",
        "best",
        one_of("best", "all"),
        "runs of which files are exported",
        only_with="export",
        changes_run=False,
    ),
    _flag(
        "explorer",
        "auto",
        one_of("auto", "none"),
        "explorer.html, a page in which decoders run; auto: written",
        changes_run=False,
    ),
    _flag(
        "loggers",
        (),
        keys_of(LOGGERS, or_none=True),
        "loggers beside metrics.jsonl and, where tensorboardX is installed, tensorboard",
        changes_run=False,
    ),
    _flag("compilation_cache", "", TEXT, "folder of compiled programs, or none", changes_run=False),
    _flag(
        "restart",
        False,
        BOOLEAN,
        "train again from the start what no checkpoint can restore",
        changes_run=False,
    ),
    _flag(
        "debug_nans",
        False,
        BOOLEAN,
        "name the operation at which a run diverged",
        changes_run=False,
    ),
)
"""Flags that no member owns."""

ORDER = """
workdir dataset data_dir offline_dataset num_valid data_on_device binarize conditional network
hidden_sizes channels num_blocks activation weight_norm output_bias latent_size
top_latent_size top_hidden_sizes likelihood scale_mode scale num_logistics posterior num_flows
flow_hidden_size prior num_components pseudo_inputs num_couplings coupling_size objective
num_particles num_bounds estimator kl kl_penalty beta kl_warmup_steps free_bits capacity
capacity_steps tc_weight tc_estimator dip_offdiagonal dip_diagonal dip_of mmd_weight
factor_weight regularizer init_from batch_size num_steps optimizer learning_rate schedule
warmup_steps clip_norm skip_norm b1 b2 eps weight_decay rms_decay momentum ema keep patience seed
compute_dtype matmul_precision chunk_steps eval_every checkpoint_every max_parallel_runs
distributed coordinator num_processes process_id run_devices batch_devices eval_particles
evaluate decomposition_examples ais_steps ais_chains ais_leapfrog ais_start ais_examples
gap_examples gap_steps factor_values num_samples export export_runs explorer loggers
compilation_cache restart debug_nans
"""
"""Order of the flags in the help and in ``flags.txt``. A flag that is not here, as one of a member
from outside, follows the last one of its kind; nothing needs to be added."""


_SPECS: Chosen = tuple(("spec", spec) for spec in SPECS)


def _shipped() -> Iterator[tuple[str, type]]:
    for kind, registry in KINDS.items():
        yield from ((kind, member) for member in registry.values())


@functools.cache
def flags_of(members: Chosen = (), known: Chosen = ()) -> Mapping[str, Flag]:
    """Return all flags in their order, as they are where these members are chosen.

    Args:
        members: chosen members, as ``vae_jax.config.members.chosen`` returns them.
        known: members from outside that other runs of the study choose.

    Raises:
        InputError: two of the members declare a setting of the same name differently.

    Example:
        >>> flags_of()["num_flows"].default
        2
    """
    found = {flag.name: ("", flag) for flag in OWN}
    for kind, member in (*_shipped(), *known):
        for each in declarations(member):
            found.setdefault(each.name, (kind, as_flag(each, kind)))
    held = {flag.name: flag for flag in OWN}
    for kind, member in (*_SPECS, *members):
        for each in declarations(member):
            flag = as_flag(each, kind)
            if held.setdefault(each.name, flag) != flag:
                raise InputError(_declared_twice(member, each))
            found[each.name] = (found.get(each.name, (kind,))[0], flag)
    return {name: found[name][1] for name in _ordered({n: k for n, (k, _) in found.items()})}


def as_flag(declared: Setting, kind: str) -> Flag:
    """Return a member's setting as a flag; those of evaluators change no run."""
    changes_run = kind != "evaluate"
    own = {each.name: getattr(declared, each.name) for each in dataclasses.fields(Setting)}
    return Flag(
        **own,
        changes_run=changes_run,
        is_sweepable=changes_run,
        is_array=isinstance(declared, HParam),
    )


def _declared_twice(member: type, declared: Setting) -> str:
    return (
        f"--{declared.name}: {member.__name__} declares it with another default, range or meaning "
        "than a flag that is there as well; rename the setting"
    )


def _ordered(kinds: Mapping[str, str]) -> list[str]:
    """Return the names of flags in their order, given the kind of member that reads each."""
    places = {name: (place, 0) for place, name in enumerate(ORDER.split())}
    for number, (name, kind) in enumerate(kinds.items(), 1):
        of_kind = [place for other, place in places.items() if kinds.get(other) == kind]
        places.setdefault(name, (max(of_kind, default=(len(places), 0))[0], number))
    return sorted(kinds, key=lambda name: places[name])


class Config:
    """Values of all flags, read as attributes; those not given have the defaults of the members.

    It is not changed; :meth:`replace` makes another one. Two are equal if all their values are.

    Attributes:
        sweep: texts of ``--sweep``, which may be repeated.
        known: members from outside that runs of the study may choose, with their kinds.
        members: chosen members with their kinds.
        flags: declarations of the flags, by name.

    Raises:
        InputError: a value outside of its flag's range.

    Example:
        >>> Config(beta=4.0).beta, Config().latent_size
        (4.0, 20)
        >>> Config(beta=4.0).replace(seed=1).beta
        4.0
    """

    sweep: tuple[str, ...]
    known: Chosen
    members: Chosen
    flags: Mapping[str, Flag]

    def __init__(self, *, sweep: tuple[str, ...] = (), known: Chosen = (), **given: Any) -> None:
        """Take values by the names of their flags."""
        known = tuple(dict.fromkeys((*known, *swept(sweep))))
        for flag in OWN:
            if flag.name in given:
                flag.checked(given[flag.name])
        members = chosen({flag.name: flag.default for flag in OWN} | given)
        flags = flags_of(members, known)
        for name, value in given.items():
            if name not in flags:
                raise TypeError(f"there is no flag {name}")
            flags[name].checked(value)
        values = {name: given.get(name, flag.default) for name, flag in flags.items()}
        own = {"sweep": sweep, "known": known, "members": members, "flags": flags}
        self.__dict__.update(values, **own, _given=given)

    @classmethod
    def of_texts(cls, texts: Mapping[str, str], sweep: tuple[str, ...] = ()) -> "Config":
        """Return the values of flags that are given as texts, as on a command line.

        Raises:
            InputError: a text that does not parse, or a value outside of its flag's range.

        Example:
            >>> Config.of_texts({"beta": "4", "channels": "8,16"}).channels
            (8, 16)
        """
        own = {flag.name: flag.parse(texts[flag.name]) for flag in OWN if flag.name in texts}
        flags = cls(**own, sweep=sweep).flags
        return cls(**{name: flags[name].parse(text) for name, text in texts.items()}, sweep=sweep)

    def replace(self, **values: Any) -> "Config":
        """Return the same with other values; defaults follow the members that it then has."""
        return Config(**{"sweep": self.sweep, "known": self.known, **self._given, **values})

    @property
    def arrays(self) -> dict[str, HParam]:
        """Declarations of the hyperparameters that are arrays, by name."""
        return {**shipped(), **declared_by(*(member for _, member in self.members))}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no flag {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name}: values of flags are not changed; use replace")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(tuple(self._values().items()))

    def __repr__(self) -> str:
        given = {**self._given, **({"sweep": self.sweep} if self.sweep else {})}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Config, sweep=self.sweep, known=self.known, **self._given), ()

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*self.flags, "sweep")}


FLAGS = flags_of()
"""Flags of the members that are shipped."""


def as_text(value: Any) -> str:
    """Return the text that a flag is given as on a command line.

    Example:
        >>> as_text((400, 200)), as_text(0.5)
        ('400,200', '0.5')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def with_dashes(text: str, flags: Mapping[str, Flag] = FLAGS) -> str:
    """Return a message with dashes before each flag that it writes as ``NAME=VALUE``.

    Only the command line speaks of flags: what Python calls too names its settings without dashes.
    A name inside of a value, as in a path, stays.

    Example:
        >>> with_dashes("beta=-1: must be at least 0; give seed=0, or data/seed=1")
        '--beta=-1: must be at least 0; give --seed=0, or data/seed=1'
    """
    names = "|".join(sorted(flags, key=len, reverse=True))
    return re.sub(rf"(?<![\w\-=/.,:~'\"])(?=(?:{names})=\S)", "--", text)


def help_text(flags: Mapping[str, Flag] = FLAGS) -> str:
    """Return the help: for each flag its name, default, meaning and allowed values."""
    lines = [*map(str, _USAGE.splitlines())]
    for flag in flags.values():
        lines.append(f"  --{flag.name}={as_text(flag.default)}")
        lines.append(f"      {flag.doc}{_shown_range(flag.type)}")
    return "\n".join([*lines, *_SWEEP.splitlines()])


_USAGE = """\
Train, evaluate and draw variational autoencoders; a workdir is brought to what the flags describe.

  python run.py --flagfile=mnist.flags                      flags of a file, here or in experiments/
  python run.py --flagfile=mnist.flags --beta=4 --seed=1    later flags win
  python run.py --dataset=digits --sweep=beta=1,4 --sweep=latent_size=2,8    a study of four runs

The same command goes on where it stopped. Each flag with its default, its meaning and its values:
"""
_SWEEP = """\
  --sweep=NAME=V1,V2,...
      repeatable; the study is the product of all. Whole numbers also as 0:5, reals as
      log:1e-4:1e-2:5 or lin:0:1:3; values that hold commas are separated by slashes: 400/400,200
"""


def _shown_range(value_type: ValueType) -> str:
    """Return the values of a type as the help shows them: without bounds that nobody meets."""
    text = value_type.description.replace(" to 2147483647", " on")
    return "" if text.startswith("printable text") else f"; {text}"
