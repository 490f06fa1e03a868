"""Data and model: what does not fit is refused before compilation, the same way from both doors."""

import dataclasses

import numpy as np
import pytest

import vae_jax
from tests.samples import RNG, save_npz
from vae_jax import cli
from vae_jax.config.flags import Config
from vae_jax.data import Dataset, Provenance
from vae_jax.models.likelihoods import LIKELIHOODS, BernoulliLikelihood, GaussianLikelihood
from vae_jax.models.networks import MLP, Conv
from vae_jax.models.priors import PRIORS
from vae_jax.models.vae import VAE
from vae_jax.pipeline import checks
from vae_jax.pipeline.study import begin
from vae_jax.runtime.errors import InputError
from vae_jax.training import compatibility
from vae_jax.training.spec import TrainSpec

REALS = RNG.normal(size=(12, 4)).astype(np.float32)
RECORD = Provenance("x", "x", "x", "x")
GAUSSIAN = VAE((4,), 2, MLP((3,)), likelihood=GaussianLikelihood())


def dataset(x: np.ndarray) -> Dataset:
    return Dataset(x, x, x, None, None, None, RECORD)


UNFIT = {
    "likelihood=bernoulli": (dict(likelihood=BernoulliLikelihood()), {}, "likelihood=gaussian"),
    "network=conv": (dict(network=Conv((2,), (3,))), {}, "give network=mlp"),
    "binarize=dynamic": ({}, dict(binarize="dynamic"), "leave it out"),
}


@pytest.mark.parametrize(("member", "more", "fix"), UNFIT.values(), ids=UNFIT.keys())
def test_reals_are_refused_by_what_takes_pixels_or_images(member, more, fix, request):
    spec = TrainSpec(dataclasses.replace(GAUSSIAN, **member), **more)
    with pytest.raises(InputError) as caught:
        vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), dataset(REALS), num_steps=1)
    message = str(caught.value)
    assert message.startswith(f"{request.node.callspec.id}: ")
    assert fix in message[message.index("; ") :]
    assert "\n" not in message


@pytest.mark.parametrize("flag", ["network=conv", "likelihood=bernoulli"])
def test_the_command_line_refuses_the_same_before_it_writes_anything(flag, tmp_path, capsys):
    path, workdir = save_npz(tmp_path, x_train=REALS), tmp_path / "run"
    flags = dict(likelihood="gaussian") | dict([flag.split("=")])
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    assert cli.main([f"--dataset={path}", f"--workdir={workdir}", *arguments]) == 2
    assert f"--{flag}: takes" in capsys.readouterr().err
    assert not workdir.exists()


def test_counts_are_refused_by_every_likelihood_but_one_that_takes_them():
    data = dataset(RNG.poisson(3, (12, 4)).astype(np.int32))

    class Counting(GaussianLikelihood):
        encodings = ("counts",)

    for family in (family() for family in LIKELIHOODS.values()):
        spec = TrainSpec(dataclasses.replace(GAUSSIAN, likelihood=family))
        assert any("counts" in text for text in problems(spec, data))
    own = TrainSpec(dataclasses.replace(GAUSSIAN, likelihood=Counting()))
    assert problems(own, data) == []


def problems(spec: TrainSpec, data: Dataset) -> list[str]:
    return list(compatibility.data_problems(spec, data, lambda name, value: f"{name}={value}"))


def test_a_model_of_another_shape_than_the_data_is_refused():
    spec = TrainSpec(dataclasses.replace(GAUSSIAN, event_shape=(5,)))
    with pytest.raises(InputError, match=r"^event_shape=\(5,\): .* \(4,\); make"):
        compatibility.check_data(spec, dataset(REALS))


def test_what_fits_is_not_refused():
    assert problems(TrainSpec(GAUSSIAN), dataset(REALS)) == []
    bits = dataset(RNG.integers(0, 2, (12, 4)).astype(np.uint8) * np.uint8(255))
    spec = TrainSpec(dataclasses.replace(GAUSSIAN, likelihood=BernoulliLikelihood()))
    assert problems(spec, bits) == []


