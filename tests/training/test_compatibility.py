"""Data and model: what does not fit is refused before compilation, the same way from both doors."""

import dataclasses

import numpy as np
import pytest

import vae_jax
from tests.samples import RNG, save_npz
from vae_jax import cli
from vae_jax.data import Dataset, Provenance
from vae_jax.models.likelihoods import LIKELIHOODS, BernoulliLikelihood, GaussianLikelihood
from vae_jax.models.networks import MLP, Conv
from vae_jax.models.priors import VampPrior
from vae_jax.models.vae import VAE
from vae_jax.runtime.errors import InputError
from vae_jax.training import compatibility
from vae_jax.training.step import TrainSpec

REALS = RNG.normal(size=(12, 4)).astype(np.float32)
RECORD = Provenance("x", "x", "x", "x")
GAUSSIAN = VAE((4,), 2, MLP((3,)), likelihood=GaussianLikelihood())


def dataset(x: np.ndarray) -> Dataset:
    return Dataset(x, x, x, None, None, None, RECORD)


UNFIT = {
    "likelihood=bernoulli": (dict(likelihood=BernoulliLikelihood()), {}, "likelihood=gaussian"),
    "network=conv": (dict(network=Conv((2,), (3,))), {}, "give network=mlp"),
    "prior=vamp": (dict(prior=VampPrior()), {}, "encoding=pixels if"),
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


@pytest.mark.parametrize("flag", ["network=conv", "likelihood=bernoulli", "prior=vamp"])
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
