"""Members from outside: whatever one lacks is named in one line, before anything is compiled."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vae_jax
from vae_jax import contract
from vae_jax.config.command_line import parse
from vae_jax.config.members import KINDS
from vae_jax.data import RawDataset, RawSplit
from vae_jax.evaluation.evaluators import Evaluator
from vae_jax.evaluation.evaluators.base import PerRunEvaluator
from vae_jax.models.likelihoods import BernoulliLikelihood, Likelihood
from vae_jax.models.networks import Network
from vae_jax.models.posteriors import DiagonalGaussian, PosteriorFamily
from vae_jax.models.priors import PriorFamily, StandardNormal
from vae_jax.objectives import Objective
from vae_jax.objectives.regularizers import MMD, Regularizer
from vae_jax.pipeline import loggers
from vae_jax.runtime.errors import InputError
from vae_jax.training.members import BASES
from vae_jax.training.optimizers import Adam, Optimizer

SHIPPED = [
    pytest.param(member, BASES.get(kind, Evaluator), id=f"{kind}={name}")
    for kind, registry in KINDS.items()
    for name, member in registry.items()
]


@pytest.mark.parametrize(("member", "base"), SHIPPED)
def test_every_member_that_is_shipped_fulfils_its_contract(member, base):
    path = f"{member.__module__}:{member.__name__}"
    assert contract.outside_class("setting=value", path, base) is member


@dataclass(frozen=True)
class NoLikelihood(Likelihood):
    pass


@dataclass(frozen=True)
class NoPosterior(PosteriorFamily):
    pass


@dataclass(frozen=True)
class NoPrior(PriorFamily):
    pass


@dataclass(frozen=True)
class NoNetwork(Network):
    def encoder_body(self): ...


@dataclass(frozen=True)
class NoObjective(Objective):
    pass


@dataclass(frozen=True)
class NoRegularizer(Regularizer):
    pass


@dataclass(frozen=True)
class NoOptimizer(Optimizer):
    pass


@dataclass(frozen=True)
class NoEvaluator(Evaluator):
    pass


@dataclass(frozen=True)
class NoCall(PerRunEvaluator):
    pass


class NoLogger(loggers.Logger):
    def write(self, rows): ...


LACKING = {
    "likelihood": (NoLikelihood, "initial_bias, __call__"),
    "posterior": (NoPosterior, "heads, __call__"),
    "prior": (NoPrior, "__call__"),
    "network": (NoNetwork, "decoder"),
    "objective": (NoObjective, "num_draws, __call__"),
    "regularizer": (NoRegularizer, "__call__"),
    "optimizer": (NoOptimizer, "rule"),
    "evaluate": (NoEvaluator, "rows, columns"),
    "loggers": (NoLogger, "log"),
}


def _refusal_of(argv) -> str:
    """Return the error of a command line, as it is before any data are loaded."""
    with pytest.raises(InputError) as caught:
        loggers.opened(parse(argv).loggers).__enter__()
    assert str(caught.value).startswith(f"{argv[0].removeprefix('--')}: ")
    return str(caught.value).removeprefix(f"{argv[0].removeprefix('--')}: ")


@pytest.mark.parametrize("kind", LACKING)
def test_the_methods_that_a_member_of_each_kind_lacks_are_named(kind):
    member, names = LACKING[kind]
    found = _refusal_of([f"--{kind}={__name__}:{member.__name__}"])
    assert found.startswith(f"{member.__name__} lacks {names}; define what ")


@pytest.mark.parametrize("kind", LACKING)
def test_a_class_of_another_kind_is_refused_with_the_base_to_derive_from(kind):
    found = _refusal_of([f"--{kind}={__name__}:Noise"])
    base = loggers.Logger if kind == "loggers" else BASES.get(kind, Evaluator)
    assert found == (
        f"Noise does not inherit from {base.__module__}.{base.__name__}; derive it from that class"
    )


class Noise(NamedTuple):
    scale: float = 1.0


class Thawed(DiagonalGaussian):
    width: int = 3


@dataclass(frozen=True)
class OtherArguments(StandardNormal):
    def __call__(self, hparams, params, latent_mask):
        return super().__call__(hparams, params, latent_mask, lambda x: None)


@dataclass(frozen=True)
class NoTuple(StandardNormal):
    hparams: ClassVar = ("temperature",)


@dataclass(frozen=True)
class Misdeclared(DiagonalGaussian):
    support: ClassVar = True


@dataclass(frozen=True)
class NoDefault(DiagonalGaussian):
    num_layers: int = dataclasses.field(kw_only=True)


def a_function():
    pass


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        ("posterior", "Thawed", "Thawed is no frozen dataclass; write @dataclass(frozen=True)"),
        (
            "prior",
            "OtherArguments",
            "__call__ of OtherArguments cannot be called as __call__(hparams, params, latent_mask, "
            "encode, y): too many positional arguments",
        ),
        ("prior", "NoTuple", "hparams of NoTuple must be a tuple of HParam"),
        ("posterior", "Misdeclared", "support=True of Misdeclared must be a str"),
        ("evaluate", "NoCall", "NoCall lacks columns, __call__; define what Evaluator asks for"),
        ("posterior", "NoDefault", "the field num_layers of NoDefault has no default; give it one"),
        ("network", "a_function", "is a function and no class"),
        ("network", "LACKING", "is a dict and no class"),
        ("network", "NoNetworks", "has no NoNetworks; did you mean tests.test_contract:NoNetwork?"),
    ],
)
def test_what_is_wrong_with_a_member_is_said_in_one_line(kind, name, problem):
    assert problem in _refusal_of([f"--{kind}={__name__}:{name}"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "there is no module {}; give one that is installed or lies in the working"),
        ("import no_such_library\n", "the module {} imports no_such_library, which is not"),
        ("x = (\n", "importing {} fails with SyntaxError: '(' was never closed ({}.py, line 1)"),
        (
            "\nx = 1 / 0\n",
            "importing {} fails with ZeroDivisionError: division by zero ({}.py, lin",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, text, problem):
    monkeypatch.chdir(tmp_path)
    name = f"module_{abs(hash(problem))}"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    found = _refusal_of([f"--posterior={name}:Mine"])
    assert found.startswith(problem.replace("{}", name))


def _thawed(member):
    """Return a member with a field of which no dataclass knows."""
    return type("Thawed", (member,), {"__annotations__": {"width": int}, "width": 3})()


class Renamed(DiagonalGaussian):
    support: ClassVar[str] = "reals"


def test_a_subclass_that_adds_no_field_needs_no_decorator():
    assert vae_jax.VAE((2, 2, 1), 1, posterior=Renamed()).posterior == Renamed()


@pytest.mark.parametrize(
    ("setting", "member"),
    [
        ("network", vae_jax.MLP),
        ("posterior", DiagonalGaussian),
        ("prior", StandardNormal),
        ("likelihood", BernoulliLikelihood),
        ("objective", vae_jax.Elbo),
        ("optimizer", Adam),
    ],
)
def test_the_same_is_checked_of_an_object_in_python(setting, member):
    shape = {"event_shape": (2, 2, 1), "max_latents": 1}
    in_model = {setting: _thawed(member)} if hasattr(vae_jax.VAE, setting) else {}
    in_training = {} if in_model else {setting: _thawed(member)}
    with pytest.raises(InputError, match=f"^{setting}=Thawed: Thawed is no frozen dataclass"):
        vae_jax.TrainSpec(vae_jax.VAE(**shape, **in_model), **in_training)


def test_every_penalty_is_checked_in_python():
    model = vae_jax.VAE((2, 2, 1), 1)
    with pytest.raises(InputError, match=r"^regularizers=Thawed: Thawed is no frozen dataclass"):
        vae_jax.TrainSpec(model, regularizers=(MMD(), _thawed(MMD)))


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (optax.adam(1e-3), "does not inherit from vae_jax.training.optimizers.Optimizer"),
        (Adam, "optimizer=Adam: is a class; give an instance, as Adam()"),
    ],
)
def test_what_is_no_member_at_all_is_refused(member, problem):
    with pytest.raises(InputError) as caught:
        contract.check("optimizer", member, Optimizer)
    assert problem in str(caught.value)


class Mute(NamedTuple):
    """Distribution without ``sample``."""

    loc: jnp.ndarray

    def log_prob(self, x): ...

    def mean(self): ...


@dataclass(frozen=True)
class MuteLikelihood(Likelihood):
    def initial_bias(self, data_mean):
        return data_mean[..., None]

    def __call__(self, hparams, params, outputs):
        return Mute(outputs[..., 0])


def test_a_distribution_without_a_method_is_refused_when_it_is_made():
    model = vae_jax.VAE((2, 2, 1), 1, likelihood=MuteLikelihood())
    hparams = vae_jax.HParams.of(latent_size=1)

    def decode():
        params = model.init(hparams, jnp.zeros((2, 2, 1)))
        return model.decode(hparams, params, jnp.zeros((1, model.width))).loc

    with pytest.raises(InputError, match="MuteLikelihood: returns a Mute, which lacks sample; def"):
        jax.eval_shape(decode)


def read_ramps(flag):
    images = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4)
    return RawDataset({"train": RawSplit(images)}, "ramps")


def read_waves(flag):
    waves = np.sin(np.arange(40 * 10 * 2, dtype=np.float32)).reshape(40, 10, 2)
    return RawDataset({"train": RawSplit(waves)}, "waves", has_channels=False)


def read_nothing(flag):
    return None


def test_a_data_source_from_outside_is_a_function_that_returns_a_data_set():
    data = vae_jax.load(f"{__name__}:read_ramps")
    assert data.record.source == "ramps"
    assert len(data.train) + len(data.valid) + len(data.test) == 40
    for name, problem in (
        ("read_nothing", "returns a NoneType; return a RawDataset with a split train"),
        ("LACKING", "is no function; name one that takes the label"),
        ("read_ramp", f"has no read_ramp; did you mean {__name__}:read_ramps?"),
    ):
        with pytest.raises(InputError, match=f"dataset={__name__}:{name}: .*{problem}"):
            vae_jax.load(f"{__name__}:{name}")


def test_examples_of_two_axes_that_are_no_images_keep_their_shape():
    data = vae_jax.load(f"{__name__}:read_waves")
    assert (data.event_shape, data.encoding) == ((10, 2), "reals")


def test_a_penalty_from_outside_is_used_where_it_has_a_weight():
    name = "vae_jax.objectives.regularizers.mmd:MMD"
    with pytest.raises(InputError, match=r"--regularizer=.* has no effect without --mmd_weight"):
        parse([f"--regularizer={name}"])
    assert parse([f"--regularizer={name}", "--mmd_weight=2"]).regularizer == (name,)
    with pytest.raises(InputError, match="--regularizer=mmd: must be MODULE:CLASS"):
        parse(["--regularizer=mmd"])
