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
from vae_jax.config.flags import FLAGS
from vae_jax.config.members import KINDS
from vae_jax.data import RawDataset, RawSplit
from vae_jax.evaluation.columns import CORE, Column
from vae_jax.evaluation.evaluators import Evaluator, needs
from vae_jax.evaluation.evaluators.base import PerRunEvaluator
from vae_jax.hparams import HParam
from vae_jax.models.likelihoods import BernoulliLikelihood, Likelihood
from vae_jax.models.networks import Network
from vae_jax.models.posteriors import DiagonalGaussian, Head, PosteriorFamily
from vae_jax.models.priors import PriorFamily, StandardNormal
from vae_jax.objectives import Objective
from vae_jax.objectives.regularizers import MMD, Regularizer
from vae_jax.pipeline import checks, loggers
from vae_jax.runtime.errors import InputError
from vae_jax.settings import one_of, real, setting, whole
from vae_jax.training import dry_run
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


@dataclass(frozen=True)
class Listed(DiagonalGaussian):
    sizes: list = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class NoDefaultOfItsRange(DiagonalGaussian):
    num_layers: int = setting(0, whole(1), "layers")


@dataclass(frozen=True)
class BelowItsRange(StandardNormal):
    hparams: ClassVar = (HParam("temperature", -1.0, real(0.0), "temperature"),)


@dataclass(frozen=True)
class Lettered(StandardNormal):
    hparams: ClassVar = (HParam("mode", "a", one_of("a", "b"), "mode"),)


def _named(name):
    """Return a prior with a hyperparameter of this name."""
    fields = {"hparams": (HParam(name, 1.0, real(0.0), "number"),), "__module__": __name__}
    return dataclass(frozen=True)(type("Named", (StandardNormal,), fields))


@dataclass(frozen=True)
class Needy(PerRunEvaluator):
    needs: ClassVar = frozenset({"densities"})
    columns: ClassVar = ()

    def __call__(self, context, on_progress): ...


@dataclass(frozen=True)
class Drawn(Needy):
    needs: ClassVar = frozenset()
    figures: ClassVar = frozenset({"mine"})


@dataclass(frozen=True)
class Uncolumned(Needy):
    needs: ClassVar = frozenset()
    columns: ClassVar = ("mine",)


@dataclass(frozen=True)
class Overwriting(Needy):
    needs: ClassVar = frozenset()
    columns: ClassVar = (Column("test_nll", "mine", "nats", "mine"),)


@dataclass(frozen=True)
class NamedLikeAFlag(Needy):
    needs: ClassVar = frozenset()
    columns: ClassVar = (Column("beta", "mine", "nats", "mine"),)


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
        ("posterior", "Listed", "Listed has no hash (unhashable type: 'list'); give it fields"),
        (
            "posterior",
            "NoDefaultOfItsRange",
            "the setting num_layers of NoDefaultOfItsRange has the default 0, which must be a",
        ),
        ("prior", "BelowItsRange", "has the default -1.0, which must be a finite number of at lea"),
        ("prior", "Lettered", "the setting mode of Lettered is an array, but its values are no nu"),
        ("evaluate", "Needy", "needs of Needy names densities, which is none of them; give some"),
        ("evaluate", "Drawn", "figures of Drawn names mine, which is none of them; give some of e"),
        ("evaluate", "Uncolumned", "columns of Uncolumned must be a tuple of Column"),
        ("evaluate", "Overwriting", "the column test_nll of Overwriting is one that every run has"),
        ("network", "a_function", "is a function and no class"),
        ("network", "LACKING", "is a dict and no class"),
        ("network", "NoNetworks", "has no NoNetworks; did you mean tests.test_contract:NoNetwork?"),
    ],
)
def test_what_is_wrong_with_a_member_is_said_in_one_line(kind, name, problem):
    assert problem in _refusal_of([f"--{kind}={__name__}:{name}"])


@pytest.mark.parametrize("name", ["sweep", "help", "run", "step", "test_elbo", "diverged"])
def test_a_setting_may_not_have_the_name_of_a_column_or_argument(name, monkeypatch):
    monkeypatch.setitem(globals(), "Named", _named(name))
    found = contract._problems(_named(name), PriorFamily, True)
    assert found == (
        f"the setting {name} of Named has the name of a column or argument of every run; rename it",
    )


def test_the_names_that_are_reserved_are_those_of_the_columns_that_no_flag_has():
    columns = {name for name in CORE if not name.startswith(contract._SPLITS)}
    arguments = {"sweep", "flagfile", "help", "helpfull", "h"}
    assert (columns - FLAGS.keys()) | arguments == contract.RESERVED