PIXELS = RNG.integers(0, 256, (12, 2, 2, 1)).astype(np.uint8)
BITS = (PIXELS > 99) * np.uint8(255)
SMALL = VAE((2, 2, 1), 2, MLP((3,)))
EIGHT_BIT = LIKELIHOODS["discretized_logistic"]
BOTH_DOORS = {
    "a batch beyond the data": (dict(batch_size=13), {}, PIXELS),
    "binarized binary pixels": (dict(binarize="dynamic"), {}, BITS),
    "two of 256 values": (
        dict(binarize="static", likelihood="discretized_logistic"),
        dict(likelihood=EIGHT_BIT()),
        PIXELS,
    ),
}


@pytest.mark.parametrize(("flags", "family", "x"), BOTH_DOORS.values(), ids=BOTH_DOORS.keys())
def test_python_refuses_data_in_the_words_of_the_command_line(flags, family, x):
    flags = dict(batch_size=5, latent_size=2) | flags
    data, config = dataset(x), Config(dataset="x", **flags)
    settings = {name: flags[name] for name in ("batch_size", "binarize") if name in flags}
    spec = TrainSpec(dataclasses.replace(SMALL, **family), **settings)
    with pytest.raises(InputError) as typed:
        checks.check_data(config, [config], data)
    with pytest.raises(InputError) as called:
        vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), data, num_steps=1)
    assert str(called.value) == str(typed.value).replace("--", "")


def labeled(y: np.ndarray | None) -> Dataset:
    y = None if y is None else y.astype(np.int32)
    parts = [None] * 3 if y is None else [y[:8], y[8:10], y[10:]]
    return Dataset(PIXELS[:8], PIXELS[8:10], PIXELS[10:], *parts, RECORD)


@pytest.mark.parametrize(
    ("model", "y", "setting"),
    [
        (dict(num_classes=3), None, "num_classes"),
        (dict(num_classes=2), np.arange(12) % 3, "num_classes"),
        (dict(prior=PRIORS["class_normal"]()), np.arange(12) % 3, "prior"),
    ],
    ids=["no labels", "more classes than the model has", "a prior of classes without them"],
)
def test_labels_that_are_not_those_of_the_model_are_refused(model, y, setting):
    spec = TrainSpec(dataclasses.replace(SMALL, **model), batch_size=4)
    with pytest.raises(InputError) as caught:
        vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), labeled(y), num_steps=1)
    assert caught.value.setting == setting


def test_a_training_for_more_updates_than_its_cosine_has_is_refused():
    spec = TrainSpec(SMALL, batch_size=4, optimizer=vae_jax.Adam("cosine", num_steps=2))
    with pytest.raises(InputError, match=r"num_steps=3: .* num_steps=2; give"):
        vae_jax.fit(spec, vae_jax.HParams.of(latent_size=2), labeled(None), num_steps=3)


def test_data_of_another_kind_than_those_trained_on_are_not_scored():
    hparams = vae_jax.HParams.of(latent_size=2)
    spec = TrainSpec(SMALL, batch_size=4)
    study = begin(spec, hparams, labeled(None))
    reals = dataset((PIXELS / 255).astype(np.float32))
    with pytest.raises(InputError, match="takes pixels, but the data are reals"):
        study.evaluate(reals)
    with pytest.raises(InputError, match="takes pixels, but the data are reals"):
        vae_jax.score(spec, hparams, study.state, reals)
    with pytest.raises(InputError, match=r"data=examples of .*, reals: .* pixels"):
        study[0].codes(reals)
    with pytest.raises(InputError, match="hparams=those of 2 runs: the state is of 1"):
        vae_jax.score(spec, vae_jax.grid(latent_size=[1, 2]), study.state, labeled(None))