def test_a_column_may_not_have_the_name_of_a_flag():
    with pytest.raises(InputError, match="its column beta has the name of a flag or of a column"):
        parse([f"--evaluate={__name__}:NamedLikeAFlag"])


def test_the_needs_that_models_are_asked_about_are_among_those_that_are_known():
    traits = {"has_density": False, "support": "set", "has_coordinates": False}
    posterior = type("Bare", (PosteriorFamily,), traits)
    spell = needs.Spelling({"posterior": "bare"})
    unmet = needs.unmet(posterior, spell, follows_prior=False, is_conditional=True)
    assert unmet.keys() | {"labels", "factors", "sklearn"} == needs.NEEDS


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
        ("raise SystemExit(3)\n", "importing {} fails with SystemExit: 3 ({}.py, line 1)"),
        (
            "import json\n\njson.loads('{')\n",
            "importing {} fails with JSONDecodeError: Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1) ({}.py, line 3); mend it",
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


def read_unasked():
    return None


def read_damaged(flag):
    raise OSError("the disk is gone")


def read_bare(flag):
    return RawDataset({"train": np.zeros((9, 4))}, "bare")


def read_developed(flag):
    split = RawSplit(np.random.default_rng(0).random((40, 4)))
    return RawDataset({"train": split, "dev": split}, "developed")


def read_lists(flag):
    return RawDataset({"train": RawSplit([[0.5, -2.5]] * 40, [0, 1] * 20)}, "lists")


def test_a_data_source_from_outside_is_a_function_that_returns_a_data_set():
    data = vae_jax.load(f"{__name__}:read_ramps")
    assert data.record.source == "ramps"
    assert len(data.train) + len(data.valid) + len(data.test) == 40
    for name, problem in (
        ("read_nothing", "returns a NoneType; return a RawDataset with a split train"),
        ("LACKING", "is no function; name one that takes the label"),
        ("NoLogger", "is no function; name one that takes the label"),
        ("read_unasked", r"fails with TypeError: read_unasked\(\) takes 0 positional arguments"),
        ("read_damaged", r"fails with OSError: the disk is gone \(test_contract.py, line \d+\)"),
        ("read_bare", "has the split train of a ndarray; give a RawSplit each of train, valid"),
        ("read_developed", "has the split dev of a RawSplit; give a RawSplit each of train, val"),
        ("read_ramp", f"has no read_ramp; did you mean {__name__}:read_ramps?"),
    ):
        with pytest.raises(InputError, match=f"dataset={__name__}:{name}: .*{problem}"):
            vae_jax.load(f"{__name__}:{name}")


def test_a_data_source_may_give_lists():
    data = vae_jax.load(f"{__name__}:read_lists")
    assert (data.event_shape, data.num_classes) == ((2,), 2)


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


class Square(NamedTuple):
    """Distribution whose log-density is not summed."""

    loc: jnp.ndarray

    def log_prob(self, x):
        return -((x - self.loc) ** 2)

    def mean(self):
        return self.loc

    def sample(self, key):
        return self.loc


@dataclass(frozen=True)
class SquareLikelihood(MuteLikelihood):
    def __call__(self, hparams, params, outputs):
        return Square(outputs[..., 0])


@dataclass(frozen=True)
class FlatBias(SquareLikelihood):
    def initial_bias(self, data_mean):
        return data_mean


@dataclass(frozen=True)
class Failing(SquareLikelihood):
    def initial_bias(self, data_mean):
        raise ValueError("my own message\nand more")


@dataclass(frozen=True)
class Unread(SquareLikelihood):
    def __call__(self, hparams, params, outputs):
        return hparams.temperature


@dataclass(frozen=True)
class MappedHeads(DiagonalGaussian):
    def heads(self, width):
        return {"mean": (width,), "log_var": (width,)}


@dataclass(frozen=True)
class OneHead(DiagonalGaussian):
    def heads(self, width):
        return (Head("mean", (width,)),)


@dataclass(frozen=True)
class LeadingNoise(DiagonalGaussian):
    has_own_noise: ClassVar[bool] = True

    def noise(self, key, shape, max_latents):
        return jnp.zeros((max_latents, *shape))


@dataclass(frozen=True)
class Undistributed(DiagonalGaussian):
    distribution: ClassVar[type] = object


@dataclass(frozen=True)
class OtherCodes(DiagonalGaussian):
    def init(self, key, hparams, latent_mask):
        return {"codes": jnp.ones(3)}

    def update(self, hparams, params, q, z):
        return {"code": params["codes"]}


@dataclass(frozen=True)
class Counting(DiagonalGaussian):
    def init(self, key, hparams, latent_mask):
        return {"counts": jnp.zeros(3, jnp.int32)}


@dataclass(frozen=True)
class Undecoded(vae_jax.MLP):
    def decoder(self, event_shape):
        return None


@dataclass(frozen=True)
class Averaged(vae_jax.Elbo):
    def __call__(self, *args):
        value = super().__call__(*args)
        return value._replace(objective=value.objective.mean())


@dataclass(frozen=True)
class Undrawn(vae_jax.Elbo):
    @property
    def num_draws(self):
        return 0


@dataclass(frozen=True)
class ByLatent(MMD):
    def __call__(self, hparams, params, samples, context):
        return samples.z.sum(axis=(0, 1))


@dataclass(frozen=True)
class Ruleless(Optimizer):
    def rule(self, hparams):
        return None


@pytest.mark.parametrize(
    ("kind", "member", "problem"),
    [
        ("likelihood", SquareLikelihood, "log_prob has shape (1, 9, 4, 4, 1); return an array of"),
        ("likelihood", FlatBias, "initial_bias has shape (4, 4, 1); return an array of shape (4,"),
        ("likelihood", Failing, "initial_bias fails with ValueError: my own message (test_contr"),
        ("likelihood", Unread, "__call__ fails with AttributeError: temperature: unknown hyperpa"),
        ("posterior", MappedHeads, "heads returns {'mean': (48,), 'log_var': (48,)}; return a tu"),
        ("posterior", OneHead, "__call__ fails with KeyError: 'log_var' (gaussian.py, line"),
        ("posterior", LeadingNoise, "noise has shape (2, 1, 9); return an array of shape (1, 9, 9"),
        (
            "posterior",
            OtherCodes,
            "update gives [(\"['code']\", (3,))] for [(\"['codes']",
        ),
        ("posterior", Counting, "init gives counts as int32, but gradients are taken of all par"),
        ("network", Undecoded, "decoder returns a NoneType; return a Decoder"),
        (
            "objective",
            Averaged,
            "objective of __call__ has shape (); return an array of shape",
        ),
        ("objective", Undrawn, "num_draws is 0, and must be a whole number from 1 to 2147483647"),
        ("regularizer", ByLatent, "__call__ has shape (48,); return an array of shape ()"),
        ("optimizer", Ruleless, "rule returns a NoneType; return a GradientTransformation"),
    ],
)
def test_what_a_member_returns_is_looked_at_before_anything_is_compiled(kind, member, problem):
    own = {kind: member()}
    in_model = own if kind in ("likelihood", "posterior", "network") else {}
    in_training = {"regularizers": (member(),)} if kind == "regularizer" else own
    model = vae_jax.VAE((4, 4, 1), 2, **in_model)
    spec = vae_jax.TrainSpec(model, batch_size=9, **({} if in_model else in_training))
    with pytest.raises(InputError) as caught:
        dry_run.check_members(spec, "pixels", 40)
    assert str(caught.value).startswith(f"{kind}={__name__}:{member.__name__}: {problem}")


def test_a_kl_that_is_not_declared_is_refused():
    spec = vae_jax.TrainSpec(vae_jax.VAE((4, 4, 1), 2, posterior=Undistributed()))
    with pytest.raises(InputError, match="kl returns one for a Gaussian, and closed_form_kl of"):
        dry_run.check_members(spec, "pixels", 40)


def test_members_are_tried_by_the_command_line_and_in_python():
    data, spec = vae_jax.load(f"{__name__}:read_ramps"), vae_jax.VAE((4, 4, 1), 2)
    spec = vae_jax.TrainSpec(spec, objective=Undrawn(), batch_size=9)
    with pytest.raises(InputError, match="Undrawn: num_draws is 0"):
        vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), data, num_steps=1)
    config = parse([f"--objective={__name__}:Undrawn", "--batch_size=9"])
    with pytest.raises(InputError, match="Undrawn: num_draws is 0"):
        checks.check_data(config, [config], data)


@dataclass(frozen=True)
class Declared(Optimizer):
    hparams: ClassVar = (HParam("pace", 2.0, real(0.0), "factor of the gradient"),)

    def rule(self, hparams):
        return optax.scale(self.value(hparams, "pace"))


def test_an_optimizer_may_declare_its_hyperparameters_as_other_members_do():
    names = [each.name for each in Declared.hparams]
    assert names == ["learning_rate", "warmup_steps", "clip_norm", "skip_norm", "pace"]
    hparams = vae_jax.HParams.of(Declared, pace=3.0, learning_rate=1.0)
    optimizer = Declared().specialized(hparams)
    updates, _ = optimizer.transformation(hparams, jnp.int32(0)).update(
        {"w": jnp.ones(1)}, optimizer.transformation(hparams, jnp.int32(0)).init({"w": jnp.ones(1)})
    )
    assert updates["w"].tolist() == [-3.0]
